"""From events of a run to the chunks that its reader gets: of both the chat and the completions API."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from interwhen.events import Delta, Event, Finished, Retracted, ViolationFound
from interwhen.models.base import Piece
from interwhen.results import Result
from interwhen.wrapping.arrivals import Arrival, Tap
from interwhen.wrapping.facts import Facts, Part
from interwhen.wrapping.fields import doubted
from interwhen.wrapping.leading import Leading
from interwhen.wrapping.shapes import BLOCKED, Shape, wire_reason


class Composer:
    """Shows the chunks of the server as far as the engine has released their text.

    A chunk whose text stands and is released goes out as it came. Pieces of tool calls, the finish reason and the
    token counts wait for the end: only then nothing can be taken back. With *hold*, so does everything else. With
    *splits*, text is shown as soon as it may be, even if it is only a part of a chunk.
    """

    def __init__(
        self,
        tap: Tap,
        trace: Callable[[], str],
        *,
        chat: bool,
        hold: bool,
        splits: bool,
        wants_usage: bool,
        correction: str,
    ) -> None:
        self._tap = tap
        self._chat = chat
        self._hold = hold
        self._splits = splits
        self._wants_usage = wants_usage
        self._shape_made: Shape | None = None
        self._leading = Leading(trace, correction)
        self._released = 0
        self._shown = 0
        self._spelled = 0
        """Where the trace ends for who has followed the facts on the parts so far."""
        self._events: list[Event] = []
        self._urgent = False
        self._begun = False
        """Whether anything was shown."""
        self._parts: list[Part] = []

    def take(self, events: Sequence[Event]) -> list[Part]:
        """Return what the reader gets because of *events*."""
        parts: list[Part] = []
        self._parts = parts
        result: Result | None = None
        for event in events:
            if isinstance(event, Delta):
                if event.origin != "model":
                    piece = Piece(event.text, event.origin, event.phase, event.call, event.refused)
                    self._tap.insert(event.start, piece)
                self._released = event.start + len(event.text)
                continue
            self._events.append(event)
            if isinstance(event, Retracted):
                self._retract(event.to)
            elif isinstance(event, ViolationFound):
                self._urgent = self._urgent or event.violation.interrupted
            elif isinstance(event, Finished):
                self._events.pop()
                result = self.judged(event.result)
        if result is None:
            if not self._hold:
                self._flush()
        else:
            self._finish(result)
        if self._urgent and not parts and not self._hold and self._tap.first:
            empty = self._shape.text("content" if self._chat else "text", "")
            self._add(Part(None, empty), self._shown if self._spelled > self._shown else None)
        self._urgent = False
        return parts

    def judged(self, result: Result) -> Result:
        """Return *result* as it holds for this reader, who may have been given what no monitor reads."""
        return doubted(result, self._tap.vetting.unread)

    @property
    def _shape(self) -> Shape:
        if self._shape_made is None:
            self._shape_made = Shape(self._tap.first, chat=self._chat)
        return self._shape_made

    def _retract(self, to: int) -> None:
        if self._released > to:
            self._released = to
        if self._shown > to:
            self._shown = to
            self._leading.retract(to)

    def _flush(self) -> None:
        """Show what is released."""
        queue, released = self._tap.queue, self._released
        while queue:
            arrival = queue[0]
            if arrival.start > released or arrival.kind in ("end", "usage"):
                return
            end = arrival.start + len(arrival.text)
            if end > released:
                if self._splits and released > self._shown:
                    self._show_piece(arrival, released)
                return
            queue.popleft()
            if arrival.kind == "call":
                self._tap.calls.append(arrival)
                if arrival.text and end > self._shown:
                    self._show_piece(arrival, end)
            else:
                self._show(arrival)

    def _show(self, arrival: Arrival) -> None:
        """Show *arrival*, as much of it as has not been shown."""
        size, start = len(arrival.text), arrival.start
        leading = self._leading
        if size and start + size <= self._shown:
            return
        if arrival.piece is not None or arrival.cut or start < self._shown or (size and leading.due(arrival.field)):
            self._show_piece(arrival, start + size)
            return
        if not size:
            if arrival.data and not arrival.later:
                self._add(Part(arrival.data), start=None)
            return
        self._shown = start + size
        leading.showed(arrival.field, start, arrival.text)
        if arrival.later:
            self._add(Part(None, self._shape.again(arrival.data)), start)
        else:
            self._add(Part(arrival.data), start)

    def _show_piece(self, arrival: Arrival, to: int) -> None:
        """Show the text of *arrival* up to offset *to*, in a chunk of our own."""
        if 0 < (border := arrival.start + arrival.split) < to and arrival.split and self._shown < border:
            self._show_text(arrival, min(border, to), "reasoning")
        if self._shown < to:
            self._show_text(arrival, to, "answer")

    def _show_text(self, arrival: Arrival, to: int, part: str) -> None:
        piece = arrival.piece
        start = max(arrival.start, self._shown)
        text = arrival.text[start - arrival.start : to - arrival.start]
        self._shown = to
        if piece is not None and piece.refused:  # said to the model only
            self._leading.showed(arrival.field, start, "")
            return
        field = arrival.field
        if arrival.split and part == "answer":
            field = "content"
        lead, restart, again = self._leading.lead(
            field, start, text, said=piece is not None and piece.origin == "feedback"
        )
        self._leading.showed(field, start, text)
        spelled = f"{lead}{again}{text}"
        whole = not (lead or again) and len(text) == len(arrival.text) and not arrival.cut
        if arrival.data:
            body = self._shape.with_text(arrival.data, field, spelled, whole=whole)
        else:
            body = self._shape.text(field, spelled)
        self._add(Part(None, body), restart, len(lead))

    def _add(self, part: Part, start: int | None = None, lead: int = 0) -> None:
        events = self._events
        if not self._begun:
            self._begun = True
            if part.body is not None:
                self._shape.begin(part.body)
        if start is not None:
            self._spelled = self._shown
        if events:
            part.facts = Facts(start, lead, tuple(events))
            events.clear()
        else:
            part.facts = Facts(start, lead)
        self._parts.append(part)

    # ------------------------------------------------------------------ the end

    def _finish(self, result: Result) -> None:
        ended = result.status in ("verified", "unverified")
        self._splits = True  # the rest of a chunk that was cut will not come
        if ended:
            self._released = len(result.text)
        elif self._hold:
            self._released = min(self._released, len(result.text))
        if ended or not self._hold or result.status == "abstained":
            self._flush()
        if result.status == "failed":
            return
        tap = self._tap
        last = next((arrival for arrival in tap.queue if arrival.kind == "end"), None)
        if ended and result.finish_reason is not None:
            self._end(result, last)
        elif result.status == "abstained" or result.finish_reason is None:
            self._block(result)
        if self._wants_usage:
            self._add_usage(result)
        if not self._parts:  # a stream without an end: what there was has been shown
            self._add(Part(None, self._shape.text("content" if self._chat else "text", "")))
        facts = self._parts[-1].facts
        start = len(result.text) if self._spelled > len(result.text) else facts.start
        self._parts[-1].facts = Facts(start, facts.lead, (*facts.events, *self._events), result)

    def _block(self, result: Result) -> None:  # noqa: ARG002  for another API
        """End an answer that was withheld, or ended by a monitor."""
        self._add(Part(None, self._shape.finish(BLOCKED)))

    def _end(self, result: Result, last: Arrival | None) -> None:
        """End an answer as the model did, with the tool calls that stand."""
        tap = self._tap
        if result.finish_reason in ("tool_calls", "stop"):
            for arrival in tap.calls:
                plain = not (arrival.later or arrival.text)
                self._add(Part(arrival.data) if plain else Part(None, self._shape.rest(arrival.data, arrival.shift)))
            calls_stand = True
        else:
            calls_stand = False
        if last is None:
            reason = wire_reason(result.finish_reason)
            if reason is not None:
                self._add(Part(None, self._shape.finish(reason)))
            return
        start: int | None = None
        plain = not (last.later or last.cut or (last.calls and not calls_stand))
        if last.text:
            plain = plain and self._shown <= last.start and not self._leading.due(last.field) and not last.split
            if plain:
                start, self._shown = last.start, last.end
            else:
                self._show_piece(last, last.end)
        if last.calls and not calls_stand:
            reason = wire_reason(result.finish_reason) or "stop"
            self._add(Part(None, self._shape.without_calls(last.data, reason)))
        else:
            self._add(Part(last.data) if plain else Part(None, self._shape.rest(last.data, last.shift)), start)

    def _add_usage(self, result: Result) -> None:
        ledger = result.ledger
        counted = next((arrival for arrival in self._tap.queue if arrival.kind == "usage"), None)
        if counted is not None and ledger.requests <= 1:
            self._add(Part(counted.data))
        elif counted is not None or ledger.prompt_tokens:
            tokens = ledger.kept + ledger.discarded
            total = {"prompt_tokens": ledger.prompt_tokens, "completion_tokens": tokens}
            self._add(Part(None, self._shape.usage({**total, "total_tokens": ledger.prompt_tokens + tokens})))
