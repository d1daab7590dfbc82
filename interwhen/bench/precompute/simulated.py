"""A SIMULATED model: it reasons like one, slips at a stated rate, and believes the notes that it is given.

It knows the generator's truth and makes its mistakes by a rate, so the numbers that come out say how the machinery
around a model behaves at that rate, and nothing of any real model.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from interwhen.bench.precompute.families import About, Case, Question
from interwhen.models.base import Capabilities, Chunk, Completion, Request, Usage
from interwhen.models.streams import GuardedStream
from interwhen.models.transport import Timeouts
from interwhen.tasks import Task

CHARACTERS = 4
"""A token of the simulated model."""
_FACT = re.compile(r"^(?:[SF]\d+: )?(.+)$", re.MULTILINE)
_LIMIT = re.compile(r"up to (\d+) ")
_LABEL = re.compile(r"^([SF]\d+): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Rates:
    """How often the simulated model slips."""

    step: float = 0.02
    """A line of its reasoning says a wrong value."""
    fact: float = 0.15
    """A statement that it proposes says a wrong value."""
    vague: float = 0.1
    """A statement that it proposes is worded so that nobody can check it."""
    reach: int = 6
    """So many steps a statement goes on from what is known, at most."""


def tokens(text: str) -> int:
    """Return how many tokens *text* is to the simulated model."""
    return -(-len(text) // CHARACTERS)


class SimulatedModel:
    """Answers the questions of *case*, and proposes statements on it. What it says depends on its input and *seed*."""

    name = "simulated"

    def __init__(self, case: Case, rates: Rates = Rates(), *, seed: int = 0) -> None:
        self._case = case
        self._rates = rates
        self._seed = seed
        self._said = {case.say(about, value): about for about, value in case.truth.items()}
        self._questions = {question.text: question for question in case.questions}
        self.timeouts = Timeouts()
        self.generated = 0
        self.read = 0

    async def capabilities(self) -> Capabilities:
        """Go on from any prefix."""
        return Capabilities(resume="prefix", forks=False, think_tags=None)

    async def stream(self, request: Request) -> GuardedStream:
        """Reason towards the answer of the question that the prompt ends with."""
        self.read += tokens(Task(request.prompt).text)
        return _Said(self, self.reply(request))

    async def complete(self, request: Request) -> Completion:
        """Answer whole; to the prompt that asks for statements, propose some."""
        text = self.reply(request)
        prompt = tokens(Task(request.prompt).text)
        self.read += prompt
        self.generated += tokens(text)
        return Completion(text, "stop", Usage(prompt_tokens=prompt, completion_tokens=tokens(text)))

    async def aclose(self) -> None:
        """Do nothing."""

    def reply(self, request: Request) -> str:
        """Return what it says to *request*."""
        prompt = Task(request.prompt).text
        question = next((found for text, found in self._questions.items() if prompt.rstrip().endswith(text)), None)
        if question is not None:
            return "".join(self._reasoning(question, prompt, request.prefix))
        return "\n".join(self._proposals(prompt))

    def _reasoning(self, question: Question, prompt: str, prefix: str) -> Iterator[str]:
        """Go on from the nearest thing that is known, by the notes in the prompt or by its own words so far."""
        target = question.about
        known = self._read(prompt) | self._read(prefix)
        at, value = self._nearest(target, known)
        done = target in self._read(prefix)
        if prefix and not prefix.endswith("\n"):
            prefix += "\n"
            yield "\n"
        while not done:
            if at.number < target.number:
                at = About(at.who, at.number + 1)
                value = self._slip(at, self._case.advance(at, value), self._rates.step, prefix)
            line = self._case.say(at, value) + "\n"
            prefix += line
            yield line
            done = at == target

    def _proposals(self, prompt: str) -> Iterator[str]:
        """Propose what leads to the likely questions, then whatever comes next, each from the nearest thing known."""
        labels = {text: label for label, text in _LABEL.findall(prompt)}
        known = self._read("\n".join(labels))
        limit = _LIMIT.search(prompt)
        wanted = (self._within_reach(about, known) for about in (*self._case.likely, *self._case.truth))
        proposals = (self._proposal(about, known, labels, prompt) for about in dict.fromkeys(wanted))
        found = (said for said in proposals if said is not None)
        yield from itertools.islice(found, int(limit[1]) if limit is not None else 12)

    def _within_reach(self, about: About, known: Mapping[About, str]) -> About:
        at, _ = self._nearest(about, known)
        return About(about.who, min(about.number, at.number + self._rates.reach))

    def _proposal(self, about: About, known: Mapping[About, str], labels: Mapping[str, str], prompt: str) -> str | None:
        at, value = self._nearest(about, known)
        lines = self._case.lines(about, at.number, value)
        if at in known:
            lines = (self._case.say(at, known[at]), *lines)
        cited = [labels[line] for line in lines if line in labels]
        if about in known or len(cited) < len(lines):
            return None
        for number in range(at.number + 1, about.number + 1):
            value = self._case.advance(About(about.who, number), value)
        value = self._slip(about, value, self._rates.fact, prompt)
        said = self._case.say(about, value)
        if self._chance("vague", said, prompt) < self._rates.vague:
            said = f"It seems that {said[0].lower()}{said[1:-1]}, more or less."
        return f"{said} [{' '.join(cited)}]"

    def _nearest(self, about: About, known: Mapping[About, str]) -> tuple[About, str]:
        earlier = [at for at in known if at.who == about.who and at.number <= about.number]
        if not earlier:
            return self._case.start(about)
        best = max(earlier, key=lambda at: at.number)
        return best, known[best]

    def _read(self, text: str) -> dict[About, str]:
        """Return the statements in *text*: they are believed, right or wrong."""
        return dict(found for line in _FACT.findall(text) if (found := self._case.read(line)) is not None)

    def _slip(self, about: About, value: str, rate: float, where: str) -> str:
        if self._chance("slip", repr(about), where) >= rate:
            return value
        others = sorted({other for other in self._case.truth.values() if other != value})
        return others[int(self._chance("which", repr(about), where) * len(others))]

    def _chance(self, *what: str) -> float:
        key = "\x1f".join((str(self._seed), *what)).encode()
        return random.Random(hashlib.sha256(key).digest()).random()  # noqa: S311  (a simulation)


class _Said(GuardedStream):
    def __init__(self, model: SimulatedModel, text: str) -> None:
        super().__init__()
        self._model = model
        self._text = text
        self._over = False

    async def fetch(self) -> Sequence[Chunk]:
        """Bring a token."""
        if self._text:
            text, self._text = self._text[:CHARACTERS], self._text[CHARACTERS:]
            self._model.generated += 1
            return (Chunk(text),)
        if self._over:
            return ()
        self._over = True
        return (Chunk("", tokens=0, finish_reason="stop"),)
