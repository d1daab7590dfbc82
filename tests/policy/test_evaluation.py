"""Expressions in situations: three values, exact numbers, and an end."""

from __future__ import annotations

import datetime as dt
from itertools import product
from typing import Any

import pytest
from interwhen.policy import Situation
from interwhen.policy._evaluation import evaluate
from interwhen.policy._files import read_situation
from interwhen.policy._schemas import read_schema
from interwhen.policy._syntax import parse
from interwhen.policy._values import Missing
from policy_shop import made_shop

SCHEMA = made_shop()
ORDER = {
    "status": "open",
    "total": 10.5,
    "size": "2.4 GB",
    "made": "2024-05-14T15:00:00",
    "due": "2024-05-20",
    "items": [{"name": "Mug", "price": 4.5}, {"name": "Cup", "price": 6}],
    "notes": {"gift": "yes"},
}
WORLD: dict[str, Any] = {
    "tool": "cancel",
    "args": {"id": "A", "amount": 2, "pay": 10, "tags": ["x", "y", "y"]},
    "state": {"orders": {"A": ORDER, "B": {"status": "sent"}}},
    "calls": [{"tool": "get_order", "args": {"id": "A"}, "result": ORDER}, {"tool": "get_order", "args": {"id": "B"}}],
    "talk": {"user": ["Hi.", "It was cancelled, you said.", "Yes, please."], "told": True},
}
NOW = dt.datetime(2024, 5, 15, 15)  # noqa: DTZ001


def situation(**changes: Any) -> Situation:
    return read_situation({**WORLD, **changes}, SCHEMA, NOW)


def value(text: str, **changes: Any) -> Any:
    return evaluate(parse(text), situation(**changes), SCHEMA)


A, B = "state.orders[args.id]", 'state.orders["B"]'


@pytest.mark.parametrize(
    "text",
    [
        f"{A}.size = 2.4 GB",
        f"{A}.size > 2 GB and {A}.size < 2.5 GB",
        f"now - {A}.made = 24 hours",
        f"{A}.made + 1 day = now",
        f"{A}.due - day(now) = 5 days",
        f"(sum i in {A}.items: i.price) = {A}.total",
        f"(count i in {A}.items: i.price > $5) = 1",
        f"length({A}.items) = 2 and length({A}.notes) = 1",
        f"all a, b in consecutive({A}.items): a.price < b.price",
        f'first({A}.items).name = "Mug" and last({A}.items).name = "Cup"',
        f'any n in values({A}.notes): n = "yes"',
        f'any n in keys({A}.notes): n = "gift"',
        f'"gift" in {A}.notes and not "other" in {A}.notes',
        "(count a, b in consecutive(args.tags): a = b) = 1",
        "all a, b in zip(args.tags, args.tags): a = b",
        "(sum t in args.tags: 1) = 3",
        "args.pay = $10 and args.amount * $5 = args.pay and 3 - args.amount = 1",
        "max(args.amount, 3) = 3 and min(args.amount, 3) = 2",
        'args.id in ["A", "B"] and not args.id in ["B", "C"]',
        'any c in calls("get_order"): c.args.id = args.id and c.result.total > $10',
        'not any c in calls("send"): true',
        'mentions(talk.heard, ["cancelled"]) and not mentions(talk.recent, ["cancel"])',
        'mentions(talk.heard, ["cancel*"]) and mentions(talk.last, ["YES"]) and mentions(talk.heard, ["you  said"])',
        'starts_with(talk.last, "Yes") and contains(talk.heard, "cancelled,")',
        "given(args.pay) and not given(args.id) = false",
        "beside = 0 and talk.told",
        "if args.amount > 1 then true else false",
        "all t in args.tags: t in args.tags",
    ],
)
def test_true_expression_and_its_negation_evaluate(text: str) -> None:
    assert value(text) is True
    assert value(f"not ({text})") is False


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"{B}.total > $1", "state.orders[B].total is not known"),
        ('state.orders["C"].total > $1', "state.orders[C] is not known"),
        (f'{A}.notes["other"] = "x"', "notes[other] is not known"),
        ("args.nothing = 1", "args.nothing is in no schema"),
        ('unjudged("the reason") or false', "the reason is not judged here"),
        ("first(args.tags) = 'x'", "args.tags is empty"),
        ("now + 9999999999 days > now", "no date"),
    ],
)
def test_expression_over_missing_data_is_missing(text: str, why: str) -> None:
    outcome = value(text, args={"id": "A", "tags": []})
    assert isinstance(outcome, Missing)
    assert why in outcome.why


TRUTHS = {"true": True, "false": False, 'unjudged("it")': None}


def kleene(op: str, values: list[bool | None]) -> bool | None:
    order = [{False: 0, None: 1, True: 2}[each] for each in values]
    return [False, None, True][min(order) if op == "and" else max(order)]


def test_connectives_follow_kleene_logic() -> None:
    for op, (one, other) in product(("and", "or"), product(TRUTHS, TRUTHS)):
        outcome = value(f"{one} {op} {other}")
        assert (None if isinstance(outcome, Missing) else outcome) is kleene(op, [TRUTHS[one], TRUTHS[other]])
    assert isinstance(value('not unjudged("it")'), Missing)


def test_quantifiers_have_three_values() -> None:
    unknown = 'if t = "x" then unjudged("it") else t = "{}"'
    assert value(f"any t in args.tags: {unknown.format('y')}") is True
    assert isinstance(value(f"any t in args.tags: {unknown.format('z')}"), Missing)
    assert value(f"all t in args.tags: {unknown.format('z')}") is False
    assert isinstance(value(f"all t in args.tags: {unknown.format('y')}"), Missing)
    assert isinstance(value(f"(count t in args.tags: {unknown.format('y')}) > 0"), Missing)


def test_assume_applies_only_to_missing_values() -> None:
    assert value("assume(args.amount = 2, false)") is True
    assert value("assume(args.amount = 3, true)") is False
    assert value('assume(unjudged("it"), true)') is True
    assert isinstance(value('assume(unjudged("it"), unjudged("this"))'), Missing)


def test_calls_are_missing_without_the_conversation() -> None:
    assert value('any c in calls("get_order"): c.args.id = "A"', talk=None) is True
    for text in ('any c in calls("send"): true', 'length(calls("send")) = 0', 'all c in calls("get_order"): true'):
        assert isinstance(value(text, talk=None), Missing)
    assert isinstance(value("talk.told", talk=None), Missing)


def test_mentions_in_unsupported_script_are_missing() -> None:
    assert isinstance(value('mentions(talk.last, ["yes"])', talk={"user": ["はい"]}), Missing)
    assert value('mentions(talk.last, ["yes"])', talk={"user": [""]}) is False


def test_evaluation_is_bounded_in_steps() -> None:
    tags = ["x"] * 2000
    outcome = value("all a in args.tags: all b in args.tags: a = b", args={"tags": tags})
    assert isinstance(outcome, Missing)
    assert "steps" in outcome.why


LONG = "9" * 30


def test_overlong_computed_number_is_missing() -> None:
    # Its text or its float would raise, and to add many of them would take very long.
    for text in (" * ".join([LONG] * 50), f"0.5 hours * {' * '.join([LONG] * 50)}"):
        outcome = value(text)
        assert isinstance(outcome, Missing)
        assert "long" in outcome.why
    assert value(f"{LONG} * {LONG}") == int(LONG) ** 2


def test_overlong_sum_of_amounts_is_missing() -> None:
    items = [{"name": "Mug", "price": f"1/{10**20 + number} USD"} for number in range(40)]
    state = {"orders": {"A": {**ORDER, "items": items}}}
    assert isinstance(value(f"sum i in {A}.items: i.price", state=state), Missing)
    state["orders"]["A"]["items"] = items[:3]
    assert value(f"(sum i in {A}.items: i.price) < $1", state=state) is True


def test_a_missing_time_is_missing() -> None:
    bare = Situation("cancel", {"id": "A"})
    assert isinstance(evaluate(parse("now > 2024-01-01T00:00"), bare, SCHEMA), Missing)
    assert isinstance(evaluate(parse(f"{A}.total > $1"), bare, SCHEMA), Missing)


def test_flat_length_needs_every_inner_list() -> None:
    schema = read_schema({"tools": {"f": {"lists": "list[list[integer]]"}}})
    for odd in (None, "x"):
        situation = Situation("f", {"lists": [[1, 2], odd]})
        assert isinstance(evaluate(parse("length(flat(args.lists)) = 3"), situation, schema), Missing)
    assert evaluate(parse("length(flat(args.lists)) = 3"), Situation("f", {"lists": [[1, 2], [3]]}), schema) is True


@pytest.mark.parametrize("text", ["Go  ahead.", "Please go\n ahead", "GO\t\tAHEAD"])
def test_mentions_ignores_white_space(text: str) -> None:
    assert value('mentions(talk.last, ["go ahead"])', talk={"user": [text]}) is True


def test_mentions_normalizes_apostrophes() -> None:
    assert value("""mentions(talk.last, ["that's right"])""", talk={"user": ["Yes, that\u2019s right."]}) is True
    assert value("mentions(talk.last, ['that\u2019s right'])", talk={"user": ["That's right."]}) is True


def test_flat_length_is_missing_for_open_list() -> None:
    assert value('length(flat([calls("get_order")]))') == 2
    assert isinstance(value('length(flat([calls("get_order")]))', talk=None), Missing)


def test_a_time_with_a_zone_is_not_compared() -> None:
    with_zone = Situation("cancel", now=dt.datetime(2024, 5, 15, 15, tzinfo=dt.UTC))
    outcome = evaluate(parse("now > 2024-05-15T14:00:00"), with_zone, SCHEMA)
    assert isinstance(outcome, Missing)
    assert "time zone" in outcome.why
