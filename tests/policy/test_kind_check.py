"""Kinds of values: what cannot be compared is an error before anything is judged, and nothing is bent to fit."""

from __future__ import annotations

import pytest
from interwhen import UsageError
from interwhen.policy._kind_check import kind_of
from interwhen.policy._kinds import describe, read_kind
from interwhen.policy._syntax import ExpressionError, parse
from policy_shop import made_shop

SCHEMA = made_shop()
ORDER = "state.orders[args.id]"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("args.amount", "integer"),
        ("args.amount + 0.5", "number"),
        ("args.pay * 2", "money"),
        ("args.pay = $3.50", "bool"),
        (f"{ORDER}.size > 2.4 GB", "bool"),
        (f"now - {ORDER}.made", "quantity of time"),
        (f"{ORDER}.due - 2024-05-01 <= 7 days", "bool"),
        ("now + 24 hours", "moment"),
        ("day(now)", "date"),
        (f"sum i in {ORDER}.items: i.price", "money"),
        (f"count i in {ORDER}.items: i.price > $1", "integer"),
        (f'"gift" in {ORDER}.notes', "bool"),
        (f'{ORDER}.status in ["open", "sent"]', "bool"),
        ('any c in calls("get_order"): c.result.status = "open"', "bool"),
        (f"all a, b in consecutive({ORDER}.items): a.price <= b.price", "bool"),
        ("any a, b in zip(args.tags, args.tags): a = b", "bool"),
        ("if args.amount > 1 then args.pay else $0", "money"),
        ('mentions(talk.heard, ["yes", "go ahead", "confirm*"])', "bool"),
        ("given(args.pay)", "bool"),
        ('assume(args.amount > 2, unjudged("that"))', "bool"),
        ("max(args.amount, 0)", "integer"),
        (f"first({ORDER}.items).name", "text"),
        (f"keys({ORDER}.notes)", "list[text]"),
    ],
)
def test_well_typed_expression_has_its_kind(text: str, kind: str) -> None:
    assert describe(kind_of(parse(text), SCHEMA.scope("cancel"))) == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ORDER}.size > 2.4", "must be of one kind"),
        (f"{ORDER}.size > 2.4 hours", "must be of one kind"),
        ("args.pay > 3", "must be of one kind"),
        ("args.pay = 3 EUR", "must be of one kind"),
        ("args.pay * args.pay > $1", "must join numbers"),
        ("args.pay + 1 > $1", "must join numbers"),
        (f"{ORDER}.made < {ORDER}.due", "must be of one kind"),
        (f"{ORDER}.made + 3", "must join numbers"),
        (f'{ORDER}.status = "opne"', "which are never equal"),
        (f'{ORDER}.status in ["open", "opne"]', "which are never equal"),
        (f"{ORDER}.status < {ORDER}.status", "must have an order|must be single values"),
        (f"{ORDER}.items = {ORDER}.items", "must have an order|must be single values"),
        ("args.amount and true", "must be bool"),
        ("not args.amount", "must be bool"),
        ("args.nothing = 1", "must be one of id.*, got 'nothing'"),
        ("args.id.length = 1", "only a record has fields"),
        ("arguments.id = 1", "got 'arguments'"),
        ("state.users[args.id]", "got 'users'"),
        ("args.id in state.orders", "must ask a map that is known whole"),
        ("length(state.orders) > 1", "the arguments of length must fit"),
        ("state.orders[1].status", "must be of one kind"),
        (f"{ORDER}.status[1]", "only a map may be looked up"),
        ('state.orders[args.id, "x"].status', "with 1 keys, got 2"),
        ("any x in args.amount: true", "must go over a list"),
        ("any args in args.tags: true", "must be new"),
        ("any a, b in args.tags: true", "must have two names for pairs"),
        ("any a in zip(args.tags, args.tags): true", "must have two names for pairs"),
        ("sum x in args.tags: x", "must add numbers"),
        ("count x in args.tags: 1", "must be bool"),
        ('calls("drop_table")', "must name one of the tools"),
        ("calls(args.id)", "the name of a tool as a text"),
        ("eval(args.id)", "a function must be a definition or one of"),
        ("length(args.tags, 2)", "the arguments of length must fit"),
        ("given(state.orders)", "must be args.NAME"),
        ('contains(args.id, "")', "written out"),
        ("contains(args.id, args.id)", "written out"),
        ('mentions(args.id, ["*"])', "written out"),
        ("args.amount in []", "must have at least one item"),
        ("if args.amount > 1 then 1 else $1", "must be of one kind"),
    ],
)
def test_ill_typed_expression_is_an_error(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        kind_of(parse(text), SCHEMA.scope("cancel"))


@pytest.mark.parametrize(
    "written", ["", "int", "list", "list[]", "map[text]", "quantity[oz]", '"a" | b', "list[" * 20 + "text" + "]" * 20]
)
def test_invalid_kind_is_refused(written: str) -> None:
    with pytest.raises(UsageError):
        read_kind(written, {})
