"""What was verified with one setting is not served as verified with another, wherever the setting is kept."""

import functools
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from enum import Enum

import pytest
from interwhen import Claim, Monitor, Pass, Unknown, verifier
from interwhen.precompute._judge import Judge, settings_seen_of


def below(limit, *, name="below"):
    @verifier(name=name, worker="inline")
    def check(claim):
        return Pass() if claim.key != limit else Unknown("too large")

    return Monitor(name=name, verifier=check, extractor=lines)


def lines(segment):
    yield Claim(key=segment.text, span=segment.span)


@dataclass(frozen=True)
class Limits:
    most: int
    words: tuple[str, ...] = ()


class Colour(Enum):
    RED = 1
    BLUE = 2


def bound(value):
    return value.replace


VALUES = [
    (1, 2),
    (1, 1.0),
    (1, True),
    ("a", "b"),
    (None, ""),
    ((1, 2), (2, 1)),
    ([1], [1, 1]),
    ({"a": 1}, {"a": 2}),
    ({"a", "b"}, {"a"}),
    (frozenset(("a",)), frozenset(("b",))),
    (re.compile("a"), re.compile("a", re.IGNORECASE)),
    (Limits(1), Limits(2)),
    (Limits(1, ("a",)), Limits(1, ("b",))),
    (Colour.RED, Colour.BLUE),
    (functools.partial(max, 1), functools.partial(max, 2)),
    (functools.partial(max, key=len), functools.partial(max, key=abs)),
    (lambda: 1, lines),
    (bound, lines),
    (Limits, Colour),
]


@pytest.mark.parametrize(
    ("one", "other"), VALUES, ids=[type(one).__name__ + str(at) for at, (one, _) in enumerate(VALUES)]
)
def test_different_values_have_different_fingerprints(one, other):
    assert settings_seen_of(below(one)) == settings_seen_of(below(one))
    assert settings_seen_of(below(one)) != settings_seen_of(below(other))
    assert Judge([below(one)]).digest != Judge([below(other)]).digest


def extracting(function):
    return replace(below(1), extractor=function)


def test_fingerprint_covers_closures_defaults_and_partials():
    def make(limit):
        return lambda segment: lines(segment) if limit else ()

    def least(segment, limit=3):
        return lines(segment)

    def most(segment, limit=4):
        return lines(segment)

    most.__qualname__ = least.__qualname__
    most.__name__ = least.__name__
    assert settings_seen_of(extracting(make(1))) != settings_seen_of(extracting(make(2)))
    assert settings_seen_of(extracting(least)) != settings_seen_of(extracting(most))
    assert settings_seen_of(extracting(functools.partial(least, limit=1))) != settings_seen_of(
        extracting(functools.partial(least, limit=2))
    )


class Counting:
    """A verifier by hand: what is plain of it is a setting."""

    name, version, deadline, worker = "counting", "1", 1.0, "inline"

    def __init__(self, limit):
        self.limit = limit
        self.seen = []

    def check(self, claim):
        self.seen.append(claim)
        return Pass()


def test_fingerprint_covers_verifier_attributes_but_not_state():
    one, same, other = Counting(1), Counting(1), Counting(2)
    one.check(Claim(key="x", span=None))
    first, second, third = (replace(below(1), verifier=each) for each in (one, same, other))
    assert settings_seen_of(first) == settings_seen_of(second)
    assert settings_seen_of(first) != settings_seen_of(third)


def test_fingerprint_of_mutual_recursion_terminates():
    def even(number):
        return number == 0 or odd(number - 1)

    def odd(number):
        return number != 0 and even(number - 1)

    assert settings_seen_of(below(even))


def test_fingerprint_of_cyclic_value_terminates():
    ring: list[object] = []
    ring.append(ring)
    assert settings_seen_of(below(ring))


def test_fingerprint_of_later_bound_name_terminates():
    def check():
        return later

    assert settings_seen_of(below(check))
    later = 1
    assert settings_seen_of(below(check))


def test_fingerprint_is_stable_across_processes():
    program = (
        "from interwhen.registry import load_monitors; from interwhen.precompute._judge import Judge;"
        "print(Judge(['arithmetic']).digest)"
    )
    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": seed},
        ).stdout
        for seed in ("1", "2")
    }
    assert digests == {Judge(["arithmetic"]).digest + "\n"}
