"""Forks: side inferences that are checked like any other claim, and never part of the trace."""

import anyio
import pytest
from interwhen import Budgets, Fork, Sampling
from interwhen.models import Completion, ModelError, Usage
from interwhen.results import Errored, Skipped, TimedOut
from interwhen.testing import Pause, ScriptedModel
from sums import SUM, Sum, apply, supervise, watch

pytestmark = pytest.mark.anyio

SIDE = "\nState the sums above:"


def read(reply, segment):
    for match in SUM.finditer(reply):
        left, right, total = map(int, match.groups())
        yield Sum(key=match[0], span=segment.ground(match[0]), left=left, right=right, total=total)


def forking(**options):
    fork = Fork(SIDE, read, **{"max_tokens": 9, "stop": ("\n",), **options})
    return watch(extractor=fork)


def says(reply):
    return lambda request: reply(request) if callable(reply) else reply


def outcomes(result):
    return [record.outcome for record in result.checks]


async def test_a_grounded_claim_of_a_fork_interrupts():
    model = ScriptedModel(
        [["I add: 2+2=5\n", Pause(1), "on\n"], "\n"], forks=lambda r: "2+2=5 is what I see" if "5" in r.prefix else ""
    )
    result, events = await supervise(model, forking(), prompt="Q", sampling=Sampling(seed=3, max_tokens=50))
    assert result.text == apply(events)
    assert [record.remedy for record in result.violations] == ["feedback"]  # only the model could read a repair again
    asked = model.fork_requests[0]
    assert (asked.prompt, asked.prefix, asked.side) == ("Q", "I add: 2+2=5", SIDE)
    assert asked.sampling == Sampling(seed=3, max_tokens=9, stop=("\n",), temperature=0.0)
    assert result.ledger.forks == len(model.fork_requests)
    assert result.ledger.fork_tokens == 5
    assert result.ledger.fork_prompt_tokens == len(model.fork_requests)
    assert result.ledger.total_tokens == result.ledger.kept + result.ledger.discarded + 5
    assert SIDE not in result.text


@pytest.mark.parametrize("local", [None, lambda segment, _prepared: None])
async def test_inapplicable_or_unprepared_monitor_makes_no_fork(local):
    async def absent(task):
        await anyio.sleep(0)

    async def broken(task):
        raise ValueError("no such problem")

    for prepare, checked in ((absent, False), (broken, True)):
        model = ScriptedModel([[Pause(1), "1+1=2\n", Pause(1), "on\n"]], forks=lambda r: "1+1=2")
        monitor = watch(extractor=Fork(SIDE, read, local=local), prepare=prepare)
        result, _ = await supervise(model, monitor)
        assert (model.fork_requests, result.ledger.fork_tokens) == ([], 0)
        assert any("no such problem" in reason.why for reason in result.unverified_reasons) is checked


async def test_ungrounded_fork_claim_counts_but_never_interrupts():
    model = ScriptedModel([["two and two is five\n", Pause(1), "on\n"]], forks=lambda r: "2+2=5")
    result, events = await supervise(model, forking())
    assert (result.status, result.text) == ("unverified", apply(events))
    assert {record.span for record in result.checks} == {None}
    assert [violation.interrupted for violation in result.violations] == [False, False]
    assert len(model.requests) == 1


@pytest.mark.parametrize("error", [ModelError("busy"), ValueError("a bug in the adapter")])
async def test_a_fork_that_fails_is_an_outcome(error):
    def fails(request):
        raise error

    result, events = await supervise(ScriptedModel(["1+1=2\nso\n"], forks=fails), forking())
    assert outcomes(result) == [Errored(f"fork: {type(error).__name__}: {error}")] * 2
    assert (result.status, apply(events)) == ("unverified", "1+1=2\nso\n")
    assert result.ledger.fork_tokens == 0


async def test_late_fork_is_a_timeout_outcome():
    begun = anyio.current_time()
    model = ScriptedModel([["1+1=2\n"]], forks=lambda r: "1+1=2", delay=40.0)
    result, _ = await supervise(model, forking(deadline=30.0))
    assert outcomes(result) == [TimedOut(30.0)]
    assert anyio.current_time() - begun == 120.0  # three reads: the fork ended meanwhile


async def test_raising_fork_parser_is_an_error_outcome():
    model = ScriptedModel(["1+1=2\n"], forks=lambda r: "?")
    result, _ = await supervise(model, watch(extractor=Fork(SIDE, lambda reply, segment: 1 / 0)))
    assert "ZeroDivisionError" in outcomes(result)[0].error


async def test_forks_beyond_the_budget_are_skipped():
    model = ScriptedModel(["1+1=2\n2+2=4\n"], forks=lambda r: r.prefix.splitlines()[-1])
    result, _ = await supervise(model, forking(), budgets=Budgets(forks=1))
    assert isinstance(outcomes(result)[1], Skipped)
    assert (result.status, result.ledger.forks) == ("unverified", 1)


async def test_fork_on_cut_text_is_cancelled():
    model = ScriptedModel([["2+2=5\nand 9+9=18\n", Pause(50)], "\n"], forks=lambda r: "", delay=0.0)
    finished = []

    async def complete(request):
        await anyio.sleep(5)
        finished.append(request.prefix)
        return Completion("", "stop", Usage())

    model.complete = complete
    result, _ = await supervise(model, watch(), watch(name="fork", extractor=Fork(SIDE, read), delivery="observe"))
    assert result.text == "2+2=4\n"
    assert not any("9+9" in prefix or "2+2=5" in prefix for prefix in finished)
