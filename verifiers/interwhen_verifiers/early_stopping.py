"""The shipped monitor ``early_stopping``: it ends the reasoning when its answer seems not to change any more."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

from interwhen import (
    Claim,
    Fork,
    Lines,
    Monitor,
    Paragraphs,
    Segment,
    Sentences,
    Span,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    verifier,
)
from interwhen.models import Reply, ScoredToken
from interwhen.remedies import Conclude
from interwhen.toolkit import safe_from_data
from interwhen.triggers import Markers, Trigger

from interwhen_verifiers._factories import require_choice, require_positive

Rule: TypeAlias = Literal["stable", "confident", "entropy"]
At: TypeAlias = Literal["paragraphs", "lines", "sentences", "markers"]

_TRIGGERS: dict[At, Trigger] = {
    "paragraphs": Paragraphs(),
    "lines": Lines(),
    "sentences": Sentences(),
    "markers": Markers(),
}
ANSWER = "\n</think>\n\n**Final Answer**\n\\boxed{"
"""The text after the reasoning in a probe for the answer."""
CLOSED = "\n</think>\n\n"
"""The text after the reasoning in a probe for the entropy of the next token."""
_LONGEST = 400
_EMA = 0.2
"""The weight of the newest entropy in the running mean and variance (Wang et al., 2025)."""


@dataclass(frozen=True, slots=True)
class Probes:
    """The state of the tracker after some probes."""

    count: int = 0
    """Where entropies are measured, only probes with probabilities count."""
    answer: str = ""
    """The last probed answer; empty where there was none."""
    same: int = 0
    """How many times in a row the last answer came."""
    mean: float = 0.0
    """The running mean of the entropies, in nats."""
    variance: float = 0.0
    """The running variance of the entropies. Like ``mean``, it is not corrected for its start at 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe(Claim):
    """The claim that the model must continue thinking after a segment, and the result of a probe there.

    *answer*, *same* and *count* are those of :class:`Probes` after the probe.
    """

    answer: str
    same: int
    measure: float | None
    """The confidence in the answer, or the variance of the entropies; ``None`` if it is not known or not needed."""
    count: int


def answer_in(reply: Reply, *, boxed: bool) -> str | None:
    """Return the answer at the beginning of *reply*; ``None`` if it does not end within the first 400 characters.

    *boxed*: the answer ends at its closing brace, else with its line or where the model stopped.
    """
    text = reply.text[:_LONGEST]
    depth = 1
    for at, char in enumerate(text):
        if not boxed:
            if char == "\n" and text[:at].strip():
                return text[:at]
            continue
        depth += (char == "{") - (char == "}")
        if not depth:
            return text[:at]
    if boxed or reply.finish_reason != "stop" or len(reply.text) > _LONGEST:
        return None
    return text


def confidence_in(tokens: Sequence[ScoredToken], size: int) -> float | None:
    # Only the tokens of the answer count: those that begin in its `size` characters.
    scores: list[float] = []
    at = 0
    for token in tokens:
        if at >= size:
            break
        scores.append(token.logprob)
        at += len(token.text)
    return math.exp(sum(scores) / len(scores)) if scores else None


def entropy_of(token: ScoredToken) -> float | None:
    # All tokens whose probability is not listed are treated as one token.
    if not token.top:
        return None
    shares = [math.exp(min(logprob, 0.0)) for _, logprob in token.top]
    rest = 1.0 - sum(shares)
    return -sum(share * math.log(share) for share in (*shares, rest) if share > 0.0)


def _answers(*, boxed: bool, scored: bool) -> Tracker[Probes]:
    def step(before: Probes, reply: Reply, segment: Segment) -> tuple[Probes, Iterable[Probe]]:
        answer_text = answer_in(reply, boxed=boxed)
        answer = "" if answer_text is None else " ".join(answer_text.split())
        same = before.same + 1 if answer and answer == before.answer else int(bool(answer))
        after = replace(before, count=before.count + 1, answer=answer, same=same)
        measure = confidence_in(reply.tokens, len(answer_text)) if scored and answer_text else None
        return after, (_probe(segment, after, measure),)

    return Tracker(lambda _prepared: Probes(), step)


def _entropies() -> Tracker[Probes]:
    def step(before: Probes, reply: Reply, segment: Segment) -> tuple[Probes, Iterable[Probe]]:
        entropy = entropy_of(reply.tokens[0]) if reply.tokens else None
        if entropy is None:
            return before, (_probe(segment, before, None),)
        mean = (1 - _EMA) * before.mean + _EMA * entropy
        variance = (1 - _EMA) * before.variance + _EMA * (entropy - mean) ** 2
        after = replace(before, count=before.count + 1, mean=mean, variance=variance)
        return after, (_probe(segment, after, variance / (1 - (1 - _EMA) ** after.count)),)

    return Tracker(lambda _prepared: Probes(), step)


def _probe(segment: Segment, after: Probes, measure: float | None) -> Probe:
    end = segment.span.end
    key = "\x1f".join((after.answer, str(after.same), str(after.count), repr(measure)))
    return Probe(key=key, span=Span(end, end), answer=after.answer, same=after.same, measure=measure, count=after.count)


def _stable(probe: Probe, times: int) -> Verdict:
    if probe.same < times:
        return Unknown(
            f"the probed answer came {probe.same} times in a row" if probe.answer else "no probe gave an answer"
        )
    return Violation(
        why=f"the probed answer was the same {probe.same} times in a row", witness=f"it was {probe.answer!r}"
    )


def _confident(probe: Probe, threshold: float) -> Verdict:
    if not probe.answer:
        return Unknown("no probe gave an answer")
    if probe.measure is None:
        return Unknown("the endpoint gives no probabilities of a fork's tokens")
    said = f"the probability of the probed answer's tokens is {probe.measure:.3f} in the geometric mean"
    if not probe.measure >= threshold:  # also if it is NaN
        return Unknown(said)
    return Violation(why=said, witness=f"the answer was {probe.answer!r}")


def _settled(probe: Probe, threshold: float, least: int) -> Verdict:
    if probe.measure is None:
        return Unknown("the endpoint gives no probabilities of the likeliest tokens")
    said = f"the entropy after the reasoning has a running variance of {probe.measure:.2g} after {probe.count} probes"
    if not probe.measure < threshold or probe.count < least:
        return Unknown(said)
    return Violation(why=said)


@safe_from_data()
def early_stopping(
    *,
    rule: Rule = "stable",
    times: int = 3,
    threshold: float | None = None,
    at: At = "paragraphs",
    probe: str = "",
    tokens: int = 32,
    lead: str = "\n\n",
    scores: int = 20,
    seconds: float = 30.0,
) -> Monitor:
    """Make a monitor that ends the reasoning early, when its answer seems not to change any more.

    At some points, a probe (a fork) asks the model for its answer so far. ``rule``: when to stop. ``stable``: the
    probed answer was the same ``times`` times in a row. ``confident``: the geometric mean of the probabilities of its
    tokens reaches ``threshold`` (0.95). ``entropy``: the running variance of the entropy of the first token after the
    reasoning is below ``threshold`` (0.001) after at least ``times`` probes. ``at``: the segments after which to probe.
    ``probe``: the text that a probe adds after the reasoning (empty: a default for each rule); if it ends with ``{``,
    the answer ends at the closing brace, else with its line. ``tokens``: the largest number of tokens of a probed
    answer (not for ``entropy``). ``lead``: the text with which the final answer begins. ``scores``: how many of the
    likeliest tokens the endpoint lists for ``entropy``. ``seconds``: the time limit of a probe. The monitor is not
    required, and a result that it stopped is never ``verified``. Raises :class:`UsageError` for an unknown ``rule`` or
    ``at``, if ``times`` or ``tokens`` is below 1, unless ``threshold`` and ``seconds`` are above 0, and unless
    ``scores`` is from 2 to 20.
    """
    require_choice("early_stopping", get_args(Rule), rule=rule)
    require_choice("early_stopping", _TRIGGERS, at=at)
    if times < 1 or tokens < 1:
        raise UsageError(
            f"early_stopping: times and tokens must be at least 1, got {times!r} and {tokens!r}; give larger ones"
        )
    limit = threshold if threshold is not None else 0.95 if rule == "confident" else 0.001
    require_positive("early_stopping", threshold=limit, seconds=seconds)
    if not 2 <= scores <= 20:
        raise UsageError(f"early_stopping: scores must be from 2 to 20, got {scores!r}")

    # The claim is that the model must continue: a violation ends the reasoning, and nothing ever passes.
    @verifier(name=f"early_stopping-{rule}", version="1", worker="inline")
    def check(claim: Probe) -> Verdict:
        match rule:
            case "stable":
                return _stable(claim, times)
            case "confident":
                return _confident(claim, limit)
            case "entropy":
                return _settled(claim, limit, times)

    asked = probe or (CLOSED if rule == "entropy" else ANSWER)
    fork = (
        Fork(asked, _entropies(), max_tokens=1, deadline=seconds, scores=scores)
        if rule == "entropy"
        else Fork(
            asked,
            _answers(boxed=asked.endswith("{"), scored=rule == "confident"),
            max_tokens=tokens,
            deadline=seconds,
            scores=1 if rule == "confident" else None,
        )
    )
    return Monitor(
        name="early_stopping",
        trigger=_TRIGGERS[at],
        extractor=fork,
        verifier=check,
        remedy=Conclude(lead=lead),
        phase="reasoning",
        required=False,
    )
