"""Every token that was read is in the ledger, however the run ends."""

import anyio
import anyio.lowlevel
import interwhen
import pytest
from interwhen import Stop
from interwhen.models import Chunk, GuardedStream, Usage
from interwhen.testing import ScriptedModel
from sums import supervise, watch

pytestmark = pytest.mark.anyio


class Bundled(ScriptedModel):
    """Brings several chunks in one read."""

    async def stream(self, request):
        self.requests.append(request)
        return BundledStream()


class BundledStream(GuardedStream):
    async def fetch(self):
        return [Chunk("1+1=3\n", tokens=2), Chunk("2+2=4\n", tokens=3), Chunk("", tokens=0, finish_reason="stop")]


async def test_tokens_that_came_in_one_read_with_the_end_are_counted():
    result, _ = await supervise(Bundled([""]), watch(remedy=Stop()))
    assert result.text == ""
    assert (result.ledger.kept, result.ledger.discarded, result.ledger.late) == (0, 5, 3)


class Told(ScriptedModel):
    """Streams the given chunks, so many in a read."""

    def __init__(self, *streams, at_once=1):
        super().__init__([""])
        self._streams = list(streams)
        self._at_once = at_once

    async def stream(self, request):
        self.requests.append(request)
        return ToldStream(self._streams.pop(0), self._at_once)


class ToldStream(GuardedStream):
    def __init__(self, chunks, at_once):
        super().__init__()
        self._left = list(chunks)
        self._at_once = at_once

    async def fetch(self):
        await anyio.lowlevel.checkpoint()
        found, self._left = self._left[: self._at_once], self._left[self._at_once :]
        return found


def said(text, completion=None, **fields):
    usage = None if completion is None else Usage(7, 3, completion)
    return Chunk(text, tokens=1 if text else 0, usage=usage, **fields)


@pytest.mark.parametrize("at_once", [1, 9])
async def test_tokens_that_are_no_text_are_counted_where_the_server_tells_of_them(at_once):
    chunks = [said("1+1=2\n"), said("", finish_reason="stop"), said("", completion=2)]
    result, _ = await supervise(Told(chunks, at_once=at_once), watch())
    ledger = result.ledger
    assert (ledger.kept, ledger.discarded, ledger.prompt_tokens, ledger.cached_tokens) == (2, 0, 7, 3)


async def test_a_chunk_stands_for_as_many_tokens_as_the_server_counts():
    first = [said("1+1=2\n", 3), said("2+2=5\n", 5), said("3+3=6\n", 9)]
    rest = [said("\n", 2), said("", 3, finish_reason="stop")]
    result, _ = await supervise(Told(first, rest), watch())
    ledger = result.ledger
    assert result.text == "1+1=2\n2+2=4\n"
    assert ledger.kept + ledger.discarded == 5 + 3  # the third chunk was never read
    assert ledger.prompt_tokens == 14


async def test_tokens_of_what_is_cut_are_discarded_with_it():
    chunks = [said("1+1=2\n", 2), said("2+2=5\n", 6), said("", 7, finish_reason="stop")]
    result, _ = await supervise(Told(chunks), watch(remedy=Stop()))
    assert result.text == "1+1=2\n"
    assert (result.ledger.kept, result.ledger.discarded) == (2, 4)


@pytest.mark.parametrize("behind", [1, 3])
async def test_the_last_count_of_a_read_in_which_the_run_ends_is_in_the_ledger(behind, tmp_path):
    chunks = [said("2+2=5\n"), *[said("x")] * behind, said("", finish_reason="stop"), said("", behind + 2)]
    path = tmp_path / "run.journal"
    result, _ = await supervise(Told(chunks, at_once=9), watch(remedy=Stop()), journal=path)
    ledger = result.ledger
    assert (ledger.kept, ledger.discarded, ledger.prompt_tokens, ledger.cached_tokens) == (0, behind + 2, 7, 3)
    assert interwhen.replay(path).differences == ()


async def test_a_count_that_is_too_low_holds_only_as_the_last_word():
    early = [said("1+1=2\n", 0), said("2+2=4\n"), said("", finish_reason="stop")]
    result, _ = await supervise(Told(early), watch())
    assert result.ledger.kept == 2
    late = [said("1"), said("+"), said("1=2\n"), said("", finish_reason="stop"), said("", 2)]
    result, _ = await supervise(Told(late), watch())
    assert result.ledger.kept == 2


async def test_a_token_without_text_of_its_own_is_counted():
    half = Chunk("", tokens=1, logprob=-0.5)
    chunks = [said("1+1=2"), half, said("\n"), said("", finish_reason="stop")]
    result, _ = await supervise(Told(chunks), watch())
    assert result.ledger.kept == 3
