"""The limit of a server follows what it can do, and a server that fails is left alone for a while."""

import random

import anyio
import pytest
from interwhen import UsageError
from interwhen.bench.evaluation import _fleet
from interwhen.bench.evaluation._fleet import Endpoint, Fleet, read_endpoint
from interwhen.models import ConnectError, Retries


def rounds(server, count, now=0.0, first=0.1):
    # The time to the first token is `first`. At the end, the running runs are dropped.
    for _ in range(count):
        for _ in range(int(server.limit)):
            while server.has_room(now):
                server.begin()
            server.end(now, now, first)
    while server.busy:
        server.drop()


def test_limit_grows_by_one_per_full_round():
    server = Endpoint("http://a", limit=4, most=20)
    rounds(server, 10)
    assert 12 <= server.limit <= 14
    before = server.limit
    server.begin()
    server.end(0.0, 0.0, 0.1)
    assert server.limit == before  # it was not used up
    rounds(server, 20)
    assert server.limit == server.most


def test_refusals_of_one_round_shrink_the_limit_once():
    server = Endpoint("http://a", limit=10)
    for _ in range(10):
        server.begin()
    for _ in range(5):
        server.refuse(begun=1.0, now=2.0, after=None)
    assert server.limit == pytest.approx(7)
    server.refuse(begun=3.0, now=4.0, after=5.0)
    assert server.limit == pytest.approx(4.9)
    assert server.busy == 4
    server.drop()
    assert not server.has_room(8.9)
    assert server.has_room(9.1)


def test_slow_first_token_shrinks_the_limit():
    server = Endpoint("http://a", limit=10)
    rounds(server, 5, first=0.2)
    before = server.limit
    server.begin()
    server.end(1.0, 4.0, 3.0)
    assert server.limit == pytest.approx(0.9 * before)


class Longest(random.Random):
    """Draws the longest pause."""

    def uniform(self, _low, high):
        return high


def test_failed_server_backs_off_before_one_trial(monkeypatch):
    monkeypatch.setattr(_fleet, "_RETRIES", Retries(rng=Longest()))
    server = Endpoint("http://a", limit=8)
    server.begin()
    server.fail(10.0, ConnectError("reset"))
    assert not server.has_room(10.4)
    assert server.has_room(10.6)
    server.begin()
    assert not server.has_room(10.6)
    server.fail(11.0, ConnectError("reset"))
    assert not server.has_room(11.9)  # the rest is twice as long now
    server.begin()
    server.end(12.1, 12.5, 0.1)
    for _ in range(8):
        assert server.has_room(12.5)
        server.begin()
    assert not server.has_room(12.5)


def test_runs_go_to_servers_by_limit_and_weight():
    fleet = Fleet([Endpoint("http://a", weight=1, limit=100), Endpoint("http://b", weight=3, limit=100)])

    async def main():
        return [(await fleet.take()).url for _ in range(40)]

    taken = anyio.run(main)
    assert taken.count("http://b") == 30


def test_take_waits_for_room():
    fleet = Fleet([Endpoint("http://a", limit=1)])
    order = []

    async def main():
        server = await fleet.take()

        async def second():
            await fleet.take()
            order.append("second")

        async with anyio.create_task_group() as group:
            group.start_soon(second)
            await anyio.wait_all_tasks_blocked()
            order.append("end")
            server.end(0.0, 0.0, None)
            fleet.wake()

    anyio.run(main)
    assert order == ["end", "second"]


@pytest.mark.parametrize("way", ["fail", "refuse"])
def test_patience_ends_wait_and_names_failing_servers(way):
    now = 0.0
    fleet = Fleet([Endpoint("http://a"), Endpoint("http://b")], patience=60.0, clock=lambda: now)
    first, second = fleet.endpoints

    def trouble(server):
        server.begin()
        server.fail(now, ConnectError("503")) if way == "fail" else server.refuse(now, now, None, "503")

    trouble(first)
    trouble(second)
    second.begin()
    now = 100.0
    assert anyio.run(fleet.take) is first  # the run on the second server may yet end well
    first.drop()
    second.drop()
    with pytest.raises(UsageError, match="http://a: 503; http://b: 503"):
        anyio.run(fleet.take)
    second.begin()
    second.end(now, now, None)
    assert anyio.run(fleet.take)


@pytest.mark.parametrize(
    "text",
    [
        "localhost:8000",
        "http://a=0",
        "ftp://a",
        "",
        "http://a=-1",
        "http://a=inf",
        "http://a=\u00b2",
        "http://a=",
        "http://a=2x",
    ],
)
def test_a_bad_endpoint_is_refused(text):
    with pytest.raises(UsageError, match="--endpoint must be URL"):
        read_endpoint(text, limit=1, most=1)


def test_endpoint_may_have_weight_and_query():
    assert read_endpoint("http://a:1/v1/=2.5", limit=8, most=4).weight == 2.5
    assert read_endpoint("http://a:1/v1/=2.5", limit=8, most=4).url == "http://a:1/v1"
    assert read_endpoint("http://a/v1?x=y", limit=1, most=1).url == "http://a/v1?x=y"
    with pytest.raises(UsageError, match="each once"):
        Fleet([Endpoint("http://a"), Endpoint("http://a")])
