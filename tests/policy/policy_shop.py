"""A small shop with a policy, which the tests of this folder share."""

from __future__ import annotations

import tomllib
from pathlib import Path

from interwhen.policy._schemas import Schema, read_schema

POLICY = """
name = "shop"
now = "2024-05-15T15:00:00"

[define]
order = "state.orders[args.id]"

[[learn]]
from = ["get_order"]
into = "orders"
key = "args.id"
value = "result"
"""
SCHEMA = """
[records.Item]
name = "text"
price = "money"

[records.Order]
status = '"open" | "sent" | "gone"'
total = "money"
size = "quantity[GB]"
made = "moment"
due = "date"
items = "list[Item]"
notes = "map[text, text]"

[tools.get_order]
id = "text"

[tools.cancel]
id = "text"
amount = "integer"
pay = "money"
tags = "list[text]"

[tools.send]
id = "text"

[returns]
get_order = "Order"

[state]
orders = "map[text, Order]"
"""
TEXT = """# Shop

- An open order can be cancelled. Nothing else can be cancelled.
- Look at an order before you send it. At most three things at a time!
"""
RULE = """
id = "open-only"
clause = "An open order can be cancelled."
tools = ["cancel"]
require = 'order.status = "open"'
why = "this order is not open"
witness = "its status is {order.status}"
base = "world"

[[example]]
name = "open"
expect = "keeps"

[[example]]
name = "sent"
expect = "breaks"
set = { "state.orders.A.status" = "sent" }

[[example]]
name = "gone"
expect = "breaks"
set = { "state.orders.A.status" = "gone" }
"""
SITUATIONS = """
[world]
tool = "cancel"
args = { id = "A", amount = 2, pay = 10, tags = ["x"] }
talk = { user = ["Hi.", "Yes."], told = true }

[world.state.orders.A]
status = "open"
total = 10.5
size = "2.4 GB"
made = "2024-05-14T15:00:00"
due = "2024-05-20"
items = [{ name = "Mug", price = 4.5 }, { name = "Cup", price = 6 }]
notes = { gift = "yes" }

[sending]
base = "world"
tool = "send"
"""


def write_shop(folder: Path, *rules: str) -> Path:
    (folder / "rules").mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("policy.toml", POLICY),
        ("schema.toml", SCHEMA),
        ("policy.md", TEXT),
        ("situations.toml", SITUATIONS),
    ):
        (folder / name).write_text(text, encoding="utf-8")
    for rule in rules:
        name = rule.split('id = "', 1)[1].split('"', 1)[0]
        (folder / "rules" / f"{name}.toml").write_text(rule, encoding="utf-8")
    return folder


def made_shop() -> Schema:
    return read_schema(tomllib.loads(SCHEMA))
