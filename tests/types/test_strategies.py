"""The Protocols of strategies for calls: who fits them."""

import pytest
from interwhen._types.strategies import BudgetedModel, CallStrategy, LiveRun, StrategyCatalog, StrategyChoice
from interwhen.models._metered import MeteredModel
from interwhen.testing import ScriptedModel


class OwnStrategy:
    """A strategy of somebody else, without the catalogue."""

    name = "own"

    def live(self, number, monitors):
        return None if number else LiveRun(monitors=monitors, acts=True, greedy=False)

    async def choose(self, task):
        raise NotImplementedError


class OwnCatalog:
    def names(self):
        return frozenset({"own"})

    def load(self, spec):
        return OwnStrategy()


def test_a_protocol_is_all_that_is_needed():
    assert isinstance(OwnStrategy(), CallStrategy)
    assert isinstance(OwnCatalog(), StrategyCatalog)
    assert not isinstance(OwnCatalog(), CallStrategy)


def test_records_have_no_positional_arguments():
    with pytest.raises(TypeError):
        StrategyChoice(())
    assert StrategyChoice().gave_up == ""


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_metered_model_knows_how_its_model_continues(anyio_backend):
    meter: BudgetedModel = MeteredModel(ScriptedModel([""]), 5)
    assert (meter.budget, meter.left) == (5, 5)
    assert await meter.resume_mode() == (await meter.capabilities()).resume
