"""Contexts with questions, generated from a seed, with the right answers. Nothing here knows what verifies.

``states``: a value that changes step by step, and questions on the value after a step. ``lookups``: who reports to
whom, and questions on who is so many steps above somebody. ``reasoning_gym``: a sheet of chained sums from the package
of that name, which also says whether an answer is right.
"""

from __future__ import annotations

import hashlib
import itertools
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from interwhen._types.claims import Claim
from interwhen._types.errors import MissingExtraError
from interwhen._types.extensions import Task
from interwhen._types.models import Capabilities, Chunk, Completion, Request, Usage
from interwhen._types.monitors import Monitor
from interwhen._types.segments import Segment
from interwhen._types.triggers import Lines
from interwhen._types.verdicts import Pass, Unknown, Verdict, Violation
from interwhen._types.verifiers import FunctionVerifier, verifier
from interwhen.models._token_stream import GuardedStream
from interwhen.models._transport import Timeouts
from interwhen.toolkit.quotes import quotes

FamilyName = Literal["states", "lookups", "reasoning_gym"]
# fmt: off
_NAMES = (
    "Ann", "Bob", "Cid", "Dot", "Eve", "Fay", "Gil", "Hal", "Ida", "Jon", "Kim", "Leo", "Mia", "Ned", "Oda", "Pia",
    "Quin", "Ray", "Sue", "Tom", "Una", "Vic", "Wes", "Xia", "Yan", "Zoe", "Abe", "Bea", "Cal", "Dee", "Eli", "Flo",
    "Gus", "Hope", "Ike", "Joy", "Kai", "Liv", "Max", "Nia",
)
# fmt: on
_STATE = re.compile(r"After step (\d+) the value is (-?\d+)\.")
_ABOVE = re.compile(r"(\d+) steps? above (\w+) is (\w+)\.")
_TERMS = re.compile(r"The first (\d+) terms of problem (\w+) come to (-?\d+)\.")


class About(NamedTuple):
    """What a statement is about: whom or which problem (empty where there is one), and after how many steps."""

    who: str
    number: int


@dataclass(frozen=True, slots=True)
class Question:
    """A question on a context."""

    text: str
    about: About
    answer: str
    likely: bool
    """Whether it is one of those that could have been foreseen."""


@dataclass(frozen=True, slots=True)
class Case:
    """A context with its questions. All that can be said of it are values that come one from the other."""

    family: FamilyName
    pieces: tuple[tuple[str, str], ...]
    """Names and texts."""
    questions: tuple[Question, ...]
    likely: tuple[About, ...]
    """What the questions are about that can be foreseen."""
    truth: dict[About, str]
    """Every value."""
    say: Callable[[About, str], str]
    """Words the statement that something has a value."""
    read: Callable[[str], tuple[About, str] | None]
    """Reads a line that words such a statement, right or wrong; ``None``: it is none."""
    start: Callable[[About], tuple[About, str]]
    """Where working out begins if nothing is known."""
    advance: Callable[[About, str], str]
    """The value that comes from the one before it, which may be a wrong one."""
    lines: Callable[[About, int, str], tuple[str, ...]]
    """The lines of the text that lead there from the value after so many steps."""
    ask: Callable[[About], str]
    """Words the question on it."""
    right: Callable[[Question, str], bool]
    """Tells whether a value is the right answer to a question."""

    @property
    def text(self) -> str:
        """The whole context."""
        return "\n".join(text for _, text in self.pieces)


Family: TypeAlias = Callable[[random.Random, int, float], Case]
"""From a source of randomness, the number of questions, and how many of them (0 to 1) can be foreseen."""


def states(rng: random.Random, questions: int, predictable: float, *, steps: int = 36, piece: int = 12) -> Case:
    """Return a value that changes *steps* times, told in pieces of *piece* steps."""
    value = rng.randint(10, 99)
    lines = [f"Step 1: start with {value}."]
    truth = {About("", 1): str(value)}
    changes: dict[int, tuple[str, int]] = {}
    for number in range(2, steps + 1):
        changes[number] = kind, amount = _change(rng, value)
        value = _apply(kind, amount, value)
        lines.append(f"Step {number}: {kind} {amount}.")
        truth[About("", number)] = str(value)

    def ask(about: About) -> str:
        return f"What is the value after step {about.number}?"

    likely = tuple(About("", number) for number in range(6, steps + 1, 6))
    return Case(
        "states",
        tuple((f"steps {at + 1}", "\n".join(lines[at : at + piece])) for at in range(0, steps, piece)),
        _questions(rng, questions, predictable, likely, truth, ask),
        likely,
        truth,
        lambda about, value: f"After step {about.number} the value is {value}.",
        lambda line: _reading(_STATE, line, lambda found: About("", int(found[1]))),
        lambda _about: (About("", 1), truth[About("", 1)]),
        lambda about, value: str(_apply(*changes[about.number], int(value))),
        lambda about, number, _value: tuple(lines[0 if number == 1 else number : about.number]),
        ask,
        _same,
    )


def lookups(rng: random.Random, questions: int, predictable: float, *, people: int = 24) -> Case:
    """Return *people* in one line of command, told in random order."""
    chain = rng.sample(_NAMES, people)
    above = dict(itertools.pairwise(chain))
    lines = [f"{low} reports to {high}." for low, high in above.items()]
    rng.shuffle(lines)
    truth = {About(low, steps): high for at, low in enumerate(chain) for steps, high in enumerate(chain[at + 1 :], 1)}

    def ask(about: About) -> str:
        return f"Who is {_steps(about)} above {about.who}?"

    def path(about: About, number: int, value: str) -> tuple[str, ...]:
        found = []
        for _ in range(number, about.number):
            found.append(f"{value} reports to {above.get(value, value)}.")
            value = above.get(value, value)
        return tuple(found)

    likely = tuple(About(chain[0], steps) for steps in range(8, people, 3))
    return Case(
        "lookups",
        (("people", "\n".join(lines)),),
        _questions(rng, questions, predictable, likely, truth, ask),
        likely,
        truth,
        lambda about, value: f"{_steps(about)} above {about.who} is {value}.",
        lambda line: _reading(_ABOVE, line, lambda found: About(found[2], int(found[1]))),
        lambda about: (About(about.who, 0), about.who),
        # Whoever has nobody above stays: a wrong turn does not end in an error.
        lambda _about, value: above.get(value, value),
        path,
        ask,
        _same,
    )


def reasoning_gym(rng: random.Random, questions: int, predictable: float, *, problems: int = 12) -> Case:
    """Return a sheet of *problems* in chained sums. Raises :class:`MissingExtraError` without the package."""
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise MissingExtraError("the reasoning_gym family", "tasks") from error
    sheet: Any = create_dataset(
        "chain_sum", size=problems, seed=rng.randrange(1 << 30), min_terms=6, max_terms=9, min_digits=2, max_digits=3
    )
    entries = {str(at): sheet[at - 1] for at in range(1, problems + 1)}
    terms = {who: re.findall(r"[+-]|\d+", entry["question"]) for who, entry in entries.items()}
    truth = {}
    for who, parts in terms.items():
        for number in range(1, len(parts) // 2 + 2):
            truth[About(who, number)] = str(sum(_signed(parts, at) for at in range(1, number + 1)))
    whole = {who: About(who, len(parts) // 2 + 1) for who, parts in terms.items()}

    def ask(about: About) -> str:
        return f"What do the {about.number} terms of problem {about.who} come to?"

    likely = tuple(whole[str(at)] for at in range(1, problems // 2 + 1))
    asked = {about: truth[about] for about in whole.values()}
    return Case(
        "reasoning_gym",
        (("sheet", "\n".join(f"Problem {who}: {' '.join(parts)}" for who, parts in terms.items())),),
        _questions(rng, questions, predictable, likely, asked, ask),
        likely,
        truth,
        lambda about, value: f"The first {about.number} terms of problem {about.who} come to {value}.",
        lambda line: _reading(_TERMS, line, lambda found: About(found[2], int(found[1]))),
        lambda about: (About(about.who, 1), terms[about.who][0]),
        lambda about, value: str(int(value) + _signed(terms[about.who], about.number)),
        lambda about, _number, _value: (f"Problem {about.who}: {' '.join(terms[about.who])}",),
        ask,
        lambda question, answer: sheet.score_answer(answer, entries[question.about.who]) == 1.0,
    )


FAMILIES: dict[FamilyName, Family] = {"states": states, "lookups": lookups, "reasoning_gym": reasoning_gym}


def _reading(pattern: re.Pattern[str], line: str, about: Callable[[re.Match[str]], About]) -> tuple[About, str] | None:
    found = pattern.fullmatch(line)
    return (about(found), found[found.lastindex or 0]) if found is not None else None


def _signed(parts: list[str], number: int) -> int:
    """Return the term *number*, from 1, with its sign."""
    term = int(parts[2 * number - 2])
    return -term if number > 1 and parts[2 * number - 3] == "-" else term


def _change(rng: random.Random, value: int) -> tuple[str, int]:
    kind = rng.randrange(4)
    if kind == 0 and abs(value) < 400:
        return "multiply by", rng.randint(2, 4)
    return "subtract" if kind == 1 or value > 2000 else "add", rng.randint(2, 97)


def _apply(kind: str, amount: int, value: int) -> int:
    return value * amount if kind == "multiply by" else value - amount if kind == "subtract" else value + amount


def _questions(
    rng: random.Random,
    count: int,
    predictable: float,
    likely: tuple[About, ...],
    truth: dict[About, str],
    ask: Callable[[About], str],
) -> tuple[Question, ...]:
    others = [about for about in truth if about not in likely and about.number > 1]
    found = []
    for _ in range(count):
        foreseen = rng.random() < predictable
        about = rng.choice(likely if foreseen else others)
        found.append(Question(ask(about), about, truth[about], foreseen))
    return tuple(found)


def _same(question: Question, answer: str) -> bool:
    return answer == question.answer


def _steps(about: About) -> str:
    return f"{about.number} step{'' if about.number == 1 else 's'}"


# A SIMULATED model: it reasons like one, slips at a stated rate, and believes the notes that it is given.
#
# It knows the generator's truth and makes its mistakes by a rate, so the numbers that come out say how the machinery
# around a model behaves at that rate, and nothing of any real model.

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


# The monitor of this benchmark: it reads the prompt by its own lights, and judges each statement by what stands there.
#
# It shares no code with the generators of the families, nor with the grader.

_STEP = re.compile(r"^Step (\d{1,6}): (start with|add|subtract|multiply by) (\d{1,9})\.$", re.MULTILINE)
_REPORTS = re.compile(r"^([A-Z][a-z]{1,20}) reports to ([A-Z][a-z]{1,20})\.$", re.MULTILINE)
_SUM = re.compile(r"^Problem (\d{1,6}): (\d{1,9}(?: [+-] \d{1,9}){0,60})$", re.MULTILINE)
_STATEMENT = re.compile(
    r"After step (?P<step>\d{1,6}) the value is (?P<value>-?\d{1,18})\.|"
    r"(?P<up>\d{1,6}) steps? above (?P<low>[A-Z][a-z]{1,20}) is (?P<high>[A-Z][a-z]{1,20})\.|"
    r"The first (?P<terms>\d{1,6}) terms of problem (?P<problem>\d{1,6}) come to (?P<total>-?\d{1,18})\."
)
_QUESTION = re.compile(
    r"What is the value after step (?P<step>\d{1,6})\?|Who is (?P<up>\d{1,6}) steps? above (?P<low>[A-Z][a-z]{1,20})\?|"
    r"What do the (?P<terms>\d{1,6}) terms of problem (?P<problem>\d{1,6}) come to\?"
)


@dataclass(frozen=True, slots=True)
class Source:
    """What the prompt says, known facts included."""

    steps: dict[int, tuple[str, int]]
    above: dict[str, str]
    sums: dict[str, tuple[str, ...]]
    given: dict[tuple[str, str, int], str] = field(default_factory=dict)
    """The facts that stand there: on a kind of thing, of whom, after how many steps."""
    asked: tuple[str, str, int] | None = None
    """What the question at the end is about; ``None``: there is none that is understood."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stated(Claim):
    """That a thing has a value."""

    about: tuple[str, str, int]
    value: str


def prepare(task: Task) -> Source:
    """Read the prompt. The facts in it are believed only where the text itself does not reach."""
    text = task.text
    steps = {int(number): (kind, int(amount)) for number, kind, amount in _STEP.findall(text)}
    sums = {who: tuple(terms.split()) for who, terms in _SUM.findall(text)}
    given = dict(map(_stated, _STATEMENT.finditer(text)))
    question = _QUESTION.fullmatch(text.rstrip().rpartition("\n")[2])
    return Source(steps, dict(_REPORTS.findall(text)), sums, given, _about(question) if question else None)


def extract(segment: Segment, _source: Source) -> Iterator[Stated]:
    """Yield the statements of a line."""
    for found in quotes(segment, _STATEMENT):
        about, value = _stated(found.match)
        yield Stated(key=found.text, span=found.span, about=about, value=value)


@verifier(name="bench-sources", version="1", worker="inline")
def check(claim: Stated, source: Source) -> Verdict:
    """Work the value out from the text."""
    right = value_of(claim.about, source)
    if right is None:
        return Unknown("the text does not say enough to work it out")
    if right == claim.value:
        return Pass("it was worked out from the text", scope="answer" if claim.about == source.asked else "steps")
    said = _say(claim.about, right)
    return Violation("it does not follow from the text", witness=f"{said[:-1]}, not {claim.value}", repair=said)


def sources(*, misses: float = 0.0) -> Monitor:
    """Make the monitor. One that *misses* passes this part of the wrong statements: always the same ones."""
    if not misses:
        return _monitor("bench-sources", check)

    @verifier(name="bench-sources-leaky", version=f"1 misses {misses:g}", worker="inline")
    def leaky(claim: Stated, source: Source) -> Verdict:
        found = check.check(claim, source)
        chance = int.from_bytes(hashlib.sha256(claim.key.encode()).digest()[:4], "big") / (1 << 32)
        if isinstance(found, Violation) and chance < misses:
            return Pass("missed", scope="answer" if claim.about == source.asked else "steps")
        return _verdict(found)

    return _monitor("bench-sources-leaky", leaky)


def _monitor(name: str, judge: FunctionVerifier) -> Monitor:
    return Monitor(name=name, trigger=Lines(), extractor=extract, verifier=judge, prepare=prepare, scope="answer")


def _verdict(found: object) -> Verdict:
    assert isinstance(found, Verdict)
    return found


def value_of(about: tuple[str, str, int], source: Source) -> str | None:
    """Return the value of *about*; ``None`` where *source* leaves it open."""
    kind, who, number = about
    here = _start(kind, who, source)
    if here is not None:
        found = _walk(kind, who, source, here, number)
        if found is not None:
            return found
    # The text does not reach from the start to there: the nearest fact may.
    earlier = [at for what, name, at in source.given if (what, name) == (kind, who) and at <= number]
    if not earlier:
        return None
    at = max(earlier)
    return _walk(kind, who, source, (at, source.given[kind, who, at]), number)


def _start(kind: str, who: str, source: Source) -> tuple[int, str] | None:
    if kind == "above":
        return 0, who
    if kind == "sum":
        return (1, source.sums[who][0]) if who in source.sums else None
    first = source.steps.get(1)
    return (1, str(first[1])) if first is not None and first[0] == "start with" else None


def _walk(kind: str, who: str, source: Source, start: tuple[int, str], number: int) -> str | None:
    at, value = start
    if at > number:
        return None
    for step in range(at + 1, number + 1):
        following = _next(kind, who, source, step, value)
        if following is None:
            return None
        value = following
    return value


def _next(kind: str, who: str, source: Source, step: int, value: str) -> str | None:
    if kind == "above":
        return source.above.get(value)
    if kind == "sum":
        terms = source.sums.get(who, ())[2 * step - 3 : 2 * step - 1]
        sign, amount = ("add" if terms[0] == "+" else "subtract", int(terms[1])) if len(terms) == 2 else ("", 0)
    else:
        sign, amount = source.steps.get(step, ("", 0))
    match sign:
        case "add":
            return str(int(value) + amount)
        case "subtract":
            return str(int(value) - amount)
        case "multiply by":
            return str(int(value) * amount)
        case _:
            return None


def _stated(match: re.Match[str]) -> tuple[tuple[str, str, int], str]:
    return _about(match), match["value"] or match["high"] or match["total"]


def _about(match: re.Match[str]) -> tuple[str, str, int]:
    if match["step"]:
        return "state", "", int(match["step"])
    if match["up"]:
        return "above", match["low"], int(match["up"])
    return "sum", match["problem"], int(match["terms"])


def _say(about: tuple[str, str, int], value: str) -> str:
    kind, who, number = about
    match kind:
        case "state":
            return f"After step {number} the value is {value}."
        case "above":
            return f"{number} step{'' if number == 1 else 's'} above {who} is {value}."
        case _:
            return f"The first {number} terms of problem {who} come to {value}."
