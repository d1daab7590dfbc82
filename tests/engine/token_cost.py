"""Counts what a token costs: the bytecode instructions that a run executes for each further token.

``python -m tests.engine.token_cost`` prints them beside the recorded ones of ``token_cost.json``, and exits with 1 if a
count is more than 2 % above. With ``--record``, it records them. The counts are the same on every machine, also on a
busy one, for one version of Python. Of C code, and of work in other threads, nothing is counted.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
from interwhen import (
    Claim,
    Lines,
    Monitor,
    Pass,
    Segment,
    Span,
    Workers,
    load_monitor,
    run,
    verifier,
)
from interwhen.gateway import Config, make_app
from interwhen.gateway._gateway import Gateway
from interwhen.models import Capabilities, Chunk, Completion, Model, Request
from interwhen.testing.complexity import count_steps, prepared_for
from interwhen.testing.server import ScriptedTransport, events
from tests.clients.wires import MemoryWire, collect, texts
from tests.first_events import send_call

LINE = ("So", " the", " next", " value", " of", " the", " sum", " is", " a", " bit", " more", ".\n")
SHORT, LONG = 240, 720
"""The numbers of tokens of two runs. The cost of a token is their difference, so that beginning and end do not count."""


class _Words:
    """A stream that has one chunk ready at each read."""

    def __init__(self, words: Iterable[str]) -> None:
        self._words = iter(words)

    async def receive(self) -> Sequence[Chunk]:
        word = next(self._words, None)
        return () if word is None else (Chunk(word),)

    async def aclose(self) -> None: ...


class _Writer:
    """A model that writes *words*."""

    name = "writer"

    def __init__(self, words: Sequence[str]) -> None:
        self._words = words

    async def capabilities(self) -> Capabilities:
        return Capabilities(resume="prefix", forks=False)

    async def stream(self, request: Request) -> _Words:
        return _Words(self._words)

    async def complete(self, request: Request) -> Completion:
        raise NotImplementedError

    async def aclose(self) -> None: ...


@verifier(name="nothing", version="1", deadline=5.0, worker="inline")
def _nothing(_claim: Claim) -> Pass:
    return Pass()


def _claims(segment: Segment) -> list[Claim]:
    return [Claim(key="line", span=Span(segment.span.start, segment.span.end))]


def on_lines(count: int) -> list[Monitor]:
    return [Monitor(name=f"m{n}", trigger=Lines(), extractor=_claims, verifier=_nothing) for n in range(count)]


def plain(count: int) -> list[str]:
    return [word.replace("\n", "") for word in equal_lines(count)]


def equal_lines(count: int) -> list[str]:
    return [LINE[number % len(LINE)] for number in range(count)]


def different_lines(count: int) -> list[str]:
    words = equal_lines(count)
    words[3 :: len(LINE)] = [f" value {number}" for number in range(3, count, len(LINE))]
    return words


def sums(count: int) -> list[str]:
    words = equal_lines(count)
    for at in range(3, count, len(LINE)):
        words[at : at + 6] = [f" {at}", " +", " 17", " =", f" {at + 17}", " apples"]
    return words[:count]


def document(count: int) -> list[str]:
    entry = ("{", '"na', 'me"', ': "', "part", '", "', "count", '": ', "17", ', "ok"', ": true", "}, ")
    return ["[", *(entry[number % len(entry)] for number in range(count))]


async def _supervise(model: Model, monitors: Sequence[Monitor], journal: str | None = None) -> None:
    # The watch of the loop calls it back the more often, the busier the machine is.
    workers = Workers(blocked_loop_after=None)
    async with run(model, "q", monitors=monitors, workers=workers, journal=journal) as running:
        async for _ in running:
            pass


def supervised(words: Sequence[str], monitors: Sequence[Monitor]) -> None:
    asyncio.run(_supervise(_Writer(words), monitors))


def journaled(words: Sequence[str], monitors: Sequence[Monitor]) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_supervise(_Writer(words), monitors, f"{folder}/run.journal"))


def wrapped(words: Sequence[str], monitors: Sequence[Monitor]) -> None:
    wire = MemoryWire(lambda _number, _body: texts(words))
    asyncio.run(collect(wire, list(monitors), settings={"workers": Workers(blocked_loop_after=None)}))


def served(words: Sequence[str], monitors: Sequence[Monitor]) -> None:
    async def main() -> None:
        config = msgspec.convert({"upstreams": ["http://scripted/v1"]}, Config)
        gateway = Gateway(config, transport=ScriptedTransport(lambda _: events(list(words), api="chat")))
        gateway.chooser.monitors.update({monitor.name: monitor for monitor in monitors})
        gateway.chooser.usual += tuple(monitors)
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"q"}]}'
        async with gateway:
            answer = await send_call(make_app(gateway), body)
        assert "[DONE]" in answer, answer

    asyncio.run(main())


def shipped(**spec: Any) -> list[Monitor]:
    # Return the monitor of `spec`, prepared, so that no token waits for it.
    monitor = prepared_for(load_monitor(spec), "q")
    assert monitor is not None
    return [monitor]


ENTRY = {"properties": {"name": {"type": "string"}, "count": {"type": "integer"}}, "required": ["name"]}


class Case(NamedTuple):
    """A text, the monitors that read it, and the way in which it is read."""

    text: Callable[[int], list[str]]
    monitors: Callable[[], list[Monitor]]
    read: Callable[[Sequence[str], Sequence[Monitor]], None] = supervised


CASES: dict[str, Case] = {
    "no monitor, no line ends": Case(plain, list),
    "3 monitors on lines, no line ends": Case(plain, partial(on_lines, 3)),
    "no monitor, a line every 12 tokens": Case(equal_lines, list),
    "3 monitors on lines, equal lines of 12 tokens": Case(equal_lines, partial(on_lines, 3)),
    "3 monitors on lines, different lines of 12 tokens": Case(different_lines, partial(on_lines, 3)),
    "arithmetic, lines of 12 tokens": Case(equal_lines, partial(shipped, name="arithmetic")),
    "arithmetic, lines of 12 tokens with a number": Case(different_lines, partial(shipped, name="arithmetic")),
    "arithmetic, lines of 12 tokens with an equation": Case(sums, partial(shipped, name="arithmetic")),
    "terms, different lines of 12 tokens": Case(
        different_lines, partial(shipped, name="terms", terms=("confidential", "Project Zeus"))
    ),
    "regex, different lines of 12 tokens": Case(
        different_lines, partial(shipped, name="regex", patterns=("TODO+", "(?i)as an ai"))
    ),
    "json_schema, a document": Case(
        document, partial(shipped, name="json_schema", schema={"type": "array", "items": ENTRY})
    ),
    "a journal, 3 monitors, different lines": Case(different_lines, partial(on_lines, 3), journaled),
    "a wrapped client, 3 monitors, different lines": Case(different_lines, partial(on_lines, 3), wrapped),
    "a gateway, 3 monitors, different lines": Case(different_lines, partial(on_lines, 3), served),
}
RECORDED: dict[str, float] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
"""The instructions per token when they were recorded, in CPython 3.11."""
BAR = 0.02
"""How much more than recorded a token may cost."""
IS_COMPARABLE = sys.version_info[:2] == (3, 11)
"""Other versions of Python have other instructions."""


def per_token(case: Case) -> float:
    # The first run imports and fills caches.
    _, short, long = (count_steps(case.read, case.text(count), case.monitors()) for count in (SHORT, SHORT, LONG))
    return (long - short) / (LONG - SHORT)


def costs() -> Iterator[tuple[str, float]]:
    return ((name, per_token(case)) for name, case in CASES.items())


def main() -> int:
    if sys.argv[1:] == ["--record"]:
        recording = json.dumps({name: round(cost, 1) for name, cost in costs()}, indent=2)
        Path(__file__).with_suffix(".json").write_text(f"{recording}\n", encoding="utf-8")
        return 0
    status = 0
    sys.stdout.write(f"{'recorded':>8} {'now':>8} {'change':>8}  instructions per token\n")
    for name, now in costs():
        before = RECORDED.get(name, now)
        status = status or int(IS_COMPARABLE and now > before * (1 + BAR))
        sys.stdout.write(f"{before:8.1f} {now:8.1f} {now / before - 1:+8.1%}  {name}\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
