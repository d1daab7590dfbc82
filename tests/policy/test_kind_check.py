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
def test_what_fits(text: str, kind: str) -> None:
    assert describe(kind_of(parse(text), SCHEMA.scope("cancel"))) == kind


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f"{ORDER}.size > 2.4", "different things"),
        (f"{ORDER}.size > 2.4 hours", "different things"),
        ("args.pay > 3", "different things"),
        ("args.pay = 3 EUR", "different things"),
        ("args.pay * args.pay > $1", "means nothing"),
        ("args.pay + 1 > $1", "means nothing"),
        (f"{ORDER}.made < {ORDER}.due", "different things"),
        (f"{ORDER}.made + 3", "means nothing"),
        (f'{ORDER}.status = "opne"', "is never"),
        (f'{ORDER}.status in ["open", "opne"]', "is never"),
        (f"{ORDER}.status < {ORDER}.status", "cannot be compared"),
        (f"{ORDER}.items = {ORDER}.items", "cannot be compared"),
        ("args.amount and true", "takes bool"),
        ("not args.amount", "takes bool"),
        ("args.nothing = 1", "has no field 'nothing'; fields: id"),
        ("args.id.length = 1", "has no field"),
        ("arguments.id = 1", "there is no 'arguments'"),
        ("state.users[args.id]", "has no field 'users'"),
        ("args.id in state.orders", "is never known"),
        ("length(state.orders) > 1", "is not right"),
        ("state.orders[1].status", "different things"),
        (f"{ORDER}.status[1]", "only an entry of a map"),
        ('state.orders[args.id, "x"].status', "1 keys, not 2"),
        ("any x in args.amount: true", "no list"),
        ("any args in args.tags: true", "taken already"),
        ("any a, b in args.tags: true", "pairs take two names"),
        ("any a in zip(args.tags, args.tags): true", "pairs take two names"),
        ("sum x in args.tags: x", "cannot be summed"),
        ("count x in args.tags: 1", "takes bool"),
        ('calls("drop_table")', "there is no tool"),
        ("calls(args.id)", "takes the name of a tool"),
        ("eval(args.id)", "there is no function"),
        ("length(args.tags, 2)", "is not right"),
        ("given(state.orders)", "only an argument"),
        ('contains(args.id, "")', "written out"),
        ("contains(args.id, args.id)", "written out"),
        ('mentions(args.id, ["*"])', "written out"),
        ("args.amount in []", "empty list"),
        ("if args.amount > 1 then 1 else $1", "different things"),
    ],
)
def test_what_does_not_fit(text: str, said: str) -> None:
    with pytest.raises(ExpressionError, match=said):
        kind_of(parse(text), SCHEMA.scope("cancel"))


@pytest.mark.parametrize(
    "written", ["", "int", "list", "list[]", "map[text]", "quantity[oz]", '"a" | b', "list[" * 20 + "text" + "]" * 20]
)
def test_what_is_no_kind(written: str) -> None:
    with pytest.raises(UsageError):
        read_kind(written, {})
