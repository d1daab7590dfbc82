"""Forks on a real server choose how they get their prefix, and its counters say that they got it so."""

import pytest
from interwhen import Sampling, UsageError
from interwhen._types.models import Piece
from interwhen.models import Request, open_local
from interwhen.models._prefix_rates import PrefixRates

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


TRACE = "".join(f"64 + {number} = {64 + number}\n" for number in range(12))


def fork(route=None, text=TRACE, prompt="What is it?\n"):
    return Request(prompt, (Piece(text),), Sampling(max_tokens=3, temperature=0.0), side="\nState:", route=route)


async def test_each_route_does_what_its_name_says(anyio_backend, tmp_path):
    async with open_local(shelf=tmp_path, threads=1) as model:
        assert model.routes == {"live", "prefill", "restored"}
        first = await model.complete(fork("live"))
        size = first.usage.prompt_tokens
        live = await model.complete(fork("live"))
        assert live.usage.cached_tokens > 0.9 * size
        assert live.usage.prompt_seconds > 0
        assert live.usage.completion_seconds > 0
        again = await model.complete(fork("prefill"))
        assert again.usage.cached_tokens == 0
        await model.save(fork())
        assert model.stored(fork()) == len(TRACE)
        assert len(list(tmp_path.iterdir())) == 1
        # Others take every slot, so that nothing is left there to be continued.
        for number in range(3):
            await model.complete(fork("prefill", "no" * 40, f"something else {number}"))
        restored = await model.complete(fork("restored"))
        assert restored.usage.cached_tokens > 0.9 * size
        assert restored.text == again.text == live.text == first.text
    assert list(tmp_path.iterdir()) == []


async def test_a_state_that_is_gone_is_read_anew(anyio_backend, tmp_path):
    async with open_local(shelf=tmp_path, threads=1) as model:
        first = await model.complete(fork("live"))
        await model.save(fork())
        for file in tmp_path.iterdir():
            file.unlink()
        again = await model.complete(fork("restored"))
        assert again.text == first.text
        assert model.stored(fork()) == 0


async def test_without_a_shelf_there_is_one_route(anyio_backend):
    async with open_local(threads=1) as model:
        assert model.routes == {"live"}
        assert (await model.complete(fork("restored"))).text
        await model.save(fork())
        assert model.stored(fork()) == 0


async def test_a_saved_state_is_restored_only_when_faster(anyio_backend, tmp_path):
    async with open_local(shelf=tmp_path, threads=1) as model:
        rates = await model.measure_prefix_rates()
        assert min(rates[:3]) > 0
        await model.complete(fork("live"))
        await model.save(fork())
        slots, paths = model._running.slots, []
        exchange = slots._exchange

        async def listening(method, path, body):
            paths.append(path)
            return await exchange(method, path, body)

        slots._exchange = listening
        for restore, restores in ((1e9, 0), (0.0, 1)):
            slots._rates = PrefixRates(prefill=1.0, restored=1e9, token_bytes=1.0, restore=restore)
            await model.complete(fork("restored"))
            assert sum(path.endswith("action=restore") for path in paths) == restores
    assert list(tmp_path.iterdir()) == []


async def test_without_a_shelf_no_rates_are_measured(anyio_backend):
    async with open_local(threads=1) as model:
        assert await model.measure_prefix_rates() is None


def test_a_shelf_is_a_folder(tmp_path):
    with pytest.raises(UsageError, match="must be an existing folder"):
        open_local(shelf=tmp_path / "nowhere")
