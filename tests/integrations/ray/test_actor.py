"""The actor without Ray: its worker process, its deadlines, and what a call carries."""

import asyncio
import pickle
import sys
from types import ModuleType

import msgspec
import pytest
from interwhen import Pass, Violation
from interwhen._engine.monitors import BoundVerifier
from interwhen._types.extensions import Task
from interwhen.integrations.ray._actor import CheckActor
from interwhen.integrations.ray._messages import (
    ActorReply,
    ActorRequest,
    CheckItem,
    Greeting,
    code_of,
    encoded_digest,
    named,
    own_greeting,
)
from interwhen.registry import load_monitor

pytestmark = pytest.mark.anyio


@pytest.fixture
async def actor(monkeypatch, anyio_backend):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    made = CheckActor(None)
    yield made
    if made._pool is not None:
        await made._pool.close()


def encode(verifier):
    found = named(verifier)
    return msgspec.msgpack.encode(msgspec.structs.replace(found, code=code_of(found.name)))


@pytest.fixture
def target():
    return encode(load_monitor("work").verifier)


def item(number, target, seconds=30.0, **fields):
    from ray_checks import Work

    claim = pickle.dumps(Work(key=str(number), span=None, **fields))
    return CheckItem(number, encoded_digest(target), claim, seconds)


async def exchange(actor, *items, **fields):
    data = msgspec.msgpack.encode(ActorRequest(list(items), **fields))
    return msgspec.msgpack.decode(await actor.exchange(data), type=ActorReply).results


async def collected(actor, count, *items, **fields):
    found = await exchange(actor, *items, **fields)
    while len(found) < count:
        found += await exchange(actor)
    return {result.id: result for result in found}


async def test_it_says_which_code_it_runs(actor):
    assert msgspec.msgpack.decode(await actor.greet(), type=Greeting) == own_greeting()


async def test_each_check_has_one_result_and_short_ones_share_an_answer(actor, target):
    await collected(actor, 1, item(0, target), targets=[target])
    found = await exchange(actor, *(item(number, target) for number in range(1, 11)))
    calls = 1
    while len(found) < 10:
        found += await exchange(actor)
        calls += 1
    assert sorted(result.id for result in found) == list(range(1, 11))
    assert all(type(result.verdict) is Pass for result in found)
    assert calls < 10
    assert await exchange(actor) == []


async def test_verdicts_are_exact_and_failures_are_told(actor, target):
    found = await collected(
        actor,
        5,
        *(item(number, target, say=say) for number, say in enumerate(("wrong", "raise", "exit", "mock", "pass"))),
        targets=[target],
    )
    assert found[0].verdict == Violation("it is wrong")
    assert found[1].failure == "ValueError: broken"
    assert "died during the check" in found[2].failure
    assert found[3].verdict is None
    assert "whose evidence is not a str" in found[3].failure
    assert type(found[4].verdict) is Pass


async def test_a_hanging_check_is_killed_at_its_deadline(actor, target):
    found = await collected(actor, 2, item(0, target, 0.3, say="hang"), item(1, target), targets=[target])
    assert (found[0].is_late, found[0].verdict) == (True, None)
    assert type(found[1].verdict) is Pass


async def test_a_cancelled_check_is_killed_and_has_no_result(actor, target):
    first = asyncio.ensure_future(
        collected(actor, 1, item(0, target, say="hang"), item(1, target), item(2, target), targets=[target])
    )
    while actor._running is None:
        await asyncio.sleep(0.01)
    await exchange(actor, cancelled=[0, 1], waits=False)
    assert list(await first) == [2]


async def test_the_prepared_value_is_made_once(actor, tmp_path):
    monitor = load_monitor({"name": "prepared", "folder": str(tmp_path), "prefix": "> "})
    task = Task("why")
    data = encode(BoundVerifier(monitor.verifier, "> why", monitor.prepare, task))
    found = await collected(actor, 5, *(item(number, data) for number in range(5)), targets=[data])
    assert all(result.verdict.evidence.startswith("> why ") for result in found.values())
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_forgotten_verifier_is_an_error(actor, target):
    await collected(actor, 1, item(0, target), targets=[target])
    [result] = await exchange(actor, item(1, target), forgets=True)
    assert "must have got the verifier" in result.failure


async def test_other_code_is_an_error_of_the_check(actor):
    found = named(load_monitor("work").verifier)
    data = msgspec.msgpack.encode(msgspec.structs.replace(found, code="0"))
    [result] = await exchange(actor, item(0, data), targets=[data])
    assert result.failure.startswith("CodeDiffers: ")
