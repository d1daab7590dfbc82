"""The measure of complexity: it finds what is quadratic, leaves what is linear, and gives the same numbers again."""

import re
import subprocess
import sys
from dataclasses import replace

import pytest
from interwhen import Claim, Fork, Lines, Monitor, Pass, Tracker, Unknown, UsageError, verifier
from interwhen.testing.complexity import (
    BAITS,
    Bait,
    Growth,
    assert_linear,
    assert_quick,
    count_steps,
    cpu_seconds,
    measure,
    read_and_check,
    suspicious,
)

A = (Bait("a"),)


def linear(text):
    return sum(1 for _ in text)


def constant(text):
    return text[:10]


def quadratic(text):
    return sum(1 for one in range(len(text)) for _ in range(one))


def hidden(text):
    return [text.count("ab", at) for at in range(0, len(text), 10)]


def test_step_counts_are_reproducible_and_additive():
    once = count_steps(linear, "x" * 100)
    assert once == count_steps(linear, "x" * 100) > 100
    more = count_steps(linear, "x" * 200) - once
    assert more == count_steps(linear, "x" * 300) - count_steps(linear, "x" * 200)


def test_step_counts_agree_on_other_python_versions():
    code = (
        "import sys; from interwhen.testing.complexity import _monitored, _traced, count_steps\n"
        "f = lambda n: sum(1 for _ in range(n))\n"
        "count = _monitored if hasattr(sys, 'monitoring') else _traced\n"
        "a, b, c = (count(f, (n,)) for n in (100, 200, 400))\n"
        "assert c - b == 2 * (b - a) > 0, (a, b, c)\n"
        "assert count_steps(f, 100) == a\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_previous_tracer_is_restored():
    def tracer(frame, event, argument):
        return None

    before = sys.gettrace()
    sys.settrace(tracer)
    try:
        count_steps(linear, "abc")
        with pytest.raises(ZeroDivisionError):
            count_steps(lambda: 1 / 0)
        restored = sys.gettrace()
    finally:
        sys.settrace(before)
    assert restored is tracer


@pytest.mark.parametrize(("function", "low", "high"), [(linear, 1.8, 2.1), (constant, 0.9, 1.1), (quadratic, 3.5, 4.1)])
def test_growth_is_measured(function, low, high):
    assert low < measure(function, Bait("a"), size=100).ratio() < high


def test_linear_and_constant_functions_pass():
    assert_linear(linear)
    assert_linear(constant)


def test_quadratic_function_fails_naming_its_bait():
    with pytest.raises(AssertionError, match=re.escape("''+'a'*n+''")):
        assert_linear(quadratic, baits=A, size=100)


def test_a_limit_that_is_reached_is_no_growth():
    assert Growth(Bait("a"), (1, 2, 4), (1000, 4000, 4000)).ratio() == 2.0
    assert Growth(Bait("a"), (1, 2, 4), (1000, 4000, 16_000)).ratio() == 4.0
    assert Growth(Bait("a"), (1, 2, 4), (10, 20, 2010)).ratio(2000) == 1.0


def test_time_spent_in_c_code_is_measured():
    assert_linear(hidden, baits=A)
    with pytest.raises(AssertionError, match=r"90000 characters took"):
        assert_quick(hidden, baits=A, size=90_000, seconds=0.03)
    assert_quick(hidden, baits=A, size=100, seconds=1)
    assert cpu_seconds(constant, "x") < 1


def test_every_bait_has_the_requested_size():
    for bait in BAITS:
        assert 0 <= len(bait.of(100)) - len(bait.start) - len(bait.end) - 100 <= 0, bait
    assert len(set(BAITS)) == len(BAITS)


@verifier(name="slow", worker="inline")
def slow(claim):
    quadratic(claim.key)
    return Pass()


@verifier(name="quick")
async def quick(claim):
    return Pass()


def lines(segment):
    yield Claim(key=segment.text, span=segment.span)


def test_a_monitor_is_read_as_a_run_would():
    with pytest.raises(AssertionError, match="more than linear"):
        assert_linear(Monitor(name="m", verifier=slow, extractor=lines), baits=A, size=100)
    assert_linear(Monitor(name="m", verifier=quick, extractor=lines, trigger=Lines()), baits=A, size=100)
    assert read_and_check(Monitor(name="m", verifier=slow, extractor=lines))("abc") == [Pass()]
    assert read_and_check(Monitor(name="m", verifier=slow, extractor=lambda _: None))("abc") == []


def test_the_reply_of_a_fork_is_read_too():
    fork = Fork("?", lambda reply, segment: [Claim(key=str(quadratic(reply)), span=segment.span)])
    with pytest.raises(AssertionError, match="more than linear"):
        assert_linear(Monitor(name="m", verifier=quick, extractor=fork), baits=A, size=100)
    scored = Fork("?", lambda reply, segment: [Claim(key=reply.text, span=segment.span)], scores=0)
    assert read_and_check(Monitor(name="m", verifier=slow, extractor=scored))("abc") == [Pass()]


@pytest.mark.parametrize(
    "pattern",
    [
        *(r"(a+)+x", r"(?:\s*a*)*", r"(x+x+)+y", r"^(([a-z])+.)+[A-Z]$", r"(?:\w\d|\d\w)*x", r"(?:(?:ab)?(?:ab)?)*x"),
        *(r"\s*\s*x", r".*b.*c", r"\d+\d+", r"[a-z]*\w*!", r"(?:a|b)+(?:\w+)+$"),
    ],
)
def test_a_dangerous_regex_is_suspected(pattern):
    assert suspicious(pattern)
    assert suspicious(re.compile(pattern))


@pytest.mark.parametrize(
    "pattern",
    [
        *(
            r"a+",
            r"(?:[0-9]+[.,])*x",
            r"(?:a++)+x",
            r"(?>a+)x",
            r"(?:a+)++x",
            r"\d+\s*\+\s*\d+\s*=\s*\d+",
            r"([^,]*,)*x",
        ),
        *(r"(?:\w+\s)*x", r"(?<!\d)(\d)\+(\d)=(\d{1,2})(?!\d)", r"(?:cat|dog)*", r"<\|[^|]*\|>", r"(a)\1"),
    ],
)
def test_sound_regex_is_not_suspected(pattern):
    assert suspicious(pattern) == ()


def test_a_monitor_is_prepared_for_the_prompt():
    def extract(segment, prepared):
        return [Claim(key=f"{segment.text} {prepared}", span=None)]

    @verifier(name="prepared", worker="inline")
    def judge(claim, prepared):
        return Unknown(f"{claim.key} {prepared}")

    async def waits(task):
        return task.text or None

    for prepare in (lambda task: task.text or None, waits):
        watching = Monitor(name="m", verifier=judge, extractor=extract, prepare=prepare)
        assert read_and_check(watching, "p")("abc") == [Unknown("abc p p")]
        assert read_and_check(watching)("abc") == []
        fold = Tracker(lambda prepared: prepared, lambda state, segment: (state, extract(segment, state)))
        assert read_and_check(replace(watching, extractor=fold), "p")("abc") == [Unknown("abc p p")]
        fork = Fork("?", lambda reply, segment, prepared: extract(segment, reply + prepared))
        assert read_and_check(replace(watching, extractor=fork), "p")("abc") == [Unknown("abc abcp p")]


def test_empty_measurement_is_refused():
    with pytest.raises(UsageError, match="at least one kind of text"):
        assert_linear(quadratic, baits=[])
    with pytest.raises(UsageError, match="at least one kind of text"):
        assert_quick(quadratic, baits=[])
    with pytest.raises(UsageError, match="size and doublings"):
        assert_linear(quadratic, baits=A, size=0)
    with pytest.raises(UsageError, match="size and doublings"):
        measure(quadratic, A[0], doublings=0)
    with pytest.raises(UsageError, match="seconds must be above 0"):
        assert_quick(quadratic, baits=A, seconds=float("nan"))
    with pytest.raises(UsageError, match="the unit of a Bait"):
        Bait("")


@pytest.mark.parametrize("measured", [assert_linear, assert_quick])
def test_inapplicable_monitor_is_refused(measured):
    watching = Monitor(name="m", verifier=slow, extractor=lambda _segment, _told: (), prepare=lambda _task: None)
    with pytest.raises(UsageError, match="'m' must apply to an empty prompt"):
        measured(watching, baits=A)
