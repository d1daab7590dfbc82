"""A stock-keeping policy, and the tool call it asks for."""

from __future__ import annotations

import json
import random
from typing import Any

from tools.train_tiny.charset import CALL, CALLED
from tools.train_tiny.tasks import Blunder, Lookup, Mistake, Problem, Step, Worked

from .sums import misjudged, misvalue

_ITEMS = (
    "bolts",
    "nails",
    "pens",
    "cups",
    "ropes",
    "lamps",
    "tiles",
    "seeds",
    "caps",
    "jars",
    "belts",
    "wires",
    "plugs",
    "soaps",
)


_CALLED = {
    "item": "Item",
    "low": "Minimum",
    "full": "Target",
    "held": "Stock",
    "most": "Largest order",
    "price": "Price",
    "limit": "Approval limit",
}


def stock(rng: random.Random, *, hard: bool = False) -> Worked:
    scale = 10 if hard else 1
    low = rng.randint(10, 60) * scale
    full = low + rng.randint(20, 90) * scale
    held = rng.randrange(0, low, scale) if rng.random() < 0.75 else rng.randrange(low, full, scale)
    most = rng.choice((20, 30, 40, 50, 60, 80, 100)) * scale
    price = rng.randint(2, 9)
    limit = rng.choice((100, 150, 200, 250, 300, 400, 500)) * scale
    item = rng.choice(_ITEMS)
    facts = {"item": item, "low": low, "full": full, "held": held, "most": most, "price": price, "limit": limit}
    prompt = _ask(rng, item, low, full, held, most, price, limit)
    lookups = tuple(Lookup(f"{_CALLED[key]}?", str(value)) for key, value in facts.items())
    if held >= low:
        step = Step(f"{held} >= {low}, wait", {"quantity": 0}, _misread(f"{held} < {low}, order", held, "<", low))
        call = {"name": "wait", "arguments": {"item": item}}
        return Worked(Problem("stock", prompt, facts), (step,), _called(call), _miscalled(call, item, 10), lookups)
    need = full - held
    quantity = min(need, most)
    cost = quantity * price
    steps = [
        Step(f"{held} < {low}, order", {"quantity": 0}, _misread(f"{held} >= {low}, wait", held, ">=", low)),
        Step(f"{full} - {held} = {need}", {"quantity": need}, lambda rng: misjudged(rng, full, "-", held)),
        Step(
            f"{need} > {most}, take {most}" if need > most else f"{need} <= {most}, take {need}",
            {"quantity": quantity},
            _misread(f"{need} <= {most}, take {need}", need, "<=", most)
            if need > most
            else _misread(f"{need} > {most}, take {most}", need, ">", most),
        ),
        Step(
            f"{quantity} × {price} = {cost}",
            {"quantity": quantity, "cost": cost},
            lambda rng: misjudged(rng, quantity, "×", price),
        ),
        Step(
            f"{cost} > {limit}, approval" if cost > limit else f"{cost} <= {limit}, no approval",
            {"quantity": quantity, "cost": cost, "approval": cost > limit},
            _misread(f"{cost} <= {limit}, no approval", cost, "<=", limit)
            if cost > limit
            else _misread(f"{cost} > {limit}, approval", cost, ">", limit),
        ),
    ]
    call = {"name": "order", "arguments": {"item": item, "quantity": quantity, "approval": cost > limit}}
    problem = Problem("stock", prompt, facts)
    return Worked(problem, tuple(steps), _called(call), _miscalled(call, item, quantity), lookups)


def _ask(rng: random.Random, item: str, low: int, full: int, held: int, most: int, price: int, limit: int) -> str:
    policy = (
        f"Policy: order below {low}, fill to {full}, at most {most} an order, approval above {limit}. "
        f"Item: {item}. Stock: {held}. Price: {price}."
    )
    told = (
        f"We have {held} {item} at {price} each. Reorder when there are fewer than {low}, up to {full}, never more "
        f"than {most} at once. Orders above {limit} need approval."
    )
    listed = (
        f"Item {item}, price {price}, stock {held}. Rules: minimum {low}, target {full}, largest order {most}, "
        f"approval over {limit}."
    )
    return rng.choice((policy, told, listed))


def _called(call: dict[str, Any]) -> str:
    return f"{CALL}{json.dumps(call)}{CALLED}"


def _misread(text: str, left: int, sign: str, right: int) -> Blunder:
    def blunder(_: random.Random) -> Mistake:
        opposite = {"<": ">=", ">=": "<", "<=": ">", ">": "<="}[sign]
        return Mistake(
            text,
            f"{left} {sign} {right}",
            f"{left} {sign} {right} is not true",
            f"{left} {opposite} {right}, not {left} {sign} {right}",
        )

    return blunder


def _miscalled(call: dict[str, Any], item: str, quantity: int) -> Blunder:
    def blunder(rng: random.Random) -> Mistake:
        arguments = dict(call["arguments"])
        kind = rng.random()
        if call["name"] == "wait":
            wrong = {"name": "order", "arguments": {"item": item, "quantity": quantity, "approval": False}}
            why = "the policy says wait"
        elif kind < 0.2:
            wrong, why = {"name": "wait", "arguments": {"item": item}}, "the stock is below the minimum"
        elif kind < 0.6:
            arguments["quantity"] = other = misvalue(rng, quantity)
            wrong, why = {"name": "order", "arguments": arguments}, f"the policy does not order {other}"
        elif kind < 0.85:
            arguments["approval"] = not arguments["approval"]
            wrong = {"name": "order", "arguments": arguments}
            why = "the cost needs approval" if call["arguments"]["approval"] else "the cost needs no approval"
        else:
            arguments["item"] = other_item = rng.choice([other for other in _ITEMS if other != item])
            wrong, why = {"name": "order", "arguments": arguments}, f"the item is not {other_item}"
        return Mistake(_called(wrong), json.dumps(wrong), why, why)

    return blunder
