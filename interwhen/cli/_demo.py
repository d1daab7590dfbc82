"""``interwhen demo``: a tiny model solves three problems while a verifier checks them."""

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

from interwhen import Budgets, Message, Model, Result, Sampling, UsageError, run
from interwhen._types.results import Label, Status
from interwhen.cli import _exits
from interwhen.cli._flags import ModelFlags
from interwhen.cli._supervise import closing, show_run
from interwhen.cli._text import STYLES, LineKind, Signs, signs_for, stdout_console, visible
from interwhen.cli._view import legend, viewer_for
from interwhen.models import Chunk, GuardedStream, ModelWrapper, Request, Stream
from interwhen.registry import load_monitor

# The three runs of ``interwhen demo``: problem, monitor, and introduction.
#
# Nothing in them is staged: the model answers greedily. The problems were chosen with
# ``python -m tools.train_tiny.pick_demo``, which tries many and prints those that end as wanted.

MODEL = "local:tiny"
SAMPLING = Sampling(max_tokens=400, temperature=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One run of the demo: its problem, its monitor, and how it ends with the tiny model."""

    introduction: str
    """The text before the run."""
    problem: str
    monitor: str
    """The name of the monitor, with its options."""
    budgets: Budgets | None = None
    """The budgets of the run; ``None``: the default ones."""
    ends: Label
    """The end of the run with the model for which the problem was chosen."""
    interrupts: tuple[int, int]
    """The least and the most interrupts of that model."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        """The problem of the scene as a chat: one message of the user."""
        return (Message("user", self.problem),)


SCENES = (
    Scene(
        introduction="A problem that the model can solve. The checks run beside the stream; while nothing is wrong, "
        "only the signs in the margin show them.",
        problem="Eve has 52 stamps, buys 11, gets 76 more and gets 645 more. How many stamps are there now?",
        monitor="arithmetic",
        ends="steps verified",
        interrupts=(0, 0),
    ),
    Scene(
        introduction="A problem on which it makes a mistake. The wrong value stops the stream; the right one is "
        "written in its place, and the same model continues from there.",
        problem="Take 59. Multiply by 12. Subtract 63. What do you get?",
        monitor="arithmetic:remedy=repair",
        ends="steps verified",
        interrupts=(1, 2),
    ),
    Scene(
        introduction="A long problem with little help: the feedback says only that something is wrong, at most twice. "
        "After that no answer is given, rather than a guess.",
        problem="Sue has 1471 cards, wins 830, loses 357, gives away 1471, wins 3387, wins 3010, uses 2052, uses 3154 "
        "and gets 3172 more. How many cards are there now?",
        monitor="arithmetic:remedy=feedback,place=append,level=flag",
        budgets=Budgets(remedies=2),
        ends="abstained",
        interrupts=(1, 3),
    ),
)


# A model that is slowed down for the reader.


class PacedModel(ModelWrapper):
    """Wraps *model* and slows its streams down to about *rate* tokens a second. Forks are not slowed down."""

    def __init__(self, model: Model, rate: float) -> None:
        super().__init__(model)
        self._rate = rate

    async def stream(self, request: Request) -> Stream:
        """Open a stream that returns at most one chunk at a time, at the limited rate."""
        return _PacedStream(await self._model.stream(request), self._rate)


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
    """Watch interwhen at work: a tiny model solves three problems, and a verifier checks its steps.

    By default, the model is one of 2.7 million parameters that comes with interwhen. The exit code is 5 if a run
    failed.

    Parameters
    ----------
    plain
        Append lines instead of redrawing a picture. Always so if stdout is not a terminal.
    speed
        About how many tokens a second are shown, because the model writes faster than people read. 0: no limit.
    """
    if not 0 <= speed < math.inf:
        raise UsageError(f"--speed must be at least 0 and finite, got {speed}: use 0 for no limit")
    is_ours = not (model.model or model.base_url)
    opened = (ModelFlags(MODEL) if is_ours else model).open(SCENES[0].prompt)
    console = stdout_console()
    signs = signs_for(console.encoding)
    shown: Model = PacedModel(opened, speed) if speed else opened
    _introduce(console, shown, signs, is_ours=is_ours)
    if speed:
        console.print(
            f"\nThe text is slowed down to {speed:g} tokens a second for reading; --speed 0 shows it at full speed."
        )

    async def main() -> list[Result]:
        async with closing(shown):
            return await _play(console, shown, plain=plain)

    results = anyio.run(main)
    _conclude(console, results, signs)
    return _exits.FAILED if any(result.status == "failed" for result in results) else _exits.OK


def _introduce(console: Console, model: Model, signs: Signs, *, is_ours: bool) -> None:
    console.print(Text.assemble("Starting ", (visible(model.name), "bold"), " for three runs. Signs and colours:\n"))
    console.print(legend(signs))
    if not is_ours:
        console.print(f"\nThe problems were chosen for {MODEL}; this model may do better or worse.")


async def _play(console: Console, model: Model, *, plain: bool) -> list[Result]:
    """Run the scenes with *model* one after the other, show them, and return the results. Stop after a failed run."""
    results: list[Result] = []
    for number, scene in enumerate(SCENES, start=1):
        console.print(_heading(number, scene))
        viewer = viewer_for(console, json=False, plain=plain)
        monitors = (load_monitor(scene.monitor),)
        supervised = run(model, scene.prompt, monitors=monitors, sampling=SAMPLING, budgets=scene.budgets)
        results.append(await show_run(supervised, viewer))
        if results[-1].status == "failed":
            break
    return results


def _heading(number: int, scene: Scene) -> Text:
    return Text.assemble(
        (f"\nRun {number} of {len(SCENES)}. ", "bold"),
        scene.introduction,
        (f"\n\n  {scene.problem}\n", "bold"),
        (f"  monitor: {scene.monitor}\n", "dim"),
    )


def _conclude(console: Console, results: list[Result], signs: Signs) -> None:
    """Print for each of *results* how the run ended and how many tokens it took."""
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
