"""Resumes a run from its journal."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import anyio
import msgspec

from interwhen._core.messages import Check, Extract, Extracted, Finish, Order, Settled
from interwhen._engine.jobs import ForkMeter, Jobs
from interwhen._engine.monitors import Watcher
from interwhen._engine.run_results import build_result
from interwhen._engine.stream import Meter, ModelReader
from interwhen._types.errors import JournalError
from interwhen._types.extensions import Task
from interwhen._types.ledger import Timing, WireReport
from interwhen._types.results import (
    JournalState,
    Result,
    Verified,
)
from interwhen._types.segments import Claim, Span
from interwhen._types.verdicts import Errored
from interwhen.journal._rebuilt_run import RebuiltRun, ShownSegment


async def restore_watchers(past: RebuiltRun, task: Task, watchers: Sequence[Watcher]) -> None:
    # Prepare the watchers, within what the old process left of the run's time, and rebuild the states of trackers,
    # which the journal does not hold, from the recorded segments.
    if past.summary is not None:
        return
    budget = past.journaled.header.budgets.seconds
    with anyio.move_on_after(None if budget is None else max(budget - past.at, 0.0)):
        async with anyio.create_task_group() as group:
            for watcher in watchers:
                if not watcher.is_ready:
                    group.start_soon(watcher.prepare, task)
    for entry in past.history:
        if isinstance(entry, ShownSegment):
            watchers[entry.order.monitor].revive(entry.order, entry.reply)
        else:
            for watcher in watchers:
                watcher.forget(entry)


def restore_meters(past: RebuiltRun, meter: Meter, forks: ForkMeter, upstream: ModelReader) -> None:
    # The time between the end of the old process and now is not included in any time of the run.
    spent = past.spent
    meter.started = meter.since - past.at
    meter.first = past.first_text if spent.first_token is None else spent.first_token
    meter.largest_gap = spent.largest_gap
    meter.paused = spent.paused
    meter.stopped_at = None if past.stopped_at is None else meter.started + past.stopped_at
    _count_forks(past, forks)
    ended_at = None if past.ended_at is None else meter.started + past.ended_at
    # In an unfinished run, each chunk of the last read is in the journal, or the model will send its text again.
    unread = spent.unread if past.summary is not None else 0
    upstream.recall(past.usages, spent.resumes, spent.probe_tokens, spent.close_latency, ended_at, unread)
    upstream.wire.recall(spent.wire, spent.wasted)


def unfinished(past: RebuiltRun, jobs: Jobs) -> tuple[list[Order], list[Settled]]:
    # Return the orders that the old process did not carry out. A check whose claim cannot be extracted again gets an
    # error as its outcome instead.
    orders: list[Order] = []
    facts = []
    for order in list(past.pending.values()):
        if isinstance(order, Extract):
            orders.append(order)
            continue
        # The journal has only the key and span of a claim. Restore all claims of the job, because a retry may use any.
        past.core.checks.restore_claims(order.job, partial(_read_again, past, jobs=jobs))
        claim = _read_again(past, order.monitor, order.claim, jobs)
        if claim is None:
            name = jobs.watchers[order.monitor].monitor.name
            facts.append(
                Settled(order.job, Errored(f"the extractor of {name!r} does not find this claim in the recorded text"))
            )
        else:
            orders.append(Check(order.job, order.monitor, claim, segment=order.segment))
    if past.wanted is not None:
        orders.append(past.wanted)
    if past.summary is not None:
        orders.append(Finish(past.summary))
    return orders, facts


def known_result(past: RebuiltRun) -> Result | None:
    result = past.journaled.result
    if past.summary is None or result is None:
        return None
    ours = result_of(past)
    if ours is None or type(ours) is not type(result) or (ours.text, _shown(ours)) != (result.text, _shown(result)):
        raise JournalError(
            past.journaled.path,
            (
                "the recorded result must be the one that its facts give, and it differs: the file was "
                "changed after it was written; use the original"
            ),
        )
    return msgspec.structs.replace(result, journal=JournalState(past.journaled.path, past.journaled.size))


def _shown(result: Result) -> list[tuple[str, str, str, Span | None]]:
    checks = result.certificate.checks if isinstance(result, Verified) else ()
    return [(check.monitor, check.verifier, check.key, check.span) for check in checks]


def result_of(past: RebuiltRun) -> Result | None:
    # `journal`, `timing.blocked_loop`, `timing.starved` and `timing.cluster_away` are empty: they do not follow from
    # the facts.
    if past.summary is None:
        return None
    spent = past.spent
    forks = ForkMeter()
    _count_forks(past, forks)
    first = past.first_text if spent.first_token is None else spent.first_token
    tail = past.finished_at - past.ended_at if past.ended_at is not None else 0.0
    header, recorded = past.journaled.header, past.journaled.result
    # The model of a call is named MODEL@HOST. A client learns the host only with the first response, so the header of
    # the journal may lack it; the certificate has it.
    learned = recorded.certificate.model if header.call is not None and isinstance(recorded, Verified) else ""
    result = build_result(
        past.summary,
        model=learned or header.model,
        requests=past.core.counts.requests,
        usages=past.usages,
        resumes=spent.resumes,
        probe_tokens=spent.probe_tokens,
        unread=spent.unread,
        forks=forks,
        timing=Timing(past.finished_at, first, spent.largest_gap, tail, spent.paused, 0.0, spent.close_latency),
        blocked_loop=(),
        starved=0.0,
        wire=spent.wire or WireReport(),
        wasted=spent.wasted,
        offline=header.offline,
    )
    return msgspec.structs.replace(result, prompt_findings=header.prompt_findings)


def _count_forks(past: RebuiltRun, forks: ForkMeter) -> None:
    forks.tokens = past.spent.fork_tokens
    forks.prompt_tokens = past.spent.fork_prompt_tokens
    forks.cached_tokens = past.spent.fork_cached_tokens


def _read_again(past: RebuiltRun, monitor: int, known: Claim, jobs: Jobs) -> Claim | None:
    # The journal has only the key and the span of the claim `known`, so it is extracted again.
    source = past.sources.get(id(known))
    if source is None:
        return None
    fact = jobs.watchers[monitor].read_again(source.extraction, source.reply)
    if not isinstance(fact, Extracted) or len(fact.claims) <= source.place:
        return None
    claim = fact.claims[source.place]
    return claim if (claim.key, claim.span) == (known.key, known.span) else None
