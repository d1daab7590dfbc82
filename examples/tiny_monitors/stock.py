"""Stock-keeping: all values follow from the policy, so each line is judged by itself, and so is the tool call."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from interwhen import Pass, Verdict

from .equations import Equation, read_equation
from .trace import UNREAD, Step, wrong

_FORMS = (
    re.compile(
        r"Policy: order below (?P<low>\d{1,9}), fill to (?P<full>\d{1,9}), at most (?P<most>\d{1,9}) an order, "
        r"approval above (?P<limit>\d{1,9})\. Item: (?P<item>\w+)\. Stock: (?P<held>\d{1,9})\. "
        r"Price: (?P<price>\d{1,9})\."
    ),
    re.compile(
        r"We have (?P<held>\d{1,9}) (?P<item>\w+) at (?P<price>\d{1,9}) each\. Reorder when there are fewer than "
        r"(?P<low>\d{1,9}), up to (?P<full>\d{1,9}), never more than (?P<most>\d{1,9}) at once\. "
        r"Orders above (?P<limit>\d{1,9}) need approval\."
    ),
    re.compile(
        r"Item (?P<item>\w+), price (?P<price>\d{1,9}), stock (?P<held>\d{1,9})\. Rules: minimum (?P<low>\d{1,9}), "
        r"target (?P<full>\d{1,9}), largest order (?P<most>\d{1,9}), approval over (?P<limit>\d{1,9})\."
    ),
)
_COMPARED = re.compile(r"((\d{1,12}) (<=|>=|<|>) (\d{1,12})), (order|wait|take (\d{1,12})|approval|no approval)")
_OPPOSITE = {"<": ">=", ">=": "<", "<=": ">", ">": "<="}
_CALL = re.compile(r"<tool_call>\s*(.*?)\s*</tool_call>", re.DOTALL)
_LONGEST = 500


@dataclass(frozen=True, slots=True)
class Stock:
    """The policy and the state of the stock."""

    item: str
    low: int
    full: int
    held: int
    most: int
    price: int
    limit: int

    @property
    def start(self) -> None:
        """The policy does not change."""

    @property
    def waits(self) -> bool:
        """Whether there is enough."""
        return self.held >= self.low

    @property
    def need(self) -> int:
        """How many items are missing."""
        return self.full - self.held

    @property
    def quantity(self) -> int:
        """How many items are ordered."""
        return min(self.need, self.most)

    @property
    def cost(self) -> int:
        """The cost of the order."""
        return self.quantity * self.price

    @property
    def approval(self) -> bool:
        """Whether the order needs approval."""
        return self.cost > self.limit

    def step(self, _state: None, line: str) -> Step[None] | None:
        """Judge a comparison or an equation."""
        if match := _COMPARED.fullmatch(line):
            return Step(self._compared(match))
        equation = read_equation(line)
        if equation is not None and equation.end == len(line):
            return Step(self._computed(equation))
        return None if line.startswith("Wait") or not re.search(r"\d", line) else Step(UNREAD)

    def answer(self, _state: None, text: str) -> Verdict | None:
        """Judge the tool call. The right one is never given."""
        match = _CALL.fullmatch(text)
        if match is None or len(text) > _LONGEST:
            return UNREAD
        try:
            call = json.loads(match[1], object_pairs_hook=_once)
        except (ValueError, RecursionError):
            return wrong(match.span(1), "the call is not valid JSON")
        why = self._miscalled(call)
        return wrong(match.span(1), why) if why else Pass("what the policy says")

    def _compared(self, match: re.Match[str]) -> Verdict:
        left, sign, right, said = int(match[2]), match[3], int(match[4]), match[5]
        if self.waits and said not in ("order", "wait"):
            return wrong(match.span(), "the policy says wait", "the policy says wait")
        sides, told = self._due(said)
        for group, number, (name, value) in ((2, left, sides[0]), (4, right, sides[1])):
            if number != value:
                witness = f"{name} is {value}, not {number}"
                return wrong(match.span(group), f"{name} is not {number}", witness, str(value))
        if not _holds(left, sign, right):
            right_one = f"{left} {_OPPOSITE[sign]} {right}"
            return wrong(match.span(1), f"{match[1]} is not true", f"{right_one}, not {match[1]}", right_one)
        if said != told:
            return wrong(match.span(5), f"the policy does not say {said}", f"the policy says {told}, not {said}", told)
        return Pass("what the policy says")

    def _due(self, said: str) -> tuple[tuple[tuple[str, int], tuple[str, int]], str]:
        """Return the two sides of the comparison that leads to something like *said*, and what it leads to."""
        if said in ("order", "wait"):
            return (("the stock", self.held), ("the minimum", self.low)), "wait" if self.waits else "order"
        if said.startswith("take"):
            return (("the need", self.need), ("the largest order", self.most)), f"take {self.quantity}"
        sides = (("the cost", self.cost), ("the limit", self.limit))
        return sides, "approval" if self.approval else "no approval"

    def _computed(self, equation: Equation) -> Verdict:
        if self.waits:
            return wrong((0, equation.end), "the policy says wait", "the policy says wait")
        match equation.sign:
            case "-":
                sides = (
                    ("left", equation.left, "the target", self.full),
                    ("right", equation.right, "the stock", self.held),
                )
            case "×":
                sides = (
                    ("left", equation.left, "the quantity", self.quantity),
                    ("right", equation.right, "the price", self.price),
                )
            case _:
                return equation.refute() or UNREAD
        for group, number, name, value in sides:
            if number != value:
                witness = f"{name} is {value}, not {number}"
                return wrong(equation.match.span(group), f"{name} is not {number}", witness, str(value))
        return equation.refute() or Pass("what the policy says")

    def _miscalled(self, call: Any) -> str | None:
        """Return why *call* does not follow the policy."""
        if not isinstance(call, dict) or call.keys() != {"name", "arguments"}:
            return "the call needs a name and arguments"
        name, arguments = call["name"], call["arguments"]
        if name not in ("order", "wait"):
            return "the call is neither order nor wait"
        if self.waits != (name == "wait"):
            return "the policy says wait" if self.waits else "the stock is below the minimum"
        keys = ("item",) if self.waits else ("item", "quantity", "approval")
        if not isinstance(arguments, dict) or arguments.keys() != set(keys):
            return f"{name} needs {', '.join(keys)}"
        if arguments["item"] != self.item:
            return f"the item is not {_short(arguments['item'])}"
        if self.waits:
            return None
        quantity, approval = arguments["quantity"], arguments["approval"]
        if type(quantity) is not int or quantity != self.quantity:
            return f"the policy does not order {_short(quantity)}"
        if approval is not self.approval:
            return "the cost needs approval" if self.approval else "the cost needs no approval"
        return None


def _short(value: object) -> str:
    return str(value)[:40]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("the keys of the arguments must differ, and one is there twice: remove one")
    return dict(pairs)


def _holds(left: int, sign: str, right: int) -> bool:
    match sign:
        case "<":
            return left < right
        case "<=":
            return left <= right
        case ">":
            return left > right
        case _:
            return left >= right


def read_stock(prompt: str) -> Stock:
    """Read the policy and the state of the stock."""
    match = next((match for form in _FORMS if (match := form.fullmatch(prompt))), None)
    if match is None:
        raise ValueError(
            f"the prompt must be a problem of the family stock, got {prompt!r:.300}: write it as in the training data"
        )
    numbers = {name: int(text) for name, text in match.groupdict().items() if name != "item"}
    return Stock(item=match["item"], **numbers)
