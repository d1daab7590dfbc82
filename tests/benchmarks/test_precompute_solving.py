"""Warm Z3 problems: the same verdicts as cold ones, for a fraction of the work."""

import threading

import pytest
from interwhen import Pass, Unknown, UsageError, Violation
from interwhen.toolkit.solving import problem
from tests.benchmarks import precompute

z3 = pytest.importorskip("z3")
from interwhen.toolkit.solving import WarmProblem, WarmProblems, from_smt2, to_smt2  # noqa: E402

JOBS = 60


def conditions(context):
    return precompute.timetable(context, JOBS)


def timetable(found):
    for name, condition in conditions(found.context).items():
        found.require(name, condition)


def question(found, number):
    return precompute.question(found.context, JOBS, number)


def test_warm_and_cold_agree_and_warm_is_ten_times_cheaper():
    row = precompute.solver_row(JOBS, 10, minimal=False)
    assert row.same
    assert row.conditions > 120
    assert row.cold_spent >= 10 * row.warm_spent


def test_minimal_reasons_are_paid_for_warm_or_cold():
    row = precompute.solver_row(20, 10, minimal=True)
    assert row.same
    assert row.cold_spent >= 3 * row.warm_spent


def test_conditions_that_contradict_each_other_are_known_from_the_start():
    def build(found):
        found.require("more", z3.Int("x", found.context) > 1)
        found.require("less", z3.Int("x", found.context) < 1)
        found.require("other", z3.Int("y", found.context) < 1)

    with WarmProblems().problem("x", build) as found:
        before = found.spent
        assert isinstance(found.consistent(), Violation)
        assert found.reasons == ("less", "more")
        assert found.spent == before
        assert isinstance(found.follows(z3.Int("y", found.context) > 5), Unknown)


def test_it_says_what_a_problem_of_one_check_says():
    with problem() as plain:
        timetable(plain)
        fresh = [plain.follows(question(plain, number)) for number in range(6)]
    with WarmProblems().problem("timetable", timetable) as found:
        assert [type(found.follows(question(found, number))) for number in range(6)] == [type(each) for each in fresh]


def test_what_one_check_requires_does_not_stay_for_the_next():
    pool = WarmProblems()
    with pool.problem("timetable", timetable) as found:
        found.require("nothing is late", z3.Int("job 0", found.context) > 119)
        assert isinstance(found.consistent(), Violation)
    with pool.problem("timetable", timetable) as found:
        assert isinstance(found.consistent(), Pass)
        found.require("nothing is late", z3.Int("job 0", found.context) >= 0)
    assert pool.built == 1


def test_two_threads_never_share_a_problem():
    pool = WarmProblems()
    both_in, problems = threading.Barrier(2, timeout=60), []

    def check():
        with pool.problem("timetable", timetable) as found:
            problems.append(found)
            both_in.wait()
            assert isinstance(found.follows(question(found, 2)), Pass)

    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(100)
    assert len({id(found) for found in problems}) == 2
    with pool.problem("timetable", timetable) as found:
        assert found in problems, "an idle problem serves another thread"


def test_a_problem_in_which_something_raised_is_not_used_again():
    pool = WarmProblems()
    with pytest.raises(ZeroDivisionError), pool.problem("timetable", timetable) as found:
        raise ZeroDivisionError
    with pool.problem("timetable", timetable) as other:
        assert other is not found


def test_a_pool_keeps_only_so_many():
    pool = WarmProblems(most=2)
    for key in ("a", "b", "c", "c", "b", "a"):
        with pool.problem(key, lambda found: found.require("x", z3.Int("x", found.context) > 0)):
            pass
    assert pool.built == 4


def test_conditions_come_back_from_a_file_with_their_names():
    context = z3.Context()
    text = to_smt2(conditions(context) | {'a "name"\nof two lines': z3.Bool("b", context)})
    again = WarmProblem(from_smt2(text))
    verdict = again.follows(question(again, 3))
    direct = WarmProblem(timetable)
    assert type(verdict) is type(direct.follows(question(direct, 3)))
    assert isinstance(again.follows(z3.Int("job 3", again.context) >= 0), Pass)
    assert "job 3" in " ".join(again.reasons)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(assert true)", "must name its conditions"),
        ('; interwhen: "a"\n(assert tru', "must be SMT-LIB that Z3 can read"),
        ('; interwhen: "a"\n; interwhen: "b"\n(assert true)', "was modified"),
        ("; interwhen: a\n(assert true)", "must be a JSON string"),
    ],
    ids=["unnamed", "broken", "short", "misnamed"],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        WarmProblem(from_smt2(text))


def test_a_pool_for_nothing_is_refused():
    with pytest.raises(UsageError, match="must be at least 1"):
        WarmProblems(most=0)
