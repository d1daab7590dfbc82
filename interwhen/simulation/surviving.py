"""What must hold where processes die: of what is on file, nothing is lost, and nothing happens twice."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from interwhen.errors import InterwhenError
from interwhen.events import CheckSettled, Event, Finished, Remedied, StreamBroken
from interwhen.replaying import replay
from interwhen.simulation.cases import Case, invariant
from interwhen.verdicts import Cancelled


@invariant("P4: what was handed to the disk is on file, and what is torn is no more than what was not")
def _on_file(case: Case) -> Iterator[str]:
    for number, (life, death) in enumerate(zip(case.played.lives, case.world.deaths, strict=False)):
        filed = life.filed
        if filed is None:
            continue
        mine = filed.chunks - life.before.chunks
        if mine < life.taken_on_file:
            yield f"process {number} had {life.taken_on_file} chunks when all was written, {mine} are on file"
        if mine < life.taken_before_request:
            yield f"process {number} had {life.taken_before_request} chunks at its last request, {mine} are on file"
        # Until the file is opened to be gone on with, what was torn before is still there.
        if filed.left_out > max(death.torn, life.before.left_out):
            yield f"{filed.left_out} bytes of the file are torn, where {death.torn} were written"


@invariant("P4: what a reader was told, and what is on file, is told again to whoever goes on")
def _told_again(case: Case) -> Iterator[str]:
    for number, (life, following) in enumerate(pairwise(case.played.lives)):
        if not following.is_resumed:
            continue
        sure = [seen.event for seen in life.seen[: life.seen_on_file] if not _is_void(seen.event)]
        again = [seen.event for seen in following.seen if not _is_void(seen.event)]
        for place, (was, now) in enumerate(zip(sure, again, strict=False)):
            if was != now:
                yield f"event {place} was {was!r:.200} to process {number}, and is {now!r:.200} to the next"
                break
        else:
            if following.saw_all and following.result is not None and len(again) < len(sure):
                yield f"process {number} was told {len(sure)} events that are on file, the next {len(again)}"


def _is_void(event: Event) -> bool:
    """Tell whether *event* says how a process ended: that holds no more."""
    if isinstance(event, CheckSettled):
        return isinstance(event.check.outcome, Cancelled) and event.check.outcome.why == "the run ended first"
    return isinstance(event, Finished) or (isinstance(event, StreamBroken) and event.action == "fail")


@invariant("P4: no remedy is told twice")
def _remedied_once(case: Case) -> Iterator[str]:
    for life in case.played.lives:
        generations = [seen.event.generation for seen in life.seen if isinstance(seen.event, Remedied)]
        going_on = [number for number in generations if generations.count(number) > 1]
        if going_on and generations != sorted(generations):
            yield f"the remedies are numbered {generations}"


@invariant("P5: what was spent stays spent, and no more than that was")
def _spent(case: Case) -> Iterator[str]:
    result = case.result
    if result is None or not case.world.deaths:
        return
    ledger, filed = result.ledger, case.played.life.before
    for name, spent, now in (
        ("tokens", filed.tokens + filed.unread, ledger.kept + ledger.discarded),
        ("fork tokens", filed.fork_tokens, ledger.fork_tokens),
        ("requests", filed.opened, ledger.requests),
        ("slow seconds", filed.slow_seconds, result.wire.slow_seconds),
    ):
        if now < spent:
            yield f"{spent} {name} were on file, the result has {now}"
    total = result.timing.total
    if not filed.at - 1e-6 <= total <= case.played.seconds + 1e-6:
        yield f"the run took {total:g} s, when {filed.at:g} were on file and {case.played.seconds:g} have passed"
    struck = sum(bool(sent.fault) for sent in case.played.model.sent) + len(case.world.wires)
    if ledger.reconnects > struck:
        yield f"{ledger.reconnects} reconnects, and {struck} faults of the wire"


@invariant("P4: the journal of a run that is over is whole, and tells the same run again")
def _replayed(case: Case) -> Iterator[str]:
    result, journal = case.result, case.played.journal
    if result is None or journal is None:
        return
    if result.journal is None or result.journal.incomplete:
        yield f"the journal is {result.journal!r}"
        return
    try:
        again = replay(journal)
    except InterwhenError as error:
        yield f"the journal cannot be read: {error}"
        return
    if again.result is None:
        yield "the journal says that the run is not over"
    elif again.differences:
        name = again.differences[0]
        ours, theirs = getattr(again.result, name, None), getattr(result, name, None)
        yield f"replayed, {name} is {ours!r:.200}, and was {theirs!r:.200}"
