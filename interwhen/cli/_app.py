"""The command line as one cyclopts app. Importing this module needs the extra ``cli``."""

from __future__ import annotations

import logging
from importlib.metadata import entry_points
from typing import Annotated, Literal

import structlog
from cyclopts import App, Parameter
from interwhen_launcher import COMMANDS, EXIT_CODES, SUMMARY

from interwhen._types import __version__
from interwhen.cli._progress import say, set_quiet
from interwhen.cli._text import PipeAwareConsole

# Logging of the command line: structlog to stderr. The library itself configures nothing.

LogLevel = Literal["debug", "info", "warning", "error"]


class _Stderr:
    """Prints to stderr without disturbing a view that is redrawn there."""

    def msg(self, message: str) -> None:
        say(message)

    log = debug = info = warning = warn = error = critical = exception = failure = fatal = msg


def configure(level: LogLevel) -> None:
    """Send log events of *level* and above to stderr, one line each, without colours."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S", utc=False),
            # Quotes values that would look like another pair or another line.
            structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "event"], bool_as_flag=False),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=lambda *_: _Stderr(),
        cache_logger_on_first_use=False,
    )


GROUP = "interwhen.commands"
"""The entry points with which packages add commands: each is a cyclopts command or app, as ``module:object``."""

app = App(
    name="interwhen",
    version=f"interwhen {__version__}",
    help=SUMMARY,
    help_epilogue=EXIT_CODES,
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
    console=PipeAwareConsole(),
)
# main() handles Ctrl-C; the meta app has its own setting.
app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False
# Each command is imported when it is called, so that one does not slow down the others.
for _entry in entry_points(group=GROUP):
    _owner = _entry.dist.name if _entry.dist is not None else "another distribution"
    app.command(_entry.value, name=_entry.name, help=COMMANDS.get(_entry.name) or f"A command of {_owner}.")


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    log_level: LogLevel = "error",
    debug: Annotated[bool, Parameter(negative="")] = False,
    quiet: Annotated[bool, Parameter(alias="-q", negative="")] = False,
) -> int:
    """Run the command in *tokens*.

    Parameters
    ----------
    log_level
        Which log events go to stderr.
    debug
        Show a traceback if an error ends the command.
    quiet
        Show no progress and no hints.
    """
    del debug  # main() reads it from the arguments, because it holds for errors of this parse, too.
    configure(log_level)
    set_quiet(quiet=quiet)
    result = app(tokens)
    return result if isinstance(result, int) else 0
