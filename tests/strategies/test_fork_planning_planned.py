from __future__ import annotations

from itertools import takewhile

import pytest
from interwhen import Message, Model, Sampling
from interwhen.models import Completion, Piece, Request, UpstreamError, Usage
from interwhen.strategies import ForkPlanner, PlannedModel, Rates, Shelving
from interwhen.testing import ScriptedModel

pytestmark = pytest.mark.anyio
RATES = Rates(request=0.005, prefill=0.001, decode=0.02, restore=0.005, restored=0.00002)
TRACE = "one and one is two\n" * 40


def common_length(one, other):
    """Return how many characters *one* and *other* have in common before they differ."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class Shelf(ScriptedModel):
    """Holds nothing by itself; what was saved can be restored. Four characters are a token."""

    routes = frozenset({"live", "prefill", "restored"})

    def __init__(self, error=None):
        super().__init__([""])
        self.seen, self.saved, self.error = [], None, error

    def stored(self, request):
        return 0 if self.saved is None else common_length(self.saved, request.prefix)

    async def save(self, request):
        if self.error is not None:
            raise self.error
        self.saved = request.prefix

    async def complete(self, request):
        self.seen.append(request)
        tokens = (len(request.prompt) + len(request.prefix) + len(request.side or "")) // 4
        cached = self.stored(request) // 4 if request.route == "restored" else 0
        seconds = (tokens - cached) * 0.001
        return Completion("2", "stop", Usage(tokens, cached, 1, seconds, 0.02))


def fork(text=TRACE, **more):
    return Request("What?", (Piece(text),), Sampling(max_tokens=4), side="\nSo far:", **more)


def planned(model, **options):
    return PlannedModel(model, ForkPlanner(RATES), **options)


async def test_a_plain_model_is_asked_as_ever():
    inner = ScriptedModel([""], forks=lambda request: "2")
    model = planned(inner)
    assert isinstance(model, Model)
    assert (await model.complete(fork())).text == "2"
    assert inner.fork_requests[0].route == "live"
    assert model.name == inner.name
    assert await model.capabilities() == await inner.capabilities()


async def test_what_is_no_fork_goes_through():
    inner = Shelf()
    request = Request("What?", (), Sampling(max_tokens=4))
    await planned(inner).complete(request)
    assert inner.seen == [request]


async def test_a_server_that_forgets_gets_its_states_saved_and_restored():
    inner = Shelf()
    assert isinstance(inner, Shelving)
    model = planned(inner, clock=iter(range(10**6)).__next__)
    for number in range(20):
        await model.complete(fork(TRACE + "and so on\n" * number))
    assert inner.saved is not None
    assert [request.route for request in inner.seen[-4:]] == ["restored"] * 4
    assert model.planner.hit < 0.5


async def test_a_state_that_cannot_be_saved_costs_no_answer():
    model = planned(Shelf(UpstreamError("full", status=500)), clock=iter(range(10**6)).__next__)
    for _ in range(8):
        assert (await model.complete(fork())).text == "2"


async def test_a_summary_is_sent_in_place_of_the_trace_where_that_is_cheaper():
    inner = ScriptedModel([""], forks=lambda request: "2")
    await planned(inner).complete(fork(summary="two so far"))
    sent = inner.fork_requests[0]
    assert (sent.route, sent.prefix, sent.side) == ("summary", "two so far", "\nSo far:")


async def test_a_summary_of_nothing_much_is_not_sent():
    inner = ScriptedModel([""], forks=lambda request: "2")
    await planned(inner).complete(fork("short", summary="this is longer than the trace itself is"))
    assert inner.fork_requests[0].prefix == "short"


async def test_forks_of_many_prompts_are_remembered_up_to_a_limit():
    inner = ScriptedModel([""], forks=lambda request: "2")
    model = planned(inner)
    for number in range(100):
        await model.complete(Request((Message("user", str(number)),), (), Sampling(), side="?"))
    assert len(model._last) <= 64


async def test_characters_of_a_token_are_learnt():
    inner = Shelf()
    model = planned(inner)
    await model.complete(fork())
    assert model._characters == pytest.approx(4.0, rel=0.01)
    assert model.planner.shown[-1].planned.situation.prefix == pytest.approx(len(TRACE) / 4, rel=0.02)
