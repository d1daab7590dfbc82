"""From a run as its journal left it to one that goes on."""

from __future__ import annotations

from collections.abc import Sequence

import anyio
import msgspec

from interwhen._core.messages import Check, Extract, Extracted, Finish, Order, Settled
from interwhen._engine.forks import ForkMeter
from interwhen._engine.jobs import Jobs
from interwhen._engine.outcome import build_result
from interwhen._engine.upstream import Upstream, ask_capabilities
from interwhen._engine.watch import Meter
from interwhen._engine.watchers import Watcher
from interwhen.claims import Claim
from interwhen.errors import JournalError, ModelError
from interwhen.journal.rebuilding import Past, Shown
from interwhen.ledger import Timing
from interwhen.models.base import Capabilities, Model
from interwhen.models.transport import Timeouts
from interwhen.results import JournalState, Result, Verified
from interwhen.spans import Span
from interwhen.tasks import Task
from interwhen.verdicts import Errored
from interwhen.wire_report import WireReport


async def ask_again(
    model: Model, timeouts: Timeouts, budget: float | None, past: Past | None
) -> Capabilities | ModelError | float:
    """Ask as :func:`ask_capabilities`, unless the run of *past* is over: then nobody asks its model for anything.

    Raises :class:`ModelError` where a run was under way: it can go on later, so that this must not end it.
    """
    if past is not None and past.outline is not None:
        return Capabilities(resume="prefix")
    able = await ask_capabilities(model, timeouts, budget)
    if past is not None and isinstance(able, ModelError):
        raise able
    return able


async def revive(past: Past | None, task: Task, watchers: Sequence[Watcher]) -> None:
    """Prepare all *watchers*, and let trackers go over what they were shown before the process was killed.

    A run whose time budget is spent meanwhile is over: what is not ready by then is not needed.
    """
    if past is None or past.outline is not None:
        return
    budget = past.journaled.header.budgets.seconds
    with anyio.move_on_after(None if budget is None else max(budget - past.at, 0.0)):
        async with anyio.create_task_group() as group:
            for watcher in watchers:
                if not watcher.is_ready:
                    group.start_soon(watcher.prepare, task)
    for entry in past.history:
        if isinstance(entry, Shown):
            watchers[entry.order.monitor].revive(entry.order, entry.reply)
        else:
            for watcher in watchers:
                watcher.forget(entry)


def prime(past: Past, meter: Meter, forks: ForkMeter, upstream: Upstream) -> None:
    """Let all meters go on from what was measured; the time between two processes does not count."""
    spent = past.spent
    meter.started = meter.since - past.at
    meter.first = past.first_text if spent.first_token is None else spent.first_token
    meter.largest_gap = spent.largest_gap
    meter.paused = spent.paused
    meter.stopped_at = None if past.stopped_at is None else meter.started + past.stopped_at
    _count_forks(past, forks)
    ended_at = None if past.ended_at is None else meter.started + past.ended_at
    # Of a run that goes on, what was read at once is on file chunk by chunk, or comes again.
    unread = spent.unread if past.outline is not None else 0
    upstream.recall(past.usages, spent.close_latency, ended_at, unread)
    upstream.wire.recall(spent.wire, spent.wasted)


def unfinished(past: Past, jobs: Jobs) -> tuple[list[Order], list[Settled]]:
    """Return the orders that are still to be done, and the facts about those that cannot be."""
    orders: list[Order] = []
    facts = []
    for order in list(past.pending.values()):
        if isinstance(order, Extract):
            orders.append(order)
            continue
        refs = past.core.work.jobs[order.job].refs or []
        for ref in refs:
            # Whichever of them is asked about, now or when it is tried again, goes to its verifier as a whole.
            ref.claim = _read_again(past, ref.monitor, ref.claim, jobs) or ref.claim
        claim = _read_again(past, order.monitor, order.claim, jobs)
        if claim is None:
            name = jobs.watchers[order.monitor].monitor.name
            facts.append(Settled(order.job, Errored(f"the extractor of {name!r} does not find this claim again")))
        else:
            orders.append(Check(order.job, order.monitor, claim, segment=order.segment))
    if past.wanted is not None:
        orders.append(past.wanted)
    if past.outline is not None:
        orders.append(Finish(past.outline))
    return orders, facts


def known_result(past: Past) -> Result | None:
    """Return the recorded result of a run that is over; ``None``: it is not, or its last record was lost."""
    result = past.journaled.result
    if past.outline is None or result is None:
        return None
    ours = result_of(past)
    if ours is None or type(ours) is not type(result) or (ours.text, _shown(ours)) != (result.text, _shown(result)):
        raise JournalError(
            past.journaled.path, "its recorded result is not what its own facts come to, so it was changed"
        )
    return msgspec.structs.replace(result, journal=JournalState(past.journaled.path, past.journaled.size))


def _shown(result: Result) -> list[tuple[str, str, str, Span | None]]:
    """Return what was shown to be right, whoever measured how long that took."""
    checks = result.certificate.checks if isinstance(result, Verified) else ()
    return [(check.monitor, check.verifier, check.key, check.span) for check in checks]


def result_of(past: Past) -> Result | None:
    """Return how the run of *past* ended, made anew from its facts; ``None``: it had not."""
    if past.outline is None:
        return None
    spent = past.spent
    forks = ForkMeter()
    _count_forks(past, forks)
    first = past.first_text if spent.first_token is None else spent.first_token
    tail = past.finished_at - past.ended_at if past.ended_at is not None else 0.0
    return build_result(
        past.outline,
        model=past.journaled.header.model,
        requests=past.core.tally.requests,
        usages=tuple(past.usages.values()),
        unread=spent.unread,
        forks=forks,
        timing=Timing(past.finished_at, first, spent.largest_gap, tail, spent.paused, 0.0, spent.close_latency),
        held=(),
        wire=spent.wire or WireReport(),
        wasted=spent.wasted,
        offline=past.journaled.header.offline,
    )


def _count_forks(past: Past, forks: ForkMeter) -> None:
    forks.tokens = past.spent.fork_tokens
    forks.prompt_tokens = past.spent.fork_prompt_tokens
    forks.cached_tokens = past.spent.fork_cached_tokens


def _read_again(past: Past, monitor: int, known: Claim, jobs: Jobs) -> Claim | None:
    """Return the claim *known* with all that its extractor put into it: the journal has its key and place only."""
    source = past.sources.get(id(known))
    if source is None:
        return None
    fact = jobs.watchers[monitor].read_again(source.extraction, source.reply)
    if not isinstance(fact, Extracted) or len(fact.claims) <= source.place:
        return None
    claim = fact.claims[source.place]
    return claim if (claim.key, claim.span) == (known.key, known.span) else None
