"""Invariants of certificates, of the level of feedback, and of trackers."""

from __future__ import annotations

from collections.abc import Iterator

from interwhen._types.results import CheckRecord, Verified
from interwhen._types.segments import Span
from interwhen._types.verdicts import Judged, Pass
from tests.simulation.cases import PlayedCase, final_trace, invariant
from tests.simulation.monitors import concludes
from tests.simulation.truth import SimulatedTrace, StatedClaim, claims_in, is_blind, read_by, segments_of
from tests.simulation.worlds import MonitorSetup, World


@invariant("P2: a certificate lists passes of right claims in the text, and their coverage")
def _listed(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if not isinstance(result, Verified):
        return
    certificate = result.certificate
    watches = {watch.name: watch for watch in case.world.watches}
    for check in certificate.checks:
        yield from _misfits(check, watches.get(check.monitor), result.text)
        ground = check.span or check.segment
        if any(span.covers(ground) for span in certificate.refuted):
            yield f"{check.key} at {ground} is certified, but was refuted"
    marked = bytearray(len(result.text))
    for check in certificate.checks:
        if check.span is not None:
            marked[check.span.start : check.span.end] = b"x" * len(check.span)
    said = bytearray(len(result.text))
    for span in certificate.covered:
        if said[span.start : span.end].strip(b"\0") or not len(span) or span.end > len(said):
            yield f"the covered span {span} is empty, after the end, or listed twice"
        said[span.start : span.end] = b"x" * len(span)
    if said != marked:
        yield f"the checks cover {_spans(marked)}, but the certificate has {certificate.covered}"
    share = marked.count(b"x") / len(marked) if marked else 0.0
    if abs(certificate.coverage - share) > 1e-9:
        yield f"the checks cover {share:g} of the text, but the certificate has {certificate.coverage:g}"


def _misfits(check: CheckRecord, watch: MonitorSetup | None, text: str) -> Iterator[str]:
    if watch is None or not (isinstance(check.outcome, Judged) and isinstance(check.outcome.verdict, Pass)):
        yield f"{check.monitor}: {check.key} is certified, but ended as {check.outcome!r:.100}"
        return
    if check.verifier != f"judge{watch.judge}" or is_blind(watch):
        yield f"{check.key} is certified by {check.verifier}, which {watch.name} does not use"
    if check.span is None:
        return
    claims = claims_in(text[check.span.start : check.span.end])
    if len(claims) != 1 or claims[0].text != text[check.span.start : check.span.end]:
        yield f"{check.span} is certified, but its text is {text[check.span.start : check.span.end]!r}"
    elif not claims[0].is_right or claims[0].op not in watch.reads:
        yield f"{claims[0].text} is certified for {watch.name}"
    if not check.segment.covers(check.span):
        yield f"{check.span} is certified, but is outside of its segment {check.segment}"


def _spans(marked: bytearray) -> list[tuple[int, int]]:
    ends = [at for at in range(len(marked) + 1) if marked[at : at + 1] != marked[at - 1 : at]]
    return list(zip(ends[::2], ends[1::2], strict=False))


@invariant(
    "P2: a certificate covers the answer exactly where a required monitor that can judge it passed a claim in it"
)
def _scoped(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if not isinstance(result, Verified):
        return
    if case.history is None and case.world.thinking == "field":
        return  # without the history of remedies, the text alone does not show where the answer begins
    judging = {watch.name for watch in case.world.watches if _judges_answers(case.world, watch)}
    answers = [(low, high) for low, high, phase in final_trace(case, result).phases() if phase == "answer"]
    shown = [
        check.span
        for check in result.certificate.checks
        if check.monitor in judging
        and check.span is not None
        and any(low <= check.span.start < high for low, high in answers)
    ]
    scope = "answer" if shown else "steps"
    if result.certificate.scope != scope or result.label != f"{scope} verified":
        yield f"{result.label!r} with scope {result.certificate.scope!r}, but these cover the answer: {shown}"


def _judges_answers(world: World, watch: MonitorSetup) -> bool:
    return watch.required and watch.scope == "answer" and world.judges[watch.judge].answers


@invariant("P2: a certificate has each claim of each required monitor, with its place")
def _complete(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if not isinstance(result, Verified):
        return
    trace = final_trace(case, result)
    certified = {(check.monitor, check.span.start, check.span.end) for check in result.certificate.checks if check.span}
    for watch in case.world.watches:
        if not watch.required or not watch.grounded or watch.fork:
            continue
        for claim, _ in read_by(trace, watch):
            place = Span(claim.start, claim.end)
            refuted = any(span.covers(place) for span in result.certificate.refuted)
            if not refuted and (watch.name, claim.start, claim.end) not in certified:
                yield f"{watch.name} reads {claim.text} at {claim.start}, but the certificate does not have it"


@invariant("P6: feedback reveals no more than its level allows, and a repair has level witness")
def _levels(case: PlayedCase) -> Iterator[str]:
    watches = {watch.name: watch for watch in case.world.watches}
    for act in case.history.acts if case.history is not None else ():
        record, watch = act.record, watches[act.record.monitor]
        if record.remedy == "repair" and watch.level != "witness":
            yield f"{watch.name} repairs {record.key} at level {watch.level}"
        if record.remedy != "feedback":
            continue
        span = record.span
        named = [claim for claim in claims_in(act.before.text) if claim.start <= span.start and span.end <= claim.end]
        yield from _given_away(watch, named, record.inserted)


def _given_away(watch: MonitorSetup, named: list[StatedClaim], said: str) -> Iterator[str]:
    for claim in named:
        value = claim.text.partition("=")[2]
        secrets = {
            "witness": f"{claim.left_side} is {claim.true_value}",
            "explain": f"{claim.left_side} is something else",
            "locate": f'"{value}"',
        }
        levels = ("flag", "locate", "explain", "witness")
        for level, secret in secrets.items():
            if secret in said and levels.index(level) > levels.index(watch.level):
                yield f"{watch.name} has level {watch.level}, but says {said!r} about {claim.text}"
        if watch.level == "flag" and any(character.isdigit() for character in said):
            yield f"{watch.name} has level flag, but says {said!r} about {claim.text}"


@invariant("a tracker builds on the text before a claim, all of it, and nothing else")
def _built_upon(case: PlayedCase) -> Iterator[str]:
    result, history = case.result, case.history
    if result is None or history is None or history.misfit:
        return
    for watch in case.world.watches:
        if not watch.tracks or not watch.grounded or not _is_followed(case.world, watch):
            continue
        for check in result.checks:
            # Refuted text that stays may have been read before it was refuted.
            stretches = [*history.trace.answered, *history.trace.shortened]
            refuted = any(low < check.segment.end <= high for low, high in stretches)
            if check.monitor == watch.name and check.key and check.span is not None and not refuted:
                least, most = (_before(history.trace, watch, check, torn=torn) for torn in (False, True))
                if not least <= int(check.key.rpartition(" after ")[2]) <= most:
                    expected = least if least == most else f"{least} to {most}"
                    yield f"{watch.name} checks {check.key!r} at {check.span}, but {expected} claims are before it"


def _is_followed(world: World, watch: MonitorSetup) -> bool:
    answers = not watch.fork or (world.fork_fault == "none" and world.limits.forks > 100)
    return (
        watch.trigger != "chars"
        and answers
        and not watch.extractor_fails_on
        and not is_blind(watch)
        and not concludes(watch)
    )


def _before(trace: SimulatedTrace, watch: MonitorSetup, check: CheckRecord, *, torn: bool) -> int:
    # Return how many claims the tracker of `watch` must have counted before the claim of `check`. With `torn`, claims
    # that the monitor may have left out count, too.
    assert check.span is not None
    at = check.span.start
    # The tracker keeps no state of refuted text that stays in the trace, nor of segments that overlap it.
    gone = [
        (start, end)
        for start, end, _ in segments_of(trace, watch)
        if any(low < end <= high for low, high in [*trace.answered, *([] if torn else trace.shortened)])
    ]
    return sum(
        1
        for claim, (start, end, _) in read_by(trace, watch, torn=torn)
        if claim.end <= at and (start <= at < end or (start, end) not in gone)
    )
