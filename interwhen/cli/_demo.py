"""``interwhen demo``: three problems for a tiny model, solved live while a verifier looks on."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interwhen._types.budgets import Budgets
from interwhen._types.errors import UsageError
from interwhen._types.models import Capabilities, Chunk, Completion, Message, Model, Request, Sampling, Stream
from interwhen._types.results import Label, Result, Status
from interwhen.cli import _exits
from interwhen.cli._flags import ModelFlags
from interwhen.cli._supervise import closing, watch
from interwhen.cli._text import STYLES, LineKind, Signs, signs_for, visible
from interwhen.cli._view import legend, stdout_console, viewer_for
from interwhen.models._token_stream import GuardedStream
from interwhen.registry import load_monitor

# The three runs of ``interwhen demo``: what is asked, who watches, and what is said about it beforehand.
#
# Nothing in them is staged: the model answers greedily and may do as it likes. The problems were looked for with
# ``python -m examples.train_tiny.pick_demo``, which tries many and prints those that end as wanted.

MODEL = "local:tiny"
SAMPLING = Sampling(max_tokens=400, temperature=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One run of the demo."""

    told: str
    """What is said before it."""
    problem: str
    monitor: str
    budgets: Budgets | None = None
    ends: Label
    """How it ends with the model that the problem was chosen for."""
    interrupts: tuple[int, int]
    """How often that model is interrupted: at least, at most."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The problem as a chat."""
        return (Message("user", self.problem),)


SCENES = (
    Scene(
        told="A problem within its reach. The checks run beside the stream; while nothing is wrong, nothing is seen of "
        "them but the signs in the margin.",
        problem="Eve has 52 stamps, buys 11, gets 76 more and gets 645 more. How many stamps are there now?",
        monitor="arithmetic",
        ends="steps verified",
        interrupts=(0, 0),
    ),
    Scene(
        told="One that it slips on. The wrong value stops the stream; the right one is written in its place, and the "
        "same model goes on from there.",
        problem="Take 59. Multiply by 12. Subtract 63. What do you get?",
        monitor="arithmetic:remedy=repair",
        ends="steps verified",
        interrupts=(1, 2),
    ),
    Scene(
        told="A long one, with hardly any help: the model is told no more than that something is wrong, and at most "
        "twice. After that no answer is given, rather than a guess.",
        problem="Sue has 1471 cards, wins 830, loses 357, gives away 1471, wins 3387, wins 3010, uses 2052, uses 3154 "
        "and gets 3172 more. How many cards are there now?",
        monitor="arithmetic:remedy=feedback,place=append,level=flag",
        budgets=Budgets(remedies=2),
        ends="abstained",
        interrupts=(1, 3),
    ),
)


# A model slowed down so that eyes can follow it.


class PacedModel:
    """Hands on the text of *model* at no more than *rate* tokens a second; all else passes through."""

    def __init__(self, model: Model, rate: float) -> None:
        self._model = model
        self._rate = rate

    @property
    def name(self) -> str:
        """The name of the model that is slowed down."""
        return self._model.name

    async def capabilities(self) -> Capabilities:
        """Return those of the model."""
        return await self._model.capabilities()

    async def stream(self, request: Request) -> Stream:
        """Open a stream that hands on one chunk at a time."""
        return _PacedStream(await self._model.stream(request), self._rate)

    async def complete(self, request: Request) -> Completion:
        """Pass a fork through."""
        return await self._model.complete(request)

    async def aclose(self) -> None:
        """Close the model."""
        await self._model.aclose()


class _PacedStream(GuardedStream):
    def __init__(self, stream: Stream, rate: float) -> None:
        super().__init__()
        self._stream = stream
        self._rate = rate
        self._waiting: deque[Chunk] = deque()
        self._due = anyio.current_time()

    async def fetch(self) -> Sequence[Chunk]:
        if not self._waiting:
            self._waiting.extend(await self._stream.receive())
        if not self._waiting:
            return ()
        await anyio.sleep(max(self._due - anyio.current_time(), 0.0))
        chunk = self._waiting.popleft()
        self._due = max(self._due, anyio.current_time() - 1 / self._rate) + chunk.tokens / self._rate
        return (chunk,)

    async def release(self) -> None:
        await self._stream.aclose()


_KINDS: dict[Status, LineKind] = {
    "verified": "passed",
    "unverified": "unproven",
    "abstained": "violated",
    "failed": "violated",
}
_NO_MODEL = ModelFlags()


def demo(
    *,
    model: ModelFlags = _NO_MODEL,
    plain: Annotated[bool, Parameter(negative="")] = False,
    speed: float = 60.0,
) -> int:
    """Watch interwhen at work: a tiny model solves three problems, and a verifier checks each of its steps.

    The model has 2.7 million parameters and comes with interwhen: no server, no key, no download. The exit code is 0
    for any honest end, and 5 where the model failed.

    Parameters
    ----------
    plain
        Append lines instead of redrawing a picture, as is done anyway when stdout is no terminal.
    speed
        How many tokens a second are shown, at most: the model writes faster than anyone reads. 0 shows all as it comes.
    """
    if not 0 <= speed < math.inf:
        raise UsageError(f"--speed {speed} is no number of tokens a second; 0 shows them as they come")
    is_ours = not (model.model or model.base_url)
    opened = (ModelFlags(MODEL) if is_ours else model).open(SCENES[0].prompt)
    console = stdout_console()
    signs = signs_for(console.encoding)
    shown: Model = PacedModel(opened, speed) if speed else opened
    _introduce(console, shown, signs, is_ours=is_ours)
    if speed:
        console.print(
            f"\nThe text is slowed down to {speed:g} tokens a second, for your eyes; --speed 0 shows it as it comes."
        )

    async def main() -> list[Result]:
        async with closing(shown):
            return await _play(console, shown, plain=plain)

    results = anyio.run(main)
    _conclude(console, results, signs)
    return _exits.FAILED if any(result.status == "failed" for result in results) else _exits.OK


def _introduce(console: Console, model: Model, signs: Signs, *, is_ours: bool) -> None:
    console.print(Text.assemble("Starting ", (visible(model.name), "bold"), " for three runs. What you will see:\n"))
    console.print(legend(signs))
    if not is_ours:
        console.print(f"\nThe problems were chosen for {MODEL}; this model may do better or worse.")


async def _play(console: Console, model: Model, *, plain: bool) -> list[Result]:
    """Run the scenes one after the other; a model that failed once is not asked again."""
    results: list[Result] = []
    for number, scene in enumerate(SCENES, start=1):
        console.print(_heading(number, scene))
        viewer = viewer_for(console, json=False, plain=plain)
        result = await watch(
            model,
            scene.prompt,
            viewer,
            monitors=(load_monitor(scene.monitor),),
            sampling=SAMPLING,
            budgets=scene.budgets,
        )
        results.append(result)
        if result.status == "failed":
            break
    return results


def _heading(number: int, scene: Scene) -> Text:
    return Text.assemble(
        (f"\nRun {number} of {len(SCENES)}. ", "bold"),
        scene.told,
        (f"\n\n  {scene.problem}\n", "bold"),
        (f"  watched by {scene.monitor}\n", "dim"),
    )


def _conclude(console: Console, results: list[Result], signs: Signs) -> None:
    """Say on one line for each run how it ended and what it took."""
    table = Table.grid(padding=(0, 3))
    for number, result in enumerate(results, start=1):
        ledger, kind = result.ledger, _KINDS[result.status]
        interrupts = sum(violation.interrupted for violation in result.violations)
        table.add_row(
            Text(f"Run {number}"),
            Text(f"{signs.of(kind)} {result.label}", style=STYLES[kind]),
            Text(f"{ledger.kept + ledger.discarded} tokens, {ledger.discarded} of them discarded"),
            Text(f"{interrupts} interrupt{'' if interrupts == 1 else 's'}"),
        )
    console.print(Padding(table, (1, 0, 0, 0)))
