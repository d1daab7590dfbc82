"""Warm Z3 problems: the same verdicts as cold ones, for a fraction of the work."""

import threading

import pytest
from interwhen import Pass, UsageError, Violation
from interwhen.solving import Problem, problem

z3 = pytest.importorskip("z3")
from interwhen.precompute.warm import WarmProblem, WarmProblems, from_smt2, to_smt2  # noqa: E402

JOBS = 60


def conditions(context):
    """A timetable: jobs in chains, and pairs of jobs that share a machine."""
    job = [z3.Int(f"job {number}", context) for number in range(JOBS)]
    found = {f"job {at} is in time": z3.And(job[at] >= 0, job[at] <= 120) for at in range(JOBS)}
    for at in range(JOBS - 3):
        found[f"job {at + 3} follows job {at}"] = job[at + 3] >= job[at] + 2 + at % 4
    for at in range(0, JOBS - 1, 2):
        found[f"jobs {at} and {at + 1} share a machine"] = z3.Or(job[at] + 3 <= job[at + 1], job[at + 1] + 2 <= job[at])
    return found


def timetable(found):
    for name, condition in conditions(found.context).items():
        found.require(name, condition)


def question(found, number):
    return z3.Int(f"job {number}", found.context) <= (90 if number % 2 else 125)


def verdict_kinds(check):
    return [type(check(number)) for number in range(0, JOBS, 5)]


def test_warm_and_cold_agree_and_warm_is_ten_times_cheaper():
    pool = WarmProblems(minimal=False)
    spent = {"warm": 0, "cold": 0}

    def warm(number):
        with pool.problem("timetable", timetable) as found:
            before = found.spent
            verdict = found.follows(question(found, number))
            spent["warm"] += found.spent - before
            return verdict

    def cold(number):
        found = Problem(z3.Context(), None, 1024)
        found._solver.set("core.minimize", False)
        timetable(found)
        verdict = found.follows(question(found, number))
        spent["cold"] += found._solver.statistics().get_key_value("rlimit count")
        return verdict

    warm(0)
    spent["warm"] = 0
    kinds = verdict_kinds(warm)
    assert kinds == verdict_kinds(cold)
    assert {Pass, Violation} <= set(kinds)
    assert pool.built == 1
    assert spent["cold"] >= 10 * spent["warm"]


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
    both_in, problems = threading.Barrier(2, timeout=20), []

    def check():
        with pool.problem("timetable", timetable) as found:
            problems.append(found)
            both_in.wait()
            assert isinstance(found.follows(question(found, 2)), Pass)

    threads = [threading.Thread(target=check) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
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
        ("(assert true)", "no condition is named"),
        ('; interwhen: "a"\n(assert tru', "no SMT-LIB"),
        ('; interwhen: "a"\n; interwhen: "b"\n(assert true)', "it was changed"),
        ("; interwhen: a\n(assert true)", "cannot be read"),
    ],
    ids=["unnamed", "broken", "short", "misnamed"],
)
def test_other_texts_are_refused(text, message):
    with pytest.raises(UsageError, match=message):
        WarmProblem(from_smt2(text))


def test_a_pool_for_nothing_is_refused():
    with pytest.raises(UsageError, match="keeps nothing warm"):
        WarmProblems(most=0)
