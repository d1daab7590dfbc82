"""Python's own limits, and text that asks to be run: never an exception, never evaluated, never a wrong verdict."""

import sys
import time

import pytest
from corpus import ALL, ARITHMETIC
from interwhen import Pass, Segment, Span, Unknown, Violation, load_monitor
from interwhen.registry import describe, verifiers
from interwhen.testing.complexity import read_and_check

from interwhen_verifiers.arithmetic import MAX_SEGMENT, arithmetic

ARITHMETIC_MONITOR = arithmetic()
read = read_and_check(ARITHMETIC_MONITOR)
SHIPPED = [plugin.name for plugin in verifiers() if describe(plugin.name).monitors]
"""Those that can be had without options."""


def verdicts(text):
    return [type(verdict).__name__ for verdict in read(text)]


class Audit:
    """Notes what Python is asked to do: a hook cannot be taken away again, but it can be told to look away."""

    def __init__(self):
        self.on = False
        self.seen = []
        sys.addaudithook(self.hook)

    def hook(self, event, args):
        if self.on and event.partition(".")[0] in {
            "compile",
            "exec",
            "open",
            "os",
            "subprocess",
            "socket",
            "import",
            "pty",
            "ctypes",
        }:
            self.seen.append((event, args))


@pytest.fixture(scope="module")
def audit():
    return Audit()


@pytest.mark.fault(
    "P7", injected="code in the text, in every shipped verifier", happens="nothing is compiled, opened or started"
)
@pytest.mark.parametrize("name", SHIPPED)
def test_nothing_that_a_model_writes_is_evaluated(name, audit, record_property):
    record_property("tries", len(ALL))
    everything = read_and_check(load_monitor(name))
    everything("1 + 1 = 3")  # what is imported late is imported now
    audit.seen.clear()
    audit.on = True
    try:
        for text in ALL:
            everything(text)
    finally:
        audit.on = False
    assert audit.seen == []


def test_the_audit_would_notice(audit):
    audit.seen.clear()
    audit.on = True
    try:
        eval("1 + 1")
    finally:
        audit.on = False
    assert audit.seen


@pytest.mark.fault(
    "V12",
    injected="numbers, powers, brackets and fractions beyond Python's limits",
    happens="no exception, and each in bounded time",
)
@pytest.mark.parametrize("text", ARITHMETIC, ids=lambda text: ascii(text[:24]))
def test_no_text_raises_or_takes_long(text):
    began = time.thread_time()
    for verdict in read(text):
        assert isinstance(verdict, Pass | Violation | Unknown)
    assert time.thread_time() - began < 2


@pytest.mark.parametrize(
    "text",
    [
        *(
            "9**9**9 = 1",
            "9^9^9 = 1",
            "2^99999999999 = 3",
            "(2^500)^500 = 7",
            "2^0.5 = 1",
            "1/0 + 1 = 3",
            "0^0 + 1 = 3",
        ),
        *("0/0 + 1 = 2", "(-1)¹²³⁴⁵⁶⁷⁸ + 0 = 1", "1" + "*9999999999999999999999999999999999999" * 40 + " = 5"),
        *("+".join(f"1/{10**37 + 2 * k + 1}" for k in range(70)) + " = 5",),
    ],
    ids=lambda text: text[:24],
)
def test_what_cannot_be_computed_is_unknown(text):
    assert verdicts(text) == ["Unknown"]


@pytest.mark.parametrize(
    "text",
    [
        *(
            "1" * 5000 + " + 1 = 2",
            "1 + " + "9" * 4301 + " = 2",
            "(" * 20_000 + "1+1=3",
            "(" * 41 + "1+1" + ")" * 41 + " = 3",
        ),
        *(
            "1" + "+1" * 5000 + "=5",
            "2⁰⁰⁰⁰⁰⁰⁰⁰³ + 0 = 8",
            "(-1)¹²³⁴⁵⁶⁷⁸⁹ + 0 = -1",
            "2⁰⁰⁰⁰⁰⁰⁰⁰³ + 0 = 1",
            "٣ + ٤ = ٨",
        ),
        *(
            "5 ⁻ 3 = 3",
            "5 ‐ 3 = 9",
            "1\u200b0 + 5 = 15",
            "3 + 2 = \u202e51",
            "3 + 2 = 6\u202e",
            "1e400 + 1 = 2",
            "0x10 + 1 = 17",
            "0xabcd + 1 = 43982",
            "0b11 + 1 = 4",
        ),
        *("0xff + 1 = 256", "0X10 * 2 = 32", "eval('1+1') = 3", "1_000 + 1 = 1002"),
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_text_not_read_with_certainty_is_never_refuted(text):
    assert "Violation" not in verdicts(text)


def test_within_the_limits_it_is_read():
    assert verdicts("(" * 39 + "1+1" + ")" * 39 + " = 3") == ["Violation"]
    assert verdicts("2¹⁰ + 0 = 1024") == ["Pass"]
    assert verdicts("１＋１＝３") == ["Violation"]
    assert verdicts("5 － 3 = 9") == ["Violation"]
    assert verdicts("2^512 + 1 = 6") == ["Violation"]
    assert verdicts("+".join(["1/3", "1/7"] * 30) + " = 14.2857") == ["Pass"]
    assert verdicts("+".join(["1/3", "1/7"] * 30) + " = 15.5") == ["Violation"]


@pytest.mark.fault(
    "V12",
    injected="a wrong equation in a line of more than 20,000 characters",
    happens="Unknown: it is not read, and not passed over",
)
@pytest.mark.parametrize("unit", ["x", " ", "1 + 1 = 2; "])
def test_a_line_that_is_too_long_hides_nothing(unit):
    text = unit * (MAX_SEGMENT // len(unit)) + " 1 + 1 = 3"
    assert len(text) > MAX_SEGMENT
    segment = Segment(text, Span(7, 7 + len(text)), "answer")
    _, [claim] = ARITHMETIC_MONITOR.extractor.step(ARITHMETIC_MONITOR.extractor.start(None), segment)
    assert claim.span == segment.span
    assert isinstance(ARITHMETIC_MONITOR.verifier.check(claim), Unknown)
    short = text[-MAX_SEGMENT:]
    assert "Violation" in verdicts(short)
    assert verdicts("x" * 10 * MAX_SEGMENT) == []


def test_a_deep_stack_makes_no_wrong_verdict():
    text = "1" + "+1" * 140 + " = 141"

    def at(depth):
        return verdicts(text) if depth == 0 else at(depth - 1)

    for depth in (0, 100, 400, 600, 700, 800, 900):
        try:
            judged = at(depth)
        except RecursionError:
            continue
        assert judged in (["Pass"], ["Unknown"], [])
