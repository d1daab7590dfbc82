"""The gateway's own keys: who may call it."""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping
from pathlib import Path

from interwhen.errors import UsageError
from interwhen.gateway.config import SHORTEST_KEY, Config
from interwhen.gateway.problems import Problem

HEADER = "x-interwhen-key"
"""Brings our key where ``Authorization`` brings the upstream's."""

_WRONG = (
    "this gateway wants a key of its own: as 'Authorization: Bearer KEY', "
    "or as 'X-Interwhen-Key: KEY' beside the upstream's"
)


class Keys:
    """Compares keys in a time that tells nothing about them."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def admit(self, headers: Mapping[str, str]) -> str:
        """Return the name of the header that brought one of our keys; empty where none is wanted.

        Raises :class:`Problem` where none of them is right.
        """
        if not self._keys:
            return ""
        if self._is_ours(headers.get(HEADER, "")):
            return HEADER
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_ours(key.strip()):
            return "authorization"
        raise Problem(401, "invalid_api_key", _WRONG)

    def _is_ours(self, key: str) -> bool:
        given = key.encode("utf-8", "surrogateescape")
        found = False
        for known in self._keys:  # all of them, whichever is right
            found |= hmac.compare_digest(given, known)
        return found


def load_keys(config: Config) -> Keys:
    """Return the keys of *config*. Raises :class:`UsageError` where their file cannot be read, or has no good ones."""
    keys = list(config.keys)
    if config.keys_file:
        try:
            lines = Path(config.keys_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"keys_file={config.keys_file!r} cannot be read: {error}") from error
        found = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        found = [(number, key) for number, key in found if key and not key.startswith("#")]
        if not found:
            raise UsageError(f"keys_file={config.keys_file!r} holds no key; write one a line")
        for number, key in found:
            if len(key) < SHORTEST_KEY:
                raise UsageError(
                    f"keys_file={config.keys_file!r}, line {number}: a key has {SHORTEST_KEY} characters or more"
                )
        keys += [key for _, key in found]
    return Keys(keys)
