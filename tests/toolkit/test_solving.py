"""Z3 for verifiers: within the deadline, one context a thread, verdicts with names, and nothing unsound."""

import subprocess
import sys
import threading
import time

import pytest

z3 = pytest.importorskip("z3", reason="the extra 'z3' is not installed")

from interwhen import Claim, Pass, Span, Unknown, UsageError, Violation  # noqa: E402  # noqa: E402
from interwhen._types.verifiers import Ticket, hold  # noqa: E402  # noqa: E402
from interwhen.toolkit.solving import problem, z3_text  # noqa: E402


def ages(z3_problem, *more):
    ann, bob = z3.Ints("ann bob", z3_problem.context)
    z3_problem.require("Ann is older than Bob", ann > bob)
    z3_problem.require("Bob is 7", bob == 7)
    for name, build in more:
        z3_problem.require(name, build(ann, bob))
    return ann, bob


def hard(z3_problem, size=11):
    holes = [[z3.Bool(f"p{i}h{j}", z3_problem.context) for j in range(size)] for i in range(size + 1)]
    for i, row in enumerate(holes):
        z3_problem.require(f"pigeon {i} has a hole", z3.Or(row))
    pairs = [(i, k) for i in range(size + 1) for k in range(i)]
    apart = [z3.Or(z3.Not(holes[i][j]), z3.Not(holes[k][j])) for j in range(size) for i, k in pairs]
    z3_problem.require("no two in one hole", z3.And(apart))


def test_satisfiable_conditions_are_consistent():
    with problem() as z3_problem:
        ages(z3_problem)
        assert z3_problem.consistent() == Pass("2 conditions hold together, for example with ann = 8, bob = 7")


def test_unsatisfiable_core_names_exactly_the_conflict():
    with problem() as z3_problem:
        ages(z3_problem, ("Ann is 3", lambda ann, _bob: ann == 3), ("Ann is not 9", lambda ann, _bob: ann != 9))
        assert z3_problem.consistent() == Violation("these cannot all hold: Ann is 3; Ann is older than Bob; Bob is 7")


def test_entailed_conclusion_names_its_conditions():
    with problem() as z3_problem:
        ann, bob = ages(z3_problem)
        assert z3_problem.follows(ann > 7) == Pass("it follows from Ann is older than Bob; Bob is 7")
        assert z3_problem.follows(bob == bob) == Pass("it holds by itself")
        assert isinstance(z3_problem.follows(z3.Not(ann > 7)), Violation)
        assert z3_problem.follows(ann > 8) == Violation(
            "it does not follow from the conditions", "all of them hold with ann = 8, bob = 7, and it does not"
        )
        assert isinstance(z3_problem.consistent(), Pass)  # what was asked has left nothing behind


def test_reasons_belong_to_the_last_verdict():
    with problem() as z3_problem:
        ann, _bob = ages(z3_problem, ("Ann is not 9", lambda ann, _bob: ann != 9))
        z3_problem.follows(ann > 7)
        assert z3_problem.reasons == ("Ann is older than Bob", "Bob is 7")
        z3_problem.follows(ann > 10)
        assert z3_problem.reasons == ()
        z3_problem.require("Ann is 3", ann == 3)
        z3_problem.consistent()
        assert z3_problem.reasons == ("Ann is 3", "Ann is older than Bob", "Bob is 7")


def test_decides_gives_pass_violation_or_unknown():
    with problem() as z3_problem:
        ann, bob = ages(z3_problem)
        assert z3_problem.decides(ann > 7) == Pass("it follows from Ann is older than Bob; Bob is 7")
        assert z3_problem.decides(ann < bob) == Violation("it contradicts Ann is older than Bob")
        assert z3_problem.reasons == ("Ann is older than Bob",)
        assert z3_problem.decides(ann == 9) == Unknown("the conditions leave it open")
        assert z3_problem.reasons == ()
        assert z3_problem.decides(ann != ann) == Violation("it can never hold")
        z3_problem.require("Ann is 3", ann == 3)
        assert isinstance(z3_problem.decides(ann == 3), Unknown)


def test_nothing_follows_from_a_contradiction():
    with problem() as z3_problem:
        ann, _bob = ages(z3_problem, ("Ann is 3", lambda ann, _bob: ann == 3))
        for conclusion in (ann > 100, ann == 3, z3.BoolVal(True, z3_problem.context)):
            verdict = z3_problem.follows(conclusion)
            assert isinstance(verdict, Unknown)
            assert "contradict each other" in verdict.why
        assert isinstance(z3_problem.follows(ann == 4), Unknown)


def test_condition_names_are_unique_and_booleans_allowed():
    with problem() as z3_problem:
        z3_problem.require("yes", True)
        with pytest.raises(UsageError, match="must be used once, got a second condition 'yes'"):
            z3_problem.require("yes", False)
        assert isinstance(z3_problem.consistent(), Pass)
        z3_problem.require("no", False)
        assert z3_problem.consistent() == Violation("these cannot all hold: no")
        with pytest.raises(z3.Z3Exception):
            z3_problem.require("a number", z3.Int("x", z3_problem.context))


@pytest.mark.fault("V2", injected="a question that Z3 cannot answer in time", happens="Unknown, before the deadline")
def test_question_beyond_time_limit_is_unknown():
    begun = time.monotonic()
    with hold(Ticket(1.0)), problem() as z3_problem:
        hard(z3_problem)
        verdict = z3_problem.consistent()
    assert isinstance(verdict, Unknown)
    assert "no answer" in verdict.why
    assert time.monotonic() - begun < 30  # it takes minutes otherwise
    with problem(seconds=0.2) as z3_problem:
        hard(z3_problem)
        assert isinstance(z3_problem.follows(z3.BoolVal(False, z3_problem.context)), Unknown)


def wait_until_z3_works(thread):
    if hasattr(time, "pthread_getcpuclockid"):
        clock = time.pthread_getcpuclockid(thread.ident)  # of the thread alone: it may have to wait for a CPU
        until = time.clock_gettime(clock) + 0.3
        while time.clock_gettime(clock) < until:
            time.sleep(0.01)
    else:
        time.sleep(0.5)


@pytest.mark.fault("V2", injected="a check is cancelled while Z3 works for it", happens="Z3 is interrupted at once")
def test_cancelled_check_interrupts_z3():
    ticket, verdicts, ready = Ticket(600.0), [], threading.Event()

    def work():
        with hold(ticket), problem() as z3_problem:
            hard(z3_problem, 14)
            ready.set()
            verdicts.append(z3_problem.consistent())

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    assert ready.wait(60)
    wait_until_z3_works(thread)
    ticket.cancel()
    thread.join(60)
    assert [type(verdict) for verdict in verdicts] == [Unknown]


@pytest.mark.fault("V4", injected="a question that needs more memory than it may have", happens="Unknown")
def test_memory_limit_gives_unknown():
    with problem(memory_mb=1) as z3_problem:
        hard(z3_problem)
        verdict = z3_problem.consistent()
    assert isinstance(verdict, Unknown)
    assert "memory" in verdict.why


def test_context_is_reused_by_thread_and_never_shared():
    contexts, errors = [], []
    with problem() as first:
        ages(first)
        contexts.append(first.context)

        def elsewhere():
            for use in (first.consistent, lambda: first.follows(True), lambda: first.require("x", True)):
                try:
                    use()
                except UsageError as error:
                    errors.append(error)
            with problem() as z3_problem:
                contexts.append(z3_problem.context)

        thread = threading.Thread(target=elsewhere)
        thread.start()
        thread.join(60)
        with problem() as inner:  # one within another: they are apart, too
            contexts.append(inner.context)
    assert len(errors) == 3
    assert len({id(context) for context in contexts}) == 3
    with problem() as again:
        assert any(again.context is context for context in contexts)
    failed = []

    def fails():
        with problem() as z3_problem:
            failed.append(z3_problem.context)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    with problem() as fresh:
        assert fresh.context is not failed[0]


def test_many_threads_solve_at_once():
    wrong = []

    def work(number):
        for at in range(5):
            with problem() as z3_problem:
                x = z3.Int("x", z3_problem.context)
                z3_problem.require("x is big", x > number + at)
                if not isinstance(z3_problem.follows(x > number), Pass) or isinstance(
                    z3_problem.follows(x > 1000), Pass
                ):
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_terms_are_printed_without_the_shared_printer():
    x, y = z3.Ints("x y", z3.Context())
    assert z3_text(x - 5 * y < 3) == "x - 5*y < 3"
    with pytest.raises(AssertionError, match="use z3_text"):
        str(x)  # the fixture of all tests refuses it


def test_many_threads_name_their_own_conditions_and_values():
    wrong, interval = [], sys.getswitchinterval()

    def work(number):
        with problem() as z3_problem:
            values = [z3.Int(f"x{number}.{at}", z3_problem.context) for at in range(20)]
            for at, value in enumerate(values):
                z3_problem.require(f"{number}: {at}", value > number * 100 + at)
            for _ in range(10):
                passed = z3_problem.follows(z3.And([value > number for value in values]))
                names = z3_problem.reasons
                refuted = z3_problem.follows(values[0] + values[1] > 10**6)
                if not isinstance(passed, Pass) or any(not name.startswith(f"{number}: ") for name in names):
                    wrong.append(passed)
                if not isinstance(refuted, Violation) or refuted.witness.count(f"x{number}.") != len(values):
                    wrong.append(refuted)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    finally:
        sys.setswitchinterval(interval)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_missing_z3_error_names_the_extra():
    code = """
import sys
sys.modules["z3"] = None
import interwhen
try:
    import interwhen.toolkit.solving
except interwhen._types.errors.MissingExtraError as error:
    assert "interwhen[z3]" in str(error), error
else:
    raise AssertionError
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
    assert Claim(key="k", span=Span(0, 0)).key == "k"
