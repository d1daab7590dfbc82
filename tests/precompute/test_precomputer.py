"""The precomputer: items are judged, kept, offered while current, and made again only after an edit of their inputs."""

import dataclasses
import sys

import interwhen
import pytest
from interwhen import UsageError, Verified
from interwhen._types.errors import StoreConflict
from interwhen._types.extensions import Served
from interwhen.precompute import Store, open_store
from interwhen.testing import ScriptedModel
from tests.precompute.toys import Plan, Sums, ToyModel, numbers, per_piece, precomputer, right, told

pytestmark = pytest.mark.anyio


def with_total(context):
    leaves = per_piece(context)
    names = [plan.name for plan in leaves]
    pairs = [Plan(f"pair/{a}+{b}", (), (a, b)) for a, b in zip(names[::2], names[1::2], strict=False)]
    return [*leaves, *pairs, Plan("total", (), tuple(pair.name for pair in pairs))]


async def test_only_what_was_accepted_is_offered():
    pre = precomputer()
    ref = await pre.add("book", numbers(12))
    assert pre.ready(ref) == ()
    done = await pre.work()
    assert len(done) == 12
    assert {each.outcome for each in done} >= {"accepted", "rejected", "unknown"}
    offered = pre.ready(ref)
    assert told(offered) == right(per_piece, pre.contexts["book"])
    assert 0 < len(offered) < 12
    for item in offered:
        assert item.proof.verifiers == (("sums", "1"),)
        assert item.cost.generated > 0


async def test_equal_context_is_not_recomputed():
    store = Store()
    first = precomputer(store)
    await first.add("book", numbers(8))
    await first.work()
    other = precomputer(store)
    ref = await other.add("book", numbers(8))
    assert told(other.ready(ref)) == right(per_piece, other.contexts["book"])
    assert await other.work() == ()
    assert other.producers[0].made == []


async def test_reverted_edit_restores_ready_items():
    pre = precomputer()
    old = await pre.add("book", numbers(8))
    await pre.work()
    before = pre.ready(old)
    new = await pre.edit(old, {"p3": "the number 47"})
    assert pre.ready(old) == ()
    assert set(told(pre.ready(new))) == set(told(before)) - {"sum/p3"}
    await pre.work()
    assert told(pre.ready(new)) == right(per_piece, pre.contexts["book"])
    again = await pre.add("book", numbers(8))
    assert pre.ready(again) == before
    assert await pre.work() == ()


async def test_edit_recomputes_at_most_five_percent():
    pre = precomputer(producer=Sums(with_total))
    ref = await pre.add("book", numbers(100))
    all_of_it = len(await pre.work())
    assert all_of_it == 151
    made = pre.producers[0].made
    for at in range(0, 100, 19):
        made.clear()
        ref = await pre.edit(ref, {f"p{at}": f"the number {at + 500}"})
        await pre.work()
        assert 1 <= len(made) <= 3  # its own, its pair's, and the total: 2 % of 151
        assert told(pre.ready(ref)) == right(with_total, pre.contexts["book"])


async def test_unchanged_intermediate_result_stops_recomputation():
    pre = precomputer(producer=Sums(with_total))
    ref = await pre.add("book", numbers(10))
    await pre.work()
    pre.producers[0].made.clear()
    before = pre.contexts["book"].current.items["sums::total"]
    ref = await pre.edit(ref, {"p4": "It is the number 12"})  # other words, the same number
    await pre.work()
    assert pre.producers[0].made == ["sum/p4"]
    assert pre.contexts["book"].current.items["sums::total"] == before
    assert told(pre.ready(ref)) == right(with_total, pre.contexts["book"])


async def test_edit_of_unread_piece_recomputes_nothing():
    def shape(context):
        return [Plan("a", ("p1",)), Plan("b", ("p0",), ("a",), lazy=True)]

    producer = Sums(shape)
    pre = precomputer(producer=producer)
    ref = await pre.add("book", {"p0": "7", "p1": "1"})  # 7 is odd: "b" does not look at "a"
    await pre.work()
    producer.made.clear()
    ref = await pre.edit(ref, {"p1": "2"})
    await pre.work()
    assert producer.made == ["a"]
    ref = await pre.edit(ref, {"p0": "8"})
    await pre.work()
    producer.made.clear()
    ref = await pre.edit(ref, {"p1": "3"})
    await pre.work()
    assert producer.made == ["a", "b"]
    assert told(pre.ready(ref)) == right(shape, pre.contexts["book"])


@pytest.mark.parametrize("file", [False, True])
async def test_ready_takes_constant_number_of_calls(loop, file, tmp_path):
    def calls(work):
        count = 0

        def note(_frame, event, _argument):
            nonlocal count
            count += event in ("call", "c_call")

        sys.setprofile(note)
        try:
            work()
        finally:
            sys.setprofile(None)
        return count

    counts = []
    for size in (10, 60):
        store = open_store(tmp_path / f"{size}.db") if file else Store()
        pre = precomputer(store)
        ref = await pre.add("book", numbers(size))
        await pre.work()
        counts.append((len(pre.ready(ref)), calls(lambda pre=pre, ref=ref: pre.ready(ref))))
        await pre.aclose()
    (few, calls_for_few), (many, calls_for_many) = counts
    assert many > 3 * few
    assert calls_for_many == calls_for_few < 60


@pytest.mark.parametrize("change", ["version", "model", "monitors"])
async def test_items_of_other_settings_are_not_offered(change):
    store = Store()
    await (first := precomputer(store)).add("book", numbers(6))
    await first.work()
    match change:
        case "version":
            other = precomputer(store, Sums(version="2"))
        case "model":
            other = precomputer(store, model=ToyModel("another"))
        case _:
            other = precomputer(store, least_coverage=0.1)
    ref = await other.open("book")
    assert other.ready(ref) == ()
    assert len(await other.work()) == 6


async def test_edits_by_others_are_seen_and_conflicts_reported():
    store = Store()
    one, two = precomputer(store), precomputer(store)
    ref = await one.add("book", numbers(6))
    await one.work()
    assert one.ready(ref)
    generation = store.generation("context:book")
    mine = await two.add("book", numbers(6, start=1), expect=generation)
    assert one.ready(ref) == ()
    await one.work()  # takes the edit in, and works on what is there now
    assert one.ready(ref) == ()
    assert two.ready(mine) == ()  # in its memory is what it saw when it added it
    await two.work()
    assert told(two.ready(mine)) == right(per_piece, two.contexts["book"])
    assert two.producers[0].made == []
    with pytest.raises(StoreConflict, match="no longer at generation 1"):
        await one.add("book", numbers(7), expect=generation)


async def test_run_uses_ready_items_and_reports_them():
    def inject(items, model, prompt):
        facts = "\n".join(item.payload.text for item in items[:2])
        return Served(model, f"{facts}\n{prompt}", tuple(item.id for item in items[:2]))

    reader = ScriptedModel(["1+1=2\n"])
    pre = precomputer(serving=inject)
    ref = await pre.add("book", numbers(12))
    async with interwhen.run(reader, "Q", monitors=pre.monitors, context=ref) as run:
        await run.drain()
    assert reader.requests[-1].prompt == "Q"
    assert run.result.precomputed == ()
    await pre.work()
    items = pre.ready(ref)[:2]
    spent = sum(item.cost.generated for item in items)
    for use in (1, 2):
        async with interwhen.run(reader, "Q", monitors=pre.monitors, context=ref) as run:
            result = await run.drain()
        assert reader.requests[-1].prompt == "\n".join(item.payload.text for item in items) + "\nQ"
        assert isinstance(result, Verified)
        assert result.precomputed == tuple(item.id for item in items)
        assert result.ledger.offline_tokens == spent > 0
        assert result.ledger.offline_share == spent / use
        assert result.ledger.total_tokens == result.ledger.kept + spent


async def test_resumed_run_keeps_its_precomputed_items(tmp_path):
    pre = precomputer(serving=lambda items, model, prompt: Served(model, "with facts", (items[0].id,)))
    ref = await pre.add("book", numbers(12))
    await pre.work()
    path = tmp_path / "run.journal"
    async with interwhen.run(ScriptedModel(["1+1=2\n"]), "Q", context=ref, journal=path) as run:
        result = await run.drain()
    async with interwhen.resume(path, model=ScriptedModel([]), monitors=[]) as again:
        assert (await again.drain()).precomputed == result.precomputed
    assert interwhen.replay(path).result.ledger.offline_tokens == result.ledger.offline_tokens > 0
    assert interwhen.replay(path).differences == ()
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 40])
    async with interwhen.resume(path, model=ScriptedModel([""]), monitors=[]) as again:
        assert (await again.drain()).precomputed == result.precomputed


@pytest.mark.parametrize("wrong", ["raises", "strange item"])
async def test_failing_serving_does_not_affect_the_run(wrong, log):
    def serving(items, model, prompt):
        return Served(model, "nonsense", ("no such item",)) if wrong == "strange item" else 1 / 0

    pre = precomputer(serving=serving)
    ref = await pre.add("book", numbers(12))
    await pre.work()
    reader = ScriptedModel(["fine"])
    async with interwhen.run(reader, "Q", context=ref) as run:
        assert (await run.drain()).text == "fine"
    assert reader.requests[0].prompt == "Q"
    assert [entry["event"] for entry in log if entry["log_level"] == "warning"] == [
        "serving.failed" if wrong == "raises" else "serving.refused"
    ]


async def test_edit_leaves_other_pieces_of_long_text():
    pre, long = precomputer(), " and some words" * 90
    ref = await pre.add("book", f"the number 3{long}\n\nthe number 9{long}\n\n\nthe number 3{long}\n")
    assert len(pre.contexts["book"].context.pieces) == 3
    await pre.work()
    pre.producers[0].made.clear()
    ref = await pre.add("book", "\n\n".join(f"the number {number}{long}" for number in (3, 10, 4, 3)))
    await pre.work()
    assert len(pre.producers[0].made) == 2
    assert told(pre.ready(ref)) == right(per_piece, pre.contexts["book"])


async def test_invalid_arguments_are_refused_at_once():
    pre = precomputer()
    for call, said in (
        (lambda: pre.add("book", {"a": 1}), "must be a text under a name that is not empty, got 'a': 1"),
        (lambda: pre.add("book", {"a": "\ud800"}), "must be a text under a name that is not empty"),
        (lambda: pre.add("", {"a": "x"}), "the name of a context or piece must be a text that is not empty, got ''"),
        (lambda: pre.add("\ud800", {"a": "x"}), "the name of a context or piece must be"),
        (lambda: pre.add("book", 7), "must be a text or a mapping of names to texts, got 7"),
        (lambda: pre.add("book", {}, kinds=["fax"]), "kinds must be a tuple, each item one of verifiers"),
        (lambda: pre.open("never"), "context 'never' must be in the store"),
    ):
        with pytest.raises(UsageError, match=said):
            await call()
    with pytest.raises(UsageError, match="context must be a prepared context"):
        interwhen.run(ScriptedModel([""]), "Q", context="book")
    for options, said in (
        ({"token_budget": -1}, "token_budget must be .* got -1"),
        ({"passages": -1}, "passages must be .* at least 0, got -1"),
        ({"debounce": float("nan")}, "debounce must be .* got nan"),
        ({"fresh_seconds": -1.0}, "fresh_seconds must be .* got -1.0"),
        ({"step_seconds": 0}, "step_seconds must be positive seconds, got 0"),
        ({"least_coverage": float("nan")}, "least_coverage must be a number from 0 to 1, got nan"),
        ({"producers": [Sums(), Sums()]}, "names of producers must differ, got 'sums' twice"),
        ({"producers": [dataclasses.replace(Sums(), kind="fax")]}, "kind must be one of verifiers"),
        ({"producers": ["missing"]}, "not installed"),
        ({"producers": "answers"}, "put a single one in a list"),
    ):
        with pytest.raises(UsageError, match=said):
            type(pre)(Store(), pre.model, **options)
