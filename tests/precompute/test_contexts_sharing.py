"""Many contexts in one store: what is made for one is not taken away by the others, nor does it end their work."""

import pytest
from interwhen.precompute import Store
from interwhen.precompute._store import KEPT
from tests.precompute.toys import Sums, numbers, precomputer

pytestmark = pytest.mark.anyio


async def test_contexts_with_equal_piece_names_keep_items():
    store = Store()
    pre = precomputer(store)
    many = KEPT + 4
    for at in range(many):
        await pre.add(f"customer {at}", numbers(1, start=7 * at))
    assert len(await pre.work()) == many
    again = precomputer(store)
    for at in range(many):
        await again.open(f"customer {at}")
    assert await again.work() == ()


async def test_exhausted_context_leaves_other_budgets_intact():
    class Greedy(Sums):
        async def make(self, step, context):
            await context.ask("add 1 2")
            return await super().make(step, context)

    pre = precomputer(producer=Greedy(), token_budget=1)
    for name in ("first", "second"):
        await pre.add(name, numbers(2))
    assert [(done.context, done.outcome) for done in await pre.work()] == [
        ("second", "out of tokens"),
        ("first", "out of tokens"),
    ]
