"""``interwhen policy``: what it prints, what it writes, and what its exit codes say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from interwhen import Unknown
from interwhen.policy import Situation, read_policy
from interwhen.testing._server_script import ReceivedRequest, Step
from interwhen.testing.server import ScriptedServer, reply
from interwhen_launcher.__main__ import main
from policy_shop import RULE, SCHEMA, SITUATIONS, TEXT

pytest.importorskip("z3", reason="the extra 'z3' is not installed")

PLANTED = RULE.replace("open-only", "planted").replace('order.status = "open"', "args.amount * 2 != 3")


def run(*arguments: object) -> Any:
    with pytest.raises(SystemExit) as raised:
        main(["policy", *map(str, arguments)])
    return raised.value.code


def test_check_reports_admitted_rules_and_uncovered_clauses(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("check", shop) == 0
    shown = capsys.readouterr().out
    assert "open-only" in shown
    assert "1 of 4 clauses have a rule" in shown
    assert "Look at an order before you send it." in shown
    assert "1 of 1 rules admitted; 100.0% of mistakes noticed" in shown


def test_check_reports_rejected_rules_with_reason(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (shop / "rules" / "planted.toml").write_text(PLANTED, encoding="utf-8")
    assert run("check", shop) == 1
    assert "vacuous: a call over cancel must be able to break" in " ".join(capsys.readouterr().out.split())
    assert run("check", shop, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["admitted"] == ["open-only"]
    assert {problem["reason"] for problem in report["problems"]} == {"vacuous", "examples"}


def test_check_counts_what_fired_in_recorded_situations(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        {"tool": "cancel", "args": {"id": "A"}, "state": {"orders": {"A": {"status": status}}}}
        for status in ("open", "sent", "gone", "sent")
    ]
    file = shop / "recorded.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    assert run("check", shop, "--situations", file, "--json") == 0
    assert json.loads(capsys.readouterr().out)["coverage"]["clauses"][0]["fired"] == 3
    file.write_text('{"tool": "cancel", "state": {"users": {}}}\n', encoding="utf-8")
    assert run("check", shop, "--situations", file) == 2
    assert "line 1: must be a situation as JSON" in capsys.readouterr().err
    file.write_text('{"tool": "cancel", "arguments": {"id": "A"}}\n', encoding="utf-8")
    assert run("check", shop, "--situations", file) == 2
    assert "'arguments'" in capsys.readouterr().err


def test_explain_shows_a_rule_and_its_formula(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("explain", shop, "open-only") == 0
    shown = capsys.readouterr().out
    assert 'require:  (state.orders[args.id].status = "open")' in shown
    assert "example:  sent: breaks" in shown
    assert run("explain", shop, "open-only", "--smt") == 0
    assert "(check-sat)" in capsys.readouterr().out
    assert run("explain", shop, "opne") == 2
    assert "choose one of open-only" in capsys.readouterr().err


def test_explain_and_check_judge_other_tools_alike(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = '\n[[example]]\nname = "another tool"\nexpect = "not applicable"\nbase = "sending"\n'
    (shop / "rules" / "open-only.toml").write_text(RULE + other, encoding="utf-8")
    assert run("check", shop) == 0
    capsys.readouterr()
    assert run("explain", shop, "open-only") == 0
    shown = capsys.readouterr().out
    assert "another tool: not applicable" in shown
    assert "but it is" not in shown


@pytest.mark.parametrize("command", ["check", "explain", "review"])
def test_invalid_policy_folder_is_a_usage_error(
    tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(command, tmp_path, *(["x"] if command == "explain" else [])) == 2
    assert "policy.toml" in capsys.readouterr().err


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "shop.md").write_text(TEXT, encoding="utf-8")
    (tmp_path / "shop.toml").write_text(SCHEMA, encoding="utf-8")
    return tmp_path


def block(text: str) -> str:
    return f"```toml\n{text.strip()}\n```"


def alone(text: str) -> str:
    body = text.replace("order.status", "state.orders[args.id].status")
    return body.replace('base = "world"', "[base]\n" + SITUATIONS.split("[world]\n")[1].split("[sending]")[0].replace(
        "[world.state.orders.A]", "[base.state.orders.A]"
    ))  # fmt: skip


ANSWERS = {
    "An open order": [block(alone(RULE).replace('"open"', '"opne"', 1)), block(alone(RULE))],
    "Nothing else": [block(alone(RULE).replace('"open-only"', '"../../up"'))],
    "Look at": ["\x1b[2J" + "```toml\n" + "[" * 5000],
}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    counts: dict[str, int] = {}

    def script(request: ReceivedRequest) -> tuple[Step, ...]:
        asked = request.json["messages"][0]["content"].split("The clause:\n", 1)[1]
        key = next((key for key in ANSWERS if asked.startswith(key)), None)
        text = "NO RULE: \x1b[31mnone"
        if key is not None:
            counts[key] = counts.get(key, -1) + 1
            text = ANSWERS[key][min(counts[key], len(ANSWERS[key]) - 1)]
        message = {"role": "assistant", "content": text}
        body = {"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": None}
        return tuple(reply(200, json.dumps(body).encode()))

    with start_blocking_portal() as portal, portal.wrap_async_context_manager(ScriptedServer(script)) as opened:
        yield opened


def test_synthesis_over_http_queues_rejected_clauses_for_review(
    files: Path, server: ScriptedServer, capsys: pytest.CaptureFixture[str]
) -> None:
    out = files / "out"
    model = ("--base-url", server.base_url, "--model", "scripted")
    assert run("synth", files / "shop.md", "--schema", files / "shop.toml", "--out", out, "--rounds", 2, *model) == 1
    shown = capsys.readouterr().out
    assert "admitted" in shown
    assert "\x1b" not in shown
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        "policy.md",
        "policy.toml",
        "schema.toml",
        "rules/open-only.toml",
        "smt/open-only.smt2",
        "review/clause-002.json",
        "review/clause-003.json",
        "review/clause-004.json",
    }
    assert {path.name for path in files.iterdir()} == {"shop.md", "shop.toml", "out"}
    (written,) = read_policy(out).rules
    assert written.origin.startswith("scripted@127.0.0.1")
    assert run("check", out) == 0
    capsys.readouterr()

    assert run("review", out) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "clause-002 queued" in shown
    assert "an id must be" in shown
    assert "clause-004 no rule" in shown
    assert "open-only not reviewed" in shown
    assert "\x1b" not in shown

    assert run("review", out, "--accept", "clause-002") == 1
    assert "not admitted" in capsys.readouterr().out
    mended = json.loads((out / "review" / "clause-002.json").read_text(encoding="utf-8"))
    text = mended["text"].replace("../../up", "nothing-else").replace("An open order can", "Nothing else can")
    (out / "review" / "clause-002.json").write_text(json.dumps({**mended, "text": text}), encoding="utf-8")
    assert run("review", out, "--accept", "clause-002") == 0
    assert [rule.id for rule in read_policy(out).rules] == ["nothing-else", "open-only"]
    assert run("review", out, "--drop", "clause-003") == 0
    assert run("review", out, "--drop", "../../shop") == 2
    assert run("review", out, "--drop", "clause-004", "--accept", "clause-004") == 2

    # Gone on with: what has a rule is not asked about again.
    before = len(server.posts)
    run("synth", files / "shop.md", "--schema", files / "shop.toml", "--out", out, "--rounds", 1, *model)
    assert len(server.posts) == before + 2


def test_synth_needs_something_to_check_against(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("synth", files / "shop.md", "--out", files / "out") == 2
    assert "--tools or --schema must be given" in capsys.readouterr().err
    assert run("synth", files / "shop.md", "--tools", files / "tools.yaml", "--out", files / "out") == 2
    assert run("synth", files / "none.md", "--schema", files / "shop.toml", "--out", files / "out") == 2
    (files / "out" / "policy.md").write_text("another policy", encoding="utf-8")
    assert run("synth", files / "shop.md", "--schema", files / "shop.toml", "--out", files / "out") == 2
    assert "choose another --out" in capsys.readouterr().err


def test_lint_finds_a_field_that_no_result_has(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from interwhen import Message, ToolCall
    from interwhen.testing import LabelledTrace, Turn, write_traces

    def run_with(result: dict[str, Any]) -> LabelledTrace:
        looked = ToolCall("1", "get_order", json.dumps({"id": "A"}))
        prompt = (
            Message("user", "Cancel A."),
            Message("assistant", "Let me see.", (looked,)),
            Message("tool", json.dumps(result), call_id="1"),
        )
        calls = (ToolCall("2", "cancel", json.dumps({"id": "A"})),)
        return LabelledTrace(name="t", turns=(Turn(prompt=prompt, calls=calls),), label="right")

    good = {"id": "A", "status": "open", "total": 3}
    write_traces(tmp_path / "good.jsonl", [run_with(good)])
    assert run("lint", shop, "--replay", tmp_path / "good.jsonl") == 0
    assert "never" not in capsys.readouterr().out
    write_traces(tmp_path / "bad.jsonl", [run_with({"id": "A", "state": "open"})])
    assert run("lint", shop, "--replay", tmp_path / "bad.jsonl") == 1
    shown = " ".join(capsys.readouterr().out.split())
    assert "never present: the field 'status' of Order, which is read by open-only" in shown
    assert "never decided: open-only" in shown
    assert run("lint", shop, "--replay", tmp_path / "bad.jsonl", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["undecided"] == ["open-only"]
    assert report["rules"]["open-only"]["unknown"] == 1
    write_traces(tmp_path / "none.jsonl", [LabelledTrace(name="t", turns=(Turn(prompt="x", text="y"),), label="right")])
    assert run("lint", shop, "--replay", tmp_path / "none.jsonl") == 2


def test_lint_counts_the_calls_of_a_turn(shop: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from interwhen import Message, ToolCall
    from interwhen.testing import LabelledTrace, Turn, write_traces

    one = RULE.replace("'order.status = \"open\"'", "'beside = 0'").replace("{order.status}", "{beside}")
    assert "beside" in one
    (shop / "rules" / "open-only.toml").write_text(one, encoding="utf-8")
    calls = tuple(ToolCall(str(number), "cancel", json.dumps({"id": "A"})) for number in range(3))
    done = [Message("tool", "done", call_id=call.id) for call in calls]
    prompt = (
        Message("user", "Cancel A."),
        Message("assistant", "Let me see.", calls[:2]),
        *done[:2],
        Message("assistant", "Again.", calls[2:]),
        *done[2:],
    )
    write_traces(tmp_path / "runs.jsonl", [LabelledTrace(name="t", turns=(Turn(prompt=prompt),), label="right")])
    assert run("lint", shop, "--replay", tmp_path / "runs.jsonl", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["rules"]["open-only"]["keeps"], report["rules"]["open-only"]["breaks"]) == (2, 1)


def test_ill_typed_rule_is_explained_and_not_judged(shop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = RULE.replace("'order.status = \"open\"'", "'length(args.amount) = 1'")
    assert bad != RULE
    (shop / "rules" / "open-only.toml").write_text(bad, encoding="utf-8")
    assert run("explain", shop, "open-only") == 0
    shown = capsys.readouterr().out
    assert "problem:  the arguments of length must fit" in shown
    assert "example:  open: keeps (but it is 'unknown')" in shown
    assert run("explain", shop, "open-only", "--smt") == 2
    assert "the rule 'open-only' must pass the type check" in capsys.readouterr().err
    recorded = shop / "recorded.jsonl"
    recorded.write_text('{"tool": "cancel", "args": {"amount": 2}}\n', encoding="utf-8")
    assert run("check", shop, "--situations", recorded) == 1
    assert "kinds: the arguments of length" in " ".join(capsys.readouterr().out.split())
    assert run("lint", shop, "--replay", recorded) == 2
    assert "the rule 'open-only' must pass the type check" in capsys.readouterr().err


def test_a_rule_that_compares_other_kinds_never_passes(shop: Path) -> None:
    bad = RULE.replace("'order.status = \"open\"'", "'args.amount != \"5\"'")
    (shop / "rules" / "open-only.toml").write_text(bad, encoding="utf-8")
    (judged,) = read_policy(shop).judge(Situation("cancel", {"id": "A", "amount": 5}))
    assert isinstance(judged.verdict, Unknown)
    assert "fails the type check: both sides must be of one kind" in judged.verdict.why
