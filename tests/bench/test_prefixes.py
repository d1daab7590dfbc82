"""The first token with a warm prefix: pairs of contexts that were never sent before, on a server that counts."""

import random
from dataclasses import replace

import httpx2
import pytest
from interwhen import UsageError
from interwhen.bench import _prefixes
from interwhen.bench._prefixes import (
    CacheCounters,
    CacheMonitor,
    context_of,
    counters_in,
    first_token,
    prefixes,
    report_on,
)
from interwhen.models import ContextOverflow
from interwhen.testing import ScriptedModel
from tests.precompute.producers.test_prefixes import CachingServer

pytestmark = pytest.mark.anyio


def test_contexts_have_one_size_and_no_common_start():
    rng = random.Random(1)
    texts = [context_of(rng, 800) for _ in range(20)]
    assert all(800 <= len(text) < 850 for text in texts)
    assert len({text[:16] for text in texts}) == 20


def test_equal_seed_still_gives_new_contexts():
    first, second = (context_of(random.Random(1), 800).splitlines() for _ in range(2))
    assert first[0] != second[0]  # so the server has nothing of it in its cache
    assert first[1:] == second[1:]


async def test_only_warm_arm_hits_the_cache():
    server, rng = CachingServer(), random.Random(1)
    by_arm = {arm: [await first_token(server, context_of(rng, 800), arm) for _ in range(3)] for arm in ("cold", "warm")}
    assert [(one.cached > 0, one.confirmed, one.stays, one.ahead) for one in by_arm["cold"]] == [
        (False, False, False, 0)
    ] * 3
    for one in by_arm["warm"]:
        assert one.cached > 0.9 * one.prompt
        assert one.confirmed
        assert one.stays
        assert one.ahead > 0
    report = report_on(by_arm, "server")
    assert report.value("warm", "confirmed ahead") == report.value("warm", "still warm") == 3
    assert report.value("cold", "cached") == 0


METRICS = """\
# HELP vllm:prefix_cache_queries_total Prefix cache queries, in terms of number of queried tokens.
# TYPE vllm:prefix_cache_queries_total counter
vllm:prefix_cache_queries_total{{engine="0",model_name="m"}} {queries}.0
vllm:prefix_cache_queries_total{{engine="1",model_name="m"}} 10.0
vllm:prefix_cache_queries_created{{engine="0",model_name="m"}} 1.7958405291388092e+09
vllm:prefix_cache_hits_total{{engine="0",model_name="m"}} {hits}.0
vllm:prefix_cache_hits_created{{engine="0",model_name="m"}} 1.7958405291388214e+09
vllm:external_prefix_cache_queries_total{{engine="0",model_name="m"}} 7.0
vllm:external_prefix_cache_hits_total{{engine="0",model_name="m"}} 7.0
"""


def monitor(counts, status=200):
    left = list(counts)

    def answer(request):
        queries, hits = left.pop(0) if len(left) > 1 else left[0]
        return httpx2.Response(status, text=METRICS.format(queries=queries, hits=hits))

    return CacheMonitor("http://vllm/metrics", httpx2.MockTransport(answer))


def test_only_vllm_cache_counters_are_read():
    assert counters_in(METRICS.format(queries=600, hits=512)) == CacheCounters(610, 512)
    assert counters_in("vllm:gpu_prefix_cache_queries 2e3\nvllm:gpu_prefix_cache_hits 16.0\n") == CacheCounters(
        2000, 16
    )
    assert counters_in("llamacpp:prompt_tokens_total 12\n") is None


async def test_hits_are_read_after_counters_update():
    counters = monitor([(100, 50), (100, 50), (140, 82)])
    before = await counters.read()
    assert await counters.hits_since(before, 40) == 32


async def test_hits_are_unknown_if_counters_are_unreliable(monkeypatch):
    monkeypatch.setattr(_prefixes, "_SETTLED_SECONDS", 0.05)
    assert await monitor([(240, 82)]).hits_since(CacheCounters(110, 50), 40) is None
    assert await monitor([(100, 50)]).hits_since(CacheCounters(110, 50), 40) is None  # it is never counted
    silent = monitor([(100, 50)], status=404)
    assert await silent.read() is None
    assert await silent.hits_since(None, 40) is None


async def test_report_shows_hits_where_they_were_counted():
    run = await first_token(CachingServer(), context_of(random.Random(1), 800), "warm")
    counted = replace(run, hits=run.prompt // 2)
    report = report_on({"cold": [run], "warm": [counted]}, "server")
    assert report.tables[0].rows[0].get("hits") is None
    assert report.value("warm", "hits") == pytest.approx(50, abs=0.1)
    assert "hits" not in report_on({"cold": [run], "warm": [run]}, "server").tables[0].columns


async def test_oversized_context_ends_the_measurement():
    def refused(request):
        raise ContextOverflow("the window has 10 tokens", status=400)

    with pytest.raises(UsageError, match="--characters must be a size that fits"):
        await first_token(ScriptedModel(refused), "a text", "cold")


@pytest.mark.slow
async def test_warm_prefix_speeds_up_real_local_model():
    report = await prefixes(pairs=3, characters=500)
    assert report.value("warm", "confirmed ahead") == 3
    assert report.value("warm", "cached") > 75
    assert report.value("warm", "first token, ms") < report.value("cold", "first token, ms")
