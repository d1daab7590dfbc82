"""Runs of several kinds to record, with models that continue a text after any prefix; and functions to edit journals."""

from dataclasses import dataclass, field
from pathlib import Path

import anyio
import interwhen
import msgspec
from interwhen import (
    Claim,
    Feedback,
    Fork,
    Monitor,
    Pass,
    Resample,
    Span,
    Tracker,
    Unknown,
    Violation,
    verifier,
)
from interwhen.journal import _records as records
from interwhen.journal._files import START, frames
from interwhen.models import Capabilities
from interwhen.remedies import Conclude
from interwhen.testing import End, Say, ScriptedModel
from interwhen.testing._models import cut_into
from sums import slow, sums, watch
from tests.resealed import alone, put_together, taken_apart

LINES = ("1+1=2\n", "so 2+2=5\n", "3+3=6 and 4+4=9\n", "done: 5+5=10\n")
THOUGHT = ("<think>1+1=2\n", "2+2=5\n", "</think>so\n", "3+3=7\n")


def rest(prefix, lines=LINES):
    # Return the text with which the model continues `prefix`: those of `lines` that `prefix` does not have yet. It
    # depends on nothing else, as with a greedy model. Lines of `prefix` that begin with "Wait" are feedback.
    whole, _, begun = prefix.rpartition("\n")
    ours = [line for line in whole.split("\n") if line and not line.startswith("Wait")]
    left = list(lines[len(ours) :])
    if begun and left:
        line = left.pop(0)
        # Text that we wrote in its place continues as the line would have.
        left.insert(0, line[len(begun) :] if len(begun) < len(line) else "\n")
    return "".join(left)


def goes_on(lines=LINES, *, size=1, **options):
    return ScriptedModel(lambda request: cut_into(rest(request.prefix, lines), size), **options)


def thinks_in_a_field(request):
    begun = len(request.prefix)
    whole = [(c, "reasoning") for c in "1+1=2\n2+2=5\n"] + [(c, "answer") for c in "so 3+3=6\n"]
    return [*(Say(c, phase) for c, phase in whole[begun:]), End("stop")]


def by_turn(request):
    kept = "".join([*(piece.text for piece in request.pieces[:-1]), *(piece.said for piece in request.pieces[-1:])])
    kept = kept[: kept.rfind("\n") + 1]
    repeated = kept.splitlines(keepends=True)[-1:] if kept.count("\n") > 1 else []
    return cut_into("".join(repeated) + rest(kept), 1)


@dataclass
class Kind:
    """One kind of run. *model* and *monitors* are functions, because each process makes new ones."""

    model: object
    monitors: object
    options: dict = field(default_factory=dict)

    def run(self, **options):
        return interwhen.run(self.model(), "Q", monitors=self.monitors(), **self.options, **options)

    def resume(self, path):
        return interwhen.resume(path, model=self.model(), monitors=self.monitors())


def fork():
    return Fork("What is claimed?", lambda reply, segment: sums(segment) if reply == "a sum" else ())


def forked(lines=LINES):
    return goes_on(lines, forks=lambda _request: "a sum", delay=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Next(Claim):
    """A number, and the one before it."""

    before: int
    said: int


def count(state, segment):
    said = int(segment.text)
    return said, [Next(key=f"{state} {said}", span=segment.span, before=state, said=said)]


async def read_start(task):
    return 0 if task.text == "Q" else None


@verifier(name="counting")
async def follows(claim, start):
    await anyio.sleep(0.03)
    assert start == 0
    return Pass() if claim.said == claim.before + 1 else Violation(why="no", repair=str(claim.before + 1))


def counting():
    tracker = Tracker(lambda start: start, count)
    return Monitor(name="counting", verifier=follows, extractor=tracker, prepare=read_start)


def probed(state, reply, segment):
    said = [*state, reply.text]
    end = segment.span.end
    return said, [Next(key=" ".join(said), span=Span(end, end), before=said.count(reply.text), said=len(said))]


@verifier(name="probes")
async def is_needed(claim):
    await anyio.sleep(0.01)
    return Violation(why="twice the same") if claim.before > 1 else Unknown("not yet")


def probing():
    probe = Fork("\nAnswer: ", Tracker(lambda _: [], probed), scores=1)
    return Monitor(
        name="probes", verifier=is_needed, extractor=probe, remedy=Conclude(), phase="reasoning", required=False
    )


def thinks(request):
    left = ["so 5+5=10\n"] if "</think>" in request.prefix else [*THOUGHT[1:2], "3+3=6\n", "4+4=8\n", "</think>6+6=12"]
    whole = "" if "</think>" in request.prefix else "<think>1+1=2\n"
    text = whole + "".join(left)
    begun = request.prefix.rpartition("</think>\n\n")[2] if "</think>" in request.prefix else request.prefix
    return cut_into(text[len(begun) :], 1)


KINDS = {
    "repairs": Kind(goes_on, lambda: [watch()]),
    "by turn": Kind(
        lambda: ScriptedModel(by_turn, capabilities=Capabilities(resume="turn")), lambda: [watch(slow(0.01))]
    ),
    "gates": Kind(goes_on, lambda: [watch(slow(0.05), delivery="gate")]),
    "feedback": Kind(goes_on, lambda: [watch(remedy=Feedback())], {"budgets": interwhen.Budgets(remedies=3)}),
    "slow checks": Kind(lambda: goes_on(delay=0.01), lambda: [watch(slow(0.2)), watch(name="twice", delivery="final")]),
    "forks": Kind(forked, lambda: [watch(slow(0.03), extractor=fork(), delivery="gate")]),
    "tags": Kind(
        lambda: goes_on(THOUGHT, capabilities=Capabilities(resume="prefix", think_tags=("<think>", "</think>"))),
        lambda: [watch()],
    ),
    "fields": Kind(lambda: ScriptedModel(thinks_in_a_field), lambda: [watch(), watch(name="also", delivery="observe")]),
    "gives up": Kind(
        goes_on, lambda: [watch(remedy=Resample())], {"budgets": interwhen.Budgets(remedies=2, repeats=1)}
    ),
    "no monitors": Kind(goes_on, list),
    "concludes": Kind(
        lambda: ScriptedModel(
            thinks,
            forks=lambda request: str(min(request.prefix.count("\n"), 2)),
            delay=0.01,
            capabilities=Capabilities(resume="prefix", think_tags=("<think>", "</think>")),
        ),
        lambda: [probing()],
    ),
    "counts": Kind(lambda: goes_on(("1\n", "2\n", "7\n", "4\n", "5\n"), delay=0.01), lambda: [counting()]),
}


async def recorded(kind, path):
    # The bytes are those of the file after `finely`.
    async with kind.run(journal=path) as run:
        events = [event async for event in run]
    return run.result, events, finely(Path(path).read_bytes())


def finely(data):
    # Return the journal `data` with one record for each chunk, because the chunks of one record depend on time.
    entries = []
    for entry in taken_apart(data):
        if isinstance(entry, records.TextRecord):
            for at, text in zip(entry.times(), entry.texts, strict=True):
                entries.append(alone(at, entry.phase, text))
        else:
            entries.append(entry)
    return put_together(entries)


CLOCKS = {
    "equal": lambda _number: 7.0,
    "reversed": lambda number: 1000.0 - number,
    "set back": lambda number: number % 40 + 0.5,
    "in leaps": lambda number: 1e6 * (number * 7919 % 31),
}
"""Clocks that give no order, by what they do: the time of the record with a number."""


def retimed(data, clock):
    # Return the journal `data` with the times that `clock` gives to its records. `finely` parts its texts.
    return put_together(
        msgspec.structs.replace(entry, at=clock(number)) if hasattr(entry, "at") else entry
        for number, entry in enumerate(taken_apart(data))
    )


def borders(data):
    return [entry.end for entry in frames(data, "test")]


def without(result, *names):
    fields = {name: getattr(result, name) for name in result.__struct_fields__}
    return {name: value for name, value in fields.items() if name not in ("timing", "journal", *names)}


__all__ = [
    "CLOCKS",
    "KINDS",
    "LINES",
    "START",
    "Kind",
    "borders",
    "finely",
    "goes_on",
    "put_together",
    "recorded",
    "rest",
    "retimed",
    "taken_apart",
]
