"""``python -m tests.benchmarks ledger``: compares the ledgers of eventful runs with the counts of their endpoint."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import anyio
import msgspec
from interwhen import (
    Budgets,
    Claim,
    Feedback,
    Fork,
    Lines,
    Monitor,
    Pass,
    Repair,
    Resample,
    Result,
    Segment,
    Span,
    Verdict,
    Violation,
    run,
    verifier,
)
from interwhen._types.models import Retries, Timeouts
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import Experiment, command_of, say
from interwhen.bench._report import Report, Table, lines
from interwhen.bench._statistics import Estimate
from interwhen.clients._calls import make_settings, read_call
from interwhen.clients._supervision import supervise
from interwhen.gateway._upstream import GatewayTransport, UpstreamServer
from interwhen.journal import Journal
from interwhen.models import CompletionsModel, ModelError
from interwhen.remedies import Remedy
from interwhen.results import Ledger
from interwhen.strategies._catalog import load_strategies
from interwhen.testing._virtual_time import VirtualWorkers, run_virtual
from interwhen.testing.server import ScriptedTransport
from tests.benchmarks.ledger_endpoint import FAULTS, Counting, CountingEndpoint, Habits
from tests.benchmarks.soak_server import prompt_of

_SUM = re.compile(r"(\d+) \+ (\d+) = (\d+)")
_COUNTING: tuple[Counting, ...] = ("end", "always", "logprobs")
_REMEDIES: tuple[Remedy, ...] = (Repair(), Repair(), Feedback(), Resample())


class Mismatch(msgspec.Struct, frozen=True):
    """A counter of one run whose value in the ledger differs from the count of the endpoint."""

    seed: int
    counter: str
    ledger: int
    endpoint: int

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.counter} {self.ledger} in the ledger, {self.endpoint} at the endpoint"


@dataclass(frozen=True, slots=True)
class Played:
    """The result of one simulated run, and its endpoint, which counted on its own."""

    seed: int
    result: Result
    endpoint: CountingEndpoint

    def mismatches(self) -> Iterator[Mismatch]:
        ours = counters(self.result.ledger)
        for name, theirs in self.endpoint.books.totals().items():
            if ours[name] != theirs:
                yield Mismatch(self.seed, name, ours[name], theirs)


def counters(ledger: Ledger) -> dict[str, int]:
    return {
        "requests": ledger.requests,
        "main_tokens": ledger.kept + ledger.discarded + ledger.wasted_tokens,
        "prompt_tokens": ledger.prompt_tokens,
        "fork_tokens": ledger.fork_tokens,
        "fork_prompt_tokens": ledger.fork_prompt_tokens,
        "cached_tokens": ledger.cached_tokens,
    }


def habits_of(seed: int) -> Habits:
    rng = random.Random(f"habits {seed}")
    counting = rng.choice(_COUNTING)
    # The number of tokens in a chunk is known before the end only if the endpoint reports it.
    bundle = 1 if counting == "end" else rng.choice((1, 3))
    return Habits(
        seed,
        counting=counting,
        bundle=bundle,
        joined=rng.choice((1, 1, 4)),
        has_end_token=rng.random() < 0.8,
        broken=rng.choice((0.0, 0.2, 0.4)),
    )


def play(seed: int, *, journal: Journal | None = None) -> Played:
    """Simulate run number *seed* in virtual time. Return its result, and its endpoint with its own token counts.

    *journal* records the run; it must also work in virtual time.
    """
    return run_virtual(partial(_play, seed, journal))


async def _play(seed: int, journal: Journal | None) -> Played:
    rng = random.Random(f"run {seed}")
    endpoint = CountingEndpoint(habits_of(seed))
    model = CompletionsModel(
        "http://scripted/v1",
        "scripted",
        api_key="",
        transport=ScriptedTransport(endpoint),
        retries=Retries(rng=rng),
    )
    budgets = Budgets(remedies=rng.choice((2, 8)), reconnects=rng.choice((1, 6)), forks=rng.choice((3, 64)))
    async with run(
        model,
        prompt_of(seed),
        monitors=_monitors(rng),
        budgets=budgets,
        workers=VirtualWorkers(),
        journal=journal,
    ) as supervised:
        result = await supervised.drain()
    await model.aclose()
    return Played(seed, result, endpoint)


def play_call(seed: int, strategy: str) -> Played | None:
    # `strategy` answers the call. Return `None` if the call was refused or broke before its answer began, because it
    # then has no ledger.
    return run_virtual(partial(_play_call, seed, strategy))


async def _play_call(seed: int, strategy: str) -> Played | None:
    rng = random.Random(f"call {seed}")
    habits = msgspec.structs.replace(habits_of(seed), broken=rng.choice((0.0, 0.1, 0.2)))
    endpoint = CountingEndpoint(habits)
    timeouts = Timeouts()
    upstream = UpstreamServer("http://scripted/v1", ("*",), "", ScriptedTransport(endpoint), timeouts)
    body = {"model": "scripted", "prompt": prompt_of(seed), "stream": rng.random() < 0.5}
    settings = make_settings(
        # Strategies that stop at a verified answer need monitors that could verify one.
        [replace(monitor, scope="answer") for monitor in _monitors(rng)],
        {
            "strategy": strategy,
            "strategy_tokens": rng.choice((60, 600, 6000)),
            "strategy_samples": rng.choice((3, 6)),
            "budgets": {"reconnects": rng.choice((0, 3)), "remedies": rng.choice((1, 8))},
            "workers": VirtualWorkers(),
        },
    )
    transport = GatewayTransport(upstream, "completions", {})
    try:
        supervised = await supervise(read_call("completions", body), settings, transport, upstream.endpoint("scripted"))
    except ModelError:
        return None
    with suppress(ModelError):
        while await supervised.parts():
            pass
    await supervised.aclose()
    assert supervised.result is not None
    return Played(seed, supervised.result, endpoint)


def _monitors(rng: random.Random) -> list[Monitor]:
    watching = [Monitor(name="sums", verifier=_judge(rng), extractor=_sums, remedy=rng.choice(_REMEDIES))]
    if rng.random() < 0.7:
        asking = Fork(
            prompt="\nSo far:",
            parse=lambda _reply, segment: _sums(segment),
            max_tokens=16,
            deadline=rng.choice((0.2, 30.0)),
        )
        watching.append(
            Monitor(
                name="asked",
                verifier=_judge(rng),
                extractor=asking,
                trigger=Lines(every=rng.choice((1, 3))),
                delivery=rng.choice(("interrupt", "observe", "gate")),
                remedy=rng.choice(_REMEDIES),
            )
        )
    return watching


def _judge(rng: random.Random) -> Any:
    if rng.random() < 0.3:
        return verifier(name=f"sums{rng.random()}", worker="inline")(_is_right)

    @verifier(name=f"sums{rng.random()}", worker="async")
    async def judge(claim: Claim) -> Verdict:
        await anyio.sleep(rng.uniform(0.0, 0.5))
        return _is_right(claim)

    return judge


def _is_right(claim: Claim) -> Verdict:
    left, right, total = map(int, claim.key.split())
    if left + right == total:
        return Pass()
    at = len(f"{left} + {right} = ")
    return Violation(
        why="the sum is wrong",
        witness=f"{left} + {right} = {left + right}",
        where=Span(at, at + len(str(total))),
        repair=str(left + right),
    )


def _sums(segment: Segment) -> Iterator[Claim]:
    for match in _SUM.finditer(segment.text):
        yield Claim(key=" ".join(match.groups()), span=segment.at(*match.span()))


@vetted("--")
def ledger(*, runs: Positive = 1000, seed: int = 0, minutes: Above | None = None, strategies: str = "") -> Report:
    """Compare the ledgers of many runs with what their endpoint counted; ends with 1 if one counter differs.

    Each run is generated from its seed and played in virtual time, with forks, rewinds and reconnects. The scripted
    endpoint makes mistakes, breaks connections, and keeps its own counts.

    Parameters
    ----------
    runs
        How many runs are played.
    seed
        The seed of the first run; the later runs count up from it.
    minutes
        Begin no further run after this many minutes.
    strategies
        Names of strategies, separated by commas, or "all". Each run is then a call through the code of the gateway, and
        the strategies answer the calls in turn.
    """
    played: list[Played] = []
    mismatches: list[Mismatch] = []
    named = _named(strategies)
    refused = 0
    for number, _ in Experiment(("ledger",), runs, warm_up=0, minutes=minutes).rounds():
        one_run = play_call(seed + number, named[number % len(named)]) if named else play(seed + number)
        if one_run is None:
            refused += 1
            continue
        played.append(one_run)
        mismatches.extend(one_run.mismatches())
        if len(played) % 100 == 0:
            say(f"{len(played)} of {runs} runs, {len(mismatches)} counters differ")
    ledgers = [each.result.ledger for each in played]
    statuses = Counter(each.result.label for each in played)
    faults = Counter(served.fault for each in played for served in each.endpoint.books.served)
    happened = {
        "requests of main streams": sum(each.requests for each in ledgers),
        "tokens of main streams": sum(each.kept + each.discarded for each in ledgers),
        "prompt tokens of main streams": sum(each.prompt_tokens for each in ledgers),
        "rewinds and insertions": sum(each.remedies for each in ledgers),
        "streams that were resumed": sum(each.reconnects for each in ledgers),
        "forks": sum(each.forks for each in ledgers),
        "tokens of forks": sum(each.fork_tokens for each in ledgers),
        "requests that met no fault": faults["none"],
        **{f"requests that met {name}": faults[name] for name in FAULTS if name != "none"},
    }
    rows = lines(
        {
            "counters that differ": Estimate(len(mismatches), limit=0),
            "runs": len(played),
            **({"  calls that were refused, without a ledger": refused} if named else {}),
            **{f"  {status}": count for status, count in sorted(statuses.items())},
            **happened,
        },
        "counted",
    )
    unreported = sum(each.endpoint.books.unreported_prompt_tokens() for each in played)
    rows += lines(
        {
            "prompt tokens of requests that the endpoint did not count": unreported,
            "the ledger's estimate of them": sum(each.estimated_prompt_tokens for each in ledgers),
        },
        "counted",
    )
    missing = [what for what, count in happened.items() if not count]
    return Report(
        benchmark="ledger",
        subject=f"seeds {seed} to {seed + len(played) + refused - 1}",
        tables=(Table("Ledgers and the counts of the endpoint", tuple(rows)),),
        warnings=(
            *map(str, mismatches[:10]),
            *([f"never happened, so nothing is shown about it: {', '.join(missing)}"] if missing else []),
        ),
        passed=not mismatches,
        observations=tuple(msgspec.to_builtins(mismatch) for mismatch in mismatches),
    )


def _named(strategies: str) -> tuple[str, ...]:
    return tuple(one.name for one in load_strategies("" if strategies == "all" else strategies)) if strategies else ()


command = command_of(ledger)
