"""What a strategy is: one Protocol, and the frozen records that go in and come out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Literal, Protocol, TypeAlias, runtime_checkable

import msgspec

from interwhen.ledger import Ledger
from interwhen.models.base import Prompt
from interwhen.monitors import Monitor
from interwhen.registry import MonitorSpec, load_monitor, load_monitors
from interwhen.results import Result
from interwhen.segments import Phase
from interwhen.strategies.means import Means
from interwhen.strategies.tracing import Trace
from interwhen.verdicts import Scope

Claimed = Literal["verified", "unverified", "abstained", "failed"]
"""What a strategy claims of its answer. ``verified``: the engine verified the very text, and the outcome's ``scope``
says whether that covers the answer; ``failed``: the model did."""

Reader: TypeAlias = Callable[[str], str | None]
"""From the text of a trace to the answer it gives, in a normal form that can be counted; ``None``: it gives none."""

Watching: TypeAlias = Callable[[bool], Iterable[MonitorSpec]]
"""Makes the monitors of one run; it is told whether they will act, or only observe."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a strategy is asked. It holds nothing that knows the right answer."""

    name: str
    """Tells it from the others of its task."""
    prompt: Prompt
    read: Reader
    monitors: tuple[MonitorSpec, ...] | Watching = ()
    """What judges a step, a finished text and a run; or what makes it, where monitors remember their trace."""
    starts_in: Phase = "answer"

    def watchers(self, *, acting: bool) -> tuple[Monitor, ...]:
        """Return the monitors for one run, made anew; where they are not to be *acting*, they only observe."""
        specs = self.monitors(acting) if callable(self.monitors) else self.monitors
        monitors = load_monitors([_named(one) if isinstance(one, str) else one for one in specs])
        return monitors if acting else tuple(replace(one, delivery="observe") for one in monitors)

    def answer(self, trace: Trace) -> str | None:
        """Return the answer that *trace* gives. One that was cut short in its last line has not given what is there."""
        return self.read(trace.said)


@lru_cache(maxsize=64)
def _named(spec: str) -> Monitor:
    # A search judges at each step, and to look through what is installed takes longer than to judge.
    return load_monitor(spec)


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """What a strategy settles for."""

    trace: Trace = field(default_factory=Trace)
    """The whole trace it answers with, or the best it had when it gave up."""
    result: Result | None = None
    """What the engine said of this very text; ``None``: it was not asked."""
    gave_up: str = ""
    """Why it gives no answer; empty: it gives one."""
    failed: str = ""
    """What was wrong with the model, where that ended it."""
    remedies: int = 0
    """Interrupts that led to a rewind or an insertion, in all of its runs."""
    told: tuple[str, ...] = ()
    """What was said to the model on the way to this text, besides what a run inserted."""


@runtime_checkable
class Strategy(Protocol):
    """A way of spending tokens on a question."""

    @property
    def name(self) -> str:
        """A name for tables and for ``--strategies``."""
        ...

    @property
    def meets_model(self) -> bool:
        """Whether its cost depends on when text arrives, so that it must not be given text that was generated before.

        False for a strategy that reads each stream to its end, or up to a place that the text alone decides.
        """
        ...

    async def solve(self, question: Question, means: Means) -> Solution:
        """Answer *question* with *means*, and settle for what there is once nothing is left to spend.

        It asks no model but ``means.model``, judges with ``means.judge`` alone, and draws chance from ``means`` only,
        so that an equal seed gives an equal solution.
        """
        ...


class Checks(msgspec.Struct, frozen=True):
    """How the checks went that a strategy paid for, on whatever text: those of a run, of steps, of finished texts."""

    passed: int = 0
    refuted: int = 0
    open: int = 0
    """Came to no verdict of pass or violation."""

    @property
    def could_act(self) -> bool:
        """Whether a verifier had anything to say."""
        return self.passed + self.refuted > 0


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one strategy on one question: what it claims, and all it cost."""

    strategy: str
    question: str
    budget: int
    """The most tokens that might be generated."""
    seed: int
    status: Claimed
    answer: str | None
    """The answer as it was read; ``None``: there is none in the text, or none is given."""
    text: str
    ledger: Ledger
    """All tokens: ``kept`` stand in ``text``; what other samples, branches and cut text cost is ``discarded``."""
    seconds: float
    """Wall time, as if all text had been generated for this attempt alone."""
    checks: Checks = Checks()
    uncounted: int = 0
    """Requests whose prompt the server did not count, as they were cut short; ``prompt_tokens`` leaves them out."""
    handed: bool = False
    """Whether the answer stands in what was said to the model: in a repair, in feedback, or in ``Solution.told``."""
    why: str = ""
    """Why it gave up or failed."""
    scope: Scope | None = None
    """What the certificate covers; ``None``: it is not verified."""

    @property
    def answer_verified(self) -> bool:
        """Whether a check that knows the task judged the answer itself: only this counts as a right answer."""
        return self.status == "verified" and self.scope == "answer"

    @property
    def answered(self) -> bool:
        """Whether an answer was given."""
        return self.answer is not None and self.status in {"verified", "unverified"}
