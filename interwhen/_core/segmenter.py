"""The intake of a run, and the choice of a scanner for each trigger."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, assert_never, get_args

from interwhen._core.messages import NO_OFFER, ToolOffer
from interwhen._core.scanners import (
    CountScanner,
    FenceScanner,
    JoinedLineScanner,
    LineScanner,
    MarkerScanner,
    ParagraphScanner,
    PollScanner,
    Scanner,
    SentenceScanner,
    WholeScanner,
)
from interwhen._core.transcript import TagPart, ThinkTags, Transcript
from interwhen._types.errors import UsageError
from interwhen._types.models import Origin, Prompt
from interwhen._types.monitors import Monitor
from interwhen._types.segments import CallFormat, Phase, Segment, Span, ToolCall, WrittenCalls
from interwhen._types.triggers import (
    Answer,
    CodeBlocks,
    EveryChars,
    Lines,
    Markers,
    Paragraphs,
    PhaseFilter,
    Polls,
    Sentences,
    ThinkEnd,
    ToolCalls,
    Trigger,
)


class SharedScanner(NamedTuple):
    """One scanner, and the monitors that read its segments."""

    scanner: Scanner
    phase: PhaseFilter
    monitors: tuple[int, ...]
    wakes: Callable[[str], object]
    """Searches a text for a character that can end a segment of this scanner. The result is falsy if there is none."""

    def sees_calls(self) -> bool:
        return self.scanner.reads_calls and self.phase != "reasoning"

    def sees(self, phase: Phase) -> bool:
        return self.phase in ("both", phase)


class Due(NamedTuple):
    """A segment that must be checked now, and the numbers of the monitors that read it."""

    segment: Segment
    monitors: tuple[int, ...]
    torn: int | None = None
    """The start of the last line of the segment, if a cut ended that line in the middle; ``None``: it is complete."""
    tears: tuple[Span, ...] = ()
    """The lines inside the segment that a cut ended in the middle. Feedback follows each of them."""


def scanner_for(trigger: Trigger, offer: ToolOffer = NO_OFFER) -> Scanner:
    """Return a scanner for *trigger*. Raises :class:`UsageError` on a trigger with invalid values."""
    _refuse_useless(trigger)
    match trigger:
        case Lines(every=every, joins=joins):
            return JoinedLineScanner(joins) if joins else LineScanner(every)
        case Paragraphs():
            return ParagraphScanner()
        case Sentences():
            return SentenceScanner()
        case Markers(words=words):
            return MarkerScanner(words)
        case ToolCalls():
            return _call_scanner(trigger, offer)
        case CodeBlocks():
            return FenceScanner()
        case EveryChars(count=count):
            return CountScanner(count)
        case Polls():
            return PollScanner(trigger.length)
        case ThinkEnd() | Answer():
            return WholeScanner()
        case _:
            assert_never(trigger)


def offer_for(monitors: Sequence[Monitor], prompt: Prompt, extra: Mapping[str, object]) -> ToolOffer:
    if not any(isinstance(monitor.trigger, ToolCalls) for monitor in monitors):
        return NO_OFFER
    from interwhen._core.written_calls import read_offer  # as in _call_scanner

    return read_offer(prompt, extra)


def _call_scanner(trigger: ToolCalls, offer: ToolOffer) -> Scanner:
    from interwhen._core.written_calls import CallScanner  # its patterns would slow `import interwhen`

    return CallScanner(trigger, offer)


_LONGEST_WORD = 200
"""The most characters of a word or tag of a trigger: the time and memory to look for one may grow with its square."""


def _words_of(trigger: Trigger) -> tuple[str, ...]:
    match trigger:
        case Lines(joins=words) | Markers(words=words):
            return words
        case ToolCalls(opening=opening, closing=closing):
            return opening, closing
        case _:
            return ()


def _refuse_useless(trigger: Trigger) -> None:
    for word in _words_of(trigger):
        if len(word) > _LONGEST_WORD:
            raise UsageError(
                f"trigger {type(trigger).__name__}: a word or tag must have at most {_LONGEST_WORD} characters, got "
                f"{word!r:.80}; shorten it"
            )
    match trigger:
        case Lines(every=number) | EveryChars(count=number) if number < 1:
            raise UsageError(
                f"trigger {type(trigger).__name__}: its number must be at least 1, got {number!r}; give a larger one"
            )
        case Lines(every=number, joins=joins) if joins and (number != 1 or not all(joins)):
            raise UsageError(
                "trigger Lines: joins must hold words that are not empty, and go with every=1, got "
                f"{trigger!r}; correct one of the two"
            )
        case Markers(words=words) if not words or not all(words):
            raise UsageError(
                f"trigger Markers: words must hold at least one word and no empty one, got {words!r}; correct them"
            )
        case ToolCalls(opening=opening, closing=closing) if not (opening and closing):
            raise UsageError(
                f"trigger ToolCalls: opening and closing must not be empty, got {opening!r} and {closing!r}"
            )
        case ToolCalls(formats=formats) if formats is not None and not set(formats) <= set(get_args(CallFormat)):
            raise UsageError(f"trigger ToolCalls: formats must hold {', '.join(get_args(CallFormat))}, got {formats!r}")
        case _:
            pass


def _phase_of(monitor: Monitor) -> PhaseFilter:
    match monitor.trigger:
        case ThinkEnd():
            return "reasoning"
        case Answer():
            return "answer"
        case _:
            return monitor.phase


def _share_scanners(monitors: Sequence[Monitor], offer: ToolOffer) -> tuple[SharedScanner, ...]:
    # Monitors with the same trigger and phase share one scanner, so that the text is scanned once for all of them.
    groups: dict[tuple[Trigger, PhaseFilter], list[int]] = {}
    for number, monitor in enumerate(monitors):
        groups.setdefault((monitor.trigger, _phase_of(monitor)), []).append(number)
    return tuple(_shared(scanner_for(trigger, offer), phase, who) for (trigger, phase), who in groups.items())


def compile_triggers(monitors: Sequence[Monitor]) -> None:
    _share_scanners(monitors, offer_for(monitors, "", {}))


def _shared(scanner: Scanner, phase: PhaseFilter, monitors: list[int]) -> SharedScanner:
    return SharedScanner(scanner, phase, tuple(monitors), _any_of(scanner.wakes))


@functools.lru_cache(maxsize=256)
def _any_of(characters: str) -> Callable[[str], object]:
    # Without characters, `__contains__` of the empty set stands for a search that finds nothing.
    return re.compile(f"[{re.escape(characters)}]").search if characters else frozenset[str]().__contains__


def _tear(due: Due) -> Due:
    return due._replace(torn=due.segment.span.start + due.segment.text.rfind("\n") + 1)


def _in_order(dues: list[Due]) -> list[Due]:
    if len(dues) > 1:
        dues.sort(key=lambda due: (due.segment.span.end, due.segment.span.start))
    return dues


class Intake:
    """Adds text to the transcript, and finds the segments that are complete. Owns the transcript and the scanners."""

    __slots__ = (
        "_active",
        "_eager",
        "_finished",
        "_first_phase",
        "_mark",
        "_must",
        "_next_due",
        "_scanner_of",
        "_tags",
        "_tags_done",
        "_tears",
        "_wake",
        "_written",
        "discarded",
        "owed",
        "phase",
        "plain",
        "scanners",
        "transcript",
    )

    def __init__(
        self,
        monitors: Sequence[Monitor],
        *,
        tags: tuple[str, str] | None,
        phase: Phase,
        eager: bool = False,
        offer: ToolOffer = NO_OFFER,
    ) -> None:
        """Start with an empty transcript. Raises :class:`UsageError` if the trigger of a monitor has invalid values.

        *tags* are the think tags in the text; ``None``: the server sends the reasoning separately. With *eager*, the
        scanners are called after every chunk.
        """
        self.transcript = Transcript(phase)
        self.scanners = _share_scanners(monitors, offer)
        self.plain = True
        """Whether the last text of the model was added unchanged to the current phase. False, for example, for a tool
        call."""
        self._scanner_of = {number: shared for shared in self.scanners for number in shared.monitors}
        self._tags = ThinkTags(tags, phase) if tags is not None else None
        self._tags_done = False
        """Whether no think tag can follow any more, for example in the answer."""
        self._mark = tags[1][0] if tags is not None else ""
        self._first_phase: Phase = phase
        self._finished = False
        self.owed = 0
        """Tokens that arrived and are not yet counted for any text of the trace."""
        self.discarded = 0
        self._written: dict[Span, WrittenCalls] = {}
        """The calls that are written as text in the trace, in the order of the text."""
        self._tears: list[Span] = []
        self._wake = _any_of("".join(sorted({c for shared in self.scanners for c in shared.scanner.wakes})))
        self._eager = eager
        self._must = eager
        self._next_due = 1 << 62
        self.phase: Phase = phase
        self._active = [shared for shared in self.scanners if shared.sees(phase)]
        self._plan()

    def feed(self, text: str, tokens: int, phase: Phase) -> Iterable[Due]:
        """Add *text* of the model, for which the server reported *phase*. Return the segments that are complete now."""
        tags = self._tags
        if tags is not None and not self._tags_done and (tags.must_see or self._mark in text):
            return self._feed_tagged(tags, text, tokens, phase)
        if phase != self.phase and (tags is None or phase == "reasoning"):
            return self._feed_field(text, tokens, phase)
        self.plain = True
        transcript = self.transcript
        transcript.append(text, tokens)
        if self._must or self._wake(text) or transcript.length >= self._next_due:
            return self._scan(text)
        return ()

    def feed_call(self, call: ToolCall, tokens: int) -> list[Due]:
        # A structured tool call ends all open segments, and the reasoning.
        self.plain = False
        dues: list[Due] = []
        if self._tags is not None:
            dues.extend(self._parts(self._tags.drain()))
            self._tags_done = True
        self._owe()
        dues.extend(self._flush(self.scanners))
        if self.phase == "reasoning":
            self.transcript.enter("answer")
        span = self.transcript.append_call(call, tokens)
        self._skip(self.scanners)
        segment = Segment(call.text, span, "answer", call)
        dues.extend(Due(segment, shared.monitors) for shared in self.scanners if shared.sees_calls())
        return dues

    def refuse(self, text: str, calls: tuple[ToolCall, ...]) -> None:
        # The feedback belongs to no segment, so the scanners skip it.
        self.transcript.refuse(text, calls)
        self._skip(self.scanners)

    def end(self, *, finished: bool = True) -> Iterable[Due]:
        # The last segment is complete only if the model `finished`.
        dues: list[Due] = []
        if self._tags is not None:
            dues.extend(self._parts(self._tags.drain()))
        self._owe()
        self._finished = finished
        if finished:
            dues.extend(self._flush(self.scanners))
        else:
            # A line that waited for the next one is complete, although the model did not finish its text.
            complete = [
                self._due(span, shared)
                for shared in self.scanners
                if shared.sees(self.phase)
                for span in shared.scanner.finish(self.transcript)
            ]
            dues.extend(_in_order(complete))
        return dues

    def unfinished(self, *, dead: bool) -> Iterable[tuple[Due, int]]:
        # The last two words are uncertain, because the model may continue them. A segment without other words is left
        # out. If the stream is probably `dead`, all words are certain.
        for shared in self._active:
            span = shared.scanner.begun(self.transcript)
            if span is None:
                continue
            due = self._due(span, shared)
            if dead:
                yield due, span.end
            elif len(words := due.segment.text.rsplit(None, 2)) > 2:
                yield due, span.start + len(words[0])

    def scan_always(self) -> None:
        # Call the scanners after every chunk from now on, so that `hold` is exact at any time.
        self._eager = True
        self._plan()

    @property
    def reads_tags(self) -> bool:
        # Whether think tags in the text separate the phases, so that the phase of a chunk does not count.
        return self._tags is not None

    def stop_scanning(self) -> None:
        # Stop finding segments, because no monitor reads the text that follows.
        self.scanners, self._active, self._eager, self._wake = (), [], False, _any_of("")
        self._plan()

    def keep_held(self) -> None:
        if self._tags is not None:
            for part in self._tags.drain():
                self.transcript.append(part.text, self.owed)
                self.owed = 0
        self._owe()

    def credit(self, tokens: int) -> None:
        # `tokens`, the server's count minus ours, may be negative.
        if self.owed or not self.transcript.credit(tokens):
            self.owed = max(self.owed + tokens, 0)

    def tokens_from(self, to: int) -> int:
        return self.transcript.tokens_from(to) + self.owed

    def remedied(self) -> None:
        for shared in self.scanners:
            if isinstance(shared.scanner, PollScanner):
                shared.scanner.remedied()

    def discard(self, tokens: int) -> None:
        # `tokens` are those of text at the beginning of an extra turn that repeats kept text, and was left out.
        self.discarded += tokens

    def owe(self, tokens: int) -> None:
        self.owed += tokens

    def cut(self, to: int) -> None:
        transcript = self.transcript
        self._finished = False
        while self._written and next(reversed(self._written)).end > to:
            self._written.popitem()
        while self._tears and self._tears[-1].end >= to:  # the feedback after the line is cut, too
            self._tears.pop()
        self.discarded += transcript.cut(to) + self.owed
        self.owed = 0
        if self._tags is not None:
            self._tags_done = False
            self._tags.restart(transcript.phase, at_start=transcript.length == 0 and self._first_phase == "answer")
        for shared in self.scanners:
            if shared.sees(transcript.phase):
                shared.scanner.rewind(transcript)
            else:
                shared.scanner.skip(transcript.length)
        self._plan()

    def written_calls(self) -> Iterator[tuple[Span, WrittenCalls]]:
        for span, written in self._written.items():
            if self.transcript.phase_at(span.start) == "answer":
                yield span, written

    def tears(self, at: int) -> bool:
        # Whether a cut at `at` is in the middle of a line. At the end of the trace it is not if the model finished its
        # text there.
        transcript = self.transcript
        around = transcript.slice(max(at - 1, 0), at + 1)
        if at == 0 or "\n" in around:
            return False
        if at < transcript.length:
            return transcript.phase_at(at - 1) == transcript.phase_at(at)
        return not self._finished

    def insert(self, text: str, origin: Origin, *, torn: bool = False) -> Iterable[Due]:
        # A `repair` is part of the current segment. `feedback` ends it and belongs to no segment, except a whole phase
        # or an open tool call, which continues after it. `torn`: the trace was just cut in the middle of a line.
        if origin != "feedback":
            self.transcript.insert(text, origin)
            return self._scan()
        ended = [shared for shared in self.scanners if not (shared.sees(self.phase) and shared.scanner.bridges)]
        dues = list(self._flush(ended, torn=torn))
        if torn:
            end = self.transcript.length
            self._tears.append(Span(self.transcript.slice(0, end).rfind("\n") + 1, end))
        self.transcript.insert(text, origin)
        self._skip(ended)
        return dues

    def closing(self, at: int) -> str:
        if self._tags is None:
            return ""
        return ("" if self.transcript.slice(max(at - 1, 0), at) == "\n" else "\n") + self._tags.closing

    def conclude(self, text: str, ask: str, *, torn: bool = False) -> Iterable[Due]:
        # A model that continues by an extra turn gets `ask` in place of `text`. `torn`: the trace was just cut in the
        # middle of a line.
        dues = list(self._flush(self.scanners, torn=torn))
        tag = "" if self._tags is None else self._tags.closing
        self.transcript.conclude(text, text.index(tag) + len(tag), len(tag), ask)
        if self._tags is not None:
            self._tags_done = True
        self._skip(self.scanners)
        return dues

    def hold(self, monitor: int) -> int:
        shared = self._scanner_of[monitor]
        return shared.scanner.hold if shared.sees(self.phase) else self.transcript.length

    def _feed_tagged(self, tags: ThinkTags, text: str, tokens: int, phase: Phase) -> list[Due]:
        if phase == "reasoning":  # the server has a field for it, so tags in the text mean nothing
            return self._feed_field(text, tokens, phase)
        self.owed += tokens
        self.plain = False
        dues = list(self._parts(tags.feed(text)))
        self._tags_done = tags.done
        return dues

    def _feed_field(self, text: str, tokens: int, phase: Phase) -> list[Due]:
        # The server sends the reasoning in a separate field, so think tags in the text are not recognised from now on.
        # A change of the phase ends the segments.
        self.plain = False
        dues: list[Due] = []
        if self._tags is not None:
            dues.extend(self._parts(self._tags.drain()))
            self._tags = None
        if phase != self.phase:
            dues.extend(self._enter(phase))
        self.transcript.append(text, tokens)
        dues.extend(self._scan())
        return dues

    def _parts(self, parts: Iterable[TagPart]) -> Iterator[Due]:
        for part in parts:
            match part.kind:
                case "text":
                    self.transcript.append(part.text, self.owed)
                    self.owed = 0
                    yield from self._scan()
                case "open":
                    self.transcript.enter("reasoning")
                    self._append_tag(part.text)
                case "close":
                    # The tag still belongs to the reasoning; the answer begins after it.
                    yield from self._flush(self.scanners)
                    self._append_tag(part.text)
                    self.transcript.enter("answer")
                    self._skip(self.scanners)
                case _:
                    assert_never(part.kind)

    def _append_tag(self, text: str) -> None:
        self.transcript.append_tag(text, self.owed)
        self.owed = 0
        self._skip(self.scanners)

    def _owe(self) -> None:
        self.transcript.count(self.owed)
        self.owed = 0

    def _enter(self, phase: Phase) -> Iterator[Due]:
        # Scanners that read the old phase are flushed. This gives them a border, which a cut of the new phase removes.
        # The other scanners start here.
        unseeing = [shared for shared in self.scanners if not shared.sees(self.phase)]
        yield from self._flush(self.scanners)
        self.transcript.enter(phase)
        self._skip(unseeing)

    def _flush(self, scanners: Iterable[SharedScanner], *, torn: bool = False) -> list[Due]:
        dues = [
            _tear(self._due(span, shared)) if torn and shared.scanner.reads_on else self._due(span, shared)
            for shared in scanners
            if shared.sees(self.phase)
            for span in shared.scanner.flush(self.transcript)
        ]
        self._plan()
        return _in_order(dues)

    def _skip(self, scanners: Iterable[SharedScanner]) -> None:
        for shared in scanners:
            shared.scanner.skip(self.transcript.length)
        self._plan()

    def _scan(self, new: str | None = None) -> list[Due]:
        # If the text `new` is given, only the scanners are called that must see it now.
        transcript = self.transcript
        dues = []
        for shared in self._active:
            scanner = shared.scanner
            if new is None or scanner.hot or self._eager or shared.wakes(new) or scanner.due is not None:
                dues.extend([self._due(span, shared) for span in scanner.feed(transcript)])
        self._plan()
        return _in_order(dues)

    def _due(self, span: Span, shared: SharedScanner) -> Due:
        transcript = self.transcript
        written = shared.scanner.written
        if written is not None:
            self._written[span] = written
        text = transcript.slice(span.start, span.end)
        due = Due(Segment(text, span, transcript.phase_at(span.start), None, written), shared.monitors)
        if not self._tears:
            return due
        return due._replace(
            tears=tuple(tear for tear in self._tears if tear.end > span.start and tear.start < span.end)
        )

    def _plan(self) -> None:
        # Compute when the scanners must be called again, so that most chunks need only one search for `wakes`.
        phase = self.transcript.phase
        if phase != self.phase:
            self.phase = phase
            self._active = [shared for shared in self.scanners if shared.sees(phase)]
        must, due = self._eager, 1 << 62
        for shared in self._active:
            scanner = shared.scanner
            must = must or scanner.hot
            if scanner.due is not None and scanner.due < due:
                due = scanner.due
        self._must, self._next_due = must, due
