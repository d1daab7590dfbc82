"""A verifier that refutes by place, and a run with all its events."""

from itertools import count
from typing import NamedTuple

import interwhen
from interwhen import Claim, Delta, Message, Monitor, Pass, Retracted, Sampling, Span, Violation
from interwhen.models import RecordingModel, Request

GREEDY = Sampling(max_tokens=300, temperature=0.0)
PROMPT = (Message("user", "Start with 64. Add 29. Subtract 17. Multiply by 3. What is the result?"),)
WHY, WITNESS, REPAIR = "the test says so", "the test would rather have 7", "7"


def refuting(line=1, *, times=1, phase="both", **options):
    keys, seen, left = count(), count(), [times]

    def extract(segment):
        if segment.text.strip():
            # A key of its own for each: a line that is written again is judged again.
            yield Claim(key=f"{next(keys)}", span=segment.at(0, len(segment.text)))

    @interwhen.verifier(name="by-place", worker="inline")
    def judge(claim):
        if next(seen) < line or not left[0]:
            return Pass()
        left[0] -= 1
        # The last character of the line is called wrong.
        end = claim.span.end - claim.span.start
        return Violation(why=WHY, witness=WITNESS, where=Span(end - 1, end), repair=REPAIR)

    return Monitor(name="by-place", verifier=judge, extractor=extract, phase=phase, **options)


class Played(NamedTuple):
    result: object
    events: list
    streams: list
    """The prefix from which each stream continued."""

    def of(self, kind):
        return [event for event in self.events if isinstance(event, kind)]

    @property
    def shown(self):
        text = ""
        for event in self.events:
            if isinstance(event, Delta):
                assert event.start == len(text)
                text += event.text
            elif isinstance(event, Retracted):
                assert event.to < len(text)
                text = text[: event.to]
        return text

    @property
    def ever_shown(self):
        return "".join(event.text for event in self.of(Delta))


async def play(model, monitors, prompt=PROMPT, **options):
    watched = RecordingModel(model)
    async with interwhen.run(watched, prompt, monitors=monitors, sampling=GREEDY, **options) as run:
        events = [event async for event in run]
    return Played(run.result, events, [recording.prefix for recording in watched.recordings])


async def unwatched(model, *pieces):
    return (await model.complete(Request(PROMPT, pieces, GREEDY))).text
