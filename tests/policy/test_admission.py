"""Admission: what is wrong with a rule is found, each kind of it where it was planted, and the rule is not admitted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from interwhen.policy import WrittenPolicy, admit, read_policy
from interwhen.policy._admission import Admission
from policy_shop import RULE, write_shop

import interwhen_verifiers.policies

pytest.importorskip("z3", reason="the extra 'z3' is not installed")

FOLDER = Path(interwhen_verifiers.policies.__file__).parent
EXAMPLES = """
base = "world"
[[example]]
name = "one"
expect = "keeps"
[[example]]
name = "two"
expect = "breaks"
"""


def rule(name: str, require: str, *, when: str = "true", tools: str = "cancel", examples: str = EXAMPLES) -> str:
    return f"""
id = "{name}"
clause = "Nothing else can be cancelled."
tools = ["{tools}"]
when = '''{when}'''
require = '''{require}'''
why = "no"
witness = "no"
{examples}"""


def admitted(tmp_path: Path, *rules: str) -> Admission:
    return admit(read_policy(write_shop(tmp_path, *rules)))


def reasons(admission: Admission, name: str) -> set[str]:
    return {problem.reason for problem in admission.problems_of(name)}


def said(admission: Admission, name: str) -> str:
    return "; ".join(problem.says for problem in admission.problems_of(name))


def test_a_sound_rule_is_admitted(tmp_path: Path) -> None:
    admission = admitted(tmp_path, RULE)
    assert admission.problems == ()
    assert admission.admitted == ("open-only",)
    assert admission.killed == 1.0
    assert admission.mutants["open-only"].killed >= 3


VACUOUS = {
    "it never is": rule("planted", "args.amount > 1", when='order.status = "open" and order.status = "sent"'),
    "its numbers never apply": rule("planted", "args.amount > 1", when="args.amount > 2 and args.amount < 3"),
    "none can": rule("planted", 'order.status in ["open", "sent", "gone"]'),
    "none can, by its numbers": rule("planted", "args.amount * 2 != 3"),
    "none can where it applies": rule("planted", "args.amount > 1", when="args.amount >= 2"),
    "it is never kept": rule("planted", "length(order.items) < 0"),
    "it is never kept, by its dates": rule("planted", "order.made > now and day(order.made) < day(now)"),
}


@pytest.mark.parametrize("what", VACUOUS)
def test_vacuous_rule_is_not_admitted(tmp_path: Path, what: str) -> None:
    admission = admitted(tmp_path, RULE, VACUOUS[what])
    assert "vacuous" in reasons(admission, "planted")
    assert admission.admitted == ("open-only",)


def test_a_prohibition_is_not_vacuous(tmp_path: Path) -> None:
    admission = admitted(tmp_path, rule("never", "false", when="args.amount > 9"))
    assert "vacuous" not in reasons(admission, "never")


CONTRADICTIONS = {
    "numbers": ("args.amount > 5", "args.amount < 3"),
    "words": ('order.status = "open"', 'order.status = "sent"'),
    "lists": ('any t in args.tags: t = "x"', 'all t in args.tags: t != "x"'),
    "lengths": ("length(args.tags) > 2", "length(args.tags) <= 2"),
    "sums": ("(sum i in order.items: i.price) > $5", "all i in order.items: i.price < $0"),
    "times": ("now - order.made < 24 hours", "day(now) - day(order.made) > 3 days"),
}


@pytest.mark.parametrize("what", CONTRADICTIONS)
def test_contradicting_rules_are_reported(tmp_path: Path, what: str) -> None:
    one, other = CONTRADICTIONS[what]
    policy = read_policy(write_shop(tmp_path, *(rule(name, text) for name, text in (("one", one), ("other", other)))))
    assert contradicting(policy) == [("one", "other")]


def contradicting(policy: WrittenPolicy) -> list[tuple[str, ...]]:
    from interwhen.policy._smt import contradictions

    return [finding.rules for finding in contradictions(policy.rules, policy.schema)]


def test_rules_for_different_cases_do_not_contradict(tmp_path: Path) -> None:
    policy = read_policy(
        write_shop(
            tmp_path,
            rule("small", "args.pay < $5", when="args.amount < 3"),
            rule("large", "args.pay > $5", when="args.amount >= 3"),
            rule("never", "false", when="args.amount < 0"),
        )
    )
    assert contradicting(policy) == []


def test_contradicting_rules_are_both_rejected(tmp_path: Path) -> None:
    def examples(*expected: str) -> str:
        return "".join(
            f'[[example]]\nname = "{amount}"\nbase = "world"\nexpect = "{expect}"\nset = {{ "args.amount" = {amount} }}\n'
            for amount, expect in enumerate(expected)
        )

    admission = admitted(
        tmp_path,
        rule("many", "args.amount > 2", examples=examples("breaks", "breaks", "breaks", "keeps")),
        rule("few", "args.amount < 2", examples=examples("keeps", "keeps", "breaks", "breaks")),
    )
    # Both apply to every call, so that no call is left: that is reported, too.
    assert reasons(admission, "many") == reasons(admission, "few") == {"contradiction", "deadlock"}
    assert admission.admitted == ()


CALLED = 'any c in calls("{}"): c.args.id = args.id'
DEADLOCKS = {
    "two that wait for each other": {
        "cancel": CALLED.format("send"),
        "send": CALLED.format("cancel"),
    },
    "one that waits for itself": {"cancel": CALLED.format("cancel")},
    "three in a ring": {
        "cancel": CALLED.format("send"),
        "send": CALLED.format("get_order"),
        "get_order": CALLED.format("cancel"),
    },
    "before and after": {"cancel": f'({CALLED.format("send")}) and length(calls("send")) = 0'},
}


@pytest.mark.parametrize("what", DEADLOCKS)
def test_deadlocking_rules_are_reported(tmp_path: Path, what: str) -> None:
    from interwhen.policy._smt import deadlocks

    rules = [rule(f"for-{tool.replace('_', '-')}", text, tools=tool) for tool, text in DEADLOCKS[what].items()]
    policy = read_policy(write_shop(tmp_path, *rules))
    deadlocked = list(deadlocks(policy.rules, policy.schema))
    assert {name for finding in deadlocked for name in finding.rules} == {each.id for each in policy.rules}
    assert {finding.reason for finding in deadlocked} == {"deadlock"}


def test_reachable_call_sequence_is_no_deadlock(tmp_path: Path) -> None:
    from interwhen.policy._smt import deadlocks

    rules = [
        rule("for-cancel", CALLED.format("send"), tools="cancel"),
        rule("for-send", CALLED.format("get_order"), tools="send"),
        rule("for-get-order", 'length(calls("cancel")) = 0', tools="get_order"),
    ]
    policy = read_policy(write_shop(tmp_path, *rules))
    assert list(deadlocks(policy.rules, policy.schema)) == []


def test_deadlock_search_considers_all_rules_together(tmp_path: Path) -> None:
    from interwhen.policy._smt import contradictions, deadlocks

    rules = [
        rule("after-send", CALLED.format("send"), tools="cancel"),
        rule("send-is-closed", CALLED.format("send"), tools="send"),
    ]
    policy = read_policy(write_shop(tmp_path, *rules))
    assert list(contradictions(policy.rules, policy.schema)) == []
    deadlocked = list(deadlocks(policy.rules, policy.schema))
    assert sorted(finding.rules for finding in deadlocked) == [("after-send",), ("send-is-closed",)]


def test_truncated_search_proves_no_deadlock() -> None:
    from interwhen.policy._files import Surroundings, read_rule
    from interwhen.policy._kinds import RecordOf
    from interwhen.policy._schemas import Schema, Tool
    from interwhen.policy._smt import deadlocks

    def schema_of(count: int) -> Schema:
        names = ["pay", *(f"t{number}" for number in range(count))]
        return Schema({name: Tool(name, RecordOf(name, ())) for name in names})

    def deadlocked(count: int, least: str) -> list[tuple[str, tuple[str, ...]]]:
        schema = schema_of(count)
        wanted = [f'length(calls("t{number}")) >= {0 if number < count - 3 else least}' for number in range(count)]
        text = rule("last-three", " and ".join(wanted), tools="pay", examples="")
        return [(each.reason, each.rules) for each in deadlocks([read_rule(text, Surroundings(schema))], schema)]

    assert deadlocked(4, "1") == []
    assert deadlocked(8, "1") == [("open", ("last-three",))]
    assert deadlocked(4, "9") == [("deadlock", ("last-three",))]


WRONG = {
    "quote": (
        RULE.replace("An open order can be cancelled.", "Open orders can be cancelled."),
        "which is not in its text",
    ),
    "a quote of one word": (RULE.replace("An open order can be cancelled.", "order"), "which is not in its text"),
    "kinds": (RULE.replace('order.status = "open"', 'order.status = "opened"'), "which are never equal"),
    "a tool that is none": (RULE.replace('["cancel"]', '["drop"]'), "got 'drop'"),
    "no condition": (RULE.replace('order.status = "open"', "args.amount"), "true or false"),
    "examples": (RULE.replace('expect = "keeps"', 'expect = "breaks"', 1), "an example that keeps it, got none"),
    "an example that is judged otherwise": (
        RULE.replace('status" = "gone"', 'status" = "open"'),
        "must give 'breaks' for the example 'gone'",
    ),
    "why says too much": (RULE.replace('why = "this', 'why = "{order.status}: this'), "'why' must show arguments"),
    "why says how often tools were called": (
        RULE.replace('why = "this', "why = \"{length(calls('cancel'))}: this"),
        "'why' must show arguments",
    ),
    "a message that does not fit": (RULE.replace("{order.status}", "{order.state}"), "got 'state'"),
}


@pytest.mark.parametrize("what", WRONG)
def test_static_faults_are_rejected_without_solver(tmp_path: Path, what: str) -> None:
    text, why = WRONG[what]
    admission = admitted(tmp_path, text)
    assert admission.admitted == ()
    assert why in said(admission, "open-only")


def test_message_must_not_disclose_the_answer(tmp_path: Path) -> None:
    text = rule("price", "args.pay = order.total * args.amount", examples=EXAMPLES)
    admission = admitted(tmp_path, text.replace('witness = "no"', 'witness = "it is {order.total * args.amount}"'))
    assert "must not give the answer away" in said(admission, "price")
    admission = admitted(tmp_path, text.replace('witness = "no"', 'witness = "one is {order.total}"'))
    assert "must not give the answer away" not in said(admission, "price")


@pytest.mark.parametrize(
    ("require", "shown"),
    [
        ("all t in args.tags: t = order.notes[args.id]", "order.notes[args.id]"),
        ("args.id in [order.notes[args.id]]", "order.notes[args.id]"),
        ("not args.pay != order.total", "order.total"),
        ("args.pay = (if args.amount > 1 then order.total else $5)", "order.total"),
        ("args.pay = max($5, order.total)", "order.total"),
    ],
)
def test_paraphrased_answer_in_witness_is_refused(tmp_path: Path, require: str, shown: str) -> None:
    text = rule("price", require, examples=EXAMPLES).replace('witness = "no"', f'witness = "it is {{{shown}}}"')
    assert "must not give the answer away" in said(admitted(tmp_path, text), "price")


def test_weak_examples_prevent_admission(tmp_path: Path) -> None:
    last = RULE.index('[[example]]\nname = "sent"')
    text = RULE[:last] + '[[example]]\nname = "sent"\nexpect = "breaks"\nset = { "state.orders.A.status" = "sent" }\n'
    wide = text.replace('order.status = "open"', 'order.status = "open" and args.amount <= 3')
    admission = admitted(tmp_path, wide)
    assert reasons(admission, "open-only") == {"mutants"}
    assert admission.mutants["open-only"].survivors


def test_coverage_lists_clauses_with_and_without_rules(tmp_path: Path) -> None:
    coverage = admitted(tmp_path, RULE).coverage
    first = coverage.clauses[0]
    assert (first.clause, first.rules, first.examples, first.fired) == (
        "An open order can be cancelled.",
        ("open-only",),
        3,
        2,
    )
    assert coverage.without == (
        "Nothing else can be cancelled.",
        "Look at an order before you send it.",
        "At most three things at a time!",
    )


def test_airline_is_admitted_and_its_examples_kill_mutants() -> None:
    policy, seen = read_policy(FOLDER / "airline"), []
    admission = admit(policy, on_progress=lambda *step: seen.append(step))
    steps = len(policy.rules) + len(policy.schema.tools)
    assert seen == [(number, steps) for number in range(1, steps + 1)]
    assert admission.problems == ()
    assert len(admission.admitted) == 22
    assert admission.killed >= 0.95
    assert sum(tally.killed for tally in admission.mutants.values()) > 300


def test_faults_planted_in_airline_rules_are_reported() -> None:
    from interwhen.policy._files import read_rule, read_surroundings
    from interwhen.policy._smt import deadlocks, vacuous

    policy, (_, around) = read_policy(FOLDER / "airline"), read_surroundings(FOLDER / "airline")

    def planted(body: str) -> WrittenPolicy:
        text = f"""
id = "planted"
clause = "Basic economy flights cannot be modified."
tools = ["update_reservation_flights"]
why = "no"
witness = "no"
{body}"""
        over = [each for each in policy.rules if "update_reservation_flights" in each.tools]
        return replace(policy, rules=(*over, read_rule(text, around)))

    empty = planted("require = '''reservation.cabin in [\"basic_economy\", \"economy\", \"business\"]'''")
    assert [finding.reason for finding in vacuous(empty.rules[-1], empty.schema)] == ["vacuous"]

    against = planted(
        "when = '''reservation.cabin = \"basic_economy\"'''\nrequire = 'not any f in args.flights: kept(f)'"
    )
    assert ("basic-economy-stays", "planted") not in contradicting(against)  # a trip of no flights would keep both
    with_flights = planted(
        "when = '''reservation.cabin = \"basic_economy\" and length(reservation.flights) > 0'''\n"
        "require = 'not any f in args.flights: kept(f)'"
    )
    with_flights = replace(
        with_flights, rules=tuple(each for each in with_flights.rules if "stay" in each.id or each.id == "planted")
    )
    assert contradicting(with_flights) == [("basic-economy-stays", "planted")]

    stuck = planted("require = '''any c in calls(\"update_reservation_flights\"): true'''")
    assert [finding.rules for finding in deadlocks(stuck.rules, stuck.schema)] == [("planted",)]


@pytest.mark.slow
def test_retail_policy_is_admitted() -> None:
    admission = admit(read_policy(FOLDER / "retail"))
    assert admission.problems == ()
    assert len(admission.admitted) == 19
    assert admission.killed >= 0.95


def test_undecided_solver_question_admits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interwhen.policy._smt import Questions

    monkeypatch.setattr(Questions, "ask_why", lambda *_: ("open", ()))
    admission = admitted(tmp_path, RULE, rule("other", "args.amount > 1", examples=EXAMPLES))
    assert admission.admitted == ()
    assert "open" in reasons(admission, "open-only")
    says = said(admission, "other")
    assert "'when' must be true in some situation" in says
    assert "must be able to keep both, and Z3 did not find out" in says
    assert "a sequence of calls must lead to a call of cancel" in says


def test_a_formula_that_is_too_large_admits_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from interwhen.policy import _smt

    monkeypatch.setattr(_smt, "_LARGEST", 300)
    large = "length(args.tags) > 7 or any a in args.tags: any b in args.tags: any c in args.tags: a = c"
    admission = admitted(tmp_path, RULE, rule("large", large))
    assert "open" in reasons(admission, "large")
    assert "at most 300 terms" in said(admission, "large")
    assert admission.admitted == ("open-only",)


def test_hard_arithmetic_does_not_stall_admission(tmp_path: Path) -> None:
    hard = "args.amount * args.amount * args.amount + length(args.tags) * args.amount * args.amount = 2017"
    admission = admitted(tmp_path, RULE, rule("hard", hard))
    assert "hard" not in admission.admitted
    assert "open-only" in admission.admitted
