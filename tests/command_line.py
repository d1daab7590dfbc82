"""Commands of our own: the errors of `interwhen` become one line and its exit codes."""

from collections.abc import Sequence

from cyclopts import App, CycloptsError
from interwhen import InterwhenError
from interwhen.cli import _exits
from interwhen.cli._text import print_error


def run(app: App, arguments: Sequence[str] | None = None) -> int:
    try:
        return app(arguments, exit_on_error=False, print_error=False) or _exits.OK
    except CycloptsError as error:
        print_error(f"{error}; see --help for the options")
        return _exits.USAGE
    except InterwhenError as error:
        print_error(str(error))
        return _exits.of_error(error)
