"""The server of a soak, which runs in a separate process. It streams stories, with faults at random points.

Its arguments are a seed and a rate (chunks per second). It prints its URL, and stops when its standard input closes.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import anyio
import anyio.to_thread
from interwhen import Span
from interwhen.testing._server_script import ReceivedRequest, Step, chunk, data
from interwhen.testing.server import (
    Disconnect,
    Reset,
    ScriptedServer,
    Send,
    SendRaw,
    Sleep,
    Stall,
    fault,
)

# The text of the simulated model: sums, some of them wrong at first. The model can continue any prefix.

_SLIP = 0.15
"""The share of lines that the model first writes with a mistake."""
_NUMBER = re.compile(r"Story (\d+), with [\d, ]+\.\n")


@dataclass(frozen=True, slots=True)
class Story:
    """A story of lines with sums. ``told`` has the lines as the model writes them, ``right`` the correct lines."""

    number: int
    right: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def operands(self) -> list[str]:
        return [word for line in self.right for word in line.split()[1:4:2]]

    @property
    def text(self) -> str:
        return "".join(self.right)

    def after(self, prefix: str) -> str:
        # The later lines are those of `told`, with their mistakes. If the last line belongs to neither version of the
        # story, the text is one line that says so. After the whole story it is empty.
        lines = prefix.split("\n")
        at, begun = len(lines) - 1, lines[-1]
        if at >= len(self.right):
            return ""
        line = next((line for line in (self.told[at], self.right[at]) if line.startswith(begun)), None)
        if line is None:
            return f"I have lost the thread at {begun!r}\n"
        return line[len(begun) :] + "".join(self.told[at + 1 :])

    def stands(self, text: str, *, checked: bool = True, waiting: bool = False) -> bool:
        # All lines must be correct, except the last one, which may also be the beginning of the line as the model wrote
        # it. If `checked` is false, each line may be wrong as the model wrote it. With `waiting`, the line before the
        # last one may be, too, if the last one has no space yet.
        # *checked* is false if the reader left early. *waiting*: the run failed, and a check may still have waited for
        # the first word of the next line.
        if self.text.startswith(text):
            return True
        *whole, last = text.removesuffix("\n").split("\n")
        if len(whole) >= len(self.told):
            return False
        checks = [checked] * len(whole)
        if waiting and whole and " " not in last:
            checks[-1] = False
        return all(
            f"{line}\n" in ((right,) if is_checked else (right, told))
            for line, is_checked, right, told in zip(whole, checks, self.right, self.told, strict=False)
        ) and any(line.startswith(last) for line in (self.right[len(whole)], self.told[len(whole)]))

    def is_right(self, text: str, span: Span) -> bool:
        # A wrong line is as long as the correct line, so that all offsets are the same.
        return text[span.start : span.end] == self.text[span.start : span.end]


def story(number: int) -> Story:
    # Return story `number`. The same number always gives the same story.
    rng = random.Random(number)
    right, told = list[str](), list[str]()
    for _ in range(rng.randint(6, 14)):
        one, other = rng.randint(100, 499), rng.randint(100, 499)
        value = one + other
        slip = value + rng.choice((-10, 1, 2, 10)) if rng.random() < _SLIP else value
        if slip in (one | other, one ^ other):  # what a machine may mean by +, so that it is not repaired
            slip = value
        right.append(f"So {one} + {other} = {value}\n")
        told.append(f"So {one} + {other} = {slip if len(str(slip)) == len(str(value)) else value}\n")
    return Story(number, tuple(right), tuple(told))


def prompt_of(number: int) -> str:
    return f"Story {number}, with {', '.join(story(number).operands)}.\n"


def asked(prompt: str) -> tuple[Story, str]:
    match = _NUMBER.match(prompt)
    if match is None:
        raise ValueError(f"the prompt must begin with 'Story NUMBER, with', got {prompt[:80]!r}")
    return story(int(match[1])), prompt[match.end() :]


_BROKEN = 0.3
"""The probability that a request gets a fault."""
_REMEMBERED = 256

_REFUSALS = ("http_429", "http_500", "http_503", "eof_before", "stall_headers")
"""Faults instead of an answer."""
_BREAKS: dict[str, Callable[[bytes], Sequence[Step]]] = {
    "rst_mid": lambda event: (Send(event[: len(event) // 2]), Reset()),
    "eof_mid": lambda event: (Send(event[: len(event) // 2]), Disconnect()),
    "stall": lambda _event: (Stall(),),
    "keepalive_only": lambda _event: tuple(step for _ in range(100) for step in (Send(b": ping\n\n"), Sleep(0.5))),
    "malformed_json": lambda event: (Send(event[: len(event) // 2] + b"\n\n"),),
    "json_scalar": lambda _event: (Send(b"data: 42\n\n"),),
    "utf8_invalid": lambda event: (Send(event.replace(b'"text": "', b'"text": "\xff\xfe')),),
    "error_event": lambda _event: (Send(data({"error": {"message": "out of memory", "code": 503}})),),
    "bad_chunk_size": lambda _event: (SendRaw(b"zz\r\n"), Disconnect()),
}
"""Faults in the middle of an answer."""
FAULTS = (*_REFUSALS, *_BREAKS, "no_done", "byte_drip", "crlf", "comments")
"""All faults that a request can have."""


class Teller:
    """Answers each request with its story, at about *rate* chunks a second, sometimes with a fault. Counts the faults.

    A counted fault may have no effect at the end of the text.
    """

    def __init__(self, seed: int, rate: float) -> None:
        self._seed = seed
        self._rate = rate
        self._number = 0
        self.injected = dict.fromkeys(FAULTS, 0)

    def __call__(self, request: ReceivedRequest) -> Sequence[Step]:
        self._number += 1
        rng = random.Random(f"{self._seed} {self._number}")
        told, prefix = asked(request.json["prompt"])
        name = rng.choice(FAULTS) if rng.random() < _BROKEN else ""
        if name:
            self.injected[name] += 1
        if name in _REFUSALS:
            return fault(name)
        return tuple(self._told(rng, told.after(prefix), name))

    def _told(self, rng: random.Random, text: str, name: str) -> Iterator[Step]:
        events, at = list[bytes](), 0
        while at < len(text):
            size = rng.randint(1, 9)
            events.append(data(chunk("completions", text[at : at + size])))
            at += size
        breaks = rng.randrange(len(events) + 1)
        for number, event in enumerate(events):
            yield Sleep(rng.uniform(0.5, 1.5) / self._rate)
            if number == breaks and name in _BREAKS:
                yield from _BREAKS[name](event)
                if name in ("rst_mid", "eof_mid", "bad_chunk_size"):
                    return
            elif number == breaks and name == "comments":
                yield Send(b": hello\n\nevent: message\nid: 1\n\n")
            elif number == breaks and name == "no_done":
                return
            if name == "byte_drip" and number == breaks:
                yield from (Send(event[byte : byte + 1]) for byte in range(len(event)))
            else:
                yield Send(event.replace(b"\n", b"\r\n") if name == "crlf" else event)
        yield Send(data(chunk("completions", "", finish_reason="stop")))
        yield Send(b"data: [DONE]\n\n")


async def serve(seed: int, rate: float) -> None:
    # `rate` is in chunks per second. The first line of output is the URL, and the last one has the number of each fault
    # and of open connections.
    teller = Teller(seed, rate)
    async with ScriptedServer(teller) as server, anyio.create_task_group() as group:

        async def forget() -> None:
            # The scripted server keeps all requests for tests. In a long soak this would look like a memory leak.
            while True:
                await anyio.sleep(1)
                del server.requests[:-_REMEMBERED]

        group.start_soon(forget)
        sys.stdout.write(f"{server.base_url}\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.buffer.read)
        group.cancel_scope.cancel()
        sys.stdout.write(json.dumps({"injected": teller.injected, "open": server.open_connections}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(serve, int(sys.argv[1]), float(sys.argv[2]))
