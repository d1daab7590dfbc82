"""The console script ``interwhen``. It prints the general help and the version without importing ``interwhen``."""

from __future__ import annotations

import os
import sys

from interwhen_launcher import answer

TYPE_CHECKING = False  # typing and collections would be imported for nothing
if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the general help or the version if *arguments* ask for it; else run their command.

    A command ends the process with its exit code.
    """
    given = sys.argv[1:] if arguments is None else arguments
    text = answer(given)
    if text is None:
        from interwhen.cli._main import main as run_command

        run_command(arguments)
    else:
        _print(text)


def _print(text: str) -> None:
    try:
        print(text, flush=True)
    except BrokenPipeError:  # ``interwhen --help | head``
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
