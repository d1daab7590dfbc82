"""The actor: runs the checks of one pool on its node, one at a time, in a worker process that can be killed."""

from __future__ import annotations

import asyncio
import inspect
import pickle
import sys
from collections import deque
from hmac import compare_digest
from typing import Any

import anyio
import msgspec

from interwhen._engine.monitors import as_outcome
from interwhen._engine.worker_child import HEAD_SIZE, MOST, GarbledMessage, framed, length_of
from interwhen._engine.workers import BOOT_SECONDS, WorkerAnswer, WorkerDied, WorkerProcess
from interwhen._types.errors import DECODE_ERRORS, name_error
from interwhen._types.verdicts import Errored, Judged, Outcome
from interwhen._types.verifiers import Verifier
from interwhen.integrations.ray._connection import HALF, HANDSHAKE_SECONDS, set_options
from interwhen.integrations.ray._messages import (
    ActorReply,
    ActorRequest,
    CheckItem,
    CheckResult,
    encoded_digest,
    make,
    own_greeting,
)

_LINGER = 0.0015
"""How long a result waits for the next one, in seconds, if there are open checks. One message then carries several."""
_LONGEST_LINGER = 0.005
"""How long a result waits at most, in seconds."""
_CANCELLED_SECONDS = 0.5
"""How long a check may take, in seconds, that was cancelled when the worker process had got it but not begun it."""
_decode = msgspec.msgpack.Decoder(ActorRequest).decode


class ExactChecks:
    """Wraps *verifier* in a worker process; a check returns an outcome. An invalid verdict becomes ``Errored``."""

    def __init__(self, verifier: Verifier) -> None:
        self._verifier = verifier

    def check(self, claim: Any) -> Outcome:
        """Judge *claim*, and return the outcome: a verdict, or an error if the verifier returned no valid one.

        Exceptions of the verifier are passed on.
        """
        value = self._verifier.check(claim)
        if inspect.isawaitable(value):
            value = anyio.run(_wait_for, value)
        return as_outcome(self._verifier, claim, value)


async def _wait_for(value: Any) -> Any:
    return await value


def load(encoded: bytes) -> ExactChecks:
    """Make the verifier that *encoded* names, in the worker process that calls this, and wrap it.

    Raises :class:`CodeDiffers` or :class:`~interwhen.PluginError` as :func:`make` does.
    """
    return ExactChecks(make(encoded))


class PortableVerifier:
    """A placeholder for a verifier. Unpickling calls :func:`load` with *encoded*, the verifier's name and options."""

    def __init__(self, encoded: bytes) -> None:
        self._encoded = encoded

    def __reduce__(self) -> tuple[Any, tuple[bytes]]:
        return load, (self._encoded,)


class CheckActor:
    """The actor on a node of the cluster: it runs checks one after another, in a worker process.

    *memory* limits the address space of the worker process, in bytes. ``None``: no limit.
    """

    def __init__(self, memory: int | None) -> None:
        # The main module of this process is a script of Ray. A worker process must not import it, and Ray with it.
        vars(sys.modules["__main__"]).pop("__file__", None)
        self._memory = memory
        self._worker: WorkerProcess | None = None
        self._targets: dict[bytes, bytes] = {}
        """The pickles of verifiers, by the digest of what the program sent."""
        self._waiting: deque[CheckItem] = deque()
        self._running: tuple[int, anyio.CancelScope] | None = None
        self._ahead: CheckItem | None = None
        """The first of the waiting checks, if the worker process has already got it."""
        self._cancelled: set[int] = set()
        self._results: list[CheckResult] = []
        self._sending: asyncio.TimerHandle | None = None
        self._latest = 0.0
        self._server: asyncio.Server | None = None
        self._secret = b""
        """Empty before :meth:`listen`, and once it was used."""
        self._program: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def listen(self, secret: bytes, host: str = "") -> bytes:
        """Listen at *host* (default: this node's address in the cluster) for the program that knows *secret*.

        Return an encoded :class:`Greeting` with host and port.
        """
        if not host:
            import ray

            found: Any = ray.util
            host = found.get_node_ip_address()
        self._secret = secret
        self._server = await asyncio.start_server(self._serve, host, 0)
        port = self._server.sockets[0].getsockname()[1]
        return msgspec.msgpack.encode(msgspec.structs.replace(own_greeting(), host=host, port=port))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a new connection. When the program's connection ends, stop this actor.

        A connection that does not send the secret within ten seconds is closed.
        """
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                given = await reader.readexactly(HALF)
            secret, mine = self._secret[:HALF], self._secret[HALF:]
            if not compare_digest(given, secret):
                return
            self._secret = b""
            self._program = writer
            assert self._server is not None
            self._server.close()
            set_options(writer.get_extra_info("socket"))
            writer.write(mine)
            while True:
                head = await reader.readexactly(HEAD_SIZE)
                self._take(_decode(await reader.readexactly(length_of(head))))
        except (EOFError, OSError, GarbledMessage, *DECODE_ERRORS):
            pass  # the program ended, gave this actor up, or was none of ours
        finally:
            writer.close()
            if self._program is writer:
                await self._stop()
                self._program = None

    async def _stop(self) -> None:
        """Listen no more, drop all checks, and kill the worker process."""
        if self._server is not None:
            self._server.close()
        self._waiting.clear()
        if self._running is not None:
            self._running[1].cancel()
        await self._end_worker()

    def _take(self, request: ActorRequest) -> None:
        if request.forgets:
            self._targets.clear()
        for encoded in request.targets:
            self._targets[encoded_digest(encoded)] = pickle.dumps(PortableVerifier(encoded))
        for number in request.cancelled:
            self._cancel(number)
        self._waiting.extend(request.items)
        if self._waiting and self._task is None:
            self._task = asyncio.create_task(self._work())
        self._ask_ahead()

    def _cancel(self, number: int) -> None:
        if self._running is not None and self._running[0] == number:
            self._cancelled.add(number)
            self._running[1].cancel()
        elif self._ahead is not None and self._ahead.id == number:
            self._cancelled.add(number)  # the worker process has it: it gets little time, and its result is dropped
        else:
            self._waiting = deque(item for item in self._waiting if item.id != number)

    async def _work(self) -> None:
        while self._waiting:
            item = self._waiting.popleft()
            if item.id in self._cancelled and item is not self._ahead:
                self._cancelled.discard(item.id)
                continue
            result = await self._run(item)
            self._running = None
            if item.id in self._cancelled:
                self._cancelled.discard(item.id)
            else:
                self._results.append(result)
                self._send_soon()
        self._task = None
        self._send()

    def _send_soon(self) -> None:
        """Send the results when no further one follows quickly."""
        loop = asyncio.get_running_loop()
        if self._sending is None:
            self._latest = loop.time() + _LONGEST_LINGER
        else:
            self._sending.cancel()
        self._sending = loop.call_at(min(loop.time() + _LINGER, self._latest), self._send)

    def _send(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None
        results, self._results = self._results, []
        if results and self._program is not None and not self._program.is_closing():
            self._write(self._program, results)

    def _write(self, program: asyncio.StreamWriter, results: list[CheckResult]) -> None:
        data = msgspec.msgpack.encode(ActorReply(results))
        if len(data) <= MOST:
            program.write(framed(data))
        elif len(results) > 1:
            self._write(program, results[:1])
            self._write(program, results[1:])
        else:
            self._write(program, [CheckResult(results[0].id, failure=f"the result is larger than {MOST} bytes")])

    async def _run(self, item: CheckItem) -> CheckResult:
        target = self._targets.get(item.target)
        if target is None:
            return CheckResult(item.id, failure="the actor must have got the verifier before its checks, and has not")
        answer: WorkerAnswer | None = None
        try:
            with anyio.CancelScope() as scope:
                self._running = item.id, scope
                answer = await self._answer(item, target, scope)
        except WorkerDied as error:
            return CheckResult(item.id, failure=str(error))
        except Exception as error:  # noqa: BLE001  (a fault of this check must not end the loop)
            return CheckResult(item.id, failure=name_error(error))
        finally:
            if answer is None or not answer.fit:
                await self._end_worker()
        if answer is None:
            return CheckResult(item.id, is_late=True)
        value, failure = answer.value, answer.failure
        if failure is None and type(value) is Errored:
            failure = value.error
        if failure is None and type(value) is Judged:
            return CheckResult(item.id, value.verdict, spent=answer.spent)
        return CheckResult(item.id, failure=failure or "the worker process must return an outcome, and did not")

    async def _answer(self, item: CheckItem, target: bytes, scope: anyio.CancelScope) -> WorkerAnswer:
        """Return the answer of the worker process to *item*, whose pickled verifier is *target*.

        The deadline of *scope* starts once the worker process has loaded the verifier.
        """
        scope.deadline = anyio.current_time() + BOOT_SECONDS
        was_ahead, self._ahead = self._ahead is item, None
        if self._worker is not None and not was_ahead and not self._worker.is_well:
            await self._end_worker()
        worker = self._worker
        if worker is None:
            worker = self._worker = WorkerProcess(self._memory)
            await worker.start()
        if target not in worker.loaded:
            answer = await worker.call(target, None, item.seconds)
            if answer.failure is not None:
                return answer
        seconds = min(item.seconds, _CANCELLED_SECONDS) if item.id in self._cancelled else item.seconds
        scope.deadline = anyio.current_time() + seconds
        if not was_ahead:
            await worker.ask(target, item.claim, item.seconds)
        self._ask_ahead()
        return await worker.answer(target)

    def _ask_ahead(self) -> None:
        """Give the worker process the next check before it has answered, if it can take one."""
        # On a busy machine, this process may wait for a processor for as long as a short check takes.
        if self._worker is None or self._running is None or self._ahead is not None or not self._waiting:
            return
        item = self._waiting[0]
        target = self._targets.get(item.target)
        if target is not None and self._worker.ask_ahead(target, item.claim, item.seconds):
            self._ahead = item

    async def _end_worker(self) -> None:
        """Kill the worker process. A check that it got ahead goes to the next worker process."""
        worker, self._worker, self._ahead = self._worker, None, None
        if worker is not None:
            await worker.stop()
