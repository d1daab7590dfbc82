"""The invariants of every world, checked on the log of a play. The correct verdict of each claim is known."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from interwhen._types.events import Delta, Retracted
from interwhen._types.results import Abstained, Failed, Result, Unverified, UnverifiedReason, Verified
from interwhen._types.verdicts import Judged
from tests.simulation import certificates, reader_invariants  # noqa: F401  they register invariants
from tests.simulation.cases import (
    INVARIANTS,
    AppliedRemedy,
    BrokenInvariant,
    History,
    PlayedCase,
    case_of,
    final_trace,
    invariant,
    is_half_a_tag,
)
from tests.simulation.model import ADAPTER_DEFECT, SILENCE, TIMER
from tests.simulation.monitors import PROMPT, concludes
from tests.simulation.play import PlayedWorld, ReaderError, play
from tests.simulation.truth import (
    LEFT,
    UNREAD,
    SimulatedTrace,
    StatedClaim,
    claims_in,
    in_words,
    is_blind,
    is_crowded,
    may_be_suspended,
    mishap_of,
    passes,
    read_by,
    refutes,
    segments_of,
    unread_by,
)
from tests.simulation.worlds import (
    Chunking,
    MonitorSetup,
    RunLimits,
    SumItem,
    VerifierSetup,
    World,
    whole_text,
)


def judge(played: PlayedWorld) -> list[BrokenInvariant]:
    case = case_of(played)
    return [BrokenInvariant(name, detail) for name, function in INVARIANTS for detail in function(case)]


# ---------------------------------------------------------------- the end of a run


@invariant("every run ends, in bounded time")
def _ends(case: PlayedCase) -> Iterator[str]:
    if case.played.stuck is not None:
        yield str(case.played.stuck)[:600]
    for number, process in enumerate(case.played.processes):
        if process.entered and process.result is None and not process.was_killed and process.stuck is None:
            yield f"process {number} has left the block without a result"


@invariant("a run raises only exceptions of the reader or the adapter")
def _raises(case: PlayedCase) -> Iterator[str]:
    crashed = any(wire.kind == "crash" for wire in case.world.wires)
    for process in case.played.processes:
        error = process.raised
        if error is None or isinstance(error, ReaderError):
            continue
        if not (crashed and str(error) == ADAPTER_DEFECT):
            yield f"{type(error).__name__}: {error}"


@invariant("leaving a run leaves no task and no open stream")
def _leaves_nothing(case: PlayedCase) -> Iterator[str]:
    played = case.played
    if played.stuck is not None:
        return
    for process in played.processes:
        if process.left_tasks:
            yield f"these tasks are left: {', '.join(process.left_tasks)}"
    for number, sent in enumerate(played.model.sent):
        if sent.opened and not sent.closed and not sent.deaf:
            yield f"stream {number} was never closed"


@invariant("a cancelled reader stays cancelled")
def _cancelled(case: PlayedCase) -> Iterator[str]:
    if any(process.cancel_swallowed for process in case.played.processes):
        yield "the reader was cancelled before the end, but the cancellation was swallowed"


# ---------------------------------------------------------------- P2: verified means verified


@invariant("P2: verified text is the certified text, and the model ended it")
def _certified(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if not isinstance(result, Verified):
        return
    if result.certificate.text_sha256 != hashlib.sha256(result.text.encode()).hexdigest():
        yield "the certificate is not of this text"
    if result.certificate.prompt_sha256 != hashlib.sha256(PROMPT.encode()).hexdigest():
        yield "the certificate is not of this prompt"
    ended = case.played.model.sent[-1].ended
    if ended not in ("stop", "tool_calls") or result.finish_reason != ended:
        yield f"the model ended with {ended!r}, the result says {result.finish_reason!r}"


@invariant("P2: in verified text every claim that a required monitor reads is right and passed a check")
def _sound(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if not isinstance(result, Verified):
        return
    trace = final_trace(case, result)
    refuted = [(span.start, span.end) for span in result.certificate.refuted]
    yield from _refuted_are_answered(trace, refuted)
    required = [watch for watch in case.world.watches if watch.required]
    if not required:
        yield "verified without a required monitor"
    for watch in required:
        for start, end, _ in unread_by(trace, watch):
            if not any(low <= start and end <= high for low, high in refuted):
                yield f"{watch.name} recognizes {trace.text[start:end]!r} at {start}, but no claim covers it"
        read = [claim for claim, _ in read_by(trace, watch)]
        counting = [c for c in read if not any(start <= c.start and c.end <= end for start, end in refuted)]
        for claim in counting:
            yield from _shown_right(case, watch, claim)
        if watch.trigger != "chars" and (not watch.grounded or not counting or is_blind(watch)):
            yield f"{watch.name} passed no claim of this text"


def _shown_right(case: PlayedCase, watch: MonitorSetup, claim: StatedClaim) -> Iterator[str]:
    judge: VerifierSetup = case.world.judges[watch.judge]
    if not claim.is_right:
        yield f"{claim.text} at {claim.start} is wrong, but {watch.name} reads it"
    elif not passes(judge, claim):
        yield f"{watch.name} cannot have passed {claim.text}: the fault of its verifier is {mishap_of(judge, claim)!r}"
    elif (watch.judge, claim.text) not in case.played.book:
        yield f"{watch.name} never had {claim.text} checked"
    elif watch.extractor_fails_on == claim.left_side:
        yield f"the extractor of {watch.name} fails on {claim.text}"


def _refuted_are_answered(trace: SimulatedTrace, refuted: list[tuple[int, int]]) -> Iterator[str]:
    reasoning = [(low, high) for low, high, phase in trace.phases() if phase == "reasoning"]
    answers = [start for start, _ in trace.feedback]
    for start, end in refuted:
        if not any(low <= start and end <= high for low, high in reasoning):
            yield f"[{start}, {end}) is refuted, but is not reasoning"
        if end not in answers:
            yield f"[{start}, {end}) is refuted, but no feedback follows it"


@invariant("P2: each result that is not verified has a reason")
def _reasons(case: PlayedCase) -> Iterator[str]:
    match case.result:
        case Unverified(unverified_reasons=()):
            yield "unverified without a reason"
        case Abstained(reason="") | Failed(error=""):
            yield f"{case.result.status} without a reason"


@invariant("P2: recognized text that was not read is listed with its place, and nothing else")
def _places(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if not isinstance(result, Unverified):
        return
    trace = final_trace(case, result)
    told = {
        (doubt.monitor, doubt.span.start, doubt.span.end)
        for doubt in result.unverified_reasons
        if UNREAD in doubt.why and doubt.span
    }
    for watch in case.world.watches:
        unread = {(watch.name, start, end) for start, end, (_, _, complete) in unread_by(trace, watch) if complete}
        mine = {place for place in told if place[0] == watch.name}
        if watch.trigger != "chars" and mine - unread:
            yield f"{watch.name} lists {mine - unread}, but recognizes {unread}"
        # A failed extraction is listed as a whole segment, and refuted text that stays has its feedback instead.
        sure = watch.required and not watch.fork and not watch.extractor_fails_on and not is_blind(watch)
        # A reader can leave after the finish reason and before the last segments are read.
        sure = sure and not any(doubt.why == LEFT for doubt in result.unverified_reasons)
        if sure and not trace.feedback and result.finish_reason in ("stop", "tool_calls") and unread - mine:
            yield f"{watch.name} recognizes {unread}, but the result lists {mine}"


@invariant("P2: a flawless world is verified, without a remedy and without a lost token")
def _flawless(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if result is None or not _is_flawless(case):
        return
    # After a death inside of a tag, the model writes the whole tag again.
    cut = result.ledger.discarded if not (case.world.deaths and case.world.thinking in ("tags", "opened")) else 0
    if cut or result.ledger.remedies or result.violations:
        yield f"nothing is wrong, but the ledger has {result.ledger}"
    required = [watch for watch in case.world.watches if watch.required]
    trace = final_trace(case, result)
    shows = all(
        watch.grounded
        and not watch.fork
        and not is_blind(watch)
        and read_by(trace, watch)
        and not unread_by(trace, watch)
        for watch in required
    )
    if required and shows and not isinstance(result, Verified):
        yield f"nothing is wrong, but the result is {result.status}: {getattr(result, 'unverified_reasons', '')!r:.300}"


def _is_flawless(case: PlayedCase) -> bool:
    world, limits = case.world, case.world.limits
    return (
        case.played.saw_all
        and not world.wires
        and world.fork_fault == "none"
        and not is_crowded(world)
        and all(not isinstance(item, SumItem) or set(item.off) == {0} for item in world.items)
        and not any(mishap_of(who, claim) for who in world.judges for claim in claims_in(whole_text(world, 0)))
        and not any(judge.mishaps for judge in world.judges)
        and not any(watch.extractor_fails_on for watch in world.watches)
        and not any(watch.prepares in ("raises", "hangs") for watch in world.watches)
        and max(world.chunking.gaps) < TIMER
        and (limits.seconds, limits.max_tokens, limits.total) == (None, None, None)
        and limits.forks > 100
        and not any(watch.recognizes and watch.unproven == "closed" for watch in world.watches)
    )


# ---------------------------------------------------------------- P3: the earliest violation


@invariant("P3: the cut is at the earliest violation that was known or open")
def _earliest(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if case.history is None or result is None or result.ledger.late or is_crowded(case.world):
        return
    for act in case.history.acts:
        for watch in case.world.watches:
            suspended = may_be_suspended(case.world, case.world.judges[watch.judge])
            acts = watch.delivery != "observe" and not concludes(watch)
            # A ladder with end="unverified" leaves its violations in the text when it ends, and interrupts no more.
            ended = watch.remedy == "auto_unverified" and any(
                violation.monitor == watch.name and not violation.interrupted for violation in result.violations
            )
            if acts and not ended and watch.grounded and not watch.fork and not suspended and not is_blind(watch):
                yield from _earlier(case, act, watch)


def _earlier(case: PlayedCase, act: AppliedRemedy, watch: MonitorSetup) -> Iterator[str]:
    judge = case.world.judges[watch.judge]
    for claim, (start, end, complete) in read_by(act.before, watch):
        where = claim.start + claim.text.index("=") + 1
        if not complete or where >= act.record.span.start or not refutes(judge, claim):
            continue
        if watch.extractor_fails_on and f"{watch.extractor_fails_on}=" in act.before.text[start:end]:
            continue
        if any(low <= claim.start and claim.end <= high for low, high in act.before.answered):
            continue
        yield (
            f"{act.record.remedy} of {act.record.monitor} at {act.record.span}, though {watch.name} reads the wrong "
            f"{claim.text} at {claim.start} before it"
        )


@invariant("P3: a remedy is for a wrong claim of the model, and for nothing else")
def _just(case: PlayedCase) -> Iterator[str]:
    if case.history is None:
        return
    for act in case.history.acts:
        span = act.record.span
        if act.record.monitor and act.record.remedy == "abstain" and not _violated(act):
            continue  # an unfinished check of a monitor that is closed on failure
        named = [c for c in claims_in(act.before.text) if c.start <= span.start and span.end <= c.end]
        if any(claim.is_right for claim in named):
            yield f"{act.record.monitor} has a remedy for {named[0].text}, which is right"
        unread = any(low <= span.start and span.end <= high for low, high, _ in in_words(act.before.text))
        if unread and act.record.remedy != "abstain":
            yield f"{act.record.monitor} has a remedy for {act.record.quote!r} at {span}, which it could not read"
        if any(low <= span.start and span.end <= high for low, high in act.before.feedback):
            yield f"{act.record.monitor} has a remedy for {act.record.quote!r} at {span}, which is feedback"


def _violated(act: AppliedRemedy) -> bool:
    return "is something else" in act.record.why


# ---------------------------------------------------------------- P4: nothing is lost


@invariant("P4: deltas and retractions of the reader add up to the text of the result")
def _shown(case: PlayedCase) -> Iterator[str]:
    shown = ""
    for number, seen in enumerate(case.played.seen):
        match seen.event:
            case Delta(text=text, start=start):
                if start != len(shown):
                    yield f"event {number}: a delta at {start}, but {len(shown)} characters are shown"
                    return
                shown += text
            case Retracted(to=to):
                if to >= len(shown):
                    yield f"event {number}: a retraction to {to} of {len(shown)} characters"
                shown = shown[:to]
    result = case.result
    if result is None or not case.played.saw_all:
        return
    if not result.text.startswith(shown):
        yield f"the reader has {shown!r}, but the result has {result.text!r}"
    elif result.text != shown and (result.status in ("verified", "unverified") or not _may_hide(case)):
        yield f"the reader lacks {result.text[len(shown) :]!r} of a text that is {result.status}"


def _may_hide(case: PlayedCase) -> bool:
    return _is_gated(case) or case.world.thinking in ("tags", "opened")


def _is_gated(case: PlayedCase) -> bool:
    return any(watch.delivery in ("gate", "gate_tools", "final") for watch in case.world.watches)


@invariant("P4: the model continues exactly the trace, after every cut, repair and reconnect")
def _goes_on(case: PlayedCase) -> Iterator[str]:
    if case.history is not None and case.history.misfit:
        yield case.history.misfit


@invariant("P4: the text of the result is all text of the model and all insertions")
def _whole(case: PlayedCase) -> Iterator[str]:
    history, result = case.history, case.result
    if history is None or result is None or history.misfit:
        return
    trace = history.trace
    if not trace.text.startswith(result.text):
        yield f"the trace is {trace.text!r}, but the result has {result.text!r}"
        return
    stopped = any(act.record.remedy in ("stop", "abstain") for act in history.acts)
    missing = trace.text[len(result.text) :]
    again = case.world.deaths or result.ledger.reconnects
    if missing and again and case.world.thinking in ("tags", "opened") and is_half_a_tag(missing):
        missing = ""  # the resume drops it, and the model writes it again in its next request
    # A gate holds an unfinished segment, and unchecked text of a run that ended early.
    early = result.status == "failed" or not case.played.saw_all or result.finish_reason not in ("stop", "tool_calls")
    if _is_gated(case) and early:
        missing = ""
    if result.status != "abstained" and not stopped and not result.ledger.late and missing:
        yield f"{missing!r} is missing in a text that is {result.status}"
    size = len(result.text)
    ours = [(start, min(end, size), who) for start, end, who in trace.ours if start < size]
    told = [(entry.span.start, entry.span.end, entry.origin) for entry in result.insertions]
    if ours != told:
        yield f"the insertions are {ours}, but the result has {told}"


# ---------------------------------------------------------------- P5: everything is counted


@invariant("P5: kept and discarded tokens are all that the model sent and the run read")
def _ledger(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if result is None:
        return
    model, ledger = case.played.model, result.ledger
    read = sum(sent.tokens for sent in model.sent)
    if ledger.kept + ledger.discarded != read:
        yield f"kept {ledger.kept} + discarded {ledger.discarded} must be {read}"
    if ledger.late > ledger.discarded:
        yield f"late {ledger.late} of discarded {ledger.discarded}"
    opened = sum(sent.opened for sent in model.sent)
    begun = sum(sent.reads > 0 for sent in model.sent)
    if not begun <= ledger.requests <= opened:
        yield f"{ledger.requests} requests counted, {opened} opened and {begun} read"
    # A fork that is open when its process dies is sent again, and counts once.
    if ledger.forks < case.played.last.asked_forks:
        yield f"{ledger.forks} forks counted, the model had {case.played.last.asked_forks}"
    if ledger.fork_tokens > model.fork_tokens + model.fork_faults:
        yield f"{ledger.fork_tokens} fork tokens counted, the model sent {model.fork_tokens}"
    if ledger.inserted_chars != sum(len(entry.span) for entry in result.insertions):
        yield f"{ledger.inserted_chars} inserted characters counted"


def _refuted_where(case: PlayedCase, history: History) -> Iterator[tuple[str, int, str]]:
    # White space and refuted text do not count in this length. Remedies that end the run or the reasoning, and those of
    # monitors with the trigger `chars`, are left out.
    # Equal tuples are repeats of the same remedy. The monitor is part of the tuple, because feedback of one monitor
    # does not open the gate of another monitor, which then has its own remedy for the same claim.
    watches = {watch.name: watch for watch in case.world.watches}
    asked = {sent.generation for sent in case.played.model.sent}
    for generation, act in enumerate(history.acts):
        record, trace = act.record, act.before
        if record.remedy in ("stop", "abstain", "conclude") or watches[record.monitor].trigger == "chars":
            continue
        if generation not in asked:
            continue  # two monitors had a remedy for the same text of the model
        for start, end, _ in segments_of(trace, watches[record.monitor]):
            if start <= record.span.start and record.span.end <= end:
                ours = [*trace.feedback, *trace.answered]
                own = [c for at, c in enumerate(trace.text[:start]) if not any(low <= at < high for low, high in ours)]
                # Claims may share a key, so their texts are compared.
                named = (c.text for c in claims_in(trace.text) if c.start <= record.span.start <= c.end)
                yield record.monitor, len("".join("".join(own).split())), next(named, record.key)
                break


@invariant("P5: the server's token counts of prompts and forks are in the ledger")
def _counted(case: PlayedCase) -> Iterator[str]:
    result = case.result
    if result is None:
        return
    model, ledger = case.played.model, result.ledger
    counted = [chunk.usage for sent in model.sent for chunk in sent.chunks if chunk.usage is not None]
    for name, told, said in (
        ("prompt tokens", ledger.prompt_tokens, sum(usage.prompt_tokens or 0 for usage in counted)),
        ("fork prompt tokens", ledger.fork_prompt_tokens, model.fork_prompt_tokens),
    ):
        # The answer of a fork is lost if its process dies or its check is cancelled.
        if told != said and (name == "prompt tokens" or told > said or _all_forks_end(case)):
            yield f"{told} {name} are in the ledger, but the server counted {said}"
    if _all_forks_end(case) and ledger.fork_tokens != model.fork_tokens:
        yield f"{ledger.fork_tokens} fork tokens counted, the model sent {model.fork_tokens}"


def _all_forks_end(case: PlayedCase) -> bool:
    # Return whether every fork must end: forks have no fault and take no time, and the run is not cut short.
    world = case.world
    return case.played.saw_all and not world.deaths and world.fork_fault == "none" and not world.fork_seconds


@invariant("budgets are kept")
def _budgets(case: PlayedCase) -> Iterator[str]:
    result, limits = case.result, case.world.limits
    if result is None:
        return
    ledger = result.ledger
    # Each request after a remedy, a break or a death has one more try.
    tries = 2 * limits.reconnects + ledger.remedies + len(case.world.deaths)
    for name, spent, budget in (
        ("remedies", ledger.remedies, limits.remedies),
        ("reconnects", ledger.reconnects, tries),
        ("forks", ledger.forks, limits.forks),
        ("forks asked", max(process.asked_forks for process in case.played.processes), limits.forks),
    ):
        if spent > budget:
            yield f"{name} must be at most {budget}, got {spent}"
    # A reconnect or a death drops a part of a tag, which the model writes again, without a remedy.
    cut, again = ledger.discarded - ledger.late, ledger.reconnects or case.world.deaths
    if isinstance(result, Verified) and not again and cut > limits.discarded:
        yield f"discarded tokens must be at most {limits.discarded}, got {cut}"
    if case.history is not None:
        refuted = list(_refuted_where(case, case.history))
        if any(refuted.count(one) > limits.repeats for one in refuted):
            yield f"the same claim had more than {limits.repeats} remedies at the same place"
    if limits.seconds is not None and result.timing.total > limits.seconds + 0.01:
        yield f"the run took {result.timing.total:g} s of {limits.seconds:g}"


# Variations of a world with the same result: other chunks, order of monitors and speed, or no deaths.

NAME = "P3: chunks, the order of monitors and their speed do not change the result"
UNBROKEN = "P4: a run that is killed and resumed has the result of an unbroken run"


def is_timeless(world: World) -> bool:
    # Return whether the result of `world` must be independent of timing.
    # Timing may change the result in these cases: a fault or a budget takes effect at a point in time; monitors with
    # different triggers act, since it is undefined how much the model has written when they stop it; the model is
    # silent so long that monitors look at unfinished text; a monitor ends the reasoning, which the model may end first.
    limits, usual = world.limits, RunLimits()
    moments = {(watch.trigger, watch.phase) for watch in world.watches}
    acting = [watch for watch in world.watches if watch.delivery != "observe"]
    return (
        not world.wires
        and world.reader.kind in ("steady", "slow", "batch", "drain")
        and limits == msgspec.structs.replace(usual, remedies=limits.remedies, repeats=limits.repeats)
        and not is_crowded(world)
        and max(world.chunking.gaps) < SILENCE
        and len({(watch.trigger, watch.phase) for watch in acting}) <= 1
        and all(watch.grounded for watch in acting)
        # A tracker with other moments may read refuted text before or after it is refuted.
        and not any(watch.tracks and (watch.prepares != "no" or len(moments) > 1) for watch in world.watches)
        and not any(map(concludes, world.watches))
        # The replies of a tracker's forks are read in order: how long one waits for another depends on time.
        and not (world.fork_fault == "hangs" and any(watch.tracks and watch.fork for watch in world.watches))
    )


def differences(played: PlayedWorld) -> Iterator[BrokenInvariant]:
    # Play a variation of the world of `played` that must have the same result, and yield the first difference. A
    # variation without a result is a difference, too. Nothing is played if timing may change the result, or if `played`
    # has none.
    world = played.world
    if not is_timeless(world) or played.result is None:
        return
    name = UNBROKEN if world.deaths else NAME
    again = play(unbroken(world) if world.deaths else varied(world))
    if again.result is None:
        yield BrokenInvariant(name, f"the variation has no result: {again.stuck or again.last.raised!r}")
        return
    gated = any(watch.delivery in ("gate", "gate_tools", "final") for watch in world.watches)
    mine, theirs = _essence(played.result, gated=gated), _essence(again.result, gated=gated)
    if world.deaths and {mine["finish_reason"], theirs["finish_reason"]} == {"stop", "tool_calls"}:
        del mine["finish_reason"]  # an answer that only continues after the last tool call has none itself
    for field, value in mine.items():
        if value != theirs[field]:
            yield BrokenInvariant(name, f"{field}: {value!r:.250}, but {theirs[field]!r:.250} in the variation")
            return


def unbroken(world: World) -> World:
    return msgspec.structs.replace(world, deaths=(), disk_seconds=0.0)


def varied(world: World) -> World:
    # Return `world` with other chunks, durations and order of monitors, which must not change the result.
    fine = Chunking(sizes=(1,), gaps=(0.0, 0.2))
    coarse = Chunking()
    return msgspec.structs.replace(
        world,
        chunking=fine if world.chunking.sizes[0] > 3 else coarse,
        watches=tuple(reversed(world.watches)),
        judges=tuple(_otherwise(judge) for judge in world.judges),
    )


def _otherwise(judge: VerifierSetup) -> VerifierSetup:
    # Return `judge` with other durations. Durations that cause a timeout keep their place.
    # The others move one place forward: the first is dropped, and the last is new.
    quick = [seconds for seconds in judge.seconds if seconds < judge.deadline]
    turned = iter([*quick[1:], 0.3 if quick[:1] == [0.0] else 0.0])
    seconds = tuple(next(turned) if wait < judge.deadline else wait for wait in judge.seconds)
    return msgspec.structs.replace(judge, seconds=seconds)


def _essence(result: Result, *, gated: bool) -> dict[str, Any]:
    """Return the parts of *result* that must not depend on time, by name.

    *gated*: a gate held text back, so the text is left out after an abstention.
    """
    checks = [
        (c.monitor, c.key, c.span, c.segment, type(c.outcome).__name__, _verdict(c.outcome)) for c in result.checks
    ]
    acts = [violation for violation in result.violations if violation.remedy is not None]
    if result.status == "abstained" or any(act.remedy == "stop" for act in acts):
        checks = []  # the run ended at once: which checks were open then depends on time
    # Text that a gate held when the run gave up does not count: how much it was depends on time.
    is_whole = not gated or result.status != "abstained"
    return {
        "status": result.status,
        "text": result.text if is_whole else "",
        "answer": result.answer if is_whole else "",
        "finish_reason": result.finish_reason,
        "insertions": result.insertions,
        "acts": acts,
        "checks": checks,
        "unverified_reasons": _reasons_without_tries(result) if checks else [],
        "reason": _without_tries(getattr(result, "reason", "")),
        "remedies": result.ledger.remedies,
    }


def _reasons_without_tries(result: Result) -> list[UnverifiedReason]:
    given = getattr(result, "unverified_reasons", ())
    reasons = (msgspec.structs.replace(reason, why=_without_tries(reason.why)) for reason in given)
    return sorted(reasons, key=msgspec.json.encode)


def _without_tries(why: str) -> str:
    # A failed check is tried again for each monitor that waits for it, so the number of tries depends on time.
    return re.sub(r" \(tried \d+ times\)$", "", why)


def _verdict(outcome: object) -> object:
    return outcome.verdict if isinstance(outcome, Judged) else None


# Plays a world and checks all invariants.


@dataclass(frozen=True, slots=True)
class ExaminedWorld:
    """The log of a played world, and the invariants that it breaks."""

    played: PlayedWorld
    broken: tuple[BrokenInvariant, ...]


def examine(world: World) -> ExaminedWorld:
    # If all hold, compare the result with that of a variation. Return the play with the broken invariants.
    played = play(world)
    broken = judge(played)
    if not broken:
        broken.extend(differences(played))
    return ExaminedWorld(played, tuple(broken))
