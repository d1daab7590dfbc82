"""Every token that was read is in the ledger, however the run ends."""

import pytest
from interwhen import Stop
from interwhen.models.base import Chunk
from interwhen.models.streams import GuardedStream
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
