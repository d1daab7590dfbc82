"""A cluster in this process. Its actors run checks at once or when the test says so, and they die when it says so."""

import itertools
import threading
from concurrent.futures import Future
from types import SimpleNamespace

import msgspec
from interwhen._types.verdicts import Pass
from interwhen.integrations.ray._messages import CheckRequest, CheckResult

_names = itertools.count()


class FakeActor:
    """The handle of an actor whose answers the test controls."""

    # `answer` ends its call, and `die` the actor. In a quick cluster, it answers at once.

    def __init__(self, cluster):
        self.cluster = cluster
        self.name = f"{next(_names):08}"
        self._actor_id = SimpleNamespace(hex=lambda: self.name)
        self.ready, self.call, self.items, self.requests, self.cancelled = Future(), None, [], [], []
        self.is_killed = False
        self.check = SimpleNamespace(remote=self._check)
        self.cancel = SimpleNamespace(remote=self.cancelled.append)
        self.__ray_ready__ = SimpleNamespace(remote=lambda: SimpleNamespace(future=lambda: self.ready))
        if cluster.starts:
            self.ready.set_result(True)

    def _check(self, payload):
        self.cluster.fails()
        assert not self.items, "an actor has one call at a time"
        self.call, request = Future(), msgspec.msgpack.decode(payload, type=CheckRequest)
        call = self.call
        self.requests.append(request)
        self.items = list(request.items)
        if self.cluster.is_quick:
            self.answer()
        return SimpleNamespace(future=lambda: call)

    def answer(self, **result):
        items, self.items = self.items, []
        self.cluster.ran += [(self.name, item.id) for item in items]
        result = {"verdict": Pass(self.name), "spent": 0.02, **result}
        self.call.set_result(msgspec.msgpack.encode([CheckResult(item.id, **result) for item in items]))

    def die(self):
        self.items = []
        (self.call if self.ready.done() else self.ready).set_exception(RuntimeError("its node is gone"))


class FakeCluster:
    """In place of ``RayCluster``: has *processors*; with ``is_quick``, its actors answer at once."""

    def __init__(self, processors=2, *, is_quick=True):
        self.processors, self.is_quick = processors, is_quick
        self.is_away, self.starts, self.is_closed, self.is_lost = False, True, False, False
        self.actors, self.ran = [], []
        self.looked = threading.Semaphore(0)

    def fails(self):
        if self.is_lost:
            raise ConnectionError("the program has disconnected")

    def connect(self, wanted):
        if self.is_away:
            raise ConnectionError("it does not answer")
        return min(wanted or self.processors, self.processors)

    def start(self, memory):
        self.actors.append(FakeActor(self))
        return self.actors[-1]

    def kill(self, handle):
        handle.is_killed = True

    def close(self):
        self.is_closed = True
