"""The books of the gate: real runs put items to the test, and what does not pay is not used any more."""

import dataclasses

import pytest
from interwhen import Budgets, UsageError
from interwhen._types.extensions import Served
from interwhen.models import ConnectError
from interwhen.precompute import GateRule, MemoryShelf, Precomputer, Savings, Store, _savings
from interwhen.precompute._savings import read_records, worth
from interwhen.precompute._served_items import before_question
from interwhen.precompute.producers.answers import answers, compose
from interwhen.testing import ScriptedModel
from tests.precompute.world import sources

pytestmark = pytest.mark.anyio
TEXT = "Ann reports to Bob.\nBob reports to Cid.\nCid reports to Dot."
FACT = "3 steps above Ann is Dot."
QUESTION = "Who is 3 steps above Ann?"
LONG = "1 step above Ann is Bob.\n2 steps above Ann is Cid.\n3 steps above Ann is Dot."


def model(*, helps):
    def reply(request):
        brief = (FACT in request.prompt) == helps
        return [FACT] if brief else list(LONG)

    return ScriptedModel(reply)


def as_notes(items, model, prompt):
    # Put the last line of each prepared answer before its question, so that the model still writes the reply.
    used = items if QUESTION in prompt else []
    lines = "\n".join(item.payload.text.splitlines()[-1] for item in used)
    return Served(model, before_question(prompt, lines) if used else prompt, tuple(item.id for item in used))


async def prepared(model, store, **options):
    books = Savings(store, limit=100, seed=7, serving=as_notes, **options)
    precomputer = Precomputer(
        store,
        model,
        [sources()],
        producers=[answers(questions=[QUESTION])],
        debounce=0.0,
        serving=books,
    )
    ref = await precomputer.add("people", {"people": TEXT})
    await precomputer.work()
    return books, precomputer, ref


async def ask(books, precomputer, ref, prompt=None):
    prompt = prompt or compose(TEXT, QUESTION)
    async with precomputer.run(prompt, context=ref) as run:
        result = await run.drain()
    books.note(prompt, result)
    return result


async def live(books, precomputer, ref, queries):
    used = []
    for _ in range(queries):
        used.append(bool((await ask(books, precomputer, ref)).precomputed))
        await books.settle(precomputer)
    return used


@pytest.mark.parametrize(("helps", "stage"), [(True, "kept"), (False, "demoted")], ids=["helps", "harms"])
async def test_helpful_item_is_kept_and_harmful_one_dropped(helps, stage):
    books, precomputer, ref = await prepared(model(helps=helps), Store(MemoryShelf()), rule=GateRule(share=1.0))
    used = await live(books, precomputer, ref, 30)
    (record,) = books.records.values()
    assert record.stage == stage
    assert used[-5:] == [helps] * 5
    assert record.queries == 30
    assert record.served == sum(used)


async def test_each_pair_has_both_arms_and_names_shadow():
    books, precomputer, ref = await prepared(model(helps=True), Store(MemoryShelf()))
    await live(books, precomputer, ref, 3)
    (record,) = books.records.values()
    assert [pair.shadow for pair in record.pairs] == ["used", "without", "without"]
    for pair in record.pairs:
        assert pair.without.generated == len(LONG)
        assert pair.used.generated == 1
        assert pair.used.read > 0
    assert record.beside > 0


async def test_next_process_reads_saved_records():
    store = Store(MemoryShelf())
    books, precomputer, ref = await prepared(model(helps=True), store)
    await live(books, precomputer, ref, 2)
    assert read_records(store) == {}
    books.save()
    again = Savings(store, limit=100)
    assert again.records == books.records
    assert again.records != {}


async def test_concurrent_writers_lose_no_record():
    shelf = MemoryShelf()
    one, first, ref = await prepared(model(helps=True), Store(shelf))
    other, second, there = await prepared(model(helps=True), Store(shelf))
    await live(one, first, ref, 2)
    await live(other, second, there, 3)
    one.save()
    other.save()
    other.save()
    (record,) = read_records(Store(shelf)).values()
    assert record.queries == 5
    assert len(record.pairs) == 5


async def test_run_without_ready_items_records_nothing():
    books, precomputer, ref = await prepared(model(helps=True), Store(MemoryShelf()))
    await ask(books, precomputer, ref, "How warm is it?")
    assert books.records == {}
    assert books.waiting == 0


async def test_second_arm_waits_for_settle():
    scripted = model(helps=True)
    books, precomputer, ref = await prepared(scripted, Store(MemoryShelf()))
    asked = len(scripted.requests)
    await ask(books, precomputer, ref)
    assert (len(scripted.requests), books.waiting) == (asked + 1, 1)
    assert await books.settle(precomputer) == 1
    assert (len(scripted.requests), books.waiting) == (asked + 2, 0)


async def test_server_failure_says_nothing_about_an_item():
    fails = [False]
    usual = model(helps=True)

    def reply(request):
        if fails[0]:
            raise ConnectError("gone")
        return usual._script(request)

    books, precomputer, ref = await prepared(ScriptedModel(reply), Store(MemoryShelf()))
    await ask(books, precomputer, ref)
    fails[0] = True
    assert await books.settle(precomputer, budgets=Budgets(reconnects=0)) == 0
    async with precomputer.run(compose(TEXT, QUESTION), context=ref, budgets=Budgets(reconnects=0)) as run:
        books.note(compose(TEXT, QUESTION), await run.drain())
    (record,) = books.records.values()
    assert (record.queries, record.pairs, books.waiting) == (1, [], 0)


async def test_settle_is_bounded_when_the_server_fails():
    fails = [False]
    usual = model(helps=True)

    def reply(request):
        if fails[0]:
            raise ConnectError("gone")
        return usual._script(request)

    books, precomputer, ref = await prepared(ScriptedModel(reply), Store(MemoryShelf()))
    await ask(books, precomputer, ref)
    await ask(books, precomputer, ref)
    fails[0] = True
    assert await books.settle(precomputer, most=1, budgets=Budgets(reconnects=0)) == 0
    assert books.waiting == 1
    fails[0] = False
    assert await books.settle(precomputer, most=5) == 1
    assert books.waiting == 0


async def test_worth_has_intervals_at_both_prices():
    books, precomputer, ref = await prepared(model(helps=True), Store(MemoryShelf()), rule=GateRule(share=1.0))
    await live(books, precomputer, ref, 30)
    (record,) = books.records.values()
    estimate = worth(record, books.rule)
    assert 0 < estimate.share.low <= estimate.share.mean <= estimate.share.high
    # Reading the fact costs, and each token of the answer that it saves is worth ten, or one: the share is the same.
    assert estimate.share.mean == pytest.approx(estimate.plain.mean)
    assert estimate.saving == pytest.approx(
        sum(pair.saving(books.rule.prices) for pair in record.pairs) / len(record.pairs)
    )
    assert estimate.break_even == pytest.approx(record.offline_tokens / estimate.saving)


async def test_worth_is_unknown_before_the_first_pair():
    estimate = worth(type("", (), {"pairs": [], "offline_tokens": 5})(), GateRule())
    assert estimate.break_even is None


def test_a_run_without_a_limit_cannot_be_weighed():
    with pytest.raises(UsageError, match="limit"):
        Savings(Store(MemoryShelf()), limit=0)


async def test_pairs_arriving_during_settle_are_kept(monkeypatch):
    monkeypatch.setattr(_savings, "_PENDING", 1)
    usual, newer = model(helps=True), []

    def reply(request):
        while newer:
            books._halves.append(newer.pop())  # as if a reader's run ended meanwhile
        return usual._script(request)

    books, precomputer, ref = await prepared(ScriptedModel(reply), Store(MemoryShelf()))
    await ask(books, precomputer, ref)
    newer.append(dataclasses.replace(books._halves[0]))
    assert await books.settle(precomputer) == 1
    assert books.waiting == 1
    assert await books.settle(precomputer) == 1
    assert books.waiting == 0


async def test_helpful_stored_answer_is_kept():
    store, scripted = Store(MemoryShelf()), model(helps=True)
    books = Savings(store, limit=100, seed=7, rule=GateRule(share=1.0))
    pre = Precomputer(
        store, scripted, [sources()], producers=[answers(questions=[QUESTION])], debounce=0.0, serving=books
    )
    ref = await pre.add("people", {"people": TEXT})
    await pre.work()
    await live(books, pre, ref, 15)
    (record,) = books.records.values()
    assert record.stage == "kept"
    assert {pair.used.generated for pair in record.pairs} == {0}
