"""Other verifiers over the recorded text of a model: what they would have found."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

import anyio.lowlevel
import msgspec

from interwhen._core.messages import Resumed
from interwhen._core.work import describe
from interwhen._engine.run import Run
from interwhen.errors import ModelError, UsageError
from interwhen.events import Remedied, StreamBroken
from interwhen.evidence import flaws
from interwhen.journal._describing import recorded_monitors
from interwhen.journal._framing import MAGIC
from interwhen.journal._records import Header
from interwhen.journal.reading import Journaled, read_journal
from interwhen.journal.rebuilding import Past, core_of, facts_of, standing
from interwhen.models.base import Capabilities, Chunk, Completion, Prompt, Request, Stream
from interwhen.models.streams import GuardedStream
from interwhen.monitors import Monitor
from interwhen.registry import MonitorSpec, load_monitors
from interwhen.results import CheckRecord, Result, Verified, ViolationRecord, prompt_sha256
from interwhen.segments import Phase
from interwhen.verdicts import Judged, Pass, Violation

__all__ = ["Finding", "Recheck", "Still", "check_again", "recheck"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one monitor says of a recorded trace."""

    request: int
    """In the text of which request, counted from 1, it was seen first."""
    violation: ViolationRecord
    would_act: bool
    """Whether a run with this monitor would have interrupted or gated here, as far as can be told."""


@dataclass(frozen=True, slots=True)
class Recheck:
    """What other monitors say of the recorded text of a model.

    The text is that of the run as it was. A run with these monitors would have gone another way from the first finding
    on that they would have acted upon, so what comes after it in that text is a hint and no more.
    """

    journaled: Journaled
    traces: tuple[str, ...]
    """The trace at the end of each request."""
    findings: tuple[Finding, ...]
    """Violations, in the order of the requests and of the text; each is told once."""
    unproven: tuple[CheckRecord, ...]
    """Checks of the last trace that came to no verdict of pass or violation."""


async def recheck(path: str | os.PathLike[str], monitors: Iterable[MonitorSpec]) -> Recheck:
    """Let *monitors* look at the text that the model of a journal wrote, request by request; none of them acts.

    No model is asked, so that monitors which fork have nothing to say. Raises
    :class:`~interwhen.errors.JournalError` as :func:`replay`.
    """
    if isinstance(monitors, str):
        raise UsageError(f"monitors={monitors!r:.200} is no list of monitors: if it is one monitor, put it in a list")
    watchers = load_monitors(monitors)
    acting = {monitor.name for monitor in watchers if monitor.delivery != "observe"}
    observers = tuple(replace(monitor, delivery="observe") for monitor in watchers)
    found = read_journal(path)
    findings: list[Finding] = []
    seen: set[tuple[str, str, str]] = set()
    texts: list[str] = []
    unproven: tuple[CheckRecord, ...] = ()
    for number, trail in enumerate(_trails(found), start=1):
        text = "".join(chunk.text for chunk in trail.chunks)
        texts.append(text)
        result = await _observe(found, trail.chunks, observers)
        for violation in result.violations:
            span = violation.span
            # Equal up to the end of what is wrong: the same finding in a trace that goes on.
            key = (violation.monitor, violation.key, text[: span.end])
            if key in seen or trail.is_ours(span.start, span.end):
                continue
            seen.add(key)
            findings.append(Finding(number, violation, violation.monitor in acting))
        unproven = tuple(check for check in result.checks if _is_open(check))
    return Recheck(found, tuple(texts), tuple(findings), unproven)


# ---------------------------------------------------------------------- the recorded checks


@dataclass(frozen=True, slots=True)
class Still:
    """What became of one check that had passed."""

    check: CheckRecord
    passes: bool
    """Whether it passes again, here and now."""
    why: str = ""
    """Why it does not."""
    changed: str = ""
    """What of its verifier is another than it was: its version, or its code."""


async def check_again(
    path: str | os.PathLike[str], monitors: Iterable[MonitorSpec] | None = None, *, prompt: Prompt | None = None
) -> tuple[Result, tuple[Still, ...]]:
    """Check a recorded result again, offline: the checks that had passed, by the verifiers that are installed here.

    *path* is a journal, or a file with a result as JSON, which needs *monitors* (a journal names its own) and, where
    these read the problem, its *prompt*. No model is asked: checks whose claims came from a fork are not found again.
    Raises :class:`~interwhen.errors.JournalError` or :class:`UsageError` where the record contradicts itself.
    """
    result, chunks, asked, begins = _recorded(path, prompt)
    header = begins[2]
    if monitors is None and header is None:
        raise UsageError(f"{os.fspath(path)!r} is a result, which does not say how its monitors are made: name them")
    specs = monitors if monitors is not None else [one.spec for one in header.monitors if one.spec is not None]  # type: ignore[union-attr]
    watchers = tuple(replace(monitor, delivery="observe") for monitor in load_monitors(specs))
    model = _Recorded(chunks, begins[0])
    async with Run(model, asked, monitors=watchers, starts_in=begins[1]) as run:
        again = await run.drain()
    found = {(check.monitor, check.key, check.span): check for check in again.checks}
    passed = [check for check in result.checks if isinstance(check.outcome, Judged) and _is_pass(check)]
    return result, tuple(_still(check, found.get((check.monitor, check.key, check.span))) for check in passed)


def _recorded(
    path: str | os.PathLike[str], prompt: Prompt | None
) -> tuple[Result, Sequence[Chunk], Prompt, tuple[tuple[str, str] | None, Phase, Header | None]]:
    with open(path, "rb") as file:  # noqa: PTH123  (what it is decides how it is read)
        data = file.read()
    if data.startswith(MAGIC):
        journaled = read_journal(path)
        if journaled.result is None:
            raise UsageError(f"the run in {os.fspath(path)!r} is not over: there is no result to check")
        header = journaled.header
        begins = (header.think_tags, header.starts_in, header)
        return journaled.result, _trails(journaled)[-1].chunks, header.prompt, begins
    try:
        result: Result = msgspec.json.decode(data, type=Result)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UsageError(f"{os.fspath(path)!r} is neither a journal nor a result as JSON: {error}") from error
    wrong = list(flaws(result))
    asked = None if prompt is None else prompt_sha256(prompt)
    if isinstance(result, Verified) and asked not in (None, result.certificate.prompt_sha256):
        wrong.append("its certificate is for another prompt")
    if wrong:
        raise UsageError(f"the result in {os.fspath(path)!r} contradicts itself: {wrong[0]}")
    border = len(result.text) - len(result.answer) if result.text.endswith(result.answer) else 0
    chunks = [Chunk(result.text[:border], "reasoning"), Chunk(result.text[border:], "answer")]
    return result, [chunk for chunk in chunks if chunk.text], prompt or "", (None, "answer", None)


def _is_pass(check: CheckRecord) -> bool:
    return isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass)


def _still(check: CheckRecord, now: CheckRecord | None) -> Still:
    if now is None:
        return Still(check, passes=False, why="its claim is not found again")
    changed = []
    if now.version != check.version:
        changed.append(f"version {check.version!r} then, {now.version!r} now")
    elif check.code_sha256 and now.code_sha256 != check.code_sha256:
        changed.append("its code is another than it was")
    why = "" if _is_pass(now) else describe(now.outcome)
    return Still(check, passes=_is_pass(now), why=why, changed=", ".join(changed))


# ---------------------------------------------------------------------- the recorded text


@dataclass(slots=True)
class _Trail:
    """The chunks of one trace as the model sent them, with what we wrote in between."""

    chunks: list[Chunk] = field(default_factory=list)
    ours: list[tuple[int, int]] = field(default_factory=list)

    def is_ours(self, start: int, end: int) -> bool:
        return any(low < end and start < high for low, high in self.ours)

    def length(self) -> int:
        return sum(len(chunk.text) for chunk in self.chunks)

    def cut(self, to: int) -> None:
        over = self.length() - to
        while over > 0:
            last = self.chunks.pop()
            over -= len(last.text)
            if over < 0:
                self.chunks.append(Chunk(last.text[:-over], last.phase))
        self.ours = [(low, min(high, to)) for low, high in self.ours if low < to]


def _trails(found: Journaled) -> list[_Trail]:
    """Return the trace at the end of each request: before it was cut, or as it stands."""
    past = Past(found, core_of(found.header, recorded_monitors(found.header)))
    past.take(past.core.begin())
    trails: list[_Trail] = []
    trail = _Trail()
    grown = False
    for record in standing(found.records):
        for at, fact in facts_of(record):
            if isinstance(fact, Chunk) and fact.text and past.core.state == "streaming":
                trail.chunks.append(Chunk(fact.text, fact.phase, call=fact.call))
                grown = True
            past.tell(at, fact)
            for event in past.core.events:
                if isinstance(event, Remedied | StreamBroken):
                    if grown:
                        trails.append(_Trail(list(trail.chunks), list(trail.ours)))
                    grown = False
                    _follow(trail, event, past)
            past.core.events.clear()
            if isinstance(fact, Resumed):
                trail.cut(past.core.transcript.length)
    if grown or not trails:
        trails.append(trail)
    return trails


def _follow(trail: _Trail, event: Remedied | StreamBroken, past: Past) -> None:
    """Cut and write as the core did."""
    if isinstance(event, StreamBroken):
        trail.cut(past.core.transcript.length)
        return
    violation = event.violation
    if violation.cut is None:
        return
    trail.cut(violation.cut)
    if violation.inserted:
        phase = trail.chunks[-1].phase if trail.chunks else "answer"
        trail.chunks.append(Chunk(violation.inserted, phase))
        trail.ours.append((violation.cut, violation.cut + len(violation.inserted)))


async def _observe(found: Journaled, chunks: Sequence[Chunk], observers: Sequence[Monitor]) -> Result:
    header = found.header
    model = _Recorded(chunks, header.think_tags)
    async with Run(model, header.prompt, monitors=observers, starts_in=header.starts_in) as run:
        return await run.drain()


def _is_open(check: CheckRecord) -> bool:
    return not (isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass | Violation))


@dataclass(frozen=True, slots=True)
class _Recorded:
    """Says what was recorded, and answers nothing."""

    chunks: Sequence[Chunk]
    think_tags: tuple[str, str] | None
    name: str = "recorded"

    async def capabilities(self) -> Capabilities:
        return Capabilities(resume="prefix", forks=False, think_tags=self.think_tags)

    async def stream(self, _request: Request) -> Stream:
        return _RecordedStream((*self.chunks, Chunk("", tokens=0, finish_reason="stop")))

    async def complete(self, request: Request) -> Completion:
        raise ModelError(f"a record cannot answer the fork {request.side!r:.80}")

    async def aclose(self) -> None:
        pass


class _RecordedStream(GuardedStream):
    def __init__(self, chunks: Sequence[Chunk]) -> None:
        super().__init__()
        self._left = iter(chunks)

    async def fetch(self) -> Sequence[Chunk]:
        await anyio.lowlevel.checkpoint()
        return tuple(islice(self._left, 64))
