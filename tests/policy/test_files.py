"""Policy folders may come from anybody: what is in them is read within limits, and never run."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from interwhen import UsageError
from interwhen.policy import _limits, read_policy
from interwhen.policy._files import Surroundings, checked_id, read_rule, read_situation
from policy_shop import RULE, SCHEMA, made_shop, write_shop

AROUND = Surroundings(made_shop(), situations={"world": {"args": {"id": "A"}}})

HOSTILE = {
    "an id that leaves the folder": (RULE.replace('"open-only"', '"../../etc/passwd"'), "an id must be"),
    "an absolute id": (RULE.replace('"open-only"', '"/tmp/x"'), "an id must be"),
    "an id with a null": (RULE.replace('"open-only"', '"a\\u0000b"'), "an id must be"),
    "a long id": (RULE.replace('"open-only"', f'"{"a" * 500}"'), "an id must be"),
    "an id in capitals": (RULE.replace('"open-only"', '"Con"'), "an id must be"),
    "Python in a condition": (
        RULE.replace("order.status =", '__import__("os").system("id") ='),
        "in 'require': the expression must have",
    ),
    "a call of eval": (RULE.replace("order.status =", 'eval("1") ='), None),
    "no TOML": ("id = ", "must be valid TOML"),
    "TOML that is nested deeply": ("a = " + "[" * 5000, "must be valid TOML"),
    "a number of thousands of digits": (
        RULE + "\n[[example]]\nname = 'x'\nexpect = 'keeps'\nbeside = " + "9" * 5000,
        None,
    ),
    "a file that is too large": (RULE + "#" * _limits.FILE_BYTES, "must have at most"),
    "a message that is too long": (RULE.replace("this order is not open", "x" * 5000), "a message must have at most"),
    "a message that never ends": (RULE.replace("this order is not open", "{args.id"), "must have a }"),
    "Python in a message": (RULE.replace("this order is not open", "{args.id.__class__}"), None),
    "a format in a message": (
        RULE.replace("this order is not open", "{args.id!r:>999999999}"),
        "must be made of names, values and operators",
    ),
    "text that is written backwards": (
        RULE.replace("this order", "this \u202eorder"),
        "must have visible characters only",
    ),
    **{
        f"a character without a sign, {ord(hidden):x}": (
            RULE.replace("An open", f"An{hidden} open"),
            f"must have visible characters only, got '{ascii(hidden)[1:-1]}'".replace("\\", r"\\"),
        )
        for hidden in "\ufe01\U000e0101\u115f\u3164\uffa0\u034f\u2800"
    },
    "text without a width": (RULE.replace("An open", "An\u200b open"), "must have visible characters only"),
    "an unknown entry": ("exec = 'id'\n" + RULE, "the entries must be among .*, got 'exec'"),
    "no clause": (RULE.replace('clause = "An open order can be cancelled."', ""), "must quote the policy"),
    "a clause that is none": (RULE.replace('"An open order can be cancelled."', "[1]"), "list of texts"),
    "a moment that is none": ("moment = 'never'\n" + RULE, "must be one of before, after"),
    "an example without a name": (RULE.replace('name = "open"', ""), "the name of an example must be a text.*got None"),
    "an example that expects something else": (RULE.replace('"keeps"', '"maybe"'), "must be one of keeps"),
    "a situation that is none": (
        RULE.replace('base = "world"', 'base = "heaven"'),
        "base must name a situation .*, got 'heaven'",
    ),
    "a path that is too long": (
        RULE.replace('"state.orders.A.status"', '"' + "a." * 50 + '"'),
        "a path must have at most",
    ),
    "a table that is none": (
        RULE.replace('"state.orders.A.status"', '"state.users.A"'),
        "the tables of the state must be .*, got 'users'",
    ),
    "an index beyond the list": (
        RULE.replace('"state.orders.A.status" =', '"args.tags" = ["a"], "args.tags.2" ='),
        "'2' in the path 'args.tags.2' must be an index of a list, from 0 to 1",
    ),
    "an index that is not a number": (
        RULE.replace('"state.orders.A.status" =', '"args.tags" = ["a"], "args.tags.one" ='),
        "'one' in the path 'args.tags.one' must be an index of a list, from 0 to 1",
    ),
    "a definition that is no text": (RULE.replace("base =", "define = {a = 1}\nbase ="), "table of expressions"),
    "dotted keys": ("id" + ".a" * 1_100 + " = 1", "must be valid TOML, and is nested too deeply"),
    "nested lists": ("id = " + "[" * 9_000, "must be valid TOML, and is nested too deeply"),
    "many examples": (RULE + "\n[[example]]\nname='x'" * 300, "at most"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_rule_is_an_error_or_rejected(what: str) -> None:
    text, said = HOSTILE[what]
    if said is None:
        try:
            rule = read_rule(text, AROUND)
        except UsageError:
            return
        from interwhen.policy._rules import problems_of

        assert list(problems_of(rule, AROUND.schema))
        return
    with pytest.raises(UsageError, match=said):
        read_rule(text, AROUND)


def with_situation(text: str) -> Surroundings:
    return dataclasses.replace(AROUND, situations={**AROUND.situations, **tomllib.loads(text)})


def test_unknown_situation_key_is_refused() -> None:
    around = with_situation("[there]\nbase = 'world'\nargument = {id = 'A'}")
    with pytest.raises(UsageError, match=r"base: .*argument"):
        read_rule(RULE.replace('base = "world"', 'base = "there"'), around)


def test_a_situation_may_unset_a_value() -> None:
    around = with_situation("[there]\nbase = 'world'\nunset = ['args.id']")
    rule = read_rule(RULE.replace('base = "world"', 'base = "there"'), around)
    assert [dict(example.situation.arguments) for example in rule.examples] == [{}] * 3


def test_rule_ids_are_valid_file_names() -> None:
    assert checked_id("may-be-cancelled_2") == "may-be-cancelled_2"
    for wrong in ("", "-a", "a--b", "a.b", "a/b", "a b", "ä", "a\n", ".."):
        with pytest.raises(UsageError):
            checked_id(wrong)


def test_the_file_of_a_rule_has_its_id(shop: Path) -> None:
    (shop / "rules" / "open-only.toml").rename(shop / "rules" / "other.toml")
    with pytest.raises(UsageError, match=r"got rules/other.toml with the id 'open-only'"):
        read_policy(shop)


def test_an_error_names_the_file(shop: Path) -> None:
    (shop / "rules" / "open-only.toml").write_text(RULE.replace("order.status", "order..status"), encoding="utf-8")
    with pytest.raises(
        UsageError, match=r"^in rules/open-only.toml: in 'require': the expression must have a name at character 6"
    ):
        read_policy(shop)


@pytest.mark.parametrize("text", ["../secret.md", "/etc/passwd", "sub/policy.md", "..", ".hidden"])
def test_policy_text_must_lie_in_its_folder(shop: Path, text: str) -> None:
    (shop.parent / "secret.md").write_text("secret", encoding="utf-8")
    (shop / "policy.toml").write_text(f'text = "{text}"', encoding="utf-8")
    with pytest.raises(UsageError, match=r"must be directly in the policy's folder|must be a plain file"):
        read_policy(shop)


def test_symbolic_link_to_text_is_refused(shop: Path) -> None:
    (shop.parent / "secret.md").write_text("secret", encoding="utf-8")
    (shop / "policy.md").unlink()
    (shop / "policy.md").symlink_to(shop.parent / "secret.md")
    with pytest.raises(UsageError, match="must be a plain file"):
        read_policy(shop)


def test_symbolic_link_to_rules_is_refused(shop: Path) -> None:
    (shop / "rules").rename(shop.parent / "elsewhere")
    (shop / "rules").symlink_to(shop.parent / "elsewhere")
    with pytest.raises(UsageError, match="must be a plain folder"):
        read_policy(shop)


def test_too_many_rules_are_refused(shop: Path) -> None:
    for number in range(_limits.RULES):
        (shop / "rules" / f"r{number}.toml").touch()
    with pytest.raises(UsageError, match="must hold at most 500 rules, got 501"):
        read_policy(shop)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("policy.toml", "nme = 'x'", "policy.toml: the entries must be among .*, got 'nme'"),
        ("policy.toml", "now = 'soon'", "must be a time or 'clock'"),
        ("policy.toml", 'text = "a\\u0000b"', "must have no NUL character"),
        ("policy.toml", f"text = '{'x' * 5000}'", "must be readable UTF-8 text, and is not"),
        ("policy.toml", 'tools = "a\\u0000b"', "must have no NUL character"),
        ("policy.toml", "[define]\n'a' = '('", "the expression must have"),
        ("policy.toml", "[[learn]]\nfrom = ['x']", "number 1 of policy.toml: an entry must have"),
        ("policy.toml", "define = 'x'", "'define' must be a table"),
        ("policy.toml", "define = { a = 1 }", "'define' must be a table"),
        ("policy.toml", "database = 5", "'database' in policy.toml must be a table"),
        ("policy.toml", "database = { orders = 3 }", "'database' in policy.toml must be a table"),
        ("policy.toml", "database = { orders = { tool = 'x' } }", "'database' in policy.toml must be a table"),
        ("policy.toml", "now = 2024-05-15T15:00:00Z", "must have no time zone"),
        ("policy.toml", "now = '2024-05-15T15:00:00-05:00'", "must have no time zone"),
        ("schema.toml", "[tools.x]\na = 'strange'", "the kind of a value must be one of"),
        ("schema.toml", "[tools.'x y']\na = 'text'", "a name must be letters"),
        ("schema.toml", "[returns]\nx = 'text'", "must name known tools"),
        ("schema.toml", "[state]\norders = 'text'", "must be a map"),
        ("schema.toml", "[records.A]\na = 'A'", "the kind of a value must be one of"),
        ("schema.toml", "tools = 5", "must be a table"),
        ("situations.toml", "= 5", "must be valid TOML"),
        ("policy.md", "x" * (_limits.FILE_BYTES + 1), "must have at most"),
    ],
)
def test_invalid_policy_file_is_refused(shop: Path, name: str, text: str, said: str) -> None:
    (shop / name).write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=said):
        read_policy(shop)


def test_folder_without_policy_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"policy.toml"):
        read_policy(tmp_path)


def test_a_record_may_use_those_before_it(shop: Path) -> None:
    assert "list[Item]" in SCHEMA
    assert read_policy(write_shop(shop)).schema.tools["get_order"].returns is not None


@pytest.mark.parametrize("depth", [12, 16, 40])
def test_expanded_definitions_count_against_node_limit(depth: int) -> None:
    doubled = "d(" * depth + "true" + ")" * depth
    text = RULE.replace("'order.status = \"open\"'", f"'{doubled}'\ndefine = {{ 'd(x)' = 'x and x' }}")
    with pytest.raises(UsageError, match="at most 1,500 nodes"):
        read_rule(text, AROUND)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"talk": {"user": "Yes."}}, "'user' must be a list of texts"),
        ({"talk": {"user": ["Yes."], "told": "false"}}, "'told' of 'talk' must be true or false"),
        ({"talk": {"users": ["Yes."]}}, "talk: .*'users'"),
        ({"talk": ["Yes."]}, "'talk' must be a table"),
        ({"calls": [{"tool": "cancel", "arguments": {}}]}, "'arguments'"),
        ({"calls": [{"args": {}}]}, "'tool' must be a text"),
        ({"beside": 2.7}, "'beside' must be"),
        ({"beside": -1}, "'beside' must be"),
        ({"now": "2024-05-15T15:00:00Z"}, "'now' must have no time zone"),
    ],
)
def test_invalid_situation_part_is_refused(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        read_situation(parts, AROUND.schema, None, "cancel")


def test_unset_paths_must_be_a_list() -> None:
    around = with_situation("[there]\nbase = 'world'\nunset = 'args.id'")
    with pytest.raises(UsageError, match="'unset' must be a list of texts"):
        read_rule(RULE.replace('base = "world"', 'base = "there"'), around)
