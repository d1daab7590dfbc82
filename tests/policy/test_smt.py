"""The formulas of Z3 say what the evaluation says, on every situation that is known."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen.policy import Situation, Talk
from interwhen.policy._evaluation import evaluate
from interwhen.policy._kinds import Number, Quantity, Text
from interwhen.policy._schemas import read_schema
from interwhen.policy._smt import Questions, TooLargeError
from interwhen.policy._syntax import Apply, Constant, Field, Listed, Name, Node, Quantified, parse
from policy_shop import made_shop

z3 = pytest.importorskip("z3", reason="the extra 'z3' is not installed")
SCHEMA = made_shop()
ARGS = Name("args")


def number(value: int) -> Node:
    return Constant(Fraction(value), Number(whole=True))


def word(value: str) -> Node:
    return Constant(value, Text(frozenset({value})))


TAGS, AMOUNT, PAY = Field(ARGS, "tags"), Field(ARGS, "amount"), Field(ARGS, "pay")
words = st.sampled_from(["x", "y", "xy"]).map(word)
small = st.integers(0, 3).map(number)
texts: st.SearchStrategy[Node] = st.one_of(words, st.just(Field(ARGS, "id")))


def applied(functions: list[str], *arguments: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(lambda function, *parts: Apply(function, parts), st.sampled_from(functions), *arguments)


def counted(body: st.SearchStrategy[Node]) -> st.SearchStrategy[Node]:
    return st.builds(lambda inner: Quantified("count", ("t",), TAGS, inner), body)


of_item = st.one_of(
    applied(["=", "!="], st.just(Name("t")), texts),
    applied(["starts_with", "contains"], st.just(Name("t")), words),
    st.builds(lambda one, two: Apply("in", (Name("t"), Listed((one, two)))), words, texts),
)
numbers: st.SearchStrategy[Node] = st.recursive(
    st.one_of(small, st.just(AMOUNT), st.just(Apply("length", (TAGS,))), counted(of_item)),
    lambda inner: applied(["+", "-", "*", "max", "min"], inner, inner),
    max_leaves=4,
)
amounts = st.one_of(
    st.just(PAY),
    st.builds(lambda cents: Constant(Fraction(cents, 2), Quantity("USD")), st.integers(-2, 6)),
    applied(["*"], st.just(PAY), small),
)
ORDERED = ["=", "!=", "<", "<=", ">", ">="]
conditions: st.SearchStrategy[Node] = st.recursive(
    st.one_of(
        applied(ORDERED, numbers, numbers),
        applied(ORDERED, amounts, amounts),
        applied(["=", "!="], texts, texts),
        st.builds(lambda op, body: Quantified(op, ("t",), TAGS, body), st.sampled_from(["any", "all"]), of_item),
        st.builds(lambda op: parse(f"{op} a, b in consecutive(args.tags): a = b"), st.sampled_from(["any", "all"])),
        applied(["in"], texts, st.just(TAGS)),
    ),
    lambda inner: st.one_of(
        applied(["not"], inner),
        applied(["and", "or"], inner, inner),
        applied(["if"], inner, inner, inner),
    ),
    max_leaves=4,
)
arguments = st.fixed_dictionaries(
    {
        "id": st.sampled_from(["x", "y", "xy", "z"]),
        "amount": st.integers(-2, 5),
        "pay": st.integers(-2, 6).map(lambda halves: halves / 2),
        "tags": st.lists(st.sampled_from(["x", "y", "xy", "z"]), max_size=3),
    }
)


def pinned(given_arguments: dict[str, Any]) -> Node:
    tags = given_arguments["tags"]
    parts = [
        Apply("=", (Field(ARGS, "id"), word(given_arguments["id"]))),
        Apply("=", (AMOUNT, number(given_arguments["amount"]))),
        Apply("=", (PAY, Constant(Fraction(given_arguments["pay"]), Quantity("USD")))),
        Apply("=", (Apply("length", (TAGS,)), number(len(tags)))),
    ]
    return Apply("and", tuple(parts))


@given(conditions, arguments)
@settings(max_examples=40, deadline=None)
def test_formula_agrees_with_evaluation(node: Node, given_arguments: dict[str, Any]) -> None:
    evaluated = evaluate(node, Situation("cancel", given_arguments, talk=Talk()), SCHEMA)
    assert isinstance(evaluated, bool)
    asked = Questions(SCHEMA, "cancel", "before", [node])
    facts = [asked.truth(pinned(given_arguments))]
    items = asked.encoder.encode(TAGS, {})
    for at, tag in enumerate(given_arguments["tags"]):
        item = asked.encoder.item(items, at)
        facts.append(item == asked.truth(word(tag)))
    formula = asked.truth(node)
    assert asked.ask([*facts, formula]) == ("yes" if evaluated else "no")
    assert asked.ask([*facts, z3.Not(formula)]) == ("no" if evaluated else "yes")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ('state.orders[args.id].total > $1 and args.id = "A" and state.orders["A"].total < $1', "no"),
        ('state.orders[args.id].status != "open" and state.orders[args.id].status != "sent"', "yes"),
        ('not state.orders[args.id].status in ["open", "sent", "gone"]', "no"),
        ("args.amount > 2 and args.amount < 3", "no"),
        ("args.pay > $2 and args.pay < $3", "yes"),
        ("now - state.orders[args.id].made < 1 hour and day(now) - day(state.orders[args.id].made) > 1 day", "no"),
        ("now - state.orders[args.id].made < 1 hour and day(now) - day(state.orders[args.id].made) = 1 day", "yes"),
        ("day(2024-05-15T23:59:59) = 2024-05-15 and day(2024-05-16T00:00:00) = 2024-05-16", "yes"),
        ("(sum i in state.orders[args.id].items: i.price) > $0 and length(state.orders[args.id].items) = 0", "no"),
        ('args.id in state.orders["A"].notes and args.id = "x" and not "x" in state.orders["A"].notes', "no"),
        ('(any c in calls("get_order"): c.args.id = args.id) and length(calls("get_order")) = 0', "no"),
        ("first(args.tags) != last(args.tags) and length(args.tags) = 1", "no"),
        ("length(args.tags) > 7 and args.amount = 7", "yes"),
    ],
)
def test_solver_answers_yes_no_or_open(text: str, answer: str) -> None:
    node = parse(text)
    asked = Questions(SCHEMA, "cancel", "before", [node])
    assert asked.ask([asked.truth(node)]) == answer


def test_a_formula_is_smtlib_that_z3_reads_back() -> None:
    node = parse('args.amount > 2 and state.orders[args.id].status = "open"')
    asked = Questions(SCHEMA, "cancel", "before", [node])
    solver = z3.Solver()
    solver.from_string(asked.script([asked.truth(node)]))
    assert solver.check() == z3.sat
    solver = z3.Solver()
    solver.from_string(asked.script([asked.truth(node), z3.Not(asked.truth(node))]))
    assert solver.check() == z3.unsat


@pytest.mark.parametrize("text", ["length(zip(args.tags, args.tags)) = 1", "length(consecutive(args.tags)) = 1"])
def test_pairs_are_as_many_as_the_lists_allow(text: str) -> None:
    node = parse(text)
    asked = Questions(SCHEMA, "cancel", "before", [node])
    assert [asked.ask([asked.truth(node)]), asked.ask([z3.Not(asked.truth(node))])] == ["yes", "yes"]


DATES = read_schema({"tools": {"go": {"days": "list[date]", "on": "date"}}})


@pytest.mark.parametrize("date", ["first(args.days)", "args.on"])
def test_difference_of_dates_is_a_duration(date: str) -> None:
    node = parse(f"{date} - 2024-01-01 = 24 hours and {date} != 2024-01-02")
    asked = Questions(DATES, "go", "before", [node])
    assert asked.ask([asked.truth(node)]) == "no"


@pytest.mark.parametrize(
    "text",
    [
        'length(if args.amount > 1 then args.tags else ["x"]) = 1',
        '"x" in (if args.amount > 1 then args.tags else ["x"])',
        "length(flat([args.tags, args.tags])) = 2",
    ],
)
def test_untranslatable_expression_is_open(text: str) -> None:
    with pytest.raises(TooLargeError, match="so that Z3 can examine the rule"):
        Questions(SCHEMA, "cancel", "before", [parse(text)]).truth(parse(text))
