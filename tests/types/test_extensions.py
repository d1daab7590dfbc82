"""What fits a protocol is what isinstance says."""

import pytest
from interwhen import Workers
from interwhen._types.extensions import WorkerPool
from interwhen._types.vetting import fits
from interwhen.models import CompletionsModel, Model
from interwhen.testing import ScriptedModel, VirtualWorkers


class Half:
    """Some of each."""

    name = "half"

    def bind(self):
        """Do nothing."""

    async def stream(self, request):
        """Do nothing."""


CANDIDATES = {
    "a model": lambda: CompletionsModel("http://h/v1", "m", api_key=""),
    "a scripted model": lambda: ScriptedModel(["x"]),
    "workers": Workers,
    "virtual workers": VirtualWorkers,
    "half of it": Half,
    "nothing": object,
    "a text": str,
    "a class": lambda: CompletionsModel,
}


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.parametrize("name", list(CANDIDATES))
@pytest.mark.parametrize("protocol", [Model, WorkerPool])
async def test_what_fits_is_what_isinstance_says(name, protocol, anyio_backend):
    candidate = CANDIDATES[name]()
    assert fits(candidate, protocol) == isinstance(candidate, protocol)


def test_members_are_found():
    assert not fits(object(), Model)
    assert fits(ScriptedModel(["x"]), Model)
