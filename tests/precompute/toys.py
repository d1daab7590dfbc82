"""A toy to precompute: sums of numbers in pieces, by a model whose replies are right, wrong or vague by a fixed rule.

``expected`` is the oracle: it computes the outcome of every step from the pieces alone, and shares no code with the
package.
"""

import hashlib
import re
from dataclasses import dataclass, field

import msgspec
from interwhen import Pass, Sampling, verifier
from interwhen.precompute import Nothing, Payload, Precomputer, Proposal, Step, Store
from interwhen.precompute.producers.answers import Answered, asked
from interwhen.testing import ScriptedModel
from interwhen.testing._models import cut_into
from sums import judge, watch

NUMBERS = re.compile(r"\d+")


@verifier(name="sums", version="1", worker="inline")
def adds_up(claim):
    """The check of the toy: a right sum is the right answer."""
    verdict = judge(claim)
    return Pass(verdict.evidence, scope="answer") if isinstance(verdict, Pass) else verdict


def watcher():
    return watch(adds_up, scope="answer")


def value_of(text):
    numbers = NUMBERS.findall(text)
    return int(numbers[-1]) if numbers else 0


def answer(model, prompt):
    # A hash of both decides: most replies are right, the others are wrong or vague.
    left, right = (int(word) for word in prompt.strip().splitlines()[-1].split()[1:3])
    draw = hashlib.sha256(f"{model} {prompt}".encode()).digest()[0] % 8
    total = (left + right) % 1000
    if draw == 0:
        return f"{left}+{right}={total + 1}"
    if draw == 1:
        return "it is hard to say"
    return f"{left}+{right}={left + right}" if draw % 2 else f"so {left}+{right}={left + right}"


def judged(text):
    match = re.fullmatch(r"(?:so )?(\d+)\+(\d+)=(\d+)", text)
    if match is None:
        return "unknown"
    left, right, total = map(int, match.groups())
    return "accepted" if left + right == total else "rejected"


@dataclass(frozen=True)
class Plan:
    """One step, with the pieces and steps that it reads."""

    # With `lazy`, it reads steps only if the value of the first piece is even.

    name: str
    pieces: tuple = ()
    steps: tuple = ()
    lazy: bool = False


def per_piece(context):
    return [Plan(f"sum/{piece.name}", (piece.name,)) for piece in context.pieces]


@dataclass
class Sums:
    """A producer of items of the kind answers. *shape* is a function that returns the plans of its steps for a context.

    *made* has the names of the steps that were made, in order.
    """

    shape: object = per_piece
    name: str = "sums"
    version: str = "1"
    kind: str = "answers"
    made: list = field(default_factory=list)
    plans: dict = field(default_factory=dict)

    def plan(self, context):
        plans = {
            Step(name=each.name, reads=each.pieces, premises=each.steps, params=b"lazy" * each.lazy): each
            for each in self.shape(context)
        }
        self.plans.update(plans)
        return list(plans)

    async def make(self, step, context):
        plan = self.plans[step]
        self.made.append(step.name)
        values = [value_of(context.read(name)) % 50 for name in plan.pieces]
        for name in plan.steps:
            if plan.lazy and values and values[0] % 2:
                break
            item = context.premise(name)
            values.append(value_of(item.payload.text) % 5 if item else 0)
        if sum(values) % 11 == 10:
            return Nothing("eleven divides the next one")
        prompt = f"add {values[0] if values else 0} {sum(values[1:]) + int(self.version)}"
        said = await context.ask(prompt, Sampling(max_tokens=40))
        data = msgspec.json.encode(Answered(prompt, 1.0, (asked(prompt),)))
        return Proposal(payload=Payload(said.text, data), prompt=prompt)


def expected(shape, context, model="scripted", version="1"):
    # Return the status and the text that each step must have, by the name of the step.
    pieces = {piece.name: piece.text for piece in context.pieces}
    done = {}
    plans = shape(context)
    while len(done) < len(plans):
        for plan in plans:
            if plan.name in done or not all(name in done for name in plan.steps):
                continue
            values = [value_of(pieces[name]) % 50 for name in plan.pieces]
            for name in plan.steps:
                if plan.lazy and values and values[0] % 2:
                    break
                status, text = done[name]
                values.append(value_of(text) % 5 if status == "accepted" else 0)
            if sum(values) % 11 == 10:
                done[plan.name] = ("nothing", "")
                continue
            text = answer(model, f"add {values[0] if values else 0} {sum(values[1:]) + int(version)}")
            status = judged(text)
            done[plan.name] = (status, text if status == "accepted" else "")
    return done


class ToyModel(ScriptedModel):
    """Replies with the text of :func:`answer`, in chunks of five characters, and continues after a request's prefix."""

    def __init__(self, name="scripted", **options):
        super().__init__(lambda request: cut_into(answer(name, request.prompt)[len(request.prefix) :], 5), **options)
        self._called = name

    @property
    def name(self):
        return self._called


def precomputer(store=None, producer=None, model=None, **options):
    options = {"debounce": 0.0, **options}
    return Precomputer(
        Store() if store is None else store,
        ToyModel() if model is None else model,
        [watcher()],
        producers=[Sums() if producer is None else producer],
        **options,
    )


def numbers(count, start=0):
    # The numbers are `start`, `start` + 3, ...
    return {f"p{at}": f"the number {start + 3 * at}" for at in range(count)}


def told(items):
    return {item.step.partition("::")[2]: item.payload.text for item in items}


def right(shape, prepared, **options):
    outcomes = expected(shape, prepared.context, **options)
    return {name: text for name, (status, text) in outcomes.items() if status == "accepted"}
