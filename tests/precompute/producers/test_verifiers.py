"""Prepared verifiers: kept by version, taken by runs on the very task, prepared as ever for all others."""

from dataclasses import dataclass

import pytest
from interwhen import Claim, Lines, Monitor, Pass, Task, UsageError, Violation, verifier
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers.answers import compose
from interwhen.precompute.producers.verifiers import made_by, prepared_in, verifiers, with_prepared
from interwhen.registry import load_monitors
from interwhen.testing import ScriptedModel

from interwhen_verifiers.provenance import provenance

pytestmark = pytest.mark.anyio
TEXT = "Allowed: red, blue."
WHICH = "Which colour?"
LOG = []
"""The tasks that were prepared."""


@dataclass(frozen=True, slots=True)
class Allowed:
    words: frozenset[str]


def extract(segment, _allowed):
    yield Claim(key=segment.text, span=segment.span)


def monitor(*, version="1", fails=False, also=()):
    @verifier(name="colours", version=version, worker="inline")
    def check(claim: Claim, allowed: Allowed):
        return Pass() if claim.key in allowed.words else Violation(why="it is not allowed")

    def prepare(task: Task):
        LOG.append(task.text)
        if fails:
            raise RuntimeError("no")
        if "Allowed" not in task.text:
            return None
        return Allowed(frozenset(task.text.partition(": ")[2].partition(".")[0].split(", ")).union(also))

    return Monitor(name="colours", verifier=check, extractor=extract, trigger=Lines(), prepare=prepare)


async def prepared(*monitors, store=None, **options):
    store = store or Store(MemoryShelf())
    precomputer = Precomputer(
        store, ScriptedModel(["red"]), producers=[verifiers(monitors=monitors, **options)], debounce=0.0
    )
    ref = await precomputer.add("colours", {"policy": TEXT})
    done = await precomputer.work()
    return precomputer, ref, done


async def run(precomputer, ref, prompt, *monitors):
    async with precomputer.run(prompt, context=ref, monitors=with_prepared(monitors, ref)) as supervised:
        return await supervised.drain()


@pytest.mark.parametrize("prompt", [TEXT, compose(TEXT, WHICH)], ids=["context", "question"])
async def test_run_on_prepared_task_prepares_nothing(prompt):
    precomputer, ref, _ = await prepared(monitor(), questions=[WHICH])
    LOG.clear()
    result = await run(precomputer, ref, prompt, monitor())
    assert result.status == "verified"
    assert LOG == []


async def test_monitor_with_other_options_ignores_prepared_value():
    precomputer, ref, _ = await prepared(monitor(also=["green"]))
    precomputer.model = ScriptedModel(["green"])
    assert (await run(precomputer, ref, TEXT, monitor(also=["green"]))).status == "verified"
    assert (await run(precomputer, ref, TEXT, monitor())).violations


async def test_monitor_without_fingerprint_prepares_in_its_runs():
    odd = monitor(also=iter(["green"]))
    precomputer, ref, done = await prepared(odd)
    assert done == ()
    LOG.clear()
    assert (await run(precomputer, ref, TEXT, odd)).status == "verified"
    assert LOG == [TEXT]


def test_shipped_monitors_have_stable_fingerprints():
    def shipped():
        named = load_monitors(["zebralogic", "maze", "countdown"])
        return [made_by(each) for each in (*named, provenance(), provenance(trusted=["mail"]))]

    assert shipped() == shipped()
    assert len(set(shipped())) == len(shipped())


@pytest.mark.parametrize(
    ("prompt", "version"),
    [(f"{TEXT} Please.", "1"), (TEXT, "2")],
    ids=["another task", "another version"],
)
async def test_other_tasks_are_prepared_in_their_runs(prompt, version):
    precomputer, ref, _ = await prepared(monitor())
    LOG.clear()
    result = await run(precomputer, ref, prompt, monitor(version=version))
    assert [prompt] == LOG
    assert result.status == "verified"


async def test_edit_invalidates_prepared_values():
    precomputer, ref, _ = await prepared(monitor())
    edited = await precomputer.edit(ref, {"policy": "Allowed: green."})
    LOG.clear()
    for context in (ref, edited):
        await run(precomputer, context, TEXT, monitor())
    assert LOG == [TEXT, TEXT]


async def test_next_process_reuses_prepared_value():
    shelf = MemoryShelf()
    await prepared(monitor(), store=Store(shelf))
    LOG.clear()
    precomputer, ref, done = await prepared(monitor(), store=Store(shelf))
    assert done == ()
    assert LOG == []
    assert [prepared_in(item) is not None for item in precomputer.ready(ref)] == [True]


async def test_preparation_calls_no_model():
    precomputer, _, _ = await prepared(monitor())
    assert precomputer.model.requests == []


@pytest.mark.parametrize("kind", ["unpicklable", "not its kind"])
async def test_unstorable_value_is_reported(kind):
    if kind == "unpicklable":
        watcher = monitor()
        object.__setattr__(watcher, "prepare", lambda task: lambda: task)
    else:
        watcher = monitor()
        object.__setattr__(watcher, "prepare", lambda _task: None)
    precomputer, ref, (done,) = await prepared(watcher)
    assert precomputer.ready(ref) == ()
    assert done.outcome == "nothing"
    assert ("cannot be stored" in done.why) == (kind == "unpicklable")


async def test_raising_prepare_fails_only_its_step():
    precomputer, ref, (done,) = await prepared(monitor(fails=True))
    assert done.outcome == "failed"
    assert precomputer.ready(ref) == ()


async def test_an_async_prepare_is_awaited():
    async def prepare(task):
        return Allowed(frozenset({"red"})) if task.text else None

    watcher = monitor()
    object.__setattr__(watcher, "prepare", prepare)
    precomputer, ref, _ = await prepared(watcher)
    assert (await run(precomputer, ref, TEXT, watcher)).status == "verified"


async def test_the_puzzles_that_ship_can_be_kept():
    pytest.importorskip("z3")
    puzzle = (
        "There are 2 houses, numbered 1 to 2.\n\n - Name: `Ann`, `Bob`\n - Pet: `cat`, `dog`\n\n"
        "## Clues:\n1. Ann is in the first house.\n2. Bob has the dog.\n"
    )
    store = Store(MemoryShelf())
    precomputer = Precomputer(store, ScriptedModel([""]), producers=[verifiers(monitors=["zebralogic"])], debounce=0.0)
    ref = await precomputer.add("puzzle", {"puzzle": puzzle})
    (done,) = await precomputer.work()
    assert done.outcome == "accepted", done.why
    assert len(precomputer.ready(ref)) == 1


def test_one_text_is_no_list_of_questions():
    with pytest.raises(UsageError, match="put a single text in a list"):
        verifiers(questions="Which?")
