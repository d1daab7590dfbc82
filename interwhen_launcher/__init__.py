"""The general help and the version of the command line, without importing ``interwhen``."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # typing and collections would be imported for nothing
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "EXIT_CODES", "SUMMARY", "answer", "version"]

SUMMARY = "Verifiers beside the reasoning stream of a language model."
EXIT_CODES = (
    "Exit codes: 0 verified (answer or steps) or done, 3 unverified, 4 abstained, 5 failed, 2 usage, 130 interrupted."
)
COMMANDS = {
    "bench": "Measure what verifiers cost, and what they are worth, on this machine.",
    "demo": "Watch a tiny model solve three problems while a verifier checks them.",
    "doctor": "Probe what an endpoint, or a sandbox on this machine, can do.",
    "eval": "Run many prompts on several servers, and keep the results through any kill.",
    "export": "Export recorded runs as training data.",
    "policy": "Check, review or synthesize the rules of a written policy.",
    "precompute": "Prepare contexts ahead of time, and show the results.",
    "recheck": "Check a recorded result again, offline.",
    "resume": "Resume a run from its journal after its process ended.",
    "run": "Generate from a prompt while verifiers check the stream.",
    "serve": "Put verifiers between clients of the OpenAI API and their servers.",
    "verifiers": "List, describe and try the installed verifiers, or create one.",
    "verify": "Compare a text with its certificate, and check the signature.",
    "view": "Show recorded runs, as a page or in the terminal: what was cut, why, and what it cost.",
}
"""The shipped commands in the general help. Other distributions can add commands."""
_OPTIONS = {
    "--log-level": "Which log events go to stderr: debug, info, warning or error.",
    "--debug": "Show a traceback if an error ends the command.",
    "--quiet, -q": "Show no progress and no hints.",
    "--help, -h": "Display this message, or that of a command, and exit.",
    "--version": "Display the version and exit.",
}
_WIDEST = 100
_NARROWEST = 40


def answer(arguments: Sequence[str]) -> str | None:
    # An argument without a dash may be a command with a help of its own, also one of another distribution.
    before = ("", *arguments)
    if any(not one.startswith("-") and before[at] != "--log-level" for at, one in enumerate(arguments)):
        return None
    if not arguments or "--help" in arguments or "-h" in arguments:
        return _help(_columns())
    return f"interwhen {version()}" if arguments[0] == "--version" else None


def version() -> str:
    # To read it from the package's metadata takes 40 ms. Importing pathlib would double the time of this function.
    place = os.path.join(os.path.dirname(os.path.dirname(__file__)), "interwhen", "_types", "__init__.py")
    with open(place, encoding="utf-8") as source:
        return source.read().partition('\n__version__ = "')[2].partition('"')[0]


def _help(columns: int) -> str:
    lines = ["Usage: interwhen COMMAND [OPTIONS]", "", *_wrapped(SUMMARY, columns)]
    for title, rows in (("Commands", COMMANDS), ("Options", _OPTIONS)):
        indent = max(map(len, rows)) + 4
        lines += ["", f"{title}:"]
        for name, text in rows.items():
            first, *rest = _wrapped(text, columns - indent)
            lines += [f"  {name:{indent - 2}}{first}", *(" " * indent + line for line in rest)]
    return "\n".join([*lines, "", *_wrapped(EXIT_CODES, columns)])


def _wrapped(text: str, columns: int) -> list[str]:
    lines = [""]
    for word in text.split():
        if lines[-1] and len(lines[-1]) + 1 + len(word) > columns:
            lines.append(word)
        else:
            lines[-1] = f"{lines[-1]} {word}".lstrip()
    return lines


def _columns() -> int:
    # ``shutil`` can find it, too, but takes 10 ms to import.
    try:
        columns = int(os.environ.get("COLUMNS", ""))
    except ValueError:
        columns = 0
    if columns <= 0:
        try:
            columns = os.get_terminal_size().columns
        except (OSError, ValueError):
            return _WIDEST
    # A terminal without a size says 0.
    return max(_NARROWEST, min(columns, _WIDEST)) if columns > 0 else _WIDEST
