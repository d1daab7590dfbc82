"""``interwhen demo``: a tiny model solves problems, first alone and then supervised."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import anyio
from cyclopts import Parameter
from rich.console import Console
from rich.live import Live
from rich.text import Text

from interwhen import Abstained, Budgets, Failed, Message, Result, Sampling, UsageError, run
from interwhen._types.events import Event
from interwhen._types.models import Model
from interwhen._types.results import Label, Status
from interwhen.cli import _exits
from interwhen.cli._flags import ModelFlags
from interwhen.cli._supervise import closing, show_run
from interwhen.cli._text import (
    FEEDBACK,
    REPAIR,
    RETRACTED,
    STYLES,
    LineKind,
    Signs,
    is_live,
    one_line,
    signs_for,
    stdout_console,
    visible,
)
from interwhen.cli._view import Viewer, ViewState, apply, render
from interwhen.models import Chunk, GuardedStream, Request, Stream
from interwhen.models._wrapper import ModelWrapper
from interwhen.registry import load_monitor

# The three runs of ``interwhen demo``.
#
# Nothing in them is staged: the model answers greedily. The problems were chosen with
# ``python -m tools.train_tiny.pick_demo``, which tries many and prints those that end as wanted.

MODEL = "local:tiny"
SAMPLING = Sampling(max_tokens=400, temperature=0.0)
REPAIRED = "Take 59. Multiply by 12. Subtract 63. What do you get?"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    introduction: str
    problem: str
    right: str
    """The right answer."""
    monitor: str | None
    """With its options. ``None``: the model runs alone."""
    budgets: Budgets | None = None
    """``None``: the default ones."""
    ends: Label
    """The end with the model for which the problem was chosen."""
    interrupts: tuple[int, int]
    """The least and the most of that model."""

    @property
    def prompt(self) -> tuple[Message, ...]:
        return (Message("user", self.problem),)


SCENES = (
    Scene(
        introduction="The model alone: nothing shows that a step is wrong.",
        problem=REPAIRED,
        right="645",
        monitor=None,
        ends="unverified",
        interrupts=(0, 0),
    ),
    Scene(
        introduction="The same with interwhen: a wrong value stops the stream, the right\n"
        "one is written in its place, and the model continues from there.",
        problem=REPAIRED,
        right="645",
        monitor="arithmetic:remedy=repair",
        ends="steps verified",
        interrupts=(1, 2),
    ),
    Scene(
        introduction="A harder one. Feedback says only that something is wrong, twice.\n"
        "After that interwhen gives no answer, rather than a wrong one.",
        problem="Compute 656 × 86.",  # noqa: RUF001 (the model was trained with this sign)
        right="56416",
        monitor="arithmetic:remedy=feedback,place=append,level=flag",
        budgets=Budgets(remedies=2),
        ends="abstained",
        interrupts=(1, 3),
    ),
)


class PacedModel(ModelWrapper):
    """Slows the streams of *model* down to about *rate* tokens a second, but not its forks."""

    def __init__(self, model: Model, rate: float) -> None:
        super().__init__(model)
        self._rate = rate

    async def stream(self, request: Request) -> Stream:
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


class SceneViewer(Viewer):
    """Redraws the whole trace while the model writes, and prints it once at the end, without the numbers of a run."""

    def __init__(self, console: Console, *, plain: bool, watched: bool) -> None:
        self._console = console
        self._watched = watched
        self._state = ViewState()
        can_redraw = is_live(console) and not plain
        # No scene is longer than a screen.
        frames = Live(get_renderable=self._picture, console=console, transient=True)
        self._frames = frames if can_redraw else nullcontext()

    def __enter__(self) -> Self:
        self._frames.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._frames.__exit__(kind, error, traceback)
        self._console.print(self._picture(), soft_wrap=True)

    def show(self, event: Event) -> None:
        self._state = apply(self._state, event)

    def _picture(self) -> Text:
        # Without a monitor, no text waits for a check.
        state = self._state if self._watched else replace(self._state, frontier=self._state.end)
        return render(state, signs_for(self._console.encoding))


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
    """Watch interwhen at work: a tiny model makes mistakes, first alone and then supervised.

    By default, the model is one of 2.7 million parameters that comes with interwhen. The exit code is 5 if a run
    failed.

    Parameters
    ----------
    plain
        Print each run when it has ended, instead of redrawing it. Always so if stdout is not a terminal.
    speed
        About how many tokens a second are shown, because the model writes faster than people read. 0: no limit.
    """
    if not 0 <= speed < math.inf:
        raise UsageError(f"--speed must be at least 0 and finite, got {speed}: use 0 for no limit")
    is_ours = not (model.model or model.base_url)
    opened = (ModelFlags(MODEL) if is_ours else model).open(SCENES[0].prompt)
    console = stdout_console()
    shown: Model = PacedModel(opened, speed) if speed else opened
    _introduce(console, shown, is_ours=is_ours)

    async def main() -> list[Result]:
        async with closing(shown):
            return await _play(console, shown, plain=plain)

    results = anyio.run(main)
    if any(result.status == "failed" for result in results):
        return _exits.FAILED
    console.print(NEXT_STEPS.format(program=_program("interwhen"), python=_program("python")), soft_wrap=True)
    return _exits.OK


def _introduce(console: Console, model: Model, *, is_ours: bool) -> None:
    signs = signs_for(console.encoding)
    (struck, unstruck), (left, right) = signs.retracted, signs.quotes
    console.print(Text.assemble((visible(model.name), "bold"), " writes. Signs of interwhen:"))
    legend = (
        (signs.passed, STYLES["passed"], "right"),
        (signs.violated, STYLES["violated"], "wrong"),
        (f"{struck}25{unstruck}", RETRACTED, "taken back"),
        (f"{left}24{right}", REPAIR, "a repair"),
        (f"{left}Wait{right}", FEEDBACK, "feedback"),
    )
    console.print(Text.assemble(*(part for sign, style, word in legend for part in ("  ", (sign, style), f" {word}"))))
    if not is_ours:
        console.print(f"The problems were chosen for {MODEL}; this model may do better or worse.")


async def _play(console: Console, model: Model, *, plain: bool) -> list[Result]:
    """Run and show the scenes one after the other, and stop after a failed run."""
    results: list[Result] = []
    for number, scene in enumerate(SCENES, start=1):
        console.print(_heading(number, scene), soft_wrap=True)
        monitors = (load_monitor(scene.monitor),) if scene.monitor else ()
        supervised = run(model, scene.prompt, monitors=monitors, sampling=SAMPLING, budgets=scene.budgets)
        viewer = SceneViewer(console, plain=plain, watched=bool(monitors))
        results.append(await show_run(supervised, viewer))
        console.print(_conclusion(results[-1], scene, signs_for(console.encoding)), soft_wrap=True)
        if results[-1].status == "failed":
            break
    return results


def _heading(number: int, scene: Scene) -> Text:
    return Text.assemble(
        (f"\nRun {number} of {len(SCENES)}. ", "bold"),
        f"{scene.introduction}\n",
        (f"  {scene.problem}", "bold"),
        (f"\n  monitor: {scene.monitor}" if scene.monitor else "", "dim"),
    )


def _conclusion(result: Result, scene: Scene, signs: Signs) -> Text:
    is_right = result.answer.split()[-1:] == [scene.right]
    match result:
        case Abstained(reason=why) | Failed(error=why):
            end = one_line(why)
        case _:
            end = "the answer is right" if is_right else f"the answer is wrong; {scene.right} is right"
    kind = _KINDS[result.status] if scene.monitor or is_right else "violated"
    interrupts = sum(violation.interrupted for violation in result.violations)
    ledger = result.ledger
    return Text.assemble(
        (f"  {signs.of(kind)} {result.label}", f"bold {STYLES[kind]}"),
        f": {end}\n    {ledger.kept + ledger.discarded} tokens, {ledger.discarded} of them discarded, "
        f"{interrupts} interrupt{'' if interrupts == 1 else 's'}",
    )


NEXT_STEPS = """
Next. 1. Wrap your calls. In {python}
(OPENAI_API_KEY is your key; your own server: OPENAI_BASE_URL, another model):

import interwhen, openai
client = interwhen.wrap(openai.OpenAI(), monitors=["arithmetic"])
print(client.responses.create(model="gpt-5-mini", input="17 * 24?").output_text)

2. Write a verifier: a package with tests, which works from the first minute on.

{program} verifiers new my_verifier

3. Measure what a correct run pays (about a minute).

{program} bench penalty --speed 2 --pairs 3"""


def _program(name: str) -> str:
    """Return how to call *name* of this environment."""
    path = Path(sys.executable).with_name(name)
    if shutil.which(name) == str(path):
        return name
    return os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path)
