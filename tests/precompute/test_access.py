"""A prepared context that is opened for reading, as commands and servers do."""

import interwhen
import pytest
from interwhen import UsageError
from interwhen.models import Chunk, Recording, ReplayModel
from interwhen.precompute import Precomputer
from interwhen.precompute._access import open_context, open_place
from interwhen.precompute._contexts import WorkerSettings, note_worker
from interwhen.precompute.producers.facts import facts
from interwhen.testing import ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]
FACT = "Jo earns 45 * 4 = 180 dollars."


async def prepare(place):
    store = open_place(place, creates=True)
    model = ScriptedModel([f"{FACT} [S1 S2]"])
    pre = Precomputer(store, model, ["arithmetic"], producers=[facts()], passes=1, debounce=0.0)
    await pre.add("wages", {"wages": "Jo earns 45 dollars a day.\nJo works 4 days."})
    around = pre.key_settings
    note_worker(store, "wages", WorkerSettings(around.model, around.tokenizer, around.judges, ("facts",)))
    await pre.work()
    store.close()
    return model.name


async def test_what_a_worker_prepared_is_served_under_a_heading_that_says_why(tmp_path):
    place = str(tmp_path / "store.db")
    await prepare(place)
    model = ScriptedModel(["180 dollars.\n"])
    async with open_context("wages", model, store=place) as ref:
        assert ref.precomputer.contexts["wages"].context.text == "Jo earns 45 dollars a day.\nJo works 4 days."
        async with interwhen.run(model, "How many dollars does Jo earn?", context=ref) as run:
            result = await run.drain()
    assert model.requests[0].prompt == f"Checked against the text:\n{FACT}\n\nHow many dollars does Jo earn?"
    assert len(result.precomputed) == 1


async def test_another_model_is_refused(tmp_path):
    place = str(tmp_path / "store.db")
    name = await prepare(place)
    other = ReplayModel([Recording.untimed([Chunk("So.")])], name="other")
    with pytest.raises(UsageError, match=f"prepared for, {name!r}, got 'other'; use that model"):
        async with open_context("wages", other, store=place):
            pass


async def test_a_context_without_a_worker_serves_nothing(tmp_path):
    place = str(tmp_path / "store.db")
    model = ScriptedModel(["So.\n"])
    store = open_place(place, creates=True)
    await Precomputer(store, model, producers=[facts()]).add("wages", "Jo works 4 days.")
    store.close()
    async with open_context("wages", model, store=place) as ref:
        assert ref.precomputer.ready(ref) == ()
