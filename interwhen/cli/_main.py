"""Runs the command line. Expected errors become one line on stderr and an exit code."""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from interwhen import InterwhenError

_CONTEXTS = "write interwhen precompute measure prefixes; docs/precompute-kinds.md has what was measured of answers"
REMOVED = {
    "plan explain": "interwhen doctor --model local:FILE.gguf prints from which length on a saved prefix is restored",
    "bench allocation": "docs/strategies.md has the measurements on models",
    "bench planner": "write python -m tests.measurements.prefix_rates in a checkout of the repository",
    "plan capacity": "load-test the gateway: docs/scale.md says how",
    "plan measure": "load-test the gateway: docs/scale.md says how",
    **{
        f"bench {name}": f"write python -m tests.benchmarks {name} in a checkout of the repository"
        for name in ("gateway", "idle", "journals", "ledger", "local", "precompute", "resumes", "soak")
    },
    "bench contexts": _CONTEXTS,
    "bench prefixes": "write interwhen precompute measure prefixes",
    "doctor --record": "write python -m tests.contracts.record in a checkout of the repository",
    "precompute add --passes": "leave it out; only facts had passes, and they saved nothing (docs/precompute-kinds.md)",
    "precompute measure contexts": _CONTEXTS,
    "remedies": "docs/remedies.md has the measurements on models",
    "replay": "write interwhen view --plain FILE",
    "sandbox": "write interwhen doctor --sandbox",
    "simulate": "write python -m tests.simulation in a checkout of the repository",
}
_MISSING = "error: the command line needs an extra that is not installed: pip install 'interwhen[cli]'"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command in *arguments* (default: those of the process), and end the process with its exit code.

    An :class:`InterwhenError` becomes one line on stderr; with ``--debug``, it is raised.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        sys.excepthook = _show  # only in a process of our own
    if name := _removed(given):
        print(f"error: 'interwhen {name}' was removed: {REMOVED[name]}", file=sys.stderr)
        sys.exit(2)
    sys.exit(_exit_code(given))


def _show(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
    # Messages may quote servers and models, whose control characters could change the terminal.
    from traceback import format_exception

    from interwhen.cli._text import visible

    print(visible("".join(format_exception(kind, error, traceback))), end="", file=sys.stderr)


def _exit_code(arguments: list[str]) -> int:
    try:
        import cyclopts
        import rich  # noqa: F401  # checks that it is installed
    except ModuleNotFoundError as error:
        if error.name not in {"cyclopts", "rich"}:
            raise
        print(_MISSING, file=sys.stderr)
        return 2
    from interwhen.cli import _exits, _supervise
    from interwhen.cli._app import app
    from interwhen.cli._text import print_error

    try:
        code: int = app.meta(_with_dashes(arguments))
        sys.stdout.flush()
    except KeyboardInterrupt as interrupt:
        print_error("interrupted")
        if str(interrupt):
            print(interrupt, file=sys.stderr)
        if isinstance(interrupt, _supervise.Interrupted):
            _supervise.leave()
        return _exits.INTERRUPTED
    except OSError as error:
        return _output_failed(error, debug="--debug" in arguments)
    except cyclopts.CycloptsError as error:
        print_error(f"{error}; see --help for the options")
        return _exits.USAGE
    except (InterwhenError, BaseExceptionGroup) as error:
        known = _known(error)
        if known is None or "--debug" in arguments:
            raise
        print_error(str(known))
        return _exits.of_error(known)
    return code or 0


def _removed(arguments: Sequence[str]) -> str | None:
    """Return the key of :data:`REMOVED` that *arguments* call."""
    words = [word for word in arguments if not word.startswith("-")]
    options = [word.partition("=")[0] for word in arguments if word.startswith("--")]
    commands = [" ".join(words[:number]) for number in (3, 2, 1)]
    called = (*commands, *(f"{command} {option}" for command in commands for option in options))
    return next((name for name in called if name in REMOVED), None)


def _known(error: InterwhenError | BaseExceptionGroup[Any]) -> InterwhenError | None:
    """Return *error*, or the first one of a group with only errors of interwhen; ``None`` for other groups."""
    if isinstance(error, InterwhenError):
        return error
    ours, others = error.split(InterwhenError)
    first: Any = ours
    while isinstance(first, BaseExceptionGroup):
        first = first.exceptions[0]
    return first if others is None else None


def _with_dashes(arguments: list[str]) -> list[str]:
    """Return *arguments* with ``--option -`` written as ``--option=-``, except after ``--``."""
    # cyclopts takes a lone "-" for an option.
    dashed: list[str] = []
    for argument in arguments:
        if argument == "-" and "--" not in dashed and dashed and re.fullmatch("--[^=]+", dashed[-1]):
            dashed[-1] += "=-"
        else:
            dashed.append(argument)
    return dashed


def _output_failed(error: OSError, *, debug: bool) -> int:
    """Discard further output after a closed pipe or a full disk, and return the exit code. Raise any other *error*."""
    import os

    from interwhen.cli import _exits
    from interwhen.cli._text import print_error

    is_closed = isinstance(error, BrokenPipeError)
    if not is_closed and (debug or error.errno != errno.ENOSPC):
        raise error
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if is_closed:
        return 141
    print_error(f"the disk must have room for the output, got an error: {error}; free some space")
    return _exits.USAGE
