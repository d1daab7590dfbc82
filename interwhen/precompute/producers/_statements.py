"""Asks a model for statements, and reads them from its reply."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.models import Completion, Message, Sampling
from interwhen.precompute._producer import StepContext

LONGEST = 240
"""The longest statement that is read, in characters. The text comes from a model, so it needs a limit."""
_ASK = (
    "You prepare notes on a text before anybody asks about it. Write up to {limit} new statements that follow from the "
    "numbered lines, and that save work to the one who is asked about them: combine lines, and go on from what is "
    "known. "
    "One statement a line, in the words of the text. End each with the numbers of the lines that it follows from, in "
    "brackets, such as [S2 F1]. Repeat nothing that is known."
)
_LINE = re.compile(
    r"\s{0,8}(?:[-*] |\d{1,3}[.)] )?(?P<said>[^\[\]]+?)\s{0,4}\[(?P<cited>[SF]\d{1,5}(?:[ ,;]+[SF]\d{1,5}){0,40})\]\s*"
)
_CITED = re.compile(r"[SF]\d{1,5}")
_NOTES = re.compile(r"<[|\uff5c]?/?[\w \u2581]{1,40}[|\uff5c]?>")


@dataclass(frozen=True, slots=True)
class Numbered:
    """The lines that a statement can cite, by number: ``S3`` is the third line of the text, ``F2`` the second fact."""

    source: tuple[str, ...]
    facts: tuple[str, ...]

    def get(self, number: str) -> str | None:
        """Return the text of *number*; ``None`` if there is no such number."""
        lines = self.source if number[0] == "S" else self.facts
        at = int(number[1:]) - 1
        return lines[at] if 0 <= at < len(lines) else None


class Statement(msgspec.Struct, frozen=True):
    """A statement, and the lines and earlier facts that it cites as its premises."""

    said: str
    cited: tuple[str, ...]


def numbered(source: str, facts: Sequence[str]) -> Numbered:
    """Give numbers to *facts* and to the lines of *source* that are not blank."""
    return Numbered(tuple(line.strip() for line in source.splitlines() if line.strip()), tuple(facts))


def ask_for(given: Numbered, limit: int) -> tuple[str, str]:
    """Return the two parts of a prompt that asks for at most *limit* statements: the task, and the numbered lines."""
    source = "\n".join(f"S{at}: {line}" for at, line in enumerate(given.source, 1))
    facts = "\n".join(f"F{at}: {line}" for at, line in enumerate(given.facts, 1))
    known = f"\n\nKnown:\n{facts}" if facts else ""
    return _ASK.format(limit=limit), f"{source}{known}"


def read_statements(reply: str, given: Numbered) -> list[Statement]:
    """Return the statements in *reply* that are new and cite only lines of *given*.

    Other lines of *reply* are ignored. Linear in the length of *reply*.
    """
    seen = {plain(line) for line in (*given.source, *given.facts)}
    found = []
    for line in reply.splitlines():
        match = _LINE.fullmatch(line) if len(line) <= 2 * LONGEST else None
        if match is None or len(match["said"]) > LONGEST or not is_plain_text(match["said"]):
            continue
        cited = [given.get(number) for number in dict.fromkeys(_CITED.findall(match["cited"]))]
        if None in cited or plain(match["said"]) in seen:
            continue
        seen.add(plain(match["said"]))
        found.append(Statement(match["said"], tuple(text for text in cited if text is not None)))
    return found


def plain(text: str) -> str:
    """Normalize the case, the white space and the final punctuation of *text*, so that statements can be compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".!? ")


def is_plain_text(text: str) -> bool:
    """Tell whether *text* has no control characters, and nothing that looks like a token of a chat template."""
    return not _NOTES.search(text) and not any(unicodedata.category(char) in ("Cc", "Cf", "Cs") for char in text)


# Asks with a chat, or with a text to continue if the model does not accept chats.


async def ask(context: StepContext, task: str, text: str, sampling: Sampling) -> Completion:
    """Ask the model to do *task* on *text*, and return its answer."""
    try:
        return await context.ask((Message("system", task), Message("user", text)), sampling)
    except UsageError:
        # An adapter that only continues texts refuses a chat before any request.
        return await context.ask(f"{task}\n\n{text}\n\n", sampling)
