"""What a sandbox promises, and by what each promise is kept on this machine."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Guarantee: TypeAlias = Literal["network", "files", "processes", "memory", "syscalls", "privileges"]
"""One promise of a sandbox:

- ``network``: nothing is sent or received;
- ``files``: no file outside the program's own directory is changed, and none is read that it was not given;
- ``processes``: other processes are neither seen nor touched, and none of its own outlives the run;
- ``memory``: no more is taken than the limit;
- ``syscalls``: the parts of the kernel that no honest program needs are out of reach;
- ``privileges``: it has no rights of an administrator, and can gain none.
"""

ALL: tuple[Guarantee, ...] = get_args(Guarantee)


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether one promise is kept: ``by`` what, or why not (``missing``)."""

    guarantee: Guarantee
    by: tuple[str, ...] = ()
    missing: str = ""

    @property
    def enforced(self) -> bool:
        """Whether it can be relied on."""
        return bool(self.by)


@dataclass(frozen=True, slots=True)
class Guarantees:
    """What a sandbox can promise here, a finding for each promise."""

    sandbox: str
    findings: tuple[Finding, ...]

    @property
    def missing(self) -> frozenset[Guarantee]:
        """The promises that cannot be kept."""
        return frozenset(finding.guarantee for finding in self.findings if not finding.enforced)

    def why(self, guarantees: Iterable[Guarantee]) -> str:
        """Say why each of *guarantees* is missing."""
        wanted = set(guarantees)
        found = [finding for finding in self.findings if finding.guarantee in wanted]
        return "; ".join(f"{finding.guarantee}: {finding.missing}" for finding in found)
