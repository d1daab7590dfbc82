"""Every token that was read is in the ledger, however the run ends."""

import interwhen
import pytest
from interwhen.models import Chunk, ReplayModel, Usage
from interwhen.models._replay import Recording, TimedChunk
from interwhen.remedies import Stop
from sums import supervise, watch

pytestmark = pytest.mark.anyio


def replayed(*streams, at_once=1):
    recordings = (tuple(TimedChunk(at // at_once, chunk) for at, chunk in enumerate(chunks)) for chunks in streams)
    return ReplayModel([Recording(arrivals) for arrivals in recordings])


async def test_tokens_arriving_with_the_end_are_counted():
    chunks = [Chunk("1+1=3\n", tokens=2), Chunk("2+2=4\n", tokens=3), Chunk("", tokens=0, finish_reason="stop")]
    result, _ = await supervise(replayed(chunks, at_once=9), watch(remedy=Stop()))
    assert result.text == ""
    assert (result.ledger.kept, result.ledger.discarded, result.ledger.late) == (0, 5, 3)


def said(text, completion=None, **fields):
    usage = None if completion is None else Usage(7, 3, completion)
    return Chunk(text, tokens=1 if text else 0, usage=usage, **fields)


@pytest.mark.parametrize("at_once", [1, 9])
async def test_non_text_tokens_are_counted_from_usage(at_once):
    chunks = [said("1+1=2\n"), said("", finish_reason="stop"), said("", completion=2)]
    result, _ = await supervise(replayed(chunks, at_once=at_once), watch())
    ledger = result.ledger
    assert (ledger.kept, ledger.discarded, ledger.prompt_tokens, ledger.cached_tokens) == (2, 0, 7, 3)


async def test_server_count_defines_tokens_per_chunk():
    first = [said("1+1=2\n", 3), said("2+2=5\n", 5), said("3+3=6\n", 9)]
    rest = [said("\n", 2), said("", 3, finish_reason="stop")]
    result, _ = await supervise(replayed(first, rest), watch())
    ledger = result.ledger
    assert result.text == "1+1=2\n2+2=4\n"
    assert ledger.kept + ledger.discarded == 5 + 3  # the third chunk was never read
    assert ledger.prompt_tokens == 14


async def test_cut_tokens_are_discarded():
    chunks = [said("1+1=2\n", 2), said("2+2=5\n", 6), said("", 7, finish_reason="stop")]
    result, _ = await supervise(replayed(chunks), watch(remedy=Stop()))
    assert result.text == "1+1=2\n"
    assert (result.ledger.kept, result.ledger.discarded) == (2, 4)


@pytest.mark.parametrize("behind", [1, 3])
async def test_last_usage_of_final_read_enters_the_ledger(behind, tmp_path):
    chunks = [said("2+2=5\n"), *[said("x")] * behind, said("", finish_reason="stop"), said("", behind + 2)]
    path = tmp_path / "run.journal"
    result, _ = await supervise(replayed(chunks, at_once=9), watch(remedy=Stop()), journal=path)
    ledger = result.ledger
    assert (ledger.kept, ledger.discarded, ledger.prompt_tokens, ledger.cached_tokens) == (0, behind + 2, 7, 3)
    assert interwhen.replay(path).differences == ()


async def test_low_count_counts_only_as_final_usage():
    early = [said("1+1=2\n", 0), said("2+2=4\n"), said("", finish_reason="stop")]
    result, _ = await supervise(replayed(early), watch())
    assert result.ledger.kept == 2
    late = [said("1"), said("+"), said("1=2\n"), said("", finish_reason="stop"), said("", 2)]
    result, _ = await supervise(replayed(late), watch())
    assert result.ledger.kept == 2


async def test_token_without_text_is_counted():
    half = Chunk("", tokens=1, logprob=-0.5)
    chunks = [said("1+1=2"), half, said("\n"), said("", finish_reason="stop")]
    result, _ = await supervise(replayed(chunks), watch())
    assert result.ledger.kept == 3
