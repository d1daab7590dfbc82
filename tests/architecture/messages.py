"""Lists error messages for the caller, and those that do not say what must be true and what was found.

``python -m tests.architecture.messages`` prints them; with ``--sample N`` it prints N of all messages, for a reader who
judges each without its code.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
FOLDERS = ("interwhen", "interwhen_launcher", "interwhen_pytest", "verifiers", "tools", "examples")
BLAMES_THE_CALLER = {
    "ExpressionError",
    "HttpError",
    "JournalError",
    "NotJson",
    "PluginError",
    "StoreError",
    "Unsupported",
    "UsageError",
}

REQUIRED = re.compile(r"\b(?:must|may|needs?|only|cannot|could|does not load|damaged|modified|shuts down)\b")
FOUND = re.compile(
    r"\bgot\b|\band (?:is|are|was|has|does|did|it|this|these|none|one|another|neither|raised)\b|\bbecause\b"
)
PREFIX = re.compile(r"in .*\{\}$")
"""A message that says where the error of another message is."""


class Message(NamedTuple):
    """The words of one error message, with ``{}`` for each value."""

    file: str
    line: int
    text: str

    @property
    def says_what_must_be(self) -> bool:
        """Whether the message names a requirement."""
        return REQUIRED.search(self.text) is not None or PREFIX.match(self.text) is not None

    @property
    def says_what_was_found(self) -> bool:
        """Whether the message has a value, or says in words what was found."""
        return "{}" in self.text or FOUND.search(self.text) is not None


def messages() -> Iterator[Message]:
    """Yield each message of at least five words in a ``raise`` of an error that blames the caller."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if ".venv" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if (
                    isinstance(node, ast.Raise)
                    and isinstance(node.exc, ast.Call)
                    and _name(node.exc) in BLAMES_THE_CALLER
                ):
                    text = " ".join(
                        filter(None, map(words, [*node.exc.args, *(key.value for key in node.exc.keywords)]))
                    )
                    if len(re.findall(r"[a-z]{2,}", text)) >= 5:
                        yield Message(str(path.relative_to(ROOT)), node.lineno, text)


def _name(call: ast.Call) -> str:
    return ast.unparse(call.func).rpartition(".")[2]


def words(node: ast.expr) -> str:
    """Return the text of *node*, with ``{}`` for each value."""
    match node:
        case ast.Constant(value=str(text)):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(words(part) if isinstance(part, ast.Constant) else "{}" for part in parts)
        case ast.BinOp(left=left, right=right):
            return words(left) + words(right)
        case ast.IfExp(body=body, orelse=other):
            return f"{words(body)} {words(other)}"
        case ast.Subscript(value=value):  # a message that is cut to a length
            return words(value)
        case _:
            return ""


def unclear() -> Iterator[Message]:
    """Yield the messages that do not say what must be true, or do not say what was found."""
    for message in messages():
        if not (message.says_what_must_be and message.says_what_was_found):
            yield message


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    everything = list(messages())
    shown = random.Random(given.seed).sample(everything, given.sample) if given.sample else list(unclear())
    for message in shown:
        sys.stdout.write(f"{message.file}:{message.line}: {message.text}\n")
    sys.stdout.write(f"{len(everything)} messages, {len(list(unclear()))} unclear\n")
