"""The command line as one cyclopts app; imported once the extras are known to be there."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from interwhen_launcher import COMMANDS, EXIT_CODES, SUMMARY

from interwhen._version import __version__
from interwhen.cli import logs

app = App(
    name="interwhen",
    version=f"interwhen {__version__}",
    help=SUMMARY,
    help_epilogue=EXIT_CODES,
    exit_on_error=False,
    print_error=False,
    result_action="return_value",
)
# main() answers Ctrl-C; the meta app has a setting of its own.
app.suppress_keyboard_interrupt = app.meta.suppress_keyboard_interrupt = False
# Each command is imported when it is called, so that one does not slow down the others.
for _name, (_target, _help) in COMMANDS.items():
    app.command(_target, name=_name, help=_help)


@app.meta.default
def launch(
    *tokens: Annotated[str, Parameter(show=False, allow_leading_hyphen=True)],
    log_level: logs.LogLevel = "error",
    debug: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Run the command in *tokens*.

    Parameters
    ----------
    log_level
        Which log events go to stderr. They never hold text of a trace.
    debug
        Show a traceback where an error ends the command.
    """
    del debug  # main() looks at it: it must hold for errors of this very parse, too.
    logs.configure(log_level)
    result = app(tokens)
    return result if isinstance(result, int) else 0
