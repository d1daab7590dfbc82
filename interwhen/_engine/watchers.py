"""Monitors at work on one run: prepared for its task, and knowing what their text has come to."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import anyio
import anyio.to_thread

from interwhen._core.messages import Disown, Drop, Extract, Extracted, Fact, Settled
from interwhen._engine.checks import parse, recognize
from interwhen._engine.naming import name_error
from interwhen._log import log_info, log_warning
from interwhen.claims import Claim
from interwhen.models.base import Reply
from interwhen.monitors import Fork, Monitor, Recognizer, tracks
from interwhen.segments import Segment
from interwhen.tasks import Task
from interwhen.trackers import Tracker
from interwhen.verdicts import Errored, Outcome, TimedOut, Verdict
from interwhen.verifier import Verifier, Worker


@dataclass(frozen=True, slots=True)
class Bound:
    """A verifier, and what was prepared for it: pickled as a whole where it works in a process."""

    inner: Verifier
    prepared: Any

    @property
    def name(self) -> str:
        """That of the verifier."""
        return self.inner.name

    @property
    def version(self) -> str:
        """That of the verifier."""
        return self.inner.version

    @property
    def deadline(self) -> float:
        """That of the verifier."""
        return self.inner.deadline

    @property
    def worker(self) -> Worker:
        """That of the verifier."""
        return self.inner.worker

    def check(self, claim: Any) -> Verdict | Awaitable[Verdict]:
        """Judge *claim* by what was prepared."""
        check: Callable[..., Verdict | Awaitable[Verdict]] = self.inner.check
        return check(claim, self.prepared)


class Watcher:
    """One monitor in one run. Until it is prepared, its segments wait here."""

    def __init__(self, monitor: Monitor) -> None:
        self.monitor = monitor
        self.verifier: Verifier = monitor.verifier
        self.is_ready = monitor.prepare is None
        self._ready: anyio.Event | None = None if self.is_ready else anyio.Event()
        self._waiting: dict[int, Extract] = {}
        self._disowned: list[Disown] = []
        """What was refuted before it was prepared, and stays in the text."""
        self._failure: Outcome | None = None
        self._stands_aside = False
        self._fold: _Fold | None = None
        self._revived: dict[int, Fact] = {}
        self._last: anyio.Event | None = None
        self._extract: Callable[..., Any] = _nothing
        self._more: tuple[Any, ...] = ()
        self._recognize: Recognizer | None = None
        if self.is_ready:
            self._bind(())

    @property
    def reader(self) -> Callable[..., object]:
        """The function that reads segments, to be named where it took too long."""
        match self.monitor.extractor:
            case Tracker(step=step) | Fork(parse=Tracker(step=step)):
                return step
            case Fork(parse=read):
                assert not isinstance(read, Tracker)
                return read
            case function:
                return function

    # ------------------------------------------------------------------ preparing

    async def prepare(self, task: Task) -> list[Fact]:
        """Prepare for *task*; return the facts on the segments that waited for it. Raises nothing."""
        monitor, outcome = self.monitor, None
        assert monitor.prepare is not None
        with anyio.move_on_after(monitor.prepare_deadline) as scope:
            try:
                if inspect.iscoroutinefunction(monitor.prepare):
                    prepared = await monitor.prepare(task)
                else:
                    prepared = await anyio.to_thread.run_sync(monitor.prepare, task, abandon_on_cancel=True)
                self._prepared(prepared)
            except (KeyboardInterrupt, anyio.get_cancelled_exc_class()):
                raise
            except BaseException as error:  # noqa: BLE001  (whatever it is, it comes from the preparation)
                outcome = Errored(f"prepare of {monitor.name!r}: {name_error(error)}")
                log_warning("monitor.not_prepared", monitor=monitor.name, error=type(error).__name__)
        if scope.cancelled_caught:
            self._failure = TimedOut(monitor.prepare_deadline)
            log_warning("monitor.not_prepared", monitor=monitor.name, seconds=monitor.prepare_deadline)
        self._failure = self._failure or outcome
        self.is_ready = True
        if self._ready is not None:
            self._ready.set()
        waiting = list(self._waiting.values())
        self._waiting.clear()
        return [self.extract(order) for order in waiting]

    async def until_ready(self) -> None:
        """Wait until it is prepared."""
        if self._ready is not None:
            await self._ready.wait()

    def _prepared(self, prepared: Any) -> None:
        if prepared is None:
            self._stands_aside = True
            log_info("monitor.stood_aside", monitor=self.monitor.name)
            return
        self.verifier = Bound(self.monitor.verifier, prepared)
        self._bind((prepared,))

    def _bind(self, more: tuple[Any, ...]) -> None:
        self._more = more
        extractor, recognizer = self.monitor.extractor, self.monitor.recognizer
        if recognizer is not None:
            self._recognize = (lambda segment: recognizer(segment, *more)) if more else recognizer
        match extractor:
            case (Tracker() as tracker) | Fork(parse=Tracker() as tracker):
                self._fold = _Fold(tracker, more[0] if more else None)
                for order in self._disowned:
                    self._fold.disown(order.start, order.end)
                self._extract = self._fold.extract
            case Fork(parse=read):
                assert not isinstance(read, Tracker)
                self._extract = (lambda reply, segment: read(reply, segment, *more)) if more else read
            case _:
                self._extract = (lambda segment: extractor(segment, *more)) if more else extractor

    # ------------------------------------------------------------------ extracting

    def hold(self, order: Extract) -> None:
        """Keep a segment until the monitor is prepared."""
        self._waiting[order.job] = order

    def forget(self, order: Drop | Disown) -> None:
        """Forget a segment that nobody waits for any more, or what refuted text has come to."""
        if isinstance(order, Drop):
            self._waiting.pop(order.job, None)
        elif self._fold is not None:
            self._fold.disown(order.start, order.end)
        elif not self.is_ready:
            self._disowned.append(order)

    def line_up(self) -> tuple[anyio.Event | None, anyio.Event]:
        """Return what a new fork must wait for before its reply is read, and what it sets when it has ended.

        Only a tracker reads replies in the order of the text; any other takes them as they come.
        """
        mine = anyio.Event()
        if not tracks(self.monitor.extractor):
            return None, mine
        before, self._last = self._last, mine
        return before, mine

    def revive(self, order: Extract, reply: str | Reply | None) -> None:
        """Let a tracker go over a segment that it was shown in another process."""
        if self._fold is not None:
            self._revived[order.job] = self.extract(order, reply)

    def read_again(self, order: Extract, reply: str | Reply | None) -> Fact:
        """Return what was found in a segment then."""
        return self._revived.get(order.job) or self.extract(order, reply)

    def extract(self, order: Extract, reply: str | Reply | None = None, seconds: float = 0.0) -> Fact:
        """Return the claims of a segment (and of a fork's reply), or why there are none."""
        if self._failure is not None:
            return Settled(order.job, self._failure, seconds)
        if self._stands_aside:
            return Extracted(order.job, (), seconds)
        if reply is None and isinstance(self.monitor.extractor, Fork):
            # What was found without the model is found again without it.
            return self.locally(order, seconds) or Settled(order.job, Errored("fork: it was not answered"), seconds)
        given = (order.segment,) if reply is None else (reply, order.segment)
        claims = parse(self.monitor.name, self._extract, *given)
        if isinstance(claims, Errored):
            log_warning("extractor.failed", monitor=self.monitor.name)
            return Settled(order.job, claims, seconds)
        return self._found(order, claims, seconds, reply)

    def read(self, segment: Segment) -> tuple[Claim, ...] | Errored | None:
        """Return the claims of *segment*, which leaves no trace; ``None``: only the model could tell."""
        extractor = self.monitor.extractor
        if self._failure is not None or self._stands_aside:
            return ()
        if isinstance(extractor, Fork):
            if extractor.local is None:
                return None
            local, more = extractor.local, self._more
            return parse(self.monitor.name, lambda given: local(given, *more) or (), segment)
        return parse(self.monitor.name, self._extract if self._fold is None else self._fold.read, segment)

    def locally(self, order: Extract, seconds: float = 0.0) -> Fact | None:
        """Return what a fork's own parser finds in a segment; ``None``: the model must be asked."""
        fork = self.monitor.extractor
        if not isinstance(fork, Fork) or fork.local is None or self._failure is not None or self._stands_aside:
            return None
        answers: list[Iterable[Claim] | None] = []
        local, more = fork.local, self._more

        def ask(segment: Segment) -> Iterable[Claim] | None:
            answers.append(local(segment, *more))
            return answers[-1]

        claims = parse(self.monitor.name, ask, order.segment)
        if isinstance(claims, Errored):
            log_warning("extractor.failed", monitor=self.monitor.name)
            return None
        return None if answers == [None] else self._found(order, claims, seconds, None)

    def _found(self, order: Extract, claims: tuple[Claim, ...], seconds: float, reply: str | Reply | None) -> Fact:
        """Return the fact on a segment with *claims*, and on what looks like a claim beside them."""
        if self._recognize is None:
            return Extracted(order.job, claims, seconds, reply)
        unread = recognize(self.monitor.name, self._recognize, order.segment, claims)
        if isinstance(unread, Errored):
            log_warning("recognizer.failed", monitor=self.monitor.name)
            return Settled(order.job, unread, seconds)
        return Extracted(order.job, claims, seconds, reply, unread)


class _Fold:
    """The states of a tracker behind the segments that stand, in their order."""

    def __init__(self, tracker: Tracker[Any], prepared: Any) -> None:
        self._tracker = tracker
        self._prepared = prepared
        self._states: list[tuple[int, Any]] = []
        self._refuted: list[tuple[int, int, list[tuple[int, Any]]]] = []
        """Stretches that stay with feedback behind them, where no segment leaves a state, and the states that did."""

    def extract(self, *given: Any) -> Iterable[Claim]:
        segment: Segment = given[-1]
        self.rewind(segment.span.start)
        state = self._states[-1][1] if self._states else self._tracker.start(self._prepared)
        state, claims = self._tracker.step(state, *given)
        end = segment.span.end
        if not any(low < end <= high for low, high, _ in self._refuted):
            self._states.append((end, state))
        return claims

    def disown(self, start: int, end: int) -> None:
        """Build no more on the text from *start* on, which is cut, or stays up to *end* and is refuted."""
        gone = [state for state in self._states if state[0] > start]
        self.rewind(start)
        standing = [stretch for stretch in self._refuted if stretch[1] < max(start, end)]
        if end:
            standing.append((start, end, gone))
        else:
            # Without its feedback a stretch is refuted no more: what is left of it counts again.
            for _, high, states in self._refuted:
                self._states += [state for state in states if high >= start >= state[0]]
        self._refuted = standing

    def read(self, segment: Segment) -> Iterable[Claim]:
        """Return the claims of *segment*, and keep no state of it."""
        states = (state for end, state in reversed(self._states) if end <= segment.span.start)
        begun = next(states, None)
        state = self._tracker.start(self._prepared) if begun is None else begun
        return self._tracker.step(state, segment)[1]

    def rewind(self, start: int) -> None:
        """Go back to the state before the text at *start*."""
        while self._states and self._states[-1][0] > start:
            self._states.pop()


def _nothing(*_given: object) -> Iterable[Claim]:
    return ()
