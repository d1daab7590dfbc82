"""A cluster in this process. Its actors run checks at once or when the test says so, and they die when it says so."""

import itertools
import threading
from collections import deque
from dataclasses import dataclass, field

import msgspec
from interwhen._types.verdicts import Pass
from interwhen.integrations.ray._cluster import ClusterAway
from interwhen.integrations.ray._messages import ActorReply, ActorRequest, CheckResult, NamedVerifier, own_greeting

_names = itertools.count()


@dataclass
class FakeActor:
    """An actor whose answers the test controls.

    :meth:`answer` ends the oldest check, and :meth:`die` loses the actor. In a quick cluster, it answers at once.
    """

    cluster: "FakeCluster"
    name: str = field(default_factory=lambda: f"{next(_names):08}")
    checks: deque = field(default_factory=deque)
    targets: dict = field(default_factory=dict)
    requests: list = field(default_factory=list)
    cancelled: list = field(default_factory=list)
    dead: bool = False
    killed: bool = False
    closed: bool = False

    def open(self, loop, received, lost):
        self.loop, self.received, self.lost = loop, received, lost

    def send(self, message):
        if self.dead:
            self.cluster.asked_dead.append(self.name)
            return
        found = msgspec.msgpack.decode(message, type=ActorRequest)
        self.requests.append(found)
        for encoded in found.targets:
            self.targets[encoded] = msgspec.msgpack.decode(encoded, type=NamedVerifier)
        self.cancelled += found.cancelled
        self.checks = deque(item for item in (*self.checks, *found.items) if item.id not in found.cancelled)
        if self.cluster.is_quick:
            results = []
            while self.checks:
                results.append(self._end_first())
            if results:
                self.loop.later(self._reply, results)

    def _end_first(self, **result):
        item = self.checks.popleft()
        self.cluster.ran.append((self.name, item))
        return CheckResult(item.id, **{"verdict": Pass(self.name), "spent": 0.02, **result})

    def _reply(self, results):
        self.received(msgspec.msgpack.encode(ActorReply(results)))

    def answer(self, **result):
        self._reply([self._end_first(**result)])

    def die(self):
        self.dead = True
        if not self.closed:
            self.lost("its node is gone")

    def close(self):
        self.closed = True

    def kill(self):
        self.dead = self.killed = True


class FakeCluster:
    """Has *processors*; with ``is_quick``, its actors answer at once."""

    def __init__(self, processors=2, *, is_quick=True, greeting=None):
        self.processors = processors
        self.is_quick = is_quick
        self.is_away = False
        self.starts = True
        self.greeting = greeting or own_greeting()
        self.actors = []
        self.ran = []
        self.asked_dead = []
        self.is_closed = False
        self.started = threading.Semaphore(0)

    @property
    def alive(self):
        return [actor for actor in self.actors if not actor.dead]

    def connect(self):
        if self.is_away:
            raise ClusterAway("it does not answer")
        return self.processors

    def start(self, count, memory, until):
        for _ in range(count if self.starts else 0):
            actor = FakeActor(self)
            self.actors.append(actor)
            yield actor, self.greeting

    def close(self):
        self.is_closed = True


def other_greeting(**changes):
    return msgspec.structs.replace(own_greeting(), **changes)
