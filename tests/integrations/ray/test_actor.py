"""The actor without Ray: its worker process, its deadlines, and what a message carries."""

import pickle
import socket
import sys
from contextlib import suppress
from types import ModuleType

import anyio
import anyio.to_thread
import msgspec
import pytest
from interwhen import Pass, Violation
from interwhen._engine.monitors import BoundVerifier
from interwhen._engine.worker_child import framed, receive, send
from interwhen._types.extensions import Task
from interwhen.integrations.ray._actor import CheckActor
from interwhen.integrations.ray._connection import HALF, dial, new_secret
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


class Program:
    """The program of an actor, with the connection to it."""

    def __init__(self, actor, sock):
        self.actor, self.sock, self.messages = actor, sock, 0

    async def send(self, *items, targets=(), **fields):
        await send(self.sock, msgspec.msgpack.encode(ActorRequest(list(items), list(targets), **fields)))

    async def results(self, count):
        found = []
        with anyio.fail_after(60):
            while len(found) < count:
                self.messages += 1
                found += msgspec.msgpack.decode(await receive(self.sock), type=ActorReply).results
        assert len(found) == count
        return found


async def until(condition):
    with anyio.fail_after(60):
        while not condition():
            await anyio.sleep(0.01)


SECRET = new_secret()


@pytest.fixture
async def actor(monkeypatch, anyio_backend):
    monkeypatch.setitem(sys.modules, "__main__", ModuleType("__main__"))
    made = CheckActor(None)
    yield made
    await made._stop()


@pytest.fixture
async def program(actor):
    found = msgspec.msgpack.decode(await actor.listen(SECRET, "127.0.0.1"), type=Greeting)
    with await anyio.to_thread.run_sync(dial, found.host, found.port, SECRET) as sock:
        yield Program(actor, sock)
    await until(lambda: actor._program is None)


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


async def collected(program, count, *items, **fields):
    await program.send(*items, **fields)
    return {result.id: result for result in await program.results(count)}


async def test_it_says_which_code_it_runs(actor):
    found = msgspec.msgpack.decode(await actor.listen(SECRET, "127.0.0.1"), type=Greeting)
    assert own_greeting().difference(found) == ""
    assert (found.host, found.port > 0) == ("127.0.0.1", True)


async def test_each_check_has_one_result_and_short_ones_share_a_message(program, target):
    await collected(program, 1, item(0, target), targets=[target])
    found = await collected(program, 10, *(item(number, target) for number in range(1, 11)))
    assert sorted(found) == list(range(1, 11))
    assert all(type(result.verdict) is Pass for result in found.values())
    assert program.messages < 11


async def test_verdicts_are_exact_and_failures_are_told(program, target):
    found = await collected(
        program,
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


async def test_a_hanging_check_is_killed_at_its_deadline(program, target):
    found = await collected(program, 2, item(0, target, 0.3, say="hang"), item(1, target), targets=[target])
    assert (found[0].is_late, found[0].verdict) == (True, None)
    assert type(found[1].verdict) is Pass


async def test_a_cancelled_check_is_killed_and_has_no_result(program, target):
    await program.send(item(0, target, say="hang"), item(1, target), item(2, target), targets=[target])
    await until(lambda: program.actor._running is not None)
    await program.send(cancelled=[0, 1])
    assert [result.id for result in await program.results(1)] == [2]


async def test_the_worker_process_has_the_next_check_before_it_answers(program, target):
    await collected(program, 1, item(0, target), targets=[target])
    await program.send(*(item(number, target, ms=50) for number in range(1, 5)))
    await until(lambda: program.actor._ahead is not None)
    assert [result.id for result in await program.results(4)] == [1, 2, 3, 4]
    assert program.actor._ahead is None


async def test_a_cancelled_check_that_the_worker_process_has_already_is_dropped_and_takes_little_time(program, target):
    await collected(program, 1, item(0, target), targets=[target])
    await program.send(item(1, target, ms=400), item(2, target, say="hang"))
    await until(lambda: program.actor._ahead is not None)
    await program.send(item(3, target), cancelled=[2])
    assert [result.id for result in await program.results(2)] == [1, 3]


async def test_a_large_claim_waits_until_the_worker_process_is_free(program, target):
    await collected(program, 1, item(0, target), targets=[target])
    large = msgspec.structs.replace(item(2, target), claim=pickle.dumps(named(load_monitor("work").verifier)) * 1000)
    await program.send(item(1, target, ms=100), large)
    assert [result.id for result in await program.results(2)] == [1, 2]


async def test_when_its_program_ends_its_worker_process_is_killed(program, target, tmp_path):
    await program.send(item(0, target, say="hang"), item(1, target), targets=[target])
    await until(lambda: program.actor._running is not None)
    program.sock.close()
    await until(lambda: program.actor._program is program.actor._task is None)
    assert program.actor._worker is None


async def test_a_result_that_is_too_large_is_an_error_of_its_check(program, target, monkeypatch):
    monkeypatch.setattr("interwhen.integrations.ray._actor.MOST", 200)
    found = await collected(
        program,
        3,
        *(item(number, target, say=say) for number, say in enumerate(("pass", "long", "pass"))),
        targets=[target],
    )
    assert [type(found[number].verdict) for number in (0, 2)] == [Pass, Pass]
    assert "larger than 200 bytes" in found[1].failure


STRANGERS = {
    "nothing": b"",
    "a letter": b"x",
    "zeros": bytes(HALF),
    "the other half": SECRET[HALF:],
    "a request": b"GET / HTTP/1.1\r\n" + bytes(HALF),
}


# The names are the same in each process that collects the tests; the secret is not.
@pytest.mark.parametrize("given", STRANGERS.values(), ids=STRANGERS)
async def test_a_stranger_gets_nothing_and_the_program_can_still_connect(actor, given):
    found = msgspec.msgpack.decode(await actor.listen(SECRET, "127.0.0.1"), type=Greeting)

    def knock():
        with socket.create_connection((found.host, found.port), 30) as sock:
            sock.sendall(given)
            sock.shutdown(socket.SHUT_WR)
            return sock.recv(100)

    with suppress(ConnectionResetError):  # the actor did not read all
        assert await anyio.to_thread.run_sync(knock) == b""
    assert actor._program is None
    with await anyio.to_thread.run_sync(dial, found.host, found.port, SECRET):
        assert actor._program is not None
    await until(lambda: actor._program is None)


async def test_a_second_connection_with_the_secret_is_refused(program):
    address = program.sock.getpeername()
    with pytest.raises(OSError):
        await anyio.to_thread.run_sync(dial, *address, SECRET)


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n\r\n", framed(b"\xc1")])
async def test_garbage_ends_the_connection(program, garbage):
    program.sock.setblocking(True)
    program.sock.sendall(garbage)
    assert await anyio.to_thread.run_sync(program.sock.recv, 100) == b""


async def test_the_prepared_value_is_made_once(program, tmp_path):
    monitor = load_monitor({"name": "prepared", "folder": str(tmp_path), "prefix": "> "})
    task = Task("why")
    data = encode(BoundVerifier(monitor.verifier, "> why", monitor.prepare, task))
    found = await collected(program, 5, *(item(number, data) for number in range(5)), targets=[data])
    assert all(result.verdict.evidence.startswith("> why ") for result in found.values())
    assert len(list(tmp_path.iterdir())) == 1


async def test_a_forgotten_verifier_is_an_error(program, target):
    await collected(program, 1, item(0, target), targets=[target])
    [result] = (await collected(program, 1, item(1, target), forgets=True)).values()
    assert "must have got the verifier" in result.failure


async def test_other_code_is_an_error_of_the_check(program):
    found = named(load_monitor("work").verifier)
    data = msgspec.msgpack.encode(msgspec.structs.replace(found, code="0"))
    [result] = (await collected(program, 1, item(0, data), targets=[data])).values()
    assert result.failure.startswith("CodeDiffers: ")
