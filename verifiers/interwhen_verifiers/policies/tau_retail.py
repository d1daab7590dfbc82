"""The retail policy of tau-bench (sierra-research/tau-bench, MIT), as rules.

Each rule names the sentence of the policy that it enforces. What the policy leaves to judgement is no rule here, or is
``Unknown``.
"""

from __future__ import annotations

from typing import Any

from interwhen import Pass, Unknown, Verdict, Violation

from interwhen_verifiers.policies import _conversation as talk
from interwhen_verifiers.policies._retail_state import Shop, advance, begin, load
from interwhen_verifiers.tool_policy import Call, Policy

POLICY: Policy[Shop] = Policy("tau_retail", begin=begin, advance=advance, load=load)

PENDING = (
    "cancel_pending_order",
    "modify_pending_order_address",
    "modify_pending_order_payment",
    "modify_pending_order_items",
)
DELIVERED = ("return_delivered_order_items", "exchange_delivered_order_items")
SWAPS = ("modify_pending_order_items", "exchange_delivered_order_items")
CHANGES = (*PENDING, *DELIVERED, "modify_user_address")
Order = dict[str, Any]
_UNSEEN = Unknown("what this order holds now is not known")


def _order(call: Call[Shop]) -> Order | None:
    return call.state.orders.get(str(call["order_id"])) or None


@POLICY.before(says="You should at most make one tool call at a time.")
def one_call_at_a_time(call: Call[Shop]) -> Verdict | None:
    """One call a turn."""
    return talk.one_at_a_time(call)


@POLICY.before(
    *CHANGES,
    says="Before taking consequential actions that update the database, you have to list the action detail and obtain "
    "explicit user confirmation (yes) to proceed.",
)
def confirmed_by_the_user(call: Call[Shop]) -> Verdict | None:
    """An action was put to the user, and they agreed."""
    return talk.confirmed(call)


@POLICY.before(
    *CHANGES,
    says="At the beginning of the conversation, you have to authenticate the user identity by locating their user "
    "id via "
    "email, or via name + zip code. You can only help one user per conversation.",
)
def for_the_authenticated_user(call: Call[Shop]) -> Verdict | None:
    """Only the orders of the user who was located are touched."""
    if not call.state.authenticated:
        if not call.history.is_conversation:
            return Unknown(talk.NO_TALK)
        return Violation(
            why="the user has not been authenticated",
            witness="no user was located by e-mail, or by name and zip code, before this call",
        )
    if "order_id" not in call.arguments:
        owner: object = call.arguments.get("user_id")
    else:
        order = _order(call)
        if order is None:
            return _UNSEEN
        owner = order.get("user_id")
    if owner in call.state.authenticated:
        return Pass(f"it is {owner}'s")
    return Violation(
        why="this belongs to another user",
        witness=f"located was {', '.join(sorted(call.state.authenticated))}, not {owner}",
    )


@POLICY.before(*PENDING, *DELIVERED, says="You should check its status before taking the action.")
def status_was_checked(call: Call[Shop]) -> Verdict | None:
    """The order was looked up before it is changed."""
    if not call.history.is_conversation:
        return Unknown(talk.NO_TALK)
    if str(call["order_id"]) in call.state.looked_up:
        return Pass("its details were looked up")
    return Violation(
        why="the status of this order was not checked", witness="its details were never looked up in this conversation"
    )


@POLICY.before(*PENDING, says="An order can only be cancelled or modified if its status is 'pending'.")
def is_pending(call: Call[Shop]) -> Verdict | None:
    """What is cancelled or modified is pending."""
    return _has_status(call, "pending", "cancelled or modified")


@POLICY.before(*DELIVERED, says="An order can only be returned or exchanged if its status is 'delivered'.")
def is_delivered(call: Call[Shop]) -> Verdict | None:
    """What is returned or exchanged was delivered."""
    return _has_status(call, "delivered", "returned or exchanged")


def _has_status(call: Call[Shop], wanted: str, done: str) -> Verdict:
    order = _order(call)
    if order is None:
        return _UNSEEN
    status = str(order.get("status"))
    if status == wanted or (status.startswith("pending (") and call.name in PENDING and "item" not in status):
        return Pass(f"its status is {status}")
    return Violation(why=f"this order cannot be {done}", witness=f"its status is '{status}', not '{wanted}'")


@POLICY.before(
    "cancel_pending_order",
    says="The user needs to confirm the order id and the reason (either 'no longer needed' or 'ordered by mistake').",
)
def has_a_reason(call: Call[Shop]) -> Verdict | None:
    """The reason is one of the two."""
    if call["reason"] in ("no longer needed", "ordered by mistake"):
        return Pass(f"the reason is '{call['reason']}'")
    return Violation(
        why="this is no reason for a cancellation",
        witness="the reason is either 'no longer needed' or 'ordered by mistake'",
    )


@POLICY.before(
    *SWAPS,
    says="Each item can be modified or exchanged to an available new item of the same product but of different "
    "product option.",
)
def items_are_of_the_same_product(call: Call[Shop]) -> Verdict | None:
    """Each new item is another, available option of the same product."""
    order, olds, news = _order(call), call["item_ids"], call["new_item_ids"]
    if order is None:
        return _UNSEEN
    if not isinstance(olds, list) or not isinstance(news, list) or len(olds) != len(news):
        return Violation(
            why="there is not one new item for each item", witness="item_ids and new_item_ids differ in length"
        )
    products = {str(item.get("item_id")): item for item in order.get("items") or ()}
    unknown = False
    for old, new in zip(map(str, olds), map(str, news), strict=True):
        item = products.get(old)
        if item is None:
            return Violation(why=f"item {old} is not in this order", witness=f"the order has {', '.join(products)}")
        variant = call.state.variant(item.get("product_id"), new)
        if variant is None or old == new:  # a piece in place of a broken one may be meant
            unknown = True
        elif not variant:
            return Violation(why=f"item {new} is not of the same product", witness=f"it is no {item.get('name')}")
        elif not variant.get("available"):
            return Violation(why=f"item {new} is not available", witness=f"this {item.get('name')} is out of stock")
    return (
        Unknown("a product has not been looked up, or an item is exchanged for the same one")
        if unknown
        else Pass("available options of the same products")
    )


@POLICY.before("return_delivered_order_items", says="The user needs to confirm the list of items to be returned.")
def returned_items_are_in_the_order(call: Call[Shop]) -> Verdict | None:
    """What is returned was in the order."""
    order, items = _order(call), call["item_ids"]
    if order is None or not isinstance(items, list):
        return _UNSEEN
    had = [str(item.get("item_id")) for item in order.get("items") or ()]
    strange = [item for item in map(str, items) if item not in had]
    if strange:
        return Violation(why=f"item {strange[0]} is not in this order", witness=f"the order has {', '.join(had)}")
    return Pass("all of them are in the order")


@POLICY.before(
    *SWAPS,
    says="The user must provide a payment method to pay or receive refund of the price difference. If the user "
    "provides a gift "
    "card, it must have enough balance to cover the price difference.",
)
def the_difference_is_paid(call: Call[Shop]) -> Verdict | None:
    """The payment method is the user's, and a gift card covers the difference."""
    order, payment = _order(call), str(call["payment_method_id"])
    if order is None:
        return _UNSEEN
    refused = _not_of_the_user(call, order, payment)
    if refused is not None:
        return refused
    balance, difference = call.state.balance(order.get("user_id"), payment), _difference(call, order)
    if not payment.startswith("gift_card"):
        return Pass("it is in the user's profile")
    if balance is None or difference is None:
        return Unknown("the balance or a price is not known")
    if difference <= balance + 0.005:
        return Pass("the gift card covers the difference")
    return Violation(
        why="this gift card has not enough left for the price difference",
        witness=f"the difference is ${difference:.2f}, and the card has ${balance:.2f}",
    )


def _difference(call: Call[Shop], order: Order) -> float | None:
    items = {str(item.get("item_id")): item for item in order.get("items") or ()}
    total = 0.0
    for old, new in zip(map(str, call["item_ids"]), map(str, call["new_item_ids"]), strict=False):
        item = items.get(old, {})
        price = (call.state.variant(item.get("product_id"), new) or {}).get("price")
        if not isinstance(price, int | float) or not isinstance(item.get("price"), int | float):
            return None
        total += price - item["price"]
    return total


@POLICY.before(
    "return_delivered_order_items",
    says="The refund must either go to the original payment method, or an existing gift card.",
)
def refund_goes_back(call: Call[Shop]) -> Verdict | None:
    """A refund goes where the money came from, or to a gift card of the user."""
    order, payment = _order(call), str(call["payment_method_id"])
    if order is None:
        return _UNSEEN
    if payment in _paid_with(order):
        return Pass("the original payment method")
    refused = _not_of_the_user(call, order, payment)
    if refused is not None:
        return refused
    methods = call.state.payment_methods(order.get("user_id")) or {}
    if (methods.get(payment) or {}).get("source") == "gift_card":
        return Pass("a gift card of the user")
    return Violation(
        why="a refund must go to the original payment method or to a gift card",
        witness=f"the order was paid with {', '.join(sorted(_paid_with(order)))}",
    )


@POLICY.before(
    "modify_pending_order_payment",
    says="The user can only choose a single payment method different from the original payment method. A gift card "
    "must have "
    "enough balance to cover the total amount.",
)
def another_payment_method(call: Call[Shop]) -> Verdict | None:
    """The new payment method is another one of the user, and covers the total."""
    order, payment = _order(call), str(call["payment_method_id"])
    if order is None:
        return _UNSEEN
    if payment in _paid_with(order):
        return Violation(why="this is the original payment method", witness=f"the order was paid with {payment}")
    refused = _not_of_the_user(call, order, payment)
    if refused is not None:
        return refused
    if not payment.startswith("gift_card"):
        return Pass("another payment method of the user")
    balance, paid = call.state.balance(order.get("user_id"), payment), order.get("payment_history") or [{}]
    total = paid[0].get("amount")
    if balance is None or not isinstance(total, int | float):
        return Unknown("the balance or the total is not known")
    if total <= balance + 0.005:
        return Pass("the gift card covers the total")
    return Violation(
        why="this gift card has not enough left for the total",
        witness=f"the total is ${total:.2f}, the card has ${balance:.2f}",
    )


def _paid_with(order: Order) -> set[str]:
    return {
        str(entry.get("payment_method_id")) for entry in order.get("payment_history") or () if isinstance(entry, dict)
    }


def _not_of_the_user(call: Call[Shop], order: Order, payment: str) -> Verdict | None:
    methods = call.state.payment_methods(order.get("user_id"))
    if methods is None:
        return Unknown("the user's payment methods are not known")
    if payment in methods:
        return None
    return Violation(
        why="this payment method is not in the user's profile",
        witness=f"the profile has {', '.join(methods) or 'none'}",
    )
