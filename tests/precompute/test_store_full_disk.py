"""A store that cannot be written: background work does not continue to spend tokens that are not recorded."""

import anyio
import pytest
from interwhen.precompute import MemoryShelf, Store, StoreError
from tests.precompute.toys import ToyModel, numbers, precomputer

pytestmark = pytest.mark.anyio


class FullShelf(MemoryShelf):
    """Takes no more entries once it is *full*, of the items alone or of all."""

    full = ""

    def create(self, name, data, /):
        self._refuse(name)
        return super().create(name, data)

    def follow(self, folder, number, data, /):
        self._refuse(folder)
        return super().follow(folder, number, data)

    def _refuse(self, name):
        if self.full and name.startswith(self.full):
            raise StoreError(self.place, "the disk is full")


@pytest.mark.parametrize("full", ["items", "documents"])
async def test_unstorable_step_is_retried_with_backoff(full):
    shelf, model = FullShelf(), ToyModel()
    pre = precomputer(Store(shelf), model=model)
    await pre.add("book", numbers(1))
    shelf.full = full
    async with pre.idle():
        await anyio.sleep(1000)
        assert len(model.requests) < 15
        shelf.full = ""
        await anyio.sleep(400)
    assert list(pre.contexts["book"].current.items) == ["sums::sum/p0"]


async def test_unrecorded_spending_still_counts():
    shelf, model = FullShelf(), ToyModel()
    pre = precomputer(Store(shelf), model=model, token_budget=3)
    await pre.add("book", numbers(30))
    shelf.full = "documents"
    async with pre.idle():
        await anyio.sleep(1000)
    assert len(model.requests) <= 4
