"""The shop's world as far as it is known: a database if one is given, and what the tools have said since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from interwhen_verifiers.policies._databases import read_tables
from interwhen_verifiers.tool_policy import PastCall

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shop:
    """Users, orders and products by their ids. States are values: an advance makes a new one."""

    users: Mapping[str, Record] = field(default_factory=dict)
    orders: Mapping[str, Record] = field(default_factory=dict)
    products: Mapping[str, Record] = field(default_factory=dict)
    authenticated: frozenset[str] = frozenset()
    """The users who were located by e-mail, or by name and zip code."""
    looked_up: frozenset[str] = frozenset()
    """The orders whose details were asked for."""
    used: frozenset[str] = frozenset()
    """Payment methods whose balance may have changed since it was seen."""

    def payment_methods(self, user_id: object) -> dict[str, Record] | None:
        """Return the payment methods of a user, if they are known."""
        methods = self.users.get(str(user_id), {}).get("payment_methods")
        return methods if isinstance(methods, dict) else None

    def balance(self, user_id: object, payment_id: str) -> float | None:
        """Return what is left on a gift card, if that is known."""
        amount = (self.payment_methods(user_id) or {}).get(payment_id, {}).get("amount")
        return float(amount) if isinstance(amount, int | float) and payment_id not in self.used else None

    def variant(self, product_id: object, item_id: str) -> Record | None:
        """Return an item of a product; empty where the product has none such, ``None`` where it is not known."""
        variants = self.products.get(str(product_id), {}).get("variants")
        return variants.get(item_id, {}) if isinstance(variants, dict) else None


def begin() -> Shop:
    """Begin with nothing known."""
    return Shop()


def load(place: str) -> Shop:
    """Begin with the database in the folder *place* (``users.json``, ``orders.json``, ``products.json``)."""
    tables = read_tables(Path(place), ("users", "orders", "products"))
    return Shop(tables["users"], tables["orders"], tables["products"])


def advance(state: Shop, past: PastCall) -> Shop:
    """Take in what a call has shown or changed."""
    state = _paid(state, past)
    if past.result is None:
        return _expected(state, past)
    value = past.value
    if past.name.startswith("find_user_id") and past.result.strip() and not past.result.startswith("Error"):
        return replace(state, authenticated=state.authenticated | {past.result.strip().strip('"')})
    if not isinstance(value, dict):
        return state
    if isinstance(value.get("order_id"), str):
        order = value["order_id"]
        seen = state.looked_up | {order} if past.name == "get_order_details" else state.looked_up
        return replace(state, orders={**state.orders, order: value}, looked_up=seen)
    if past.name in ("get_user_details", "modify_user_address") and "payment_methods" in value:
        users = {**state.users, str(past.arguments.get("user_id")): value}
        return replace(state, users=users, used=state.used - set(value["payment_methods"] or ()))
    if isinstance(value.get("product_id"), str) and "variants" in value:
        return replace(state, products={**state.products, value["product_id"]: value})
    return state


def _expected(state: Shop, past: PastCall) -> Shop:
    """Forget what a call may have changed whose result is not known."""
    order = str(past.arguments.get("order_id"))
    if past.name.startswith("get_") or order not in state.orders:
        return state
    return replace(state, orders={**state.orders, order: {}})


def _paid(state: Shop, past: PastCall) -> Shop:
    payment = past.arguments.get("payment_method_id")
    return replace(state, used=state.used | {payment}) if isinstance(payment, str) else state
