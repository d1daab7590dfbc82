"""The actor without Ray: its worker process, its deadlines, and what a call carries."""

import pickle
import sys
from types import ModuleType

import anyio
import msgspec
import pytest
from interwhen import Pass, Violation, load_monitor
from interwhen._engine.monitors import BoundVerifier
from interwhen._types.extensions import Task
from interwhen.integrations.ray._actor import CheckActor
from interwhen.integrations.ray._messages import CheckItem, CheckRequest, CheckResult, NamedVerifier, encode, named

pytestmark = pytest.mark.anyio


@pytest.fixture
async def actor(monkeypatch, anyio_backend):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    made = CheckActor(None)
    yield made
    await made._pool.close()


@pytest.fixture
def target():
    return encode(named(load_monitor("work").verifier))


def item(number, seconds=30.0, **fields):
    from ray_checks import Work

    return CheckItem(number, pickle.dumps(Work(key=str(number), span=None, **fields)), seconds)


async def ask(actor, target, *items):
    with anyio.fail_after(60):
        answer = await actor.check(msgspec.msgpack.encode(CheckRequest(target, list(items))))
    return {result.id: result for result in msgspec.msgpack.decode(answer, type=list[CheckResult])}


async def test_verdicts_are_exact_and_failures_have_their_reason(actor, target):
    says = ("wrong", "raise", "exit", "mock", "pass")  # the worker process that exits is replaced
    outcomes = await ask(actor, target, *(item(number, say=say) for number, say in enumerate(says)))
    assert outcomes[0].verdict == Violation("it is wrong")
    assert outcomes[1].failure == "ValueError: broken"
    assert "died during the check" in outcomes[2].failure
    assert outcomes[3].verdict is None
    assert "whose evidence is not a str" in outcomes[3].failure
    assert type(outcomes[4].verdict) is Pass
    assert outcomes[4].spent > 0


async def test_a_hanging_check_is_killed_at_its_deadline(actor, target):
    outcomes = await ask(actor, target, item(0, 0.3, say="hang"), item(1))
    assert (outcomes[0].is_late, outcomes[0].verdict) == (True, None)
    assert type(outcomes[1].verdict) is Pass


async def test_a_cancelled_check_is_killed_or_not_begun(actor, target):
    outcomes = {}

    async def asking():
        outcomes.update(await ask(actor, target, item(0, say="hang"), item(1, say="hang"), item(2)))

    async with anyio.create_task_group() as group:
        group.start_soon(asking)
        await anyio.wait_all_tasks_blocked()
        for number in (0, 1, 7):
            await actor.cancel(number)
    assert [outcomes[number].is_late for number in (0, 1, 2)] == [True, True, False]


async def test_prepared_value_is_computed_once(actor, tmp_path):
    monitor = load_monitor({"name": "prepared", "folder": str(tmp_path), "prefix": "> "})
    data = encode(named(BoundVerifier(monitor.verifier, "> why", monitor.prepare, Task("why"))))
    outcomes = await ask(actor, data, *map(item, range(5)))
    outcomes |= await ask(actor, data, item(5))
    assert all(result.verdict.evidence.startswith("> why ") for result in outcomes.values())
    assert len(list(tmp_path.iterdir())) == 1


async def test_differing_code_fails_the_check(actor, target):
    other = msgspec.structs.replace(msgspec.msgpack.decode(target, type=NamedVerifier), code="0")
    outcomes = await ask(actor, msgspec.msgpack.encode(other), item(0))
    assert outcomes[0].failure.startswith("CodeDiffers: ")


async def test_an_invalid_payload_is_refused(actor):
    with pytest.raises(msgspec.DecodeError):
        await actor.check(b"\xc1")
