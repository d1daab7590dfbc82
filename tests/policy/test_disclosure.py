"""Expressions of a message that give away the value which an argument must have."""

import pytest
from interwhen.policy._disclosure import answers_of, gives_away
from interwhen.policy._syntax import parse

PAID = "args.pay = order.total"


@pytest.mark.parametrize(
    ("require", "shown"),
    [
        (PAID, "order.total"),
        (PAID, "order.total + $0"),
        (PAID, "$1 - order.total"),
        (PAID, "2 * order.total"),
        (PAID, "order.total - args.pay"),
        (PAID, "order.total * args.amount"),
        (PAID, "if args.amount > 1 then $1 else order.total"),
        (PAID, "max(order.total, $0)"),
        (PAID, "first([order.total])"),
        (PAID, "last(flat([[order.total]]))"),
        (PAID, "sum t in [order.total]: t"),
        (PAID, "sum t in [1]: order.total"),
        ("order.total = args.pay", "order.total"),
        ("not args.pay != order.total", "order.total"),
        ("args.pay in [order.total]", "order.total"),
        ("args.pay - order.total = $0", "order.total"),
        ("order.total - args.pay = $0", "order.total"),
        ("$0 = 2 * order.total - 2 * args.pay", "order.total"),
        ("args.pay = order.total - $1", "order.total"),
        ("args.pay = order.total - args.fee", "order.total"),
        ("args.pay = $1 + order.total", "order.total + $1"),
        ("args.pay = order.total + order.fee", "order.fee + order.total"),
        ("args.pay >= order.total and args.pay <= order.total", "order.total"),
        ("args.pay >= order.total and not args.pay > order.total", "order.total"),
        ("args.pay = order.total * args.amount", "args.amount * order.total"),
        ("args.pay = max(order.total, order.fee)", "max(order.fee, order.total)"),
        ("args.pay = (sum i in order.items: i.price)", "sum x in order.items: x.price"),
        ("all i in args.items: i.price = order.prices[i.id]", "order.prices[i.id]"),
        ("args.insured = (order.status = 'open')", "order.status = 'open'"),
    ],
)
def test_disclosing_expression_is_detected(require, shown):
    assert gives_away(parse(shown), answers_of(parse(require)))


@pytest.mark.parametrize(
    ("require", "shown"),
    [
        ("args.pay <= order.total", "order.total"),
        ("args.pay <= order.total", "order.total - args.pay"),
        ("args.pay <= order.total and args.pay >= order.least", "order.total"),
        ("args.pay = order.total * args.amount", "order.total"),
        ("args.pay = order.total + order.fee", "order.total"),
        (PAID, "args.pay"),
        (PAID, "args.pay > order.total"),
        (PAID, "order.status"),
        (PAID, "count i in order.items: i.price = order.total"),
        ("args.pay = $5", "args.pay - $5"),
        ("args.pay = args.price", "args.price"),
        ("args.items = order.items", "length(order.items)"),
        ("args.id in keys(order.notes)", "length(order.notes)"),
        ("args.id in order.ids", "first(order.ids)"),
    ],
)
def test_other_facts_disclose_no_answer(require, shown):
    assert not gives_away(parse(shown), answers_of(parse(require)))
