"""Converts events of a run to chunks, for the chat and the completions API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from interwhen._engine.run_results import result_line
from interwhen._types.events import (
    CheckSettled,
    Delta,
    Event,
    Finished,
    Retracted,
    StreamBroken,
    StreamStarted,
    ViolationFound,
)
from interwhen._types.models import FinishReason, Piece
from interwhen._types.results import (
    CheckRecord,
    PromptRecord,
    Result,
    Unverified,
    UnverifiedReason,
    Verified,
    ViolationRecord,
)
from interwhen._types.segments import quote
from interwhen._types.triggers import ToolCalls
from interwhen.clients._calls import ApiCall, Settings
from interwhen.clients._chunk_buffer import BufferedChunk, ChunkBuffer, Field
from interwhen.clients._usage import CHAT, usage_of_call


class SupervisionInfo(msgspec.Struct, frozen=True):
    """What supervision says with one chunk: the events since the previous chunk, and the offset of the chunk's text.

    A reader can rebuild the trace. For each chunk with a ``start``, set ``trace = trace[:start] + text[lead:]``, where
    *text* is the text of the chunk in all fields. At the end, the trace equals ``result.text`` without tool calls and
    without feedback about them.
    """

    start: int | None = None
    """The offset of this chunk's text in the trace. If the trace is longer, its text from this offset on is
    retracted."""
    lead: int = 0
    """How many characters at the beginning of the text are not part of the trace. They introduce a correction, or say
    that the answer was stopped."""
    events: tuple[Event, ...] = ()
    """The events of the run since the previous chunk, without those for text and without ``Finished``, whose result is
    in ``result``."""
    result: Result | None = None
    """The result of the run; only on the last chunk and on a whole answer, and not if the run failed. If the last chunk
    has only token counts, the one before it has the result, too."""
    call_id: str = ""
    """The id of the call, as in its log event and in the audit file; only with a result."""

    @property
    def verdicts(self) -> tuple[CheckRecord, ...]:
        """The checks that ended since the previous chunk."""
        return tuple(event.check for event in self.events if isinstance(event, CheckSettled))

    @property
    def violations(self) -> tuple[ViolationRecord, ...]:
        """The violations that were found since the previous chunk."""
        return tuple(event.violation for event in self.events if isinstance(event, ViolationFound))

    @property
    def retracted(self) -> int | None:
        """The smallest offset from which text was retracted since the previous chunk; ``None`` if none was."""
        return min((event.to for event in self.events if isinstance(event, Retracted)), default=None)

    def __str__(self) -> str:
        if self.result is not None:
            return f"{result_line(self.result)} [{self.call_id}]"
        violations = [f"{one.monitor}: {quote(one.why, 100)}" for one in self.violations]
        where = "" if self.retracted is None else f", text from {self.retracted} on is retracted"
        return (
            f"in progress, {len(self.verdicts)} checks ended, {len(violations)} violations{where}"
            f"{': ' * bool(violations)}{'; '.join(violations)}"
        )

    def __repr__(self) -> str:
        label = "in progress" if self.result is None else self.result.label
        return f"SupervisionInfo({label}, {len(self.events)} events, {len(self.violations)} violations)"


NO_INFO = SupervisionInfo()


class Part(msgspec.Struct):
    """One chunk for the reader: a chunk of the server, or one that interwhen made."""

    raw: bytes | None
    """Without what was held back or cut from it; ``None`` if interwhen made ``body``."""
    body: dict[str, Any] | None = None
    """As decoded JSON; ``None`` if ``raw`` is the server's chunk."""
    info: SupervisionInfo = NO_INFO

    def chunk(self) -> dict[str, Any]:
        if self.raw is not None:
            decoded: dict[str, Any] = msgspec.json.decode(self.raw)
            return decoded
        assert self.body is not None
        return self.body

    def line(self) -> bytes:
        """Return one line of JSON. A server may send JSON in several lines of data."""
        raw = self.raw
        return msgspec.json.encode(self.body) if raw is None else raw.replace(b"\n", b" ")


def info_of_all(parts: Sequence[Part]) -> SupervisionInfo:
    events = tuple(event for part in parts for event in part.info.events)
    last = parts[-1].info if parts else NO_INFO
    return SupervisionInfo(events=events, result=last.result, call_id=last.call_id)


def supervision_info(chunk: object) -> SupervisionInfo | None:
    """Return the supervision info of *chunk*, a chunk or response of the SDK; ``None`` if it was not supervised."""
    info = getattr(chunk, "interwhen", None)
    return info if isinstance(info, SupervisionInfo) else None


# Corrections: the words between retracted text and its replacement, for readers that do not know retractions.

_BACK = 200
"""The most characters of kept text that are repeated before a correction, as its context."""


class Correction(NamedTuple):
    """The words to write before new text that follows a retraction."""

    # `lead` is not text of the trace. `again` is the trace from `start` up to the new text, which is written again. The
    # first `same` characters of the new text are not written, because the reader has them already.

    lead: str
    start: int
    again: str
    same: int = 0


class Corrections:
    """Remembers where the shown text of each field ends, and returns the words to write after a retraction.

    After a retraction, the next text begins on a new line. Before text other than feedback, *correction* (such as
    "Correction:") is written, and the kept beginning of the line is repeated, about 200 characters of it at most.
    """

    def __init__(self, trace: Callable[[], str], correction: str) -> None:
        self._trace = trace
        self._correction = correction
        self._ends: dict[Field, int] = {}
        """The end of the last text shown in each field."""
        self._lines: dict[Field, list[str]] = {}
        """The pieces of the last line shown in each field."""
        self._broken: dict[Field, str] = {}
        """The end of an unfinished line that was lost with a broken stream, and that has not come again yet."""
        self._retracted_in: set[Field] = set()
        self._is_correction = True
        """Whether the last retraction followed a mistake, and not a broken stream."""
        self._fields: list[tuple[int, Field]] = []
        """The fields in the order in which they were shown, each with its first offset."""

    def due(self, field: Field) -> bool:
        # Whether text of `field` was retracted, so that its next text must go through `before`.
        return field in self._retracted_in

    def showed(self, field: Field, start: int, text: str) -> None:
        if not text:
            return
        if not self._fields or self._fields[-1][1] != field:
            self._fields.append((start, field))
        self._ends[field] = start + len(text)
        _, ended, rest = text.rpartition("\n")
        line = self._lines.setdefault(field, [])
        if ended:
            line.clear()
        if rest:
            line.append(rest)

    def line(self, field: Field) -> str:
        return "\n" if self._lines.get(field) else ""

    def retract(self, to: int, *, is_correction: bool) -> None:
        """*is_correction* is false if a stream broke, so that the retracted text is only written again."""
        self._is_correction = is_correction
        gone = {field: end - to for field, end in self._ends.items() if end > to}
        self._retracted_in.update(gone)
        lines = {} if is_correction else {field: "".join(self._lines.get(field, ())) for field in gone}
        self._broken = {field: line[-gone[field] :] for field, line in lines.items() if len(line) >= gone[field]}
        self._ends = {field: min(end, to) for field, end in self._ends.items()}
        while len(self._fields) > 1 and self._fields[-1][0] >= to:
            self._fields.pop()

    def before(self, field: Field, start: int, text: str, *, said: bool) -> Correction:
        # Call this once for each text: it takes the retraction in `field` as done. `said` is true if `text` is
        # feedback.
        if field not in self._retracted_in or not text:
            return Correction("", start, "")
        self._retracted_in.discard(field)
        broken = self._broken.pop(field, "")
        same = min(len(broken), len(text))
        if same and broken[:same] == text[:same]:  # the model writes the line again, so the reader gets the rest
            if same < len(broken):
                self._broken[field] = broken[same:]
                self._retracted_in.add(field)
            return Correction("", start + same, "", same)
        line = self.line(field)
        self._lines[field] = []
        if said:
            return Correction("" if text.startswith("\n") else line, start, "")
        trace = self._trace()
        first = self._fields[-1][0] if self._fields and self._fields[-1][1] == field else start
        at = max(trace.rfind("\n", 0, start) + 1, first)
        if start - at > _BACK:
            at = trace.find(" ", start - _BACK, start) + 1 or start
        return Correction(f"{line}{self._correction if self._is_correction else ''}", at, trace[at:start])


# Makes chunks of interwhen in the form of the server's first chunk.

Body = dict[str, Any]

_NONE: Body = {"id": "interwhen", "created": 0, "model": ""}
"""Common fields if the server sent no chunk."""

BLOCKED = "content_filter"
"""The finish reason of an answer that interwhen withheld or ended."""

_FINISH: dict[FinishReason, str] = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content_filter",
    "tool_calls": "tool_calls",
}


def wire_reason(reason: FinishReason | None) -> str | None:
    return None if reason is None else _FINISH.get(reason)


class ChunkTemplate:
    """Makes chunks with the common fields (id, model, ...) of *first*, the server's first chunk, which may be empty."""

    def __init__(self, first: bytes, *, chat: bool) -> None:
        self._chat = chat
        kind = "chat.completion.chunk" if chat else "text_completion"
        body: Body = msgspec.json.decode(first) if first else {**_NONE, "object": kind}
        # The ids of the prompt are in the first chunk only.
        once = ("choices", "usage", "error", "prompt_token_ids")
        self._head = {name: value for name, value in body.items() if name not in once}
        choices = body.get("choices") or [{}]
        self._role = (choices[0].get("delta") or {}).get("role")
        self._extras = {name: None for name in choices[0] if name in ("logprobs", "finish_reason")}

    def begin(self, body: Body) -> None:
        for choice in body.get("choices") or () if self._role else ():
            choice["delta"] = {"role": self._role, **(choice.get("delta") or {})}

    def text(self, field: Field, text: str) -> Body:
        return self._chunk({"delta": {field: text}} if self._chat else {"text": text})

    def finish(self, reason: str) -> Body:
        return self._chunk(
            {"delta": {}, "finish_reason": reason} if self._chat else {"text": "", "finish_reason": reason}
        )

    def usage(self, usage: Body) -> Body:
        return {**self._head, "choices": [], "usage": usage}

    def again(self, data: bytes) -> Body:
        body: Body = msgspec.json.decode(data)
        body |= {name: self._head[name] for name in ("id", "created", "model") if name in self._head}
        for choice in body.get("choices") or ():
            delta = choice.get("delta")
            if isinstance(delta, dict):
                delta.pop("role", None)
        return body

    def with_text(self, data: bytes, field: Field, text: str, *, whole: bool) -> Body:
        # Log-probabilities and token ids describe the `whole` text of a chunk, so a part of it goes without them.
        body = self.again(data)
        choice = body["choices"][0]
        if self._chat:
            choice["delta"] = {field: text}
        else:
            choice["text"] = text
        if not whole:
            _drop_tokens(choice)
        choice["finish_reason"] = None
        body.pop("usage", None)
        return body

    def rest(self, data: bytes, shift: int = 0) -> Body:
        # Its text and reasoning are removed, as they were already shown. `shift` is how many calls of the reader come
        # before.
        body = self.again(data)
        for choice in body.get("choices") or ():
            texts = [choice.get("text")]
            delta = choice.get("delta")
            if isinstance(delta, dict):
                texts += [delta.pop(name, None) for name in ("content", "reasoning_content", "reasoning")]
                for call in (delta.get("tool_calls") or ()) if shift else ():
                    call["index"] = (call.get("index") or 0) + shift
            if "text" in choice:
                choice["text"] = ""
            if any(texts):
                _drop_tokens(choice)
        return body

    def without_calls(self, data: bytes, reason: str) -> Body:
        body = self.rest(data)
        choice = body["choices"][0]
        delta = choice.get("delta")
        if isinstance(delta, dict):
            for name in ("tool_calls", "function_call"):
                delta.pop(name, None)
        choice["finish_reason"] = reason
        return body

    def _chunk(self, choice: Body) -> Body:
        return {**self._head, "choices": [{"index": 0, **self._extras, **choice}]}


def _drop_tokens(choice: Body) -> None:
    for name in ("logprobs", "token_ids"):
        if choice.get(name) is not None:
            choice[name] = None


_COMMON = [name for name in Unverified.__struct_fields__ if name != "unverified_reasons"]


def _with_unmonitored(result: Result, unmonitored: Mapping[str, bool]) -> Result:
    """Return *result*, or an unverified one if no monitor reads some fields of the answer.

    *unmonitored* maps the name of each such field to whether its text was held back.
    """
    if not unmonitored or not isinstance(result, Verified | Unverified):
        return result
    unverified_reasons = result.unverified_reasons if isinstance(result, Unverified) else ()
    common = {name: getattr(result, name) for name in _COMMON}
    why = "no monitor reads the field {!r:.120} of the answer{}"
    more = (
        UnverifiedReason("", None, why.format(name, "; it was held back" if held else ""))
        for name, held in unmonitored.items()
    )
    return Unverified(**common, unverified_reasons=(*unverified_reasons, *more))


class Composer:
    """Converts the events of a run to chunks for the reader. A chunk of the server is shown when its text is released.

    Pieces of tool calls and the finish reason wait for the end, because they cannot be retracted. If *call* is not
    streamed, all chunks wait for the end. With *splits*, the released part of a chunk is shown at once. If the caller
    asked for them, token counts follow at the end, if they are known.
    """

    def __init__(
        self, buffer: ChunkBuffer, trace: Callable[[], str], call: ApiCall, settings: Settings, *, splits: bool
    ) -> None:
        self._buffer = buffer
        self._chat = call.api != "completions"
        self._hold = not call.streams
        self._splits = splits
        self._wants_usage = call.wants_usage or self._hold
        self.prompt_findings: tuple[PromptRecord, ...] = ()
        self._template_made: ChunkTemplate | None = None
        self._corrections = Corrections(trace, settings.correction)
        # A program that reads JSON or tool calls would take the sentence as a part of them.
        reads_calls = bool(call.tools) or any(isinstance(one.trigger, ToolCalls) for one in settings.monitors)
        self._abstention = "" if call.is_structured or reads_calls else settings.abstention
        self._is_broken = False
        """Whether the last stream broke, and no other one has begun."""
        self._released = 0
        self._shown = 0
        self._spelled = 0
        """The end of the trace, as a reader rebuilds it from the supervision info of the parts."""
        self._events: list[Event] = []
        self._urgent = False
        self._begun = False
        self._parts: list[Part] = []

    def take(self, events: Sequence[Event]) -> list[Part]:
        # Once the run has ended, the last chunk has the result, except for a run that failed.
        parts: list[Part] = []
        self._parts = parts
        result: Result | None = None
        for event in events:
            if isinstance(event, Delta):
                if event.origin != "model":
                    piece = Piece(event.text, event.origin, event.phase, event.call, event.refused)
                    self._buffer.insert(event.start, piece)
                self._released = event.start + len(event.text)
                continue
            if isinstance(event, Finished):
                result = self.judged(event.result)
            else:
                self._note(event)
        if result is None:
            if not self._hold:
                self._flush()
        else:
            self._finish(result)
        if self._urgent and not parts and not self._hold and self._buffer.first:
            empty = self._template.text("content" if self._chat else "text", "")
            self._add(Part(None, empty), self._shown if self._spelled > self._shown else None)
        self._urgent = False
        return parts

    def _note(self, event: Event) -> None:
        self._events.append(event)
        if isinstance(event, Retracted):
            self._retract(event.to)
        elif isinstance(event, ViolationFound):
            self._urgent = self._urgent or event.violation.interrupted
        elif isinstance(event, StreamBroken | StreamStarted):
            self._is_broken = isinstance(event, StreamBroken)

    def judged(self, result: Result) -> Result:
        if self.prompt_findings:
            result = msgspec.structs.replace(result, prompt_findings=self.prompt_findings)
        return _with_unmonitored(result, self._buffer.field_filter.unmonitored)

    @property
    def _template(self) -> ChunkTemplate:
        if self._template_made is None:
            self._template_made = ChunkTemplate(self._buffer.first, chat=self._chat)
        return self._template_made

    def _retract(self, to: int) -> None:
        if self._released > to:
            self._released = to
        if self._shown > to:
            self._shown = to
            self._splits = True  # text is held from now on, and is released line by line
            self._corrections.retract(to, is_correction=not self._is_broken)

    def _flush(self) -> None:
        queue, released = self._buffer.queue, self._released
        while queue:
            arrival = queue[0]
            if arrival.start > released or (
                arrival.kind in ("end", "usage") and (arrival.kind == "end" or len(queue) == 1)
            ):
                return
            end = arrival.start + len(arrival.text)
            if end > released:
                if self._splits and released > self._shown:
                    self._show_piece(arrival, released)
                return
            queue.popleft()
            if arrival.kind == "call":
                self._buffer.calls.append(arrival)
                if arrival.text and end > self._shown:
                    self._show_piece(arrival, end)
            else:
                self._show(arrival)

    def _show(self, arrival: BufferedChunk) -> None:
        size, start = len(arrival.text), arrival.start
        corrections = self._corrections
        if size and start + size <= self._shown:
            return
        if arrival.piece is not None or arrival.cut or start < self._shown or (size and corrections.due(arrival.field)):
            self._show_piece(arrival, start + size)
            return
        if not size:
            if arrival.data and not arrival.later:
                self._add(Part(arrival.data), start=None)
            return
        self._shown = start + size
        corrections.showed(arrival.field, start, arrival.text)
        if arrival.later:
            self._add(Part(None, self._template.again(arrival.data)), start)
        else:
            self._add(Part(arrival.data), start)

    def _show_piece(self, arrival: BufferedChunk, to: int) -> None:
        if 0 < (border := arrival.start + arrival.split) < to and arrival.split and self._shown < border:
            self._show_text(arrival, min(border, to), "reasoning")
        if self._shown < to:
            self._show_text(arrival, to, "answer")

    def _show_text(self, arrival: BufferedChunk, to: int, part: str) -> None:
        piece = arrival.piece
        start = max(arrival.start, self._shown)
        text = arrival.text[start - arrival.start : to - arrival.start]
        self._shown = to
        if piece is not None and piece.refused:  # for the model only
            self._corrections.showed(arrival.field, start, "")
            return
        field = arrival.field
        if arrival.split and part == "answer":
            field = "content"
        lead, restart, again, same = self._corrections.before(
            field, start, text, said=piece is not None and piece.origin == "feedback"
        )
        text = text[same:]
        self._corrections.showed(field, start + same, text)
        if same and not text:
            return
        spelled = f"{lead}{again}{text}"
        whole = not (lead or again) and len(text) == len(arrival.text) and not arrival.cut
        if arrival.data:
            body = self._template.with_text(arrival.data, field, spelled, whole=whole)
        else:
            body = self._template.text(field, spelled)
        self._add(Part(None, body), restart, len(lead))

    def _add(self, part: Part, start: int | None = None, lead: int = 0) -> None:
        events = self._events
        if not self._begun:
            self._begun = True
            if part.body is not None:
                self._template.begin(part.body)
        if start is not None:
            self._spelled = self._shown
        if events:
            part.info = SupervisionInfo(start, lead, tuple(events))
            events.clear()
        else:
            part.info = SupervisionInfo(start, lead)
        self._parts.append(part)

    def _finish(self, result: Result) -> None:
        ended = result.status in ("verified", "unverified")
        self._splits = True  # the rest of a cut chunk will not come
        if ended:
            self._released = len(result.text)
        elif self._hold:
            self._released = min(self._released, len(result.text))
        if ended or not self._hold or result.status == "abstained":
            self._flush()
        if result.status == "failed":
            return
        buffer = self._buffer
        last = next((arrival for arrival in buffer.queue if arrival.kind == "end"), None)
        if ended and result.finish_reason is not None:
            self._end(result, last)
        elif result.status == "abstained" or result.finish_reason is None:
            self._block(result)
        if self._wants_usage:
            self._add_usage(result)
        if not self._parts:  # a stream without an end, all of which was shown
            self._add(Part(None, self._template.text("content" if self._chat else "text", "")))
        end, before = self._parts[-1], self._parts[-2:-1]
        start = len(result.text) if self._spelled > len(result.text) else end.info.start
        end.info = SupervisionInfo(start, end.info.lead, (*end.info.events, *self._events), result)
        if before and not end.chunk().get("choices", True):  # many libraries drop a chunk that has only token counts
            before[0].info = msgspec.structs.replace(before[0].info, result=result)

    def _block(self, result: Result) -> None:
        self._abstain(result)
        self._add(Part(None, self._template.finish(BLOCKED)))

    def _abstain(self, result: Result) -> str:
        # Return the text that was shown, because the Responses API repeats it in the last event.
        if result.status != "abstained" or not self._abstention:
            return ""
        field: Field = "content" if self._chat else "text"
        said = f"{self._corrections.line(field)}{self._abstention}"
        self._add(Part(None, self._template.text(field, said)), self._shown, len(said))
        return said

    def _end(self, result: Result, last: BufferedChunk | None) -> None:
        """Add the chunks that end the answer; *last* is the server's chunk with the finish reason, if any."""
        buffer = self._buffer
        if result.finish_reason in ("tool_calls", "stop"):
            for arrival in buffer.calls:
                plain = not (arrival.later or arrival.text)
                self._add(Part(arrival.data) if plain else Part(None, self._template.rest(arrival.data, arrival.shift)))
            calls_stand = True
        else:
            calls_stand = False
        if last is None:
            reason = wire_reason(result.finish_reason)
            if reason is not None:
                self._add(Part(None, self._template.finish(reason)))
            return
        start: int | None = None
        plain = not (last.later or last.cut or (last.calls and not calls_stand))
        if last.text:
            plain = plain and self._shown <= last.start and not self._corrections.due(last.field) and not last.split
            if plain:
                start, self._shown = last.start, last.end
            else:
                self._show_piece(last, last.end)
        if last.calls and not calls_stand:
            reason = wire_reason(result.finish_reason) or "stop"
            part = Part(None, self._template.without_calls(last.data, reason))
        else:
            part = Part(last.data) if plain else Part(None, self._template.rest(last.data, last.shift))
        if not is_one_request(result) and part.chunk().get("usage"):
            part = Part(None, {**part.chunk(), "usage": usage_of_call(buffer.usages, result.ledger, CHAT)})
        self._add(part, start)

    def _add_usage(self, result: Result) -> None:
        ledger, buffer = result.ledger, self._buffer
        counted = next((arrival for arrival in buffer.queue if arrival.kind == "usage"), None)
        if counted is None and self._parts and self._parts[-1].chunk().get("usage"):
            return  # the chunk with the finish reason has the counts
        if counted is not None and is_one_request(result):
            self._add(Part(counted.data))
        elif counted is not None or ledger.prompt_tokens or was_ended(result, buffer):
            self._add(Part(None, self._template.usage(usage_of_call(buffer.usages, ledger, CHAT))))


def is_one_request(result: Result) -> bool:
    # With one request, the server's token counts are those of the call.
    return result.ledger.requests <= 1 and not result.ledger.forks


def was_ended(result: Result, buffer: ChunkBuffer) -> bool:
    is_ours = result.finish_reason in (None, "length")
    return is_ours and not any(arrival.kind == "end" for arrival in buffer.queue)
