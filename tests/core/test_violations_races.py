"""Which violation counts, and what comes of it, does not depend on who answers first."""

from __future__ import annotations

import functools
import random

import pytest
from interwhen import Feedback, Lines, Repair, Resample, Sentences
from interwhen._core.machine import Core
from interwhen._core.messages import Ended, Extract
from interwhen.models import Chunk
from tests.core.worlds import PLAIN, STRICT, Driver, monitor, plain_summary

TEXTS = (
    "1+1=2\n2+2=5 and 4+5=8\n3+1=5, 1+1=2\n7+1=8\n2+5=8\n",
    "3+1=5 2+2=5\n4+5=10\n1+1=3\n7+1=8 4+4=9\n",
    "2+2=4\n4+5=10 3+1=5\n",
)
GOES_ON = "1+1=2\n3+3=6\n"


def race(monitors, text, seed, **options):
    dice = random.Random(seed)
    driver = Driver(Core(monitors, **options))
    sources = [text]
    left, at = text, 0
    opened = 0
    while driver.summary is None:
        if driver.state == "opening" and dice.random() < 0.7:
            driver.open()
            left, at = (sources[0] if opened == 0 else GOES_ON), 0
            opened += 1
        elif driver.state == "streaming" and dice.random() < 0.6:
            size = dice.choice((1, 4, 9, 40))
            if at < len(left):
                driver.tell(Chunk(left[at : at + size]))
                at += size
            else:
                driver.tell(Chunk("", tokens=0, finish_reason="stop"))
                driver.tell(Ended())
        elif driver.pending:
            driver.answer(dice.choice(list(driver.pending)))
    return driver


@functools.cache
def three(remedies, trigger):
    # Two monitors of one verifier and one of another. They hold no state, so all races share them.
    return (
        monitor("a", verifier=PLAIN, trigger=trigger, remedy=remedies[0]),
        monitor("b", verifier=STRICT, trigger=trigger, remedy=remedies[1], unproven="closed"),
        monitor("c", verifier=PLAIN, trigger=trigger, remedy=remedies[2], level="explain"),
    )


def watchers(remedies, trigger, dice):
    return tuple(dice.sample(three(remedies, trigger), 3))


CASES = [
    (text, remedies, trigger)
    for text in TEXTS
    for remedies in ((Repair(),) * 3, (Feedback(),) * 3, (Feedback("rewind"), Repair(), Feedback()), (Resample(),) * 3)
    for trigger in (Lines(), Sentences())
]


def ending(number, seed):
    text, remedies, trigger = CASES[number]
    dice = random.Random(number * 100_003 + seed)
    return plain_summary(race(watchers(remedies, trigger, dice), text, dice.random()).summary)


@pytest.mark.fault("V6", injected="10,000 seeded orders of chunks, parsers and verdicts", happens="0 wrong cuts")
@pytest.mark.fault("V8", injected="three monitors in any order", happens="the same result")
@pytest.mark.parametrize("number", range(len(CASES)))
def test_ten_thousand_races_end_the_same(number, record_property):
    each = 10_000 // len(CASES) + 1
    record_property("tries", each)
    expected = ending(number, 0)
    for seed in range(1, each):
        assert ending(number, seed) == expected, (number, seed)


def test_the_races_end_in_different_ways():
    assert len({ending(number, 0)[0] for number in range(len(CASES))}) > 1


@pytest.mark.parametrize("seed", range(40))
def test_a_gate_changes_only_when_text_is_shown(seed):
    summaries = []
    for delivery in ("interrupt", "gate"):
        who = (
            # Feedback behind a segment would open the gate of its own monitor only.
            monitor("a", delivery=delivery, remedy=Repair(otherwise=Feedback("rewind"))),
            monitor("b", verifier=STRICT, remedy=Feedback("rewind"), delivery=delivery),
        )
        driver = race(who, TEXTS[0], seed)
        assert driver.shown == driver.summary.text or driver.summary.status == "abstained"
        summaries.append(plain_summary(driver.summary))
    assert summaries[0] == summaries[1]


@pytest.mark.fault("V6", injected="the later step is refuted first", happens="the cut is at the earlier one")
def test_the_earlier_violation_wins_even_if_detected_later():
    for late in (False, True):
        driver = Driver(Core([monitor("slow", verifier=STRICT), monitor("fast", verifier=PLAIN)]))
        driver.open()
        driver.feed("1+1=3\n2+2=5\n")
        driver.extract()
        jobs = sorted(driver.pending, key=lambda job: driver.pending[job].claim.span)
        driver.answer(jobs[-1])
        assert driver.state == "deciding"
        assert not isinstance(driver.pending[jobs[0]], Extract)
        for job in reversed(jobs[:-1]) if late else jobs[:-1]:
            if job in driver.pending:
                driver.answer(job)
        assert driver.core.transcript.insertions[0].span.start == len("1+1=3")
