"""Polls: stretches without gaps, whose length follows the mistakes that were seen, whatever the chunks are."""

from __future__ import annotations

import math
import random

import interwhen
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interwhen import UsageError
from interwhen.testing import ScriptedModel
from interwhen.triggers import Polls
from tests.core.test_scanners import CUTS, Follower

SMALL = Polls(cost=2.0, found=1.0, seen=10.0, least=2, most=12)
TEXT = st.text("ab \n", max_size=60)
PLACES = st.tuples(st.integers(0, 10**6), st.integers(0, 1000))
TRIGGERS = st.builds(
    Polls,
    cost=st.floats(1, 1e4),
    found=st.floats(0.01, 100),
    seen=st.floats(1, 1e6),
    least=st.integers(1, 100),
    most=st.integers(100, 10**4),
)


def stretches(text, remedies=0):
    spans, start = [], 0
    while start < len(text):
        end = min(start + SMALL.length(start, remedies), len(text))
        if text[start:end].strip() or end - start == SMALL.length(start, remedies):
            spans.append((start, end))
        start = end
    return spans


@settings(max_examples=80, deadline=None)
@given(text=TEXT, cuts=CUTS)
def test_any_chunking_gives_the_same_stretches_without_gaps(text, cuts):
    for way in (cuts, (), range(len(text))):
        follower = Follower(SMALL)
        follower.feed(text, way)
        spans = follower.end()
        assert spans == stretches(text)
        covered = "".join(text[a:b] for a, b in spans)
        assert covered.rstrip() == text[: len(covered)].rstrip()


@settings(max_examples=80, deadline=None)
@given(parts=st.lists(st.tuples(TEXT, CUTS, st.floats(0, 1), st.integers(0, 3)), min_size=1, max_size=4), last=TEXT)
def test_polls_cover_all_text_after_cuts_and_remedies(parts, last):
    follower, text = Follower(SMALL), ""
    for more, cuts, share, remedies in parts:
        follower.feed(more, cuts)
        text = (text + more)[: round(share * len(text + more))]
        follower.cut(len(text))
        for _ in range(remedies):
            follower.intake.remedied()
    follower.feed(last, range(len(last)))
    text += last
    at = 0
    for start, end in follower.end():
        assert not text[at:start].strip()
        at = end
    assert not text[at:].strip()


def test_remedies_shorten_later_polls_but_not_current_ones():
    follower = Follower(SMALL)
    follower.feed("x" * 3)
    for _ in range(50):
        follower.intake.remedied()
    follower.feed("x" * 40)
    lengths = [end - start for start, end in follower.segments]
    assert lengths[0] == SMALL.length(0, 0) > 2
    assert set(lengths[1:]) == {2}


@given(TRIGGERS, PLACES, PLACES)
def test_mistakes_never_lengthen_stretches_and_text_never_shortens(trigger, one, other):
    (low, high), (few, many) = (sorted(pair) for pair in zip(one, other, strict=True))
    assert trigger.length(low, many) <= trigger.length(low, few)
    assert trigger.length(high, few) >= trigger.length(low, few)
    assert trigger.least <= trigger.length(low, few) <= trigger.most


def test_the_interval_is_cheapest_for_randomly_timed_mistakes():
    rate, cost = 1 / 3000, 240.0

    def waste(interval, seed):
        rng, good, lost = random.Random(seed), 0.0, 0.0
        while good < 400_000:
            wrong = rng.expovariate(rate)
            good += min(wrong, interval)
            lost += cost + (interval - wrong if wrong < interval else 0.0)
        return lost / good

    best = Polls(cost=cost, found=1000.0, seen=1000.0 / rate, least=1, most=10**6).length(0, 0)
    assert best == round(math.sqrt(2 * cost / rate))
    for factor in (0.25, 4.0):
        assert sum(waste(best, seed) for seed in range(5)) < sum(waste(best * factor, seed) for seed in range(5))


def test_observed_mistakes_set_the_next_runs_poll_length():
    start = Polls()
    calm, wild = start.learned(0, 20_000), start.learned(40, 20_000)
    assert calm.length(0, 0) > start.length(0, 0) > wild.length(0, 0)


@example([(0, 133_808)])
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 10**6)), max_size=20))
def test_what_is_learnt_fades_and_stays_usable(runs):
    trigger = Polls()
    for remedies, characters in runs:
        trigger = trigger.learned(remedies, characters)
    assert trigger.seen <= 100_000
    assert trigger.least <= trigger.length(0, 0) <= trigger.most


@pytest.mark.parametrize(
    "wrong", [{"cost": 0}, {"found": 0}, {"seen": -1}, {"least": 0}, {"least": 9, "most": 8}], ids=str
)
def test_values_that_cannot_work_are_refused(wrong):
    with pytest.raises(UsageError, match=r"Polls: (cost|found|seen|least) must be"):
        Polls(**wrong)


def test_a_fork_polls_the_whole_text():
    seen = []
    monitor = interwhen.Monitor(
        name="poll",
        verifier=interwhen.verifier(name="v", worker="inline")(lambda claim: interwhen.Pass()),
        extractor=interwhen.Fork("So far:", lambda reply, segment: seen.append(segment.text) or ()),
        trigger=SMALL,
    )
    text = "one two three four five six seven"
    with interwhen.run_sync(ScriptedModel([text], forks=lambda request: "x"), "Q", monitors=[monitor]) as run:
        result = run.drain()
    assert "".join(seen) == text
    assert result.ledger.forks == len(seen) > 2
