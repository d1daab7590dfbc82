"""Probing and explaining, against a server whose costs are known and on a clock that only they move."""

from __future__ import annotations

import json
from itertools import takewhile

import pytest
from interwhen.models import Capabilities, Completion, Usage
from interwhen.strategies import ForkPlanner, probe_rates
from interwhen.strategies._fork_planning import explain, explained
from interwhen.testing import ScriptedModel
from interwhen_launcher import main

pytestmark = pytest.mark.anyio


def common_length(one, other):
    """Return how many characters *one* and *other* have in common before they differ."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class Timed(ScriptedModel):
    """Four characters are a token: a millisecond to read, twenty to write, and five for each request."""

    def __init__(self, context=None):
        super().__init__([""])
        self.now, self.context, self.held, self.sizes = 0.0, context, "", []

    def clock(self):
        return self.now

    async def capabilities(self):
        return Capabilities(resume="prefix", context_tokens=self.context)

    async def complete(self, request):
        text = str(request.prompt) + request.prefix + (request.side or "")
        tokens, written = len(text) // 4, request.sampling.max_tokens
        cached = common_length(self.held, text) // 4 if request.route == "live" else 0
        self.held = text
        self.sizes.append(tokens)
        self.now += 0.005 + (tokens - cached) * 0.001 + written * 0.02
        return Completion("2", "stop", Usage(tokens, cached, written))


async def test_probes_show_what_the_server_takes():
    model = Timed()
    rates = await probe_rates(model, clock=model.clock)
    assert rates.request == pytest.approx(0.005, rel=0.05)
    assert rates.prefill == pytest.approx(0.001, rel=0.05)
    assert rates.decode == pytest.approx(0.02, rel=0.05)
    assert len(model.sizes) == 4


async def test_probes_fit_into_a_short_context():
    model = Timed(context=500)
    await probe_rates(model, clock=model.clock)
    assert max(model.sizes) <= 300


async def test_every_fork_is_explained_and_the_trace_stays_within_the_context():
    model = Timed(context=600)
    rates = await probe_rates(model, clock=model.clock)
    said = []
    found = await explain(model, rates, forks=20, disturb=3, say=said.append)
    assert len(found.forks) == len(said) == 20
    assert {fork.route for fork in found.forks} == {"live"}
    assert max(fork.prefix for fork in found.forks) < 500
    assert found.forks[0].actual_prefill is not None


def test_the_next_best_route_is_the_reason():
    from interwhen.strategies import Actual, ForkSituation, Shown

    planner = ForkPlanner()
    situation = ForkSituation(prefix=1000, side=10, reply=4, held=900, routes=frozenset({"live", "prefill"}))
    planned = planner.choose(situation)
    row = explained(Shown(planned, Actual(0.2)))
    assert (row.route, row.actual, row.actual_prefill) == ("live", 200.0, None)
    assert row.why.startswith("prefill would take ")


def test_the_command_explains_the_local_model(capsys):
    pytest.importorskip("xllamacpp", reason="the extra 'local' is not installed")
    with pytest.raises(SystemExit) as ended:
        main(["plan", "explain", "--forks", "4", "--disturb", "2", "--json"])
    assert ended.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["forks"]) == 4
    assert found["forks"][-1]["actual_prefill"] > 0


def test_a_single_fork_explains_nothing(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["plan", "explain", "--forks", "1"])
    assert ended.value.code == 2
    assert "--forks must be at least 2" in capsys.readouterr().err
