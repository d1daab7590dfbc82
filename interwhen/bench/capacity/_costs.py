"""The inputs of the capacity model, and the file of ``interwhen plan measure`` that holds them."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path
from typing import Self

import msgspec

from interwhen import UsageError
from interwhen._types.errors import DECODE_ERRORS
from interwhen.bench.evaluation._results import read_rows


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What one unit of each kind of work costs on one machine.

    The names end in the unit: ``_us`` is microseconds, ``_ms`` milliseconds, ``_kb`` KiB, ``_bytes`` bytes.
    """

    process_us: float
    """CPU time that a process with open streams needs in each second, even if no token comes, in microseconds."""
    stream_us: float
    """CPU time that each open stream needs in each second, even if no token comes: its timers."""
    wake_us: float
    """CPU time of the event loop to wake up for tokens, in microseconds."""
    batch_ms: float
    """The loop wakes up at most once in this time, for all tokens that came in it, in milliseconds."""
    token_us: float
    """CPU time of the event loop for a token, without the wake-up: decoding, the engine, and the inline work of the
    monitors.
    """
    run_us: float
    """CPU time of the event loop to begin and end a run."""
    check_us: float
    """CPU time of the event loop for a check in a worker: the claim, the messages and the verdict."""
    worker_us: float
    """How long a check occupies its worker process beyond the verifier itself."""
    fork_us: float
    """CPU time of the event loop for a fork."""
    remedy_us: float
    """CPU time of the event loop for a remedy: cut, feedback, and a new request."""
    stream_kb: float
    """Resident memory of an open supervised stream, in KiB."""
    journal_run_bytes: float
    """The size of the journal of a run, without its tokens and checks."""
    journal_token_bytes: float
    """What each token adds to the journal."""
    journal_check_bytes: float
    """What each check adds to the journal."""


class AnswerLoad(msgspec.Struct, frozen=True, kw_only=True):
    """What one answer asks for on average: tokens, checks, forks, remedies. Measured, or from ``interwhen eval``."""

    source: str
    """A description of where the numbers come from."""
    tokens: float
    """Generated tokens of the stream, with those that were discarded."""
    seconds: float
    """How long an answer takes."""
    checks: float = 0.0
    """Checks in worker processes or threads."""
    check_ms: float = 0.0
    """How long one of these checks takes.

    This may include waiting for a worker, so it is an upper bound for the work.
    """
    forks: float = 0.0
    fork_tokens: float = 0.0
    """Tokens that all forks of an answer generate."""
    fork_prompt_tokens: float = 0.0
    """The prompt tokens of all forks of an answer."""
    remedies: float = 0.0
    """Remedies of an answer; below 1 if only some answers have one."""

    @property
    def rate(self) -> float:
        """Generated tokens per second of one stream."""
        return self.tokens / self.seconds


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine has: cores, memory and disk, open files and ports."""

    cores: int
    """The cores that this process may use."""
    memory_mb: float
    """The whole memory, in MB (a million bytes)."""
    open_files: int
    """The most files and connections that one process may have open, by its hard limit; 2**20 if there is none."""
    ports: int
    """Local ports for connections to one address."""
    disk_gb: float
    """Free disk space at the current folder."""

    @classmethod
    def here(cls) -> Self:
        """Ask the system what this machine has. If it does not tell the range of ports, that of IANA is taken."""
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        try:
            low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
        except OSError:
            low, high = 49152, 65535  # the range of IANA, which other systems use
        return cls(
            cores=cores,
            memory_mb=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e6,
            open_files=1 << 20 if files == resource.RLIM_INFINITY else files,
            ports=high - low + 1,
            disk_gb=shutil.disk_usage(".").free / 1e9,
        )


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """One point at which the model is compared with a measurement that it was not fitted to."""

    what: str
    """A description of the quantity."""
    unit: str
    measured: float
    predicted: float
    """The value that the model gives."""

    @property
    def error(self) -> float:
        """The error of the prediction, as a share of the measured value; 0 if that is 0."""
        return abs(self.predicted - self.measured) / self.measured if self.measured else 0.0


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """What ``interwhen plan measure`` found: costs of this machine, the mean answer, and points of comparison."""

    costs: Costs
    load: AnswerLoad
    machine: Machine
    points: tuple[Point, ...] = ()
    monitors: tuple[str, ...] = ()
    """The names of the monitors that watched the streams."""
    interwhen: str = ""
    """The version of interwhen that measured."""


def read_measured(path: Path) -> Measured:
    """Read the file *path* of ``interwhen plan measure``."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=Measured)
    except (OSError, *DECODE_ERRORS) as error:
        raise UsageError(
            f"--measured must be a file that `interwhen plan measure` wrote, got {str(path)!r} ({error}); measure again"
        ) from error
    if not (found.load.tokens > 0 and found.load.seconds > 0):
        raise UsageError(
            f"the answer in {str(path)!r} must have tokens and take time, got {found.load.tokens:g} tokens in "
            f"{found.load.seconds:g} s; measure again"
        )
    return found


def load_of_results(folder: Path) -> AnswerLoad:
    """Return the mean answer of the evaluation in *folder*.

    Rows without a token of the stream or a time do not count.
    """
    rows = [row for row in read_rows(folder) if row.tokens > row.fork_tokens and row.seconds]
    if not rows:
        raise UsageError(f"--results must be a folder of `interwhen eval` with results, got {str(folder)!r}")
    count, checks = len(rows), sum(row.worker_checks for row in rows)
    return AnswerLoad(
        source=f"{count} rows of interwhen eval",
        tokens=sum(row.tokens - row.fork_tokens for row in rows) / count,
        seconds=sum(row.seconds for row in rows) / count,
        checks=checks / count,
        check_ms=1e3 * sum(row.worker_seconds for row in rows) / checks if checks else 0.0,
        forks=sum(row.forks for row in rows) / count,
        fork_tokens=sum(row.fork_tokens for row in rows) / count,
        fork_prompt_tokens=sum(row.fork_prompt_tokens for row in rows) / count,
        remedies=sum(row.remedies for row in rows) / count,
    )
