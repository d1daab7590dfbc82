"""Rules over tool calls: the view of a rule, the message to the model, and where rules apply."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import interwhen
import interwhen.clients
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import (
    Message,
    Pass,
    Segment,
    Span,
    Task,
    ToolCall,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    Violation,
    load_monitor,
)
from interwhen.policy import read_policy
from interwhen.registry import PluginError
from interwhen.testing import End, ScriptedModel
from interwhen.testing.complexity import BAITS, Bait, measure

import interwhen_verifiers.tool_policy
from interwhen_verifiers._tools.history import read_history
from interwhen_verifiers.tool_policy import Call, Policy, judge, tool_policy

SHOP: Policy[frozenset[str]] = Policy(
    "shop",
    begin=frozenset,
    advance=lambda state, past: state | {str(past.arguments.get("id"))} if past.name == "look" else state,
)


@SHOP.before("delete", says="Nothing may be deleted that has not been looked at.")
def looked_at(call: Call[frozenset[str]]) -> Verdict | None:
    if call["id"] in call.state:
        return Pass("it was looked at")
    return Violation(why="this has not been looked at", witness=f"call look for {call['id']} first")


@SHOP.before(says="Only one call a turn.")
def alone(call: Call[frozenset[str]]) -> Verdict | None:
    return Violation(why="one call at a time") if call.beside else None


@SHOP.before("delete", says="Ask when in doubt.")
def doubtful(call: Call[frozenset[str]]) -> Verdict | None:
    return Unknown("who knows") if call["id"] == "odd" else None


@SHOP.after("look", says="No secrets are shown.")
def no_secrets(call: Call[frozenset[str]]) -> Verdict | None:
    assert call.result is not None
    if "secret" in (call.result.result or ""):
        return Violation(why="this holds a secret")
    return Pass("no secret")


def call_of(name: str, arguments: str = '{"id": "x"}', call_id: str = "c") -> ToolCall:
    return ToolCall(call_id, name, arguments)


def judged(prompt: Any, *calls: ToolCall, **options: Any) -> list[Verdict]:
    monitor = tool_policy(policy=SHOP, **options)
    assert monitor.prepare is not None
    prepared = monitor.prepare(Task(prompt))
    assert isinstance(monitor.extractor, Tracker)
    state, verdicts, at = monitor.extractor.start(prepared), [], 0
    for call in calls:
        segment = Segment(call.text, Span(at, at + len(call.text)), "answer", call)
        at = segment.span.end
        state, claims = monitor.extractor.step(state, segment)
        verdicts += [monitor.verifier.check(claim, prepared) for claim in claims]  # type: ignore[call-arg]
    return verdicts  # type: ignore[return-value]


LOOKED = (
    Message("user", "Delete x."),
    Message("assistant", "", (call_of("look"),)),
    Message("tool", "a thing", call_id="c"),
)


def test_a_rule_sees_arguments_and_state() -> None:
    assert judged(LOOKED, call_of("delete")) == [Pass("looked_at: it was looked at")]
    (verdict,) = judged("Delete y.", call_of("delete", '{"id": "y"}'))
    assert isinstance(verdict, Violation)
    assert verdict.why == "this has not been looked at"
    assert "call look for y first" in verdict.witness


def test_policy_sentence_is_the_default_evidence() -> None:
    (_, verdict) = judged(LOOKED, call_of("look"), call_of("other"))
    assert isinstance(verdict, Violation)
    assert "Only one call a turn." in verdict.witness


def test_all_broken_rules_are_named_at_once() -> None:
    (_, verdict) = judged("Delete y.", call_of("other"), call_of("delete", '{"id": "y"}'))
    assert isinstance(verdict, Violation)
    assert verdict.why == "this has not been looked at; one call at a time"


def test_earlier_call_in_same_turn_counts() -> None:
    verdicts = judged("Delete y.", call_of("look", '{"id": "y"}'), call_of("delete", '{"id": "y"}'))
    assert isinstance(verdicts[1], Violation)
    assert verdicts[1].why == "one call at a time"


def test_undecided_rule_gives_unknown() -> None:
    odd = (*LOOKED[:1], Message("assistant", "", (call_of("look", '{"id": "odd"}'),)), Message("tool", "", call_id="c"))
    assert judged(odd, call_of("delete", '{"id": "odd"}')) == [Unknown("doubtful: who knows")]


@pytest.mark.parametrize("arguments", ["{}", "[]", "no json", '{"id": ', "\ud800", '{"id": "x", "id": "y"}'])
def test_missing_or_invalid_arguments_are_unknown(arguments: str) -> None:
    (verdict,) = judged(LOOKED, call_of("delete", arguments))
    assert isinstance(verdict, Unknown)


def test_rule_that_raises_is_a_named_error() -> None:
    policy: Policy[None] = Policy("broken")

    @policy.before(says="It cannot work.")
    def fails(call: Call[None]) -> Verdict | None:
        raise ZeroDivisionError

    @policy.before("other", says="It returns nonsense.")
    def says_yes(call: Call[None]) -> Any:
        return True

    with pytest.raises(
        RuntimeError, match="rule 'fails' must return a verdict or None, and it raised ZeroDivisionError"
    ):
        judge(policy, Call("x", {}, None, read_history(Task(""))))
    with pytest.raises(RuntimeError, match="rule 'says_yes' must return a verdict or None, got True"):
        judge(policy.without(["fails"]), Call("other", {}, None, read_history(Task(""))))


def test_refused_call_is_answered_and_run_continues() -> None:
    model = ScriptedModel([[call_of("delete"), End("tool_calls")], [call_of("look"), End("tool_calls")]])
    with interwhen.run_sync(model, "Delete x.", monitors=[tool_policy(policy=SHOP)]) as run:
        result = run.drain()
    assert result.ledger.remedies == 1
    assert result.violations[0].why == "this has not been looked at"
    assert "call look for x first" in result.violations[0].inserted
    assert result.status == "verified"
    assert "look(" in result.text
    assert "delete(" not in result.text


def test_the_rules_guard_a_function_before_and_after() -> None:
    said = [Message("user", "Delete x.")]
    ran = []

    @interwhen.guard(calls=[tool_policy(policy=SHOP)], history=lambda: said)
    def delete(id: str) -> str:  # noqa: A002  the tool's own name for it
        ran.append(id)
        return "deleted"

    @interwhen.guard(results=[tool_policy(policy=SHOP, on="results")], on_refused=str)
    def look(id: str) -> str:  # noqa: A002
        return f"{id}: a secret" if id == "vault" else f"{id}: a thing"

    with pytest.raises(interwhen.clients.Refused, match="has not been looked at"):
        delete("x")
    said[:] = LOOKED
    assert delete("x") == "deleted"
    assert ran == ["x"]
    assert look("x") == "x: a thing"
    assert look("vault") == "The result of look is withheld: this holds a secret."


def test_result_rule_sees_only_earlier_calls() -> None:
    policy: Policy[None] = Policy("once")

    @policy.after("look", says="Nothing is looked at twice.")
    def once(call: Call[None]) -> Verdict:
        earlier = list(call.history.of("look"))
        return Violation(why="this is the second look") if earlier or len(call.history.messages) > 1 else Pass()

    said = [Message("user", "Look.")]

    @interwhen.guard(results=[tool_policy(policy=policy, on="results")], history=lambda: said, on_refused=str)
    def look(id: str) -> str:  # noqa: A002
        return f"{id}: a thing"

    assert look("x") == "x: a thing"
    said[:] = LOOKED
    assert look("x") == "The result of look is withheld: this is the second look."


def test_results_find_their_calls() -> None:
    calls = (call_of("a", "{}", "1"), call_of("b", "{}", "2"))
    swapped = (
        Message("assistant", "", calls),
        Message("tool", "two", call_id="2"),
        Message("tool", "one", call_id="1"),
    )
    assert [(past.name, past.result) for past in read_history(Task(swapped)).calls] == [("a", "one"), ("b", "two")]
    nameless = (
        Message("assistant", "", (call_of("a", "{}", ""), call_of("b", "{}", ""))),
        Message("tool", "two", name="b"),
        Message("tool", "one"),
        Message("tool", "more than there were"),
    )
    assert [past.result for past in read_history(Task(nameless)).calls] == ["one", "two"]


def test_rules_can_be_left_out_by_name() -> None:
    assert isinstance(judged("Delete y.", call_of("delete", '{"id": "y"}'), skip=["looked_at"])[0], Pass)
    with pytest.raises(UsageError, match="did you mean 'looked_at'"):
        tool_policy(policy=SHOP, skip=["lookedat"])


def test_policy_loads_by_name_module_or_file(tmp_path: Path) -> None:
    assert tool_policy(policy="airline").name == "tool_policy"
    assert tool_policy(policy="tau_airline").name == "tool_policy"  # its name of before
    folder = Path(interwhen_verifiers.tool_policy.__file__).with_name("policies") / "retail"
    assert tool_policy(policy=str(folder)).delivery == "gate_tools"
    file = tmp_path / "mine.py"
    file.write_text("from interwhen_verifiers.tool_policy import Policy\nRULES = Policy('mine')\n", encoding="utf-8")
    assert tool_policy(policy=f"{file}:RULES").name == "tool_policy"
    for wrong, said in (
        (f"{file}", "has none named 'POLICY'"),
        ("no_such", r"a shipped policy \(airline, retail"),
        (str(tmp_path / "x.py"), "x.py"),
        ("./missing", r"a folder with policy\.toml, a module or a \.py file, got '\./missing'"),
        (".x", r"a module or a \.py file, got '\.x'"),
        (":NAME", r"a module or a \.py file, got ':NAME'"),
    ):
        with pytest.raises(UsageError, match=said):
            tool_policy(policy=wrong)
    with pytest.raises(UsageError, match="state must be a function"):
        tool_policy(policy=SHOP, state="somewhere")
    with pytest.raises(UsageError, match="must be a JSON object in a readable file"):
        tool_policy(policy="airline", state=str(tmp_path))
    with pytest.raises(UsageError, match="state must be a function or a text, got 3"):
        tool_policy(policy="airline", state=3)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="skip must be a list of texts, got None"):
        tool_policy(policy="airline", skip=None)  # type: ignore[arg-type]


def test_policy_monitor_loads_from_spec_text() -> None:
    assert load_monitor("tool_policy:policy=airline,delivery=observe").delivery == "observe"
    with pytest.raises(PluginError, match="policy"):
        load_monitor("tool_policy:policy=nothing_of_the_kind")
    (entry,) = entry_points(group="interwhen.verifiers", name="tool_policy")
    assert entry.load() is tool_policy


def test_policy_refuses_indistinguishable_rules() -> None:
    policy: Policy[None] = Policy("twice")
    policy.before(says="Once.")(looked_at)
    with pytest.raises(UsageError, match="policy 'twice': tools must be a list of texts"):
        policy.before(looked_at, says="Never.")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="its own name, got 'looked_at' twice"):
        policy.before(says="Twice.")(looked_at)
    with pytest.raises(UsageError, match="must have the sentence"):
        policy.before(says=" ")


@given(st.text(max_size=200), st.sampled_from(["delete", "look", ""]))
def test_any_text_for_arguments_is_judged_or_unknown(arguments: str, name: str) -> None:
    for verdict in judged(LOOKED, call_of(name, arguments)):
        assert isinstance(verdict, Pass | Violation | Unknown)


@pytest.mark.parametrize("bait", [Bait('{"id":'), Bait("a", start='{"id": "', end='"}'), *BAITS[:20]])
def test_the_work_is_linear_in_the_call(bait: Bait) -> None:
    def read(text: str) -> object:
        return judged(LOOKED, call_of("delete", text))

    assert measure(read, bait).ratio(2000) < 2.5


WRITTEN = {
    "policy.toml": """
name = "shop"
now = "clock"
[[learn]]
from = ["look"]
into = "things"
key = "args.id"
value = "result"
""",
    "schema.toml": """
[records.Thing]
owner = "text"
secret = "bool"
[tools.look]
id = "text"
[tools.delete]
id = "text"
[returns]
look = "Thing"
[state]
things = "map[text, Thing]"
""",
    "policy.md": "Nothing may be deleted that is not Ann's. No secrets are shown. Nothing is done before 2020.",
    "rules/own.toml": """
id = "own"
clause = "Nothing may be deleted that is not Ann's."
tools = ["delete"]
require = 'state.things[args.id].owner = "Ann"'
why = "this is not Ann's"
witness = "{args.id} belongs to {state.things[args.id].owner}"
""",
    "rules/no-secrets.toml": """
id = "no-secrets"
clause = "No secrets are shown."
tools = ["look"]
moment = "after"
require = "not result.secret"
why = "this is secret"
witness = "{args.id} is secret"
""",
    "rules/late.toml": """
id = "late"
clause = "Nothing is done before 2020."
require = "now > 2020-01-01T00:00"
why = "it is too early"
witness = "it is {now}"
""",
}


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "rules").mkdir()
    for name, text in WRITTEN.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def thing(owner: str, *, secret: bool = False) -> tuple[Message, ...]:
    said = Message("tool", f'{{"owner": "{owner}", "secret": {str(secret).lower()}}}', call_id="c")
    return (*LOOKED[:2], said)


def test_a_written_policy_is_judged_from_its_folder(written: Path) -> None:
    monitor = tool_policy(policy=str(written))
    assert monitor.prepare is not None
    assert isinstance(monitor.extractor, Tracker)
    for prompt, kind in ((thing("Ann"), Pass), (thing("Bob"), Violation), ("Delete x.", Unknown)):
        prepared = monitor.prepare(Task(prompt))
        segment = Segment("delete(x)", Span(0, 9), "answer", call_of("delete"))
        _, (claim,) = monitor.extractor.step(monitor.extractor.start(prepared), segment)
        verdict = monitor.verifier.check(claim, prepared)  # type: ignore[call-arg]
        assert isinstance(verdict, kind)
        if isinstance(verdict, Violation):
            assert verdict.why == "this is not Ann's"
            assert verdict.witness == "this is not Ann's; x belongs to Bob"


def test_a_written_policy_judges_results(written: Path) -> None:
    policy = read_policy(written)
    assert tool_policy(policy=policy, skip=["late"]).name == "tool_policy"

    @interwhen.guard(results=[tool_policy(policy=policy, on="results")], on_refused=str)
    def look(id: str) -> str:  # noqa: A002
        return f'{{"owner": "Ann", "secret": {"true" if id == "vault" else "false"}}}'

    assert "Ann" in look("x")
    assert look("vault") == "The result of look is withheld: this is secret."


def test_call_against_written_rule_is_refused(written: Path) -> None:
    model = ScriptedModel([[call_of("delete"), End("tool_calls")], ["I cannot delete it."]])
    with interwhen.run_sync(model, thing("Bob"), monitors=[tool_policy(policy=str(written))]) as run:
        result = run.drain()
    assert result.violations[0].why == "this is not Ann's"
    assert result.text.endswith("I cannot delete it.")
    assert "delete(" not in result.text


AGENT = (
    "Work in a cycle of Thought, Code and Observation.\n<code>\n"
    'def look(id: string) -> string:\n    """Look."""\n\ndef delete(id: string) -> string:\n    """Delete."""\n</code>'
)


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ('print(look("7"))', None),
        ('delete("7")', "this has not been looked at"),
        ('look("7")\nlook("8")', "one call at a time"),
    ],
)
def test_calls_inside_agent_code_are_judged(code: str, why: str | None) -> None:
    prompt = [Message("system", AGENT), Message("user", "Tidy up.")]
    model = ScriptedModel([[f"<code>\n{code}\n", End("stop")], ["I may not.", End("stop")]])
    with interwhen.run_sync(model, prompt, monitors=[tool_policy(policy=SHOP)]) as run:
        result = run.drain()
    assert [record.why for record in result.violations if record.interrupted] == ([] if why is None else [why])
    assert (code in result.text) is (why is None)
