"""Measures corrections by an extra turn, and what a plain reader sees of them, on a real server.

``python -m tests.measurements.turns URL [--model NAME] [--key KEY] [--task sums|totals] [--corrections 100] [--seed 1] [--minutes 12]``

The same exercises are solved with ``resume="turn"`` and with ``resume="prefill"``, as streams of the wrapped ``openai``
client, with the default delivery and the default remedy. What the server sent is recorded below the client. The number
of exercises is the one that gives so many corrections by turn.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

import anyio
import httpx2
import interwhen
import openai
from interwhen import Message, Result
from interwhen.strategies import Exercise
from tests.measurements import tiny_tasks

from interwhen_verifiers.tasks import chained_arithmetic

Way = Literal["turn", "prefill"]
WAYS: tuple[Way, ...] = ("turn", "prefill")
MOST_TOKENS = 300
TASKS: Mapping[str, Callable[[int, int], Iterable[Exercise]]] = {
    "sums": lambda count, seed: chained_arithmetic(count=count, seed=seed, terms=4, digits=3),
    "totals": lambda count, seed: tiny_tasks.totals(count=count, seed=seed, hard=True),  # for the tiny model
}
NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


@dataclass
class Arm:
    """What was counted for one way of continuing."""

    exercises: int = 0
    right: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    corrections: int = 0
    requests: list[int] = field(default_factory=list)
    """For each mistake, the requests that it cost. A mistake is a place at which a monitor refuted something."""
    foreign: list[str] = field(default_factory=list)
    """Numbers of final texts that neither the model nor a repair wrote."""
    joined: list[str] = field(default_factory=list)
    """Refuted claims with such numbers: refutations of our own join."""
    repeated_lines: int = 0
    """Lines of final texts that are equal to the line before them."""
    transcripts: int = 0
    corrected: int = 0
    words: list[int] = field(default_factory=list)
    """For each corrected transcript, how many more "Correction" it has than mistakes; 0 if not more."""
    twice: list[str] = field(default_factory=list)
    """Refuted claims that a plain reader saw more often than before the first refutation."""
    failures: list[str] = field(default_factory=list)

    def report(self) -> dict[str, object]:
        return {
            "exercises": self.exercises,
            "right": self.right,
            "statuses": dict(self.statuses),
            "corrections": self.corrections,
            "mistakes": len(self.requests),
            "requests a mistake, median": statistics.median(self.requests) if self.requests else None,
            "requests a mistake, most": max(self.requests, default=None),
            "numbers of no writer": len(self.foreign),
            "refutations of our own join": len(self.joined),
            "lines that repeat the one before": self.repeated_lines,
            "transcripts": self.transcripts,
            "corrected transcripts": self.corrected,
            "more corrections than mistakes": sum(map(bool, self.words)),
            "refuted texts shown again": len(self.twice),
            "exceptions": len(self.failures),
            "examples": [*self.foreign[:3], *self.joined[:3], *self.twice[:3], *self.failures[:3]],
        }


def numbers(text: str) -> set[str]:
    return set(NUMBER.findall(text))


def mistakes(result: Result) -> list[int]:
    """Return how many requests each place cost, for the places that cost any."""
    acted = [violation for violation in result.violations if violation.remedy not in (None, "abstain", "stop")]
    return [*Counter((violation.monitor, violation.place) for violation in acted).values()]


def chat(exercise: Exercise) -> list[Message]:
    prompt = exercise.question.prompt
    return [Message("user", prompt)] if isinstance(prompt, str) else list(prompt)


def is_right(exercise: Exercise, text: str) -> bool:
    answer = exercise.question.read(text)
    return answer is not None and exercise.grade(answer)


class Recorder(httpx2.AsyncHTTPTransport):
    """Keeps what the server sent in answer to each request."""

    def __init__(self) -> None:
        super().__init__()
        self.bodies: list[bytearray] = []

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        response = await super().handle_async_request(request)
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        self.bodies.append(bytearray())
        response.stream = _Copied(response.stream, self.bodies[-1])
        return response

    def texts(self) -> list[str]:
        """Return the text that each answer streamed."""
        return ["".join(map(_delta, body.split(b"\n"))) for body in self.bodies]


class _Copied(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, body: bytearray) -> None:
        self._stream = stream
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with aclosing(self._stream.__aiter__()) as parts:  # type: ignore[type-var]
            async for data in parts:
                self._body += data
                yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


def _delta(line: bytes) -> str:
    if not line.startswith(b"data: {"):
        return ""
    try:
        choices = json.loads(line.removeprefix(b"data: ")).get("choices")
    except ValueError:  # the close has cut the line
        return ""
    return (choices[0]["delta"].get("content") or "") if choices else ""


def count_run(arm: Arm, exercise: Exercise, result: Result, wrote: Sequence[str], way: Way) -> None:
    """Count the *result* of one call, for which the model *wrote* these texts."""
    arm.exercises += 1
    arm.statuses[result.status] += 1
    arm.right += result.status in ("verified", "unverified") and is_right(exercise, result.text)
    arm.corrections += result.ledger.remedies
    arm.requests += mistakes(result)
    if way == "turn":  # By prefill, the model may continue a half-written number.
        known = numbers(" ".join([*wrote, *(violation.inserted for violation in result.violations)]))
        arm.foreign += sorted(numbers(result.text) - known)
        said = known | numbers(str(chat(exercise)))
        arm.joined += [each.key for each in result.violations if numbers(re.split(" \\| |\\x1f", each.key)[0]) - said]
    lines = [line.strip() for line in result.text.splitlines() if line.strip()]
    arm.repeated_lines += sum(one == other for one, other in pairwise(lines))


def packed(text: str) -> str:
    return re.sub(r"[\s$\\(){}*_]|\\times|\u00d7", "", text)


async def read(
    arm: Arm, client: openai.AsyncOpenAI, recorder: Recorder, name: str, exercise: Exercise, way: Way, seed: int
) -> None:
    """Read the answer to *exercise* as a plain SDK does: every text of every chunk, in order."""
    wrapped = interwhen.wrap(client, monitors=exercise.question.watchers(acting=True), resume=way)
    messages = [{"role": each.role, "content": each.content} for each in chat(exercise)]
    seen, before, result, refuted = "", None, None, []
    recorder.bodies.clear()
    try:
        options = {"max_tokens": MOST_TOKENS, "temperature": 0.7, "seed": seed, "stream": True}
        stream = await wrapped.chat.completions.create(model=name, messages=messages, **options)  # type: ignore[call-overload]
        async for chunk in stream:
            seen += (chunk.choices[0].delta.content or "") if chunk.choices else ""
            info = chunk.interwhen
            refuted += [each.key for each in info.violations if each.interrupted]
            before = seen if before is None and refuted else before
            result = info.result or result
    except openai.OpenAIError as error:
        arm.failures.append(
            f"{error!r} from {error.__cause__!r} from {error.__cause__ and error.__cause__.__cause__!r}"
        )
        return
    arm.transcripts += 1
    assert result is not None
    count_run(arm, exercise, result, recorder.texts(), way)
    if not refuted:
        return
    arm.corrected += 1
    # What repeats the beginning of a line may be on the line of another claim, so whole claims are compared.
    arm.words.append(max(seen.count("Correction") - len(mistakes(result)), 0))
    for key in set(refuted):
        often = packed(before or "").count(packed(key)) or 1
        if packed(key) not in packed(result.text) and packed(seen).count(packed(key)) > often:
            arm.twice.append(f"{key}: {seen!r}")


async def measure(
    url: str, name: str, key: str, exercises: Sequence[Exercise], seed: int, *, corrections: int, minutes: float
) -> dict[Way, Arm]:
    """Solve the exercises by turn until there are so many corrections, and the same exercises by prefill."""
    arms: dict[Way, Arm] = {way: Arm() for way in WAYS}
    until = time.monotonic() + minutes * 60
    recorder = Recorder()
    http = openai.DefaultAsyncHttpxClient(transport=recorder)
    async with openai.AsyncOpenAI(base_url=url, api_key=key, max_retries=0, timeout=600, http_client=http) as client:
        for number, exercise in enumerate(exercises):
            if arms["turn"].corrections >= corrections or time.monotonic() > until:
                break
            for way in WAYS:
                await read(arms[way], client, recorder, name, exercise, way, seed + number)
            counts = {way: (arm.corrections, arm.right, len(arm.failures)) for way, arm in arms.items()}
            print(number, counts, file=sys.stderr, flush=True)
    return arms


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--model", default="local")
    parser.add_argument("--key", default="none")
    parser.add_argument("--task", choices=TASKS, default="sums")
    parser.add_argument("--corrections", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=12.0)
    given = parser.parse_args()
    exercises = [*TASKS[given.task](400, given.seed)]
    options = {"corrections": given.corrections, "minutes": given.minutes}
    arms = anyio.run(lambda: measure(given.url, given.model, given.key, exercises, given.seed, **options))
    print(json.dumps({way: arm.report() for way, arm in arms.items()}, indent=2))


if __name__ == "__main__":
    main()
