"""Which promises are kept by what, collected while the sandbox is being made."""

from __future__ import annotations

GUARANTEES = ("network", "files", "processes", "memory", "syscalls", "privileges")


class Enforced:
    """Who keeps each promise, and why one is not kept."""

    def __init__(self) -> None:
        self._by: dict[str, list[str]] = {name: [] for name in GUARANTEES}
        self._why: dict[str, list[str]] = {name: [] for name in GUARANTEES}

    def keep(self, guarantee: str, by: str) -> None:
        """Note that *by* keeps the promise."""
        self._by[guarantee].append(by)

    def fail(self, guarantee: str, why: str) -> None:
        """Note why something that could keep the promise does not."""
        self._why[guarantee].append(why)

    def kept(self, guarantee: str) -> bool:
        """Whether anything keeps the promise."""
        return bool(self._by[guarantee])

    def findings(self) -> list[tuple[str, list[str], str]]:
        """Return a row for each promise: by what it is kept, or why not."""
        return [
            (name, by, "" if by else "; ".join(self._why[name]) or "not available") for name, by in self._by.items()
        ]
