"""The first token with a warm prefix: pairs of contexts that were never sent before, on a server that counts."""

import random

import pytest
from interwhen import UsageError
from interwhen.bench._prefixes import context_of, first_token, prefixes, report_on
from interwhen.models import ContextOverflow
from interwhen.testing import ScriptedModel
from tests.precompute.producers.test_prefixes import CachingServer

pytestmark = pytest.mark.anyio


def test_contexts_have_one_size_and_no_common_start():
    rng = random.Random(1)
    texts = [context_of(rng, 800) for _ in range(20)]
    assert all(800 <= len(text) < 850 for text in texts)
    assert len({text[:16] for text in texts}) == 20


async def test_only_the_warm_arm_finds_its_prefix_in_the_cache():
    server, rng = CachingServer(), random.Random(1)
    found = {arm: [await first_token(server, context_of(rng, 800), arm) for _ in range(3)] for arm in ("cold", "warm")}
    assert [(one.cached > 0, one.confirmed, one.stays, one.ahead) for one in found["cold"]] == [
        (False, False, False, 0)
    ] * 3
    for one in found["warm"]:
        assert one.cached > 0.9 * one.prompt
        assert one.confirmed
        assert one.stays
        assert one.ahead > 0
    report = report_on(found, "server")
    assert report.value("warm", "confirmed ahead") == report.value("warm", "still warm") == 3
    assert report.value("cold", "cached") == 0


async def test_a_context_that_does_not_fit_ends_the_measurement():
    def refused(request):
        raise ContextOverflow("the window has 10 tokens", status=400)

    with pytest.raises(UsageError, match="--characters must be a size that fits"):
        await first_token(ScriptedModel(refused), "a text", "cold")


@pytest.mark.slow
async def test_the_real_local_model_begins_sooner():
    report = await prefixes(pairs=3, characters=500)
    assert report.value("warm", "confirmed ahead") == 3
    assert report.value("warm", "cached") > 75
    assert report.value("warm", "first token, ms") < report.value("cold", "first token, ms")
