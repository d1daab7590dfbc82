"""Generated contexts with questions and right answers, a SIMULATED model that answers them, and a monitor.

The monitor shares no code with the generators and the model.
"""

from __future__ import annotations

import hashlib
import itertools
import operator
import random
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from interwhen import Claim, Lines, Monitor, Pass, Segment, Task, Unknown, Verdict, Violation, verifier
from interwhen.models import Capabilities, Completion, IteratorStream, Request, Timeouts, Usage
from interwhen.toolkit import MissingExtraError
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
    """The subject of a statement: the value for *who* after *number* steps or terms.

    *who* is a person or a problem; it is empty if the case has only one value.
    """

    who: str
    number: int


@dataclass(frozen=True, slots=True)
class CaseQuestion:
    """A question about a context, with its right answer."""

    text: str
    about: About
    answer: str
    likely: bool
    """Whether the question is one of those that can be foreseen."""


@dataclass(frozen=True, slots=True)
class Case:
    """A context with questions about it, and functions that know how its statements are built and computed.

    A statement gives the value of a subject (see :class:`About`).
    """

    family: FamilyName
    pieces: tuple[tuple[str, str], ...]
    """The name and text of each piece of the context."""
    questions: tuple[CaseQuestion, ...]
    likely: tuple[About, ...]
    """The subjects of the questions that can be foreseen."""
    truth: dict[About, str]
    """The right values, by subject."""
    say: Callable[[About, str], str]
    """Build the statement that a subject has a value."""
    read: Callable[[str], tuple[About, str] | None]
    """Parse a line as a statement, right or wrong; ``None`` if the line is not a statement."""
    start: Callable[[About], tuple[About, str]]
    """Return the first subject and value from which one can compute the value of a subject."""
    advance: Callable[[About, str], str]
    """Return the value of a subject, computed from the previous value, which may be wrong."""
    lines: Callable[[About, int, str], tuple[str, ...]]
    """Return the lines of the context from which one computes a subject, given the value after a number of steps."""
    ask: Callable[[About], str]
    """Build the question about a subject."""
    right: Callable[[CaseQuestion, str], bool]
    """Return whether an answer to a question is right."""

    @property
    def text(self) -> str:
        """The text of the whole context."""
        return "\n".join(text for _, text in self.pieces)


Family: TypeAlias = Callable[[random.Random, int, float], Case]
"""Makes a case from a random generator, the number of questions, and the probability that a question can be
foreseen."""


def states(rng: random.Random, questions: int, predictable: float, *, steps: int = 36, piece: int = 12) -> Case:
    """Make a case about a value that changes step by step. A piece of the context has at most *piece* of *steps* steps.

    *predictable* is the probability that a question can be foreseen.
    """
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
        lambda question, answer: answer == question.answer,
    )


def lookups(rng: random.Random, questions: int, predictable: float, *, people: int = 24) -> Case:
    """Make a case in which *people* people report to one another in one chain, listed in random order.

    *predictable* is the probability that a question can be foreseen.
    """
    chain = rng.sample(_NAMES, people)
    above = dict(itertools.pairwise(chain))
    lines = [f"{low} reports to {high}." for low, high in above.items()]
    rng.shuffle(lines)
    truth = {About(low, steps): high for at, low in enumerate(chain) for steps, high in enumerate(chain[at + 1 :], 1)}

    def ask(about: About) -> str:
        return f"Who is {_steps(about)} above {about.who}?"

    def path(about: About, number: int, value: str) -> tuple[str, ...]:
        steps = itertools.accumulate(range(number, about.number), lambda at, _: above.get(at, at), initial=value)
        return tuple(f"{low} reports to {high}." for low, high in itertools.pairwise(steps))

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
        # At the top of the chain the value stays the same, so that a wrong value raises no error.
        lambda _about, value: above.get(value, value),
        path,
        ask,
        lambda question, answer: answer == question.answer,
    )


def reasoning_gym(rng: random.Random, questions: int, predictable: float, *, problems: int = 12) -> Case:
    """Make a case with a sheet of *problems* chained sums.

    *predictable* is the probability that a question can be foreseen.
    """
    try:
        from reasoning_gym import create_dataset
    except ImportError as error:
        raise MissingExtraError("the reasoning_gym family", "tasks") from error
    sheet: Any = create_dataset(
        "chain_sum", size=problems, seed=rng.randrange(1 << 30), min_terms=6, max_terms=9, min_digits=2, max_digits=3
    )
    entries = {str(at): sheet[at - 1] for at in range(1, problems + 1)}
    terms = {who: re.findall(r"[+-]|\d+", entry["question"]) for who, entry in entries.items()}
    whole = {who: About(who, len(parts) // 2 + 1) for who, parts in terms.items()}
    truth = {
        About(who, number): str(sum(_signed(terms[who], at) for at in range(1, number + 1)))
        for who, last in whole.items()
        for number in range(1, last.number + 1)
    }

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
    """Return term *number* (from 1) with its sign. *parts* are the terms and signs of a sum, e.g. 3, "-" and 2."""
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
) -> tuple[CaseQuestion, ...]:
    others = [about for about in truth if about not in likely and about.number > 1]

    def one() -> CaseQuestion:
        foreseen = rng.random() < predictable
        about = rng.choice(likely if foreseen else others)
        return CaseQuestion(ask(about), about, truth[about], foreseen)

    return tuple(one() for _ in range(count))


def _steps(about: About) -> str:
    return f"{about.number} step{'' if about.number == 1 else 's'}"


# A SIMULATED model: it reasons step by step, makes mistakes at stated rates, and trusts the notes in its prompt.
#
# It knows the right values from the generator. So the results show how the system around a model behaves at these
# rates, and nothing about any real model.

CHARACTERS = 4
"""Characters per token of the simulated model."""
_FACT = re.compile(r"^(?:[SF]\d+: )?(.+)$", re.MULTILINE)
_LIMIT = re.compile(r"up to (\d+) ")
_LABEL = re.compile(r"^([SF]\d+): (.+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class MistakeRates:
    """The probabilities with which the simulated model makes mistakes, and how far its statements reach."""

    step: float = 0.02
    """Probability of a new mistake in a line of its reasoning."""
    fact: float = 0.15
    """Probability that a proposed statement gives a wrong value."""
    vague: float = 0.1
    """Probability that a proposed statement is too vague to be checked."""
    reach: int = 6
    """The maximum number of steps from a known value to a proposed statement."""


def tokens(text: str) -> int:
    """Return the number of tokens of *text* for the simulated model: one for every four characters, rounded up."""
    return -(-len(text) // CHARACTERS)


class SlippingModel:
    """A simulated model that answers the questions of *case* and proposes statements about it.

    It makes mistakes at the given *rates*. Equal input and equal *seed* give equal text.
    """

    name = "simulated"

    def __init__(self, case: Case, rates: MistakeRates = MistakeRates(), *, seed: int = 0) -> None:
        self._case = case
        self._rates = rates
        self._seed = seed
        self._questions = {question.text: question for question in case.questions}
        self.timeouts = Timeouts()
        self.generated = 0
        """Generated tokens so far."""
        self.read = 0
        """Prompt tokens so far."""

    async def capabilities(self) -> Capabilities:
        """Return the capabilities: the model can continue from any prefix."""
        return Capabilities(resume="prefix", forks=False, think_tags=None)

    async def stream(self, request: Request) -> IteratorStream:
        """Stream the text of :meth:`reply`. Prompt tokens are counted now, generated ones when they are read."""
        self.read += tokens(Task(request.prompt).text)
        text = self.reply(request)

        async def texts() -> AsyncIterator[str]:
            for at in range(0, len(text), CHARACTERS):
                self.generated += 1
                yield text[at : at + CHARACTERS]

        return IteratorStream(texts())

    async def complete(self, request: Request) -> Completion:
        """Return the whole text of :meth:`reply`, and count its tokens and those of the prompt."""
        text = self.reply(request)
        prompt = tokens(Task(request.prompt).text)
        self.read += prompt
        self.generated += tokens(text)
        return Completion(text, "stop", Usage(prompt_tokens=prompt, completion_tokens=tokens(text)))

    async def aclose(self) -> None:
        """Do nothing: there is no connection to close."""

    def reply(self, request: Request) -> str:
        """Return the text of the model for *request*: an answer, or proposed statements about the case.

        If the prompt ends with a question of the case, the text is the reasoning up to the answer, from the prefix of
        *request* on.
        """
        task = Task(request.prompt)
        # An example between the task and the last turn changes nothing for this model.
        prompt = f"{task.messages[0].content}\n\n{task.question}" if len(task.messages) > 2 else task.text
        question = next((found for text, found in self._questions.items() if prompt.rstrip().endswith(text)), None)
        if question is not None:
            return "".join(self._reasoning(question, prompt, request.prefix))
        return "\n".join(self._proposals(prompt))

    def _reasoning(self, question: CaseQuestion, prompt: str, prefix: str) -> Iterator[str]:
        """Yield lines that compute the answer to *question*, one step a line, sometimes with a mistake.

        They continue *prefix*, the text so far, from the nearest earlier value that *prompt* or *prefix* states, or
        else from the first value.
        """
        target = question.about
        own = self._known(prefix)
        at, value = self._nearest(target, self._known(prompt) | own)
        done = target in own
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
        """Yield proposed statements: first those that help with the likely questions, then others.

        There are at most as many as *prompt* asks for ("up to 5"), or 12.
        """
        labels = {text: label for label, text in _LABEL.findall(prompt)}
        known = self._known("\n".join(labels))
        limit = _LIMIT.search(prompt)
        wanted = (self._within_reach(about, known) for about in (*self._case.likely, *self._case.truth))
        proposals = (self._proposal(about, known, labels, prompt) for about in dict.fromkeys(wanted))
        yield from itertools.islice(filter(None, proposals), int(limit[1]) if limit is not None else 12)

    def _within_reach(self, about: About, known: Mapping[About, str]) -> About:
        at, _ = self._nearest(about, known)
        return About(about.who, min(about.number, at.number + self._rates.reach))

    def _proposal(self, about: About, known: Mapping[About, str], labels: Mapping[str, str], prompt: str) -> str:
        """Return a statement about *about* with the labels of the lines that it follows from; sometimes wrong or vague.

        The statement is empty if the value of *about* is in *known*, or if *labels* lacks one of these lines.
        """
        at, value = self._nearest(about, known)
        lines = self._case.lines(about, at.number, value)
        if at in known:
            lines = (self._case.say(at, known[at]), *lines)
        cited = [labels[line] for line in lines if line in labels]
        if about in known or len(cited) < len(lines):
            return ""
        for number in range(at.number + 1, about.number + 1):
            value = self._case.advance(About(about.who, number), value)
        said = self._case.say(about, self._slip(about, value, self._rates.fact, prompt))
        if self._chance("vague", said, prompt) < self._rates.vague:
            said = f"It seems that {said[0].lower()}{said[1:-1]}, more or less."
        return f"{said} [{' '.join(cited)}]"

    def _nearest(self, about: About, known: Mapping[About, str]) -> tuple[About, str]:
        earlier = [at for at in known if at.who == about.who and at.number <= about.number]
        if not earlier:
            return self._case.start(about)
        best = max(earlier, key=lambda at: at.number)
        return best, known[best]

    def _known(self, text: str) -> dict[About, str]:
        """Return the values that the statements in *text* give, by subject. The model trusts them, right or wrong."""
        return dict(found for line in _FACT.findall(text) if (found := self._case.read(line)) is not None)

    def _slip(self, about: About, value: str, rate: float, where: str) -> str:
        if self._chance("slip", repr(about), where) >= rate:
            return value
        others = sorted({other for other in self._case.truth.values() if other != value})
        return others[int(self._chance("which", repr(about), where) * len(others))]

    def _chance(self, *what: str) -> float:
        key = "\x1f".join((str(self._seed), *what)).encode()
        return random.Random(hashlib.sha256(key).digest()).random()


# The monitor of this benchmark: it parses the prompt itself, and computes the value of each statement from it.

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
_OPERATIONS: Mapping[str, Callable[[int, int], int]] = {
    "start with": lambda _value, amount: amount,
    "add": operator.add,
    "+": operator.add,
    "subtract": operator.sub,
    "-": operator.sub,
    "multiply by": operator.mul,
}
_Subject = tuple[str, str, int]
"""The kind of a value (``state``, ``above`` or ``sum``), its person or problem, and the number of steps or terms."""


@dataclass(frozen=True, slots=True)
class StatedFacts:
    """The content of a prompt: who reports to whom, how steps change values, the known facts, and the question."""

    above: dict[str, str]
    """To whom each person reports."""
    changes: dict[tuple[str, str], dict[int, tuple[str, int]]]
    """How each step changes a value, for each kind of value and its person or problem."""
    given: dict[_Subject, str] = field(default_factory=dict)
    """The values that statements in the prompt give, by subject."""
    asked: _Subject | None = None
    """The subject of the question at the end; ``None`` if no question can be parsed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueClaim(Claim):
    """The claim that the subject *about* has the value *value*."""

    about: _Subject
    value: str


def prepare(task: Task) -> StatedFacts:
    """Parse the prompt of *task* into its facts and its question."""
    text = task.text
    changes = {("state", ""): {int(number): (kind, int(amount)) for number, kind, amount in _STEP.findall(text)}}
    for who, terms in _SUM.findall(text):
        words = ["start with", *terms.split()]
        pairs = zip(words[::2], words[1::2], strict=True)
        changes["sum", who] = {number: (sign, int(term)) for number, (sign, term) in enumerate(pairs, start=1)}
    given = {_about(found): _value(found) for found in _STATEMENT.finditer(text)}
    question = _QUESTION.fullmatch(text.rstrip().rpartition("\n")[2])
    return StatedFacts(dict(_REPORTS.findall(text)), changes, given, _about(question) if question else None)


def extract(segment: Segment, _facts: StatedFacts) -> Iterator[ValueClaim]:
    """Yield the statements in a line as claims, right or wrong."""
    for found in quotes(segment, _STATEMENT):
        yield ValueClaim(key=found.text, span=found.span, about=_about(found.match), value=_value(found.match))


@verifier(name="bench-sources", version="1", worker="inline")
def check(claim: ValueClaim, facts: StatedFacts) -> Verdict:
    """Compute the value of the claim's subject from *facts*, and compare the claim with it.

    A wrong value is a violation with a repair. The verdict is ``Unknown`` if the facts do not determine the value.
    """
    right = value_of(claim.about, facts)
    if right is None:
        return Unknown("the text does not say enough to work it out")
    if right == claim.value:
        return Pass("it was worked out from the text", scope="answer" if claim.about == facts.asked else "steps")
    said = _say(claim.about, right)
    return Violation("it does not follow from the text", witness=f"{said[:-1]}, not {claim.value}", repair=said)


def sources(*, misses: float = 0.0) -> Monitor:
    """Return a monitor for statements about a case.

    The monitor wrongly passes about the share *misses* of the wrong statements, always the same ones.
    """
    judge = check
    if misses:

        @verifier(name="bench-sources-leaky", version=f"1 misses {misses:g}", worker="inline")
        def judge(claim: ValueClaim, facts: StatedFacts) -> Verdict:
            found = check.check(claim, facts)
            chance = int.from_bytes(hashlib.sha256(claim.key.encode()).digest()[:4], "big") / (1 << 32)
            if isinstance(found, Violation) and chance < misses:
                return Pass("missed", scope="answer" if claim.about == facts.asked else "steps")
            assert isinstance(found, Verdict)
            return found

    return Monitor(name=judge.name, trigger=Lines(), extractor=extract, verifier=judge, prepare=prepare, scope="answer")


def value_of(about: _Subject, facts: StatedFacts) -> str | None:
    """Return the value of the subject *about*, computed from *facts*; ``None`` if they do not determine it.

    A known fact is used only if the value cannot be computed from the text itself.
    """
    kind, who, number = about
    found = _walk(about, 0, who, facts) if kind == "above" else _walk(about, 0, "0", facts) if number else None
    if found is not None:
        return found
    # The text alone does not determine the value. Start from the nearest known fact instead.
    earlier = [at for what, name, at in facts.given if (what, name) == (kind, who) and at <= number]
    return _walk(about, max(earlier), facts.given[kind, who, max(earlier)], facts) if earlier else None


def _walk(about: _Subject, at: int, value: str, facts: StatedFacts) -> str | None:
    """Return the value of *about*, computed step by step from *value*, which is the value after *at* steps.

    ``None`` if *facts* lacks a step.
    """
    kind, who, number = about
    for step in range(at + 1, number + 1):
        if kind == "above":
            following = facts.above.get(value)
        else:
            sign, amount = facts.changes.get((kind, who), {}).get(step, ("", 0))
            following = str(_OPERATIONS[sign](int(value), amount)) if sign else None
        if following is None:
            return None
        value = following
    return value


def _value(match: re.Match[str]) -> str:
    return match["value"] or match["high"] or match["total"]


def _about(match: re.Match[str]) -> _Subject:
    if match["step"]:
        return "state", "", int(match["step"])
    if match["up"]:
        return "above", match["low"], int(match["up"])
    return "sum", match["problem"], int(match["terms"])


def _say(about: _Subject, value: str) -> str:
    kind, who, number = about
    return {
        "state": f"After step {number} the value is {value}.",
        "above": f"{number} step{'' if number == 1 else 's'} above {who} is {value}.",
        "sum": f"The first {number} terms of problem {who} come to {value}.",
    }[kind]
