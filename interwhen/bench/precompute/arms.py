"""The arms: the same questions on the same contexts, with nothing prepared, with facts, with answers, with both."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from interwhen.bench.precompute.checkers import sources
from interwhen.bench.precompute.families import FAMILIES, Case, FamilyName, Question
from interwhen.bench.precompute.simulated import Rates, SimulatedModel
from interwhen.models.base import Model
from interwhen.precompute import ContextRef, Kind, MemoryShelf, Precomputer, Producer, Store
from interwhen.precompute.producers.answers import answers, compose
from interwhen.precompute.producers.facts import facts
from interwhen.precompute.serving import ServeReady, choose_facts, with_facts
from interwhen.running import run

Arm = Literal["nothing", "facts", "answers", "both"]
ARMS: tuple[Arm, ...] = ("nothing", "facts", "answers", "both")
_KINDS: dict[Arm, tuple[Kind, ...]] = {
    "nothing": (),
    "facts": ("facts",),
    "answers": ("answers",),
    "both": ("facts", "answers"),
}
_STEP_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """One question, answered."""

    generated: int
    read: int
    """Prompt tokens, as the simulated model counts them."""
    right: bool
    verified: bool
    items: tuple[str, ...]
    """The items that were used."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A context in which questions are asked."""

    case: Case
    model: SimulatedModel
    precomputer: Precomputer
    ref: ContextRef

    @property
    def offline(self) -> int:
        """Tokens that were generated ahead of time, those that came to nothing included."""
        return self.precomputer.contexts[self.ref.name].spending.cost.generated

    async def aclose(self) -> None:
        """Give back the store."""
        await self.precomputer.aclose()


def make_case(family: FamilyName, seed: int, questions: int, predictable: float) -> Case:
    """Return the case of *family* with this *seed*."""
    return FAMILIES[family](random.Random(f"{family} {seed}"), questions, predictable)  # noqa: S311  (a simulation)


async def prepare(
    case: Case, arm: Arm, *, seed: int, passes: int, rates: Rates, min_gain: float = 2.0, misses: float = 0.0
) -> Setting:
    """Prepare *case* for *arm*, until nothing more is to be done, judged by a monitor that *misses* so much."""
    model = SimulatedModel(case, rates, seed=seed)
    producers: list[Producer] = [
        facts(link="chain" if case.family == "states" else "none", min_gain=min_gain, max_tokens=_STEP_TOKENS),
        answers(questions=[case.ask(about) for about in case.likely], max_tokens=_STEP_TOKENS),
    ]
    precomputer = Precomputer(
        Store(MemoryShelf()),
        model,
        [sources(misses=misses)],
        producers=producers,
        passes=passes,
        token_budget=1_000_000,
        step_tokens=_STEP_TOKENS,
        debounce=0.0,
        serving=ServeReady(),
    )
    ref = await precomputer.add("case", dict(case.pieces), kinds=_KINDS[arm])
    await precomputer.work()
    return Setting(case, model, precomputer, ref)


async def ask(setting: Setting, question: Question, *, bare: bool = False) -> Asked:
    """Ask *question*, with the monitors, and with what is ready (unless *bare*)."""
    read = setting.model.read
    prompt = compose(setting.case.text, question.text)
    async with setting.precomputer.run(prompt, context=None if bare else setting.ref) as supervised:
        result = await supervised.drain()
    ledger = result.ledger
    return Asked(
        ledger.kept + ledger.discarded + ledger.fork_tokens,
        setting.model.read - read,
        is_right(setting.case, question, result.text),
        result.answer_verified,
        result.precomputed,
    )


async def ask_trusting(case: Case, model: Model, question: Question, notes: Sequence[str]) -> bool:
    """Tell whether *question* comes out right with *notes* in the prompt, and nobody watching."""
    prompt = compose(case.text, question.text)
    lines = [(note, "") for note in notes]
    async with run(model, as_noted(prompt, lines, question.text)) as plain:
        result = await plain.drain()
    return is_right(case, question, result.text)


def as_noted(prompt: str, notes: Sequence[tuple[str, str]], question: str) -> str:
    """Return *prompt* with the *notes* that bear on *question*, chosen as they are served."""
    serving = ServeReady()
    chosen, _ = choose_facts(notes, question, most=serving.most, budget=serving.budget)
    found = with_facts(prompt, chosen) if chosen else prompt
    assert isinstance(found, str)
    return found


def is_right(case: Case, question: Question, text: str) -> bool:
    """Grade the last line of *text*: by the generator's answer, and by no verifier."""
    last = next(iter(reversed(text.strip().splitlines())), "")
    found = case.read(last)
    return found is not None and found[0] == question.about and case.right(question, found[1])
