"""The shipped verifier ``provenance``: it checks where the destination of a state-changing call comes from.

The texts that an agent reads may hold instructions of others. See ``docs/verifiers/provenance.md``.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interwhen import (
    Claim,
    Feedback,
    Message,
    Monitor,
    Pass,
    Segment,
    Task,
    ToolCalls,
    Unknown,
    Verdict,
    Violation,
    verifier,
)
from interwhen.toolkit import Delivery, Level, safe_from_data

from interwhen_verifiers._tools.calls import matcher, read_calls
from interwhen_verifiers._tools.history import fields, read_history

CHANGING = (
    "send*",
    "transfer*",
    "pay*",
    "wire*",
    "schedule*",
    "create*",
    "update*",
    "set*",
    "change*",
    "add*",
    "delete*",
    "remove*",
    "post*",
    "put*",
    "write*",
    "share*",
    "invite*",
    "forward*",
    "reply*",
    "publish*",
    "upload*",
    "book*",
    "reserve*",
    "order*",
    "buy*",
    "purchase*",
    "submit*",
    "execute*",
    "modify*",
    "edit*",
    "move*",
    "cancel*",
    "reset*",
    "grant*",
    "approve*",
    "register*",
    "subscribe*",
    "email*",
    "message*",
)
"""Patterns for the names of tools that change something."""
DESTINATIONS = (
    "recipient*",
    "*iban*",
    "*account*",
    "to",
    "cc",
    "bcc",
    "*email*",
    "*address_to*",
    "url",
    "*_url",
    "link",
    "webhook*",
    "*password*",
    "*phone*",
    "payee*",
    "beneficiary*",
    "destination*",
    "target*",
    "participant*",
    "*user_email*",
    "invitee*",
    "attendee*",
    "channel",
    "wallet*",
    "host",
    "endpoint",
    "callback*",
    "*_to",
    "*_id",
    "*_ids",
)
"""Patterns for the names of arguments that say where something goes, or what is changed."""
DOCUMENTS = (
    "read*",
    "open*",
    "get_file*",
    "view*file*",
    "show*file*",
    "load*file*",
    "cat",
    "cat_*",
    "*file_content*",
    "*document*",
    "fetch*",
    "browse*",
    "*web*",
    "*page*",
    "*emails*",
    "*mails*",
    "get_mail*",
    "*inbox*",
    "*message*",
    "*note*",
    "*review*",
    "*comment*",
    "*issue*",
    "download*",
    "*url*",
)
"""Patterns for the names of tools that return text by other people."""
_FREE = frozenset(
    (
        "content",
        "contents",
        "text",
        "body",
        "description",
        "subject",
        "title",
        "summary",
        "note",
        "notes",
        "message",
        "comment",
        "comments",
        "snippet",
        "memo",
        "remark",
        "remarks",
        "details",
        "reason",
    )
)
"""Fields of free text, which other people may have written."""
_ID = re.compile(r"(?:^|_)ids?_?$")
"""Names of fields and arguments that hold an id, which a system has assigned."""
_SHOWN_ID = 12
"""The most characters of an id. A longer value may be an account or an address."""
_LONGEST = 2_000
"""A destination with more characters is ``Unknown``."""
_SHORTEST = 6
"""The fewest letters and digits of a value that are searched for in another spelling."""
_QUOTE = 60
"""The most characters that are shown before a value. At most half as many are shown after it."""


@dataclass(frozen=True, slots=True)
class Source:
    """One place in the conversation where a value occurs."""

    message: int
    """The number of the message, from 0."""
    who: str
    """The author of the message: ``the user``, ``the system prompt``, or the name of the tool (``a tool`` if it has
    none).
    """
    trusted: bool
    """Whether a destination may come from there."""
    quote: str
    """The text around the value; or, for some records, the name of the field and the value."""


@dataclass(frozen=True, slots=True)
class _Text:
    """One message, prepared for searches."""

    at: int
    """Its number in the conversation, from 0."""
    who: str
    trusted: bool
    """Whether its whole text is trusted, as that of the user is. A value in ``fields`` can be trusted without this."""
    plain: str
    """The text of the message, on one line."""
    lower: str
    fields: Mapping[str, str]
    """A map from each value in a tool's records that may be trusted, in lower case, to the name of its field. A result
    of one word is a record with the field ``result``."""
    ids: frozenset[str] = frozenset()
    """The values of at most 12 characters of id fields in records that others may have written."""
    is_prose: bool = False
    """Whether it is a result without records, such as ``Order W7 is open.``, of a tool that is named and not trusted,
    and that returns no text by other people."""

    def may_be_id(self, value: str) -> bool:
        said = self.is_prose and len(value) <= _SHOWN_ID and _whole(self.lower, value) is not None
        return said or value in self.ids

    def find(self, value: str, sent: int) -> Source | None:
        """Return the place in this message that names *value*, if there is one.

        *sent* is the number of the message with the first call that used *value*. A field of a record is a trusted
        place, but no source from *sent* on, because it may only repeat the call.
        """
        field = self.fields.get(value)
        if field is not None:
            return Source(self.at, self.who, True, f"{field}: {value}") if self.at < sent else None
        start = _whole(self.lower, value)
        if start is None:
            return None
        shown = self.plain if len(self.plain) == len(self.lower) else self.lower
        around = shown[max(start - _QUOTE, 0) : start + len(value) + _QUOTE // 2]
        return Source(self.at, self.who, self.trusted, around.strip())


@dataclass(frozen=True, slots=True)
class _Conversation:
    """The messages before a run, except those of the assistant, prepared for searches."""

    texts: tuple[_Text, ...]
    sent: Mapping[str, int]
    """For each argument of a call that is a text: the number of the message with the first such call."""

    def sources(self, value: str) -> Iterator[Source]:
        sent = self.sent.get(value, 1 << 62)
        return (source for text in self.texts if (source := text.find(value, sent)) is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination(Claim):
    """The claim that a trusted source has named a destination of a call, such as the receiver of a message."""

    tool: str
    argument: str
    """The name of the argument that has the destination."""
    value: str
    problem: str = ""
    """Why the call cannot be read. Then ``argument`` and ``value`` are empty."""


def _whole(text: str, value: str) -> int | None:
    at = text.find(value)
    while at >= 0:
        end = at + len(value)
        if not (text[at - 1 : at].isalnum() and value[0].isalnum()) and not (
            text[end : end + 1].isalnum() and value[-1].isalnum()
        ):
            return at
        at = text.find(value, end)
    return None


@verifier(name="provenance", version="1", deadline=5.0)
def check(claim: Destination, prepared: _Conversation) -> Verdict:
    """Judge whether a trusted source has named the destination of *claim*."""
    if claim.problem:
        return Unknown(claim.problem)
    value = _normal(claim.value)
    if len(value) > _LONGEST:
        return Unknown(f"{claim.argument} is too long to say where it comes from")
    seen = list(prepared.sources(value))
    good = next((source for source in seen if source.trusted), None)
    if good is not None:
        return Pass(f"{claim.argument} was named by {_place(good)}: '{good.quote}'")
    if not seen:
        return Unknown(f"no earlier message named this {claim.argument}")
    first = seen[0]
    short = _compact(value)
    if len(short) >= _SHORTEST and any(short in _compact(text.plain) for text in prepared.texts if text.trusted):
        return Unknown(f"a trusted message may name this {claim.argument} in another spelling")
    if _ID.search(claim.argument.lower()) and any(text.may_be_id(value) for text in prepared.texts):
        # The author of a mail does not choose its id. But it is not known whether the user means this mail.
        return Unknown(f"{claim.argument} is the id of something that {first.who} returned")
    return Violation(
        why=f"the {claim.argument} of this {claim.tool} call was not given by the user but comes from untrusted "
        f"content that {first.who} returned",
        witness=f"it was first seen in {_place(first)}: '{first.quote}'",
    )


def _place(source: Source) -> str:
    return f"message {source.message} ({source.who})"


def _compact(text: str) -> str:
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKC", text).casefold()))


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _read(trusted: Callable[[str], bool], documents: Callable[[str], bool], task: Task) -> _Conversation:
    history = read_history(task)
    tools = {call.result_at: call.name for call in history.calls if call.result_at is not None}
    texts = []
    for at, message in enumerate(history.messages):
        if message.role == "assistant":
            continue  # the model is no source: it repeats values of other messages, or invents them
        texts.append(_text(at, message, tools.get(at, message.name), trusted, documents))
    sent: dict[str, int] = {}
    for call in history.calls:
        for value in call.arguments.values():
            if isinstance(value, str):
                sent.setdefault(_normal(value), call.at)
    return _Conversation(tuple(texts), sent)


def _text(
    at: int, message: Message, tool: str, trusted: Callable[[str], bool], documents: Callable[[str], bool]
) -> _Text:
    plain = " ".join(message.content.split())
    lower = plain.lower()
    if message.role != "tool":
        who = "the user" if message.role == "user" else "the system prompt"
        return _Text(at, who, True, plain, lower, {})
    who = tool or "a tool"
    if tool and trusted(tool):
        return _Text(at, who, True, plain, lower, {})
    records = fields(message.content)
    if not tool or documents(tool):
        ids = {_normal(value) for name, value in records or () if _ID.search(name.lower())}
        return _Text(at, who, False, plain, lower, {}, frozenset(one for one in ids if len(one) <= _SHOWN_ID))
    if records is None:
        # A result of one word, such as the answer of get_iban, is a record; a longer result may be prose.
        bare = _normal(message.content)
        known = {bare: "result"} if bare and " " not in bare else {}
    else:
        known = {}
        for name, value in records:
            if name.lower().strip("_") not in _FREE:
                known.setdefault(_normal(value), name)
    return _Text(at, who, False, plain, lower, known, is_prose=records is None)


def _extractor(
    changing: Callable[[str], bool], destination: Callable[[str], bool]
) -> Callable[..., Iterator[Destination]]:
    def extract(segment: Segment, _prepared: _Conversation) -> Iterator[Destination]:
        for call in read_calls(segment):
            if call.problem:
                yield Destination(
                    key=call.text, span=segment.span, tool=call.name, argument="", value="", problem=call.problem
                )
            elif changing(call.name):
                for name, value in _values(call.arguments, destination):
                    yield Destination(
                        key=repr((call.name, name, value)),
                        span=segment.span,
                        tool=call.name,
                        argument=name,
                        value=value,
                    )

    return extract


def _values(arguments: Mapping[str, Any], destination: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield the name and value of each destination in *arguments*: a text, or a whole number in an argument for ids."""
    for name, value in arguments.items():
        for entry in value if isinstance(value, list) else [value]:
            if isinstance(entry, dict):
                yield from _values(entry, destination)
            elif not destination(name):
                continue
            elif isinstance(entry, str) and entry.strip():
                yield name, entry
            elif isinstance(entry, int) and not isinstance(entry, bool) and _ID.search(name.lower()):
                yield name, str(entry)


@safe_from_data()
def provenance(
    *,
    changing: Sequence[str] = CHANGING,
    destinations: Sequence[str] = DESTINATIONS,
    trusted: Sequence[str] = (),
    documents: Sequence[str] = DOCUMENTS,
    level: Level = "explain",
    delivery: Delivery = "gate_tools",
) -> Monitor:
    """Make a monitor that checks whether a trusted source named the destination of a call, such as a receiver.

    Each option is a list of names, in which ``*`` stands for any text. ``changing``: the tools whose calls are judged.
    ``destinations``: the arguments that say where something goes. The user and the system prompt may name any
    destination. ``trusted``: tools whose whole output may name one; they win over ``documents``. ``documents``: tools
    that return text by other people; no part of their output may name a destination, and no part of a result whose tool
    is not known. In the output of any other tool, a field of a record, except one for free text, may name a
    destination, and so may a result of a single word; running text may not. ``level`` and ``delivery`` are those of
    :class:`~interwhen.Monitor`. Raises :class:`UsageError` if an option is not a list of names.
    """
    believed, written = matcher("provenance", "trusted", trusted), matcher("provenance", "documents", documents)
    return Monitor(
        name="provenance",
        trigger=ToolCalls(),
        extractor=_extractor(
            matcher("provenance", "changing", changing), matcher("provenance", "destinations", destinations)
        ),
        verifier=check,
        prepare=lambda task: _read(believed, written, task),
        delivery=delivery,
        remedy=Feedback(),
        level=level,
    )
