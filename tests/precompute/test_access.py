"""A prepared context that is opened for reading, as commands and servers do."""

import interwhen
import pytest
from interwhen import UsageError
from interwhen.models import Chunk, ReplayModel
from interwhen.models._replay import Recording
from interwhen.precompute import Precomputer
from interwhen.precompute._access import open_context, open_place
from interwhen.precompute.producers.answers import answers
from interwhen.testing import ScriptedModel
from tests.precompute.prepared import ANSWER, QUESTION, TEXT, named, prepare

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]


async def test_prepared_answer_is_served(tmp_path):
    place = str(tmp_path / "store.db")
    await prepare(place)
    model = named("m")
    async with open_context("wages", model, store=place) as ref:
        assert ref.precomputer.contexts["wages"].context.text == TEXT.replace("\n\n", "\n")
        async with interwhen.run(model, QUESTION, context=ref) as run:
            result = await run.drain()
    assert model.requests == []
    assert (result.text, len(result.precomputed)) == (ANSWER, 1)


async def test_context_refuses_another_model(tmp_path):
    place = str(tmp_path / "store.db")
    await prepare(place)
    other = ReplayModel([Recording.untimed([Chunk("So.")])], name="other")
    with pytest.raises(UsageError, match="prepared for, 'm@server', got 'other'; use that model"):
        async with open_context("wages", other, store=place):
            pass


async def test_unprepared_context_serves_nothing(tmp_path):
    place = str(tmp_path / "store.db")
    model = ScriptedModel(["So.\n"])
    store = open_place(place, creates=True)
    await Precomputer(store, model, producers=[answers()]).add("wages", "Jo works 4 days.")
    store.close()
    async with open_context("wages", model, store=place) as ref:
        assert ref.precomputer.ready(ref) == ()
