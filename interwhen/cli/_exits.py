"""The exit codes of the command line; docs/cli.md lists them for scripts."""

from __future__ import annotations

from interwhen import InterwhenError, UsageError
from interwhen._types.errors import MissingExtraError
from interwhen._types.results import Status

OK = 0
BROKEN = 1
"""The command ran, and found something wrong, such as a missed bar (``bench``)."""
USAGE = 2
FAILED = 5
INTERRUPTED = 130

BY_STATUS: dict[Status, int] = {"verified": 0, "unverified": 3, "abstained": 4, "failed": FAILED}


def of_error(error: InterwhenError) -> int:
    return USAGE if isinstance(error, UsageError | MissingExtraError) else FAILED
