"""The state: what results of calls say, kept by declarations of the policy."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from interwhen import UsageError
from interwhen.policy import MadeCall, Situation, read_database, read_policy
from interwhen.policy._evaluation import evaluate
from interwhen.policy._schemas import read_schema
from interwhen.policy._state import Overlay, learn, read_learnings
from interwhen.policy._syntax import parse
from policy_shop import POLICY, made_shop

ORDER = {"status": "open", "items": [{"name": "Mug", "price": 1}, {"name": "Cup", "price": 2}], "notes": {"a": "b"}}


def test_learning_leaves_earlier_state_unchanged(shop: Path) -> None:
    policy = read_policy(shop)
    first = policy.learn({}, MadeCall("get_order", {"id": "A"}, ORDER))
    second = policy.learn(first, MadeCall("get_order", {"id": "B"}, {"status": "sent"}))
    third = policy.learn(second, MadeCall("get_order", {"id": "A"}, {"status": "gone"}))
    assert [state["orders"]["A"]["status"] for state in (first, second, third)] == ["open", "open", "gone"]
    assert "B" not in first["orders"]
    assert len(third["orders"]) == 2


def test_each_item_of_a_long_list_is_forgotten(shop: Path) -> None:
    (shop / "policy.toml").write_text(
        POLICY + '\n[[learn]]\nfrom = ["cancel"]\nforget = "orders"\neach = "args.tags"\nkey = "item"\n',
        encoding="utf-8",
    )
    policy = read_policy(shop)
    names = [f"n{number}" for number in range(100_001)]
    known = policy.learn({}, MadeCall("get_order", {"id": names[-1]}, ORDER))
    later = policy.learn(known, MadeCall("cancel", {"tags": names}, "done"))
    assert later["orders"][names[-1]] is None


@pytest.mark.parametrize("result", [None, "Error: no such order", ["x"], 5])
def test_unrelated_result_teaches_nothing(shop: Path, result: Any) -> None:
    policy = read_policy(shop)
    assert policy.learn({}, MadeCall("get_order", {"id": "A"}, result)) == {}
    assert policy.learn({}, MadeCall("get_order", {}, ORDER)) == {}
    assert policy.learn({}, MadeCall("unknown_tool", {"id": "A"}, ORDER)) == {}


MORE = (
    POLICY
    + """
[[learn]]
from = ["cancel"]
forget = "orders"
key = "args.id"
unanswered = true

[database]
orders = { tool = "get_order", key = "id" }
"""
)


def test_unanswered_call_forgets_what_it_may_change(shop: Path) -> None:
    (shop / "policy.toml").write_text(MORE, encoding="utf-8")
    policy = read_policy(shop)
    known = policy.learn({}, MadeCall("get_order", {"id": "A"}, ORDER))
    answered = policy.learn(known, MadeCall("cancel", {"id": "A"}, "done"))
    assert answered["orders"]["A"] == ORDER
    unanswered = policy.learn(known, MadeCall("cancel", {"id": "A"}))
    (judged,) = policy.judge(Situation("cancel", {"id": "A"}, unanswered))
    assert "is not known" in judged.verdict.why  # type: ignore[union-attr]


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
def test_a_database_is_read_like_results(shop: Path, packed: bool) -> None:  # noqa: FBT001
    (shop / "policy.toml").write_text(MORE, encoding="utf-8")
    policy, data = read_policy(shop), json.dumps({"A": ORDER, "B": {"status": "sent"}}).encode()
    name = "orders.json.gz" if packed else "orders.json"
    (shop / name).write_bytes(gzip.compress(data) if packed else data)
    state = read_database(policy, shop)
    assert state["orders"]["B"] == {"status": "sent"}
    learned = policy.learn(state, MadeCall("get_order", {"id": "C"}, ORDER))
    assert (len(state["orders"]), len(learned["orders"])) == (2, 3)


def test_unreadable_database_is_refused(shop: Path) -> None:
    with pytest.raises(UsageError, match=r"must have \[database\]"):
        read_database(read_policy(shop), shop)
    (shop / "policy.toml").write_text(MORE, encoding="utf-8")
    with pytest.raises(UsageError, match=r"the table 'orders' in .* must be a JSON object"):
        read_database(read_policy(shop), shop)
    for data in (b"[]", b'{"\xff": 1}', b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        (shop / "orders.json").write_bytes(data)
        with pytest.raises(UsageError, match=r"the table 'orders' in .* must be a JSON object"):
            read_database(read_policy(shop), shop)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a\\u0000b", "must be a file directly in the database's folder"),
        ("../secret", "must be a file directly in the database's folder"),
        ("x" * 5000, "must be a JSON object in a readable file"),
    ],
    ids=["nul", "above", "long"],
)
def test_table_must_lie_in_database_folder(shop: Path, name: str, said: str) -> None:
    (shop.parent / "secret.json").write_text("{}", encoding="utf-8")
    (shop / "policy.toml").write_text(MORE.replace("orders = {", f'"{name}" = {{'), encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_database(read_policy(shop), shop)


def test_keep_preserves_the_first_value(shop: Path) -> None:
    (shop / "policy.toml").write_text(POLICY + "keep = true\n", encoding="utf-8")
    policy = read_policy(shop)
    known = policy.learn({}, MadeCall("get_order", {"id": "A"}, ORDER))
    again = policy.learn(known, MadeCall("get_order", {"id": "A"}, {"status": "gone"}))
    assert again["orders"]["A"] == ORDER


def test_an_overlay_is_a_map_over_a_map() -> None:
    base = {"a": 1, "b": 2}
    overlay = Overlay(Overlay(base, {"b": 3}), {"c": 4, "a": None})
    assert dict(overlay) == {"c": 4, "a": None, "b": 3}
    assert (len(overlay), base) == (3, {"a": 1, "b": 2})


WRONG = {
    "no table": (
        {"from": ["get_order"], "into": "users", "key": "args.id", "value": "result"},
        "must name a table of the state with 1 keys, got 'users'",
    ),
    "no tool": ({"from": ["drop_*"], "into": "orders", "key": "args.id", "value": "result"}, "which fits none"),
    "no key": ({"from": ["get_order"], "into": "orders", "value": "result"}, "an entry must have 'from'"),
    "both": (
        {"from": ["get_order"], "into": "orders", "forget": "orders", "key": "args.id"},
        "an entry must have 'from'",
    ),
    "no value": ({"from": ["get_order"], "into": "orders", "key": "args.id"}, "an entry must have 'from'"),
    "a key of another kind": (
        {"from": ["get_order"], "into": "orders", "key": "result.due", "value": "result"},
        "key must be text for this table, got date",
    ),
    "a value of another kind": (
        {"from": ["get_order"], "into": "orders", "key": "args.id", "value": "result.total"},
        "value must be Order for this table, got money",
    ),
    "a list that is none": (
        {"from": ["get_order"], "each": "result", "into": "orders", "key": "args.id", "value": "result"},
        "'each' must be a list",
    ),
    "an argument that is none": (
        {"from": ["get_order"], "into": "orders", "key": "args.name", "value": "result"},
        "must be one of id, got 'name'",
    ),
    "a field that is none": (
        {"from": ["get_order"], "into": "orders", "key": "args.id", "value": "result", "with": {"x": "args.id"}},
        "'with' must name fields of .*, got 'x'",
    ),
}


@pytest.mark.parametrize("what", WRONG)
def test_declarations_are_checked(what: str) -> None:
    entry, said = WRONG[what]
    with pytest.raises(UsageError, match=said):
        read_learnings([entry], {}, made_shop())


def test_an_amount_that_is_learned_keeps_its_unit() -> None:
    schema = read_schema(
        {
            "records": {"Plan": {"size": "quantity[GB]"}},
            "tools": {"get": {"id": "text", "size": "quantity[GB]"}},
            "returns": {"get": "Plan"},
            "state": {"sizes": "map[text, quantity[GB]]", "plans": "map[text, Plan]"},
        }
    )
    said = {"from": ["get"], "key": "args.id"}
    learnings = read_learnings(
        [
            {**said, "into": "sizes", "value": "args.size"},
            {**said, "into": "plans", "value": "result", "with": {"size": "args.size"}},
        ],
        {},
        schema,
    )
    state = learn({}, MadeCall("get", {"id": "A", "size": 2.5}, {"size": 5}), learnings, schema)
    now = Situation("get", {"id": "A", "size": "2.5 GB"}, state)
    for place in ('state.sizes["A"]', 'state.plans["A"].size'):
        assert evaluate(parse(f"{place} = args.size"), now, schema) is True


UNITS = {
    "records": {"Sent": {"size": "quantity[MB]"}, "Kept": {"size": "quantity[GB]"}},
    "tools": {"send": {"id": "text", "sizes": "list[quantity[MB]]", "size": "quantity[MB]"}},
    "returns": {"send": "Sent"},
    "state": {
        "files": "map[text, Kept]",
        "lists": "map[text, list[quantity[GB]]]",
        "sizes": "map[text, quantity[GB]]",
    },
}


@pytest.mark.parametrize(("into", "value"), [("files", "result"), ("lists", "args.sizes")])
def test_data_in_another_unit_is_not_copied(into: str, value: str) -> None:
    with pytest.raises(UsageError, match="value must be"):
        read_learnings([{"from": ["send"], "into": into, "key": "args.id", "value": value}], {}, read_schema(UNITS))


def test_amount_is_converted_to_unit_of_table() -> None:
    schema = read_schema(UNITS)
    learnings = read_learnings(
        [{"from": ["send"], "into": "sizes", "key": "args.id", "value": "args.size"}], {}, schema
    )
    state = learn({}, MadeCall("send", {"id": "A", "size": 500}, {"size": 500}), learnings, schema)
    assert evaluate(parse('state.sizes["A"] = 500 MB'), Situation("send", state=state), schema) is True


@pytest.mark.parametrize("key", ["unanswered", "keep"])
def test_a_text_is_not_true_or_false(key: str) -> None:
    entry = {"from": ["get_order"], "into": "orders", "key": "args.id", "value": "result", key: "false"}
    with pytest.raises(UsageError, match=f"'{key}' must be true or false"):
        read_learnings([entry], {}, made_shop())
