"""Asks a model for statements, and reads them from its reply."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from interwhen._types.errors import DECODE_ERRORS, UsageError
from interwhen._types.models import Completion, Message, Sampling
from interwhen._types.segments import has_template_token, is_hidden
from interwhen.precompute._producer import StepContext

LONGEST = 240
"""The longest statement that is read, in characters."""
_QUOTED = 1000
"""The number of characters of an unreadable reply that are sent back to the model."""
_ASK = (
    "You prepare notes on a text before anybody asks about it. Write up to {limit} new statements that follow from the "
    "numbered lines and that save work to the one who is asked about them: combine lines, and build on what is known. "
    "One statement a line, in the words of the text; show each calculation. End each with the numbers of the lines "
    "that it follows from, in brackets, such as [S2 F1]. Repeat nothing that is known."
)
# Small models write no statement at all without an example.
_EXAMPLE = (
    "S1: Tom sells lemonade for 2 dollars a cup.\nS2: Tom sells 30 cups on Monday.\nS3: Tom sells 25 cups on Tuesday.",
    "Tom sells 30 + 25 = 55 cups on Monday and Tuesday. [S2 S3]\n"  # noqa: ISC004  (one text)
    "Tom sells lemonade for 2 * 30 = 60 dollars on Monday. [S1 S2]",
)
_AGAIN = (
    "No statement could be read in your reply. Write one statement a line, and end each line with the numbers of the "
    "lines that it follows from, in brackets. For example: Tom sells 30 + 25 = 55 cups on Monday and Tuesday. [S2 S3]"
)
_NUMBERS = r"(?:lines?\s+)?[SF]\d{1,5}(?:(?:\s{0,4}[,;&]\s{0,4}|\s{1,4}(?:and\s{1,4})?)[SF]\d{1,5}){0,40}"
_BRACKETS = re.compile(rf"\s{{0,4}}(?:\[\s?{_NUMBERS}\s?\]|\(\s?{_NUMBERS}\s?\))")
_LEADING = re.compile(rf"\s{{0,8}}{_NUMBERS}\s?:\s")
_LIST_MARK = re.compile(r"\A\s{0,8}(?:[-*\u2022] |\d{1,3}[.)] )?")
_SENTENCE_END = re.compile(
    r"(?<!\b[A-Z]\.)(?<!\b(?:Mr|Ms|Dr|St|No|vs)\.)(?<!\b(?:Mrs|e\.g|i\.e)\.)(?<=[.!?])\s+(?=[A-Z\"'\u201c$(])"
)
_FEWEST_WORDS = 3
"""A shorter part of a line, such as a list mark, is not a sentence of its own."""
_CITED = re.compile(r"[SF]\d{1,5}")
_NOTES = re.compile(r"<[|\uff5c]?/?[\w \u2581]{1,40}[|\uff5c]?>")


@dataclass(frozen=True, slots=True)
class Numbered:
    """The lines that a statement can cite: ``S3`` is the third sentence of the text, ``F2`` the second fact."""

    source: tuple[str, ...]
    facts: tuple[str, ...]

    def get(self, number: str) -> str | None:
        """Return the text of the line with the label *number*, such as ``S3``; ``None`` if there is no such line."""
        lines = self.source if number[0] == "S" else self.facts
        at = int(number[1:]) - 1
        return lines[at] if 0 <= at < len(lines) else None


class Statement(msgspec.Struct, frozen=True):
    """A statement, and the lines and earlier facts that it cites as its premises."""

    said: str
    """The text of the statement, without its citations."""
    cited: tuple[str, ...]
    """The texts of the cited lines and facts."""


def numbered(source: str, facts: Sequence[str]) -> Numbered:
    """Return *facts* and the sentences of *source*, each with a label by which a statement can cite it."""
    found = (sentence for line in source.splitlines() if line.strip() for sentence in _sentences(line.strip()))
    return Numbered(tuple(found), tuple(facts))


def _sentences(line: str) -> Iterator[str]:
    """Yield the sentences of *line*. A part with fewer than 3 words is joined to the next one, if there is one."""
    begun = 0
    for match in _SENTENCE_END.finditer(line):
        if len(line[begun : match.start()].split()) >= _FEWEST_WORDS:
            yield line[begun : match.start()]
            begun = match.end()
    yield line[begun:]


def ask_for(given: Numbered, limit: int) -> tuple[Message, ...]:
    """Return a chat prompt that asks for at most *limit* statements about the lines of *given*."""
    source = "\n".join(f"S{at}: {line}" for at, line in enumerate(given.source, 1))
    facts = "\n".join(f"F{at}: {line}" for at, line in enumerate(given.facts, 1))
    known = f"\n\nKnown:\n{facts}" if facts else ""
    question, answer = _EXAMPLE
    return (
        Message("system", _ASK.format(limit=limit)),
        Message("user", question),
        Message("assistant", answer),
        Message("user", f"{source}{known}"),
    )


class _StructuredStatement(msgspec.Struct):
    statement: str
    lines: list[str]


class _StructuredReply(msgspec.Struct):
    statements: list[_StructuredStatement]


def ask_structured(given: Numbered, limit: int) -> tuple[tuple[Message, ...], dict[str, Any]]:
    """Return a prompt as :func:`ask_for` does, with an example in JSON, and request fields that require this JSON."""
    task, question, _, source = ask_for(given, limit)
    example = [_StructuredStatement(found.said, list(found.numbers)) for found in _example_statements()]
    answer = msgspec.json.encode(_StructuredReply(example)).decode()
    numbers = [f"S{at}" for at in range(1, len(given.source) + 1)] + [f"F{at}" for at in range(1, len(given.facts) + 1)]
    cited = {"type": "array", "minItems": 1, "items": {"type": "string", "enum": numbers}}
    statement = _object({"statement": {"type": "string", "maxLength": LONGEST}, "lines": cited})
    schema = _object({"statements": {"type": "array", "maxItems": limit, "items": statement}})
    wanted = {"name": "statements", "strict": True, "schema": schema}
    prompt = (task, question, Message("assistant", answer), source)
    return prompt, {"response_format": {"type": "json_schema", "json_schema": wanted}}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


class _ExampleStatement(NamedTuple):
    said: str
    numbers: tuple[str, ...]


def _example_statements() -> Iterator[_ExampleStatement]:
    for line in _EXAMPLE[1].splitlines():
        read = _read_line(line)
        assert read is not None  # the example is ours
        yield _ExampleStatement(read[0], tuple(read[1]))


def read_structured(reply: str, given: Numbered) -> list[Statement] | None:
    """Return the statements in *reply*, JSON as :func:`ask_structured` requires it; ``None`` if it is not such JSON.

    The rules of :func:`read_statements` decide which are returned.
    """
    try:
        found = msgspec.json.decode(reply, type=_StructuredReply).statements
    except DECODE_ERRORS:
        return None
    # The same rules as for lines of text: no control characters, only known numbers, nothing twice.
    lines = (f"{' '.join(each.statement.split())} [{' '.join(each.lines)}]" for each in found)
    return read_statements("\n".join(lines), given)


def ask_again(prompt: Sequence[Message], reply: str) -> tuple[Message, ...]:
    """Return *prompt* with the start of *reply*, which had no readable statement, and a request to keep the format."""
    return (*prompt, Message("assistant", reply[:_QUOTED]), Message("user", _AGAIN))


def read_statements(reply: str, given: Numbered) -> list[Statement]:
    """Return the statements in *reply* that cite lines of *given*, and no other lines.

    A line of *reply* may cite in square or round brackets, or at its start before a colon: ``[S1 S2]``, ``(S1, S2)``,
    ``S1 and S2: ...``. Repeated statements, those of more than 240 characters, and lines without a citation are left
    out.
    """
    seen = {plain(line) for line in (*given.source, *given.facts)}
    found = []
    for line in reply.splitlines():
        read = _read_line(line) if len(line) <= 2 * LONGEST else None
        if read is None:
            continue
        said, numbers = read
        cited = [given.get(number) for number in dict.fromkeys(numbers)]
        if None in cited or plain(said) in seen:
            continue
        seen.add(plain(said))
        found.append(Statement(said, tuple(text for text in cited if text is not None)))
    return found


def _read_line(line: str) -> tuple[str, list[str]] | None:
    """Return the statement in *line* and the labels that it cites; ``None`` if the line is not such a statement."""
    text = _LIST_MARK.sub("", line).replace("**", "")
    numbers = [number for match in _BRACKETS.finditer(text) for number in _CITED.findall(match[0])]
    said = _BRACKETS.sub("", text)
    leading = _LEADING.match(said)
    if leading is not None:
        numbers += _CITED.findall(leading[0])
        said = said[leading.end() :]
    said = said.strip()
    if not numbers or not said.rstrip(".") or len(said) > LONGEST or "[" in said or "]" in said:
        return None
    return (said, numbers) if is_plain_text(said) else None


def plain(text: str) -> str:
    """Remove differences of case, white space and final punctuation from *text*, so that statements can be compared."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split()).rstrip(".!? ")


def is_plain_text(text: str) -> bool:
    """Return whether *text* has no control or invisible characters, and nothing like a token of a chat template."""
    return not _NOTES.search(text) and not has_template_token(text) and not any(map(is_hidden, text))


# Asks with a chat, or with a text to continue if the model does not accept chats.


async def ask(context: StepContext, prompt: tuple[Message, ...], sampling: Sampling) -> Completion:
    """Send the chat *prompt* to the model of *context* with *sampling*, and return its answer.

    A model without chats gets the messages as one text.
    """
    try:
        return await context.ask(prompt, sampling)
    except UsageError:
        # An adapter that only continues texts refuses a chat before any request.
        return await context.ask("".join(f"{turn.content}\n\n" for turn in prompt), sampling)
