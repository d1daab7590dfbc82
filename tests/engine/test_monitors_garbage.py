"""Whatever a verifier or a parser returns or raises, the outcome is one bounded line with its name, and no pass."""

import string
from unittest.mock import MagicMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Claim, Pass, Segment, Span, Unknown, Violation
from interwhen._engine.monitors import LONGEST, MOST_CLAIMS, as_outcome, check_inline, parse
from interwhen.results import Errored, Judged
from sums import Sum

CLAIM = Sum(key="1+1=2", span=Span(0, 5), left=1, right=1, total=2)
SEGMENT = Segment("1+1=2", Span(0, 5), "answer")


class Liar:
    """Says that it is a pass, and of any class that anybody asks for."""

    __class__ = Pass
    evidence = ""


class Hostile:
    """Everything about it raises, even what no ``except Exception`` catches."""

    def __getattribute__(self, name):
        raise GeneratorExit(name)

    def __repr__(self):
        raise GeneratorExit

    def __eq__(self, other):
        raise GeneratorExit

    __hash__ = None


class Text(str):
    __slots__ = ()

    def __len__(self):
        return 10**30

    def __repr__(self):
        return "x" * 100_000


def cyclic():
    cycle = []
    cycle.append(cycle)
    return cycle


def deep():
    nested = []
    for _ in range(5000):
        nested = [nested]
    return nested


async def later():
    return Pass()


def generator():
    yield Pass()


MAKERS = [
    Liar,
    Hostile,
    cyclic,
    deep,
    later,
    generator,
    Mock,
    MagicMock,
    lambda: Mock(spec=Pass, evidence=""),
    type("Passing", (Pass,), {}),
    lambda: Pass(Text("right")),
    lambda: Pass("x" * (LONGEST + 1)),
    lambda: Pass(Mock(spec=str)),
    lambda: Unknown(Text("?")),
    lambda: Unknown(None),
    lambda: Violation(Text("wrong")),
    lambda: Violation("w", witness=Text("x")),
    lambda: Violation("w", repair=Text("x")),
    lambda: Violation("w", repair="x" * (LONGEST + 1)),
    lambda: Violation("w", where=Liar()),
    lambda: Violation("w", where=Mock(spec=Span)),
    lambda: "x" * 10_000_000,
    lambda: b"x" * 10_000_000,
    lambda: list(range(1_000_000)),
    lambda: None,
    lambda: True,
    lambda: Pass,
    lambda: NotImplemented,
    lambda: {"verdict": "pass"},
]


class Returning:
    name, version, deadline, worker = "odd", "1", 1.0, "inline"

    def __init__(self, make):
        self.check = lambda _claim: make()


@pytest.mark.fault("V5", injected="29 values that are not valid verdicts", happens="an error with the verifier's name")
@pytest.mark.parametrize("make", MAKERS, ids=range(len(MAKERS)))
def test_unsound_verdict_is_an_error_naming_verifier(make):
    outcome = check_inline(Returning(make), CLAIM)
    assert type(outcome) is Errored
    assert "verifier 'odd' returned " in outcome.error
    assert len(outcome.error) <= 500
    assert type(outcome.error) is str


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(string.printable) | st.binary()
VALUES = st.recursive(
    LEAVES | st.sampled_from([Liar, cyclic, deep]).map(lambda make: make()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
VERDICTS = st.one_of(
    st.builds(Pass, VALUES), st.builds(Unknown, VALUES), st.builds(Violation, VALUES, VALUES, VALUES, VALUES)
)


@pytest.mark.fault("V5", injected="any value, and verdicts with any values in them", happens="a verdict or an error")
@settings(max_examples=200)
@given(VALUES | VERDICTS)
def test_verdict_with_any_fields_is_sound_or_error(value):
    outcome = as_outcome(Returning(None), CLAIM, value)
    if type(outcome) is Judged:
        verdict = outcome.verdict
        texts = [getattr(verdict, name) for name in ("evidence", "why", "witness") if hasattr(verdict, name)]
        assert all(type(text) is str for text in texts)
        assert type(verdict) in (Pass, Unknown, Violation)
        assert getattr(verdict, "where", None) is None
    else:
        assert "'odd'" in outcome.error
        assert len(outcome.error) <= 500


@pytest.mark.fault(
    "V5", injected="parsers that never end, or return other objects than claims", happens="an error, bounded"
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: iter(lambda: CLAIM, None),
        lambda: [CLAIM] * (MOST_CLAIMS + 1),
        lambda: [Mock(spec=Claim)],
        lambda: [Liar()],
        lambda: [Hostile()],
        lambda: [Sum(key=Text("k"), span=None, left=1, right=1, total=2)],
        lambda: [Sum(key="k", span=Liar(), left=1, right=1, total=2)],
        Hostile,
        later,
        lambda: 3,
        cyclic,
    ],
)
def test_invalid_claim_list_is_an_error_naming_monitor(make):
    outcome = parse("odd", lambda _segment: make(), SEGMENT)
    assert type(outcome) is Errored
    assert "'odd'" in outcome.error
    assert len(outcome.error) <= 700


@pytest.mark.parametrize("error", [GeneratorExit, StopIteration, MemoryError, RecursionError, SystemExit])
def test_any_raised_exception_is_an_error_outcome(error):
    def raises(_segment):
        raise error

    assert type(check_inline(Returning(lambda: raises(None)), CLAIM)) is Errored
    assert type(parse("w", raises, SEGMENT)) is Errored


def test_keyboard_interrupt_propagates():
    def interrupted(_segment):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        check_inline(Returning(lambda: interrupted(None)), CLAIM)
    with pytest.raises(KeyboardInterrupt):
        parse("w", interrupted, SEGMENT)
