"""The monitors of a prompt observe, refuse and rewrite, before the model is asked; and what fails is closed where it acts."""

import asyncio
import re
import threading
from pathlib import Path

import anyio
import interwhen
import interwhen.integrations
import pytest
import structlog
from interwhen import Claim, Message, Monitor, Pass, Span, ToolCall
from interwhen._engine.monitors import check_prompt, check_texts
from interwhen.clients import PromptRefused
from interwhen.registry import load_prompt_monitors
from interwhen.testing import ScriptedModel
from interwhen.toolkit import PromptFinding, PromptMonitor, PromptText

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


def words(*bad):
    def find(text):
        for word in bad:
            at = text.text.find(word)
            while at >= 0:
                yield PromptFinding(Span(at, at + len(word)), f"a word of {len(word)} letters")
                at = text.text.find(word, at + 1)

    return find


def monitor(action="refuse", find=None, **options):
    if action == "rewrite":
        options.setdefault("rewrite", lambda text, finding: "***")
    return PromptMonitor(name=options.pop("name", "m"), find=find or words("BAD"), action=action, **options)


CHAT = (
    Message("system", "be good"),
    Message("user", "BAD and BAD"),
    Message("assistant", "", (ToolCall("c", "f", '{"a": "BAD"}'),)),
    Message("tool", "fine", call_id="c"),
)


@pytest.mark.parametrize("error", [SystemExit(1), asyncio.CancelledError(), TimeoutError()], ids=repr)
async def test_any_exception_of_a_monitor_is_a_failure(error):
    def find(_):
        raise error

    with pytest.raises(PromptRefused, match=f"it raised {type(error).__name__}"):
        await check_prompt("hello", [monitor(find=find)])


async def test_observed_prompt_finding_is_recorded_and_sent():
    prompt, records = await check_prompt(CHAT, [monitor("observe")])
    assert prompt == CHAT
    assert [(one.outcome, one.role, one.index, one.span) for one in records] == [
        ("observed", "user", 1, Span(0, 3)),
        ("observed", "user", 1, Span(8, 11)),
        ("observed", "assistant", 2, Span(7, 10)),
    ]
    assert "BAD" not in str(records)


async def test_rewriting_changes_every_message():
    prompt, records = await check_prompt(CHAT, [monitor("rewrite")])
    assert [message.content for message in prompt] == ["be good", "*** and ***", "", "fine"]
    assert prompt[2].calls[0].arguments == '{"a": "***"}'
    assert {one.outcome for one in records} == {"rewritten"}
    assert (await check_prompt("say BAD", [monitor("rewrite")]))[0] == "say ***"


async def test_findings_that_overlap_are_replaced_once():
    findings = [PromptFinding(Span(2, 5), "a"), PromptFinding(Span(0, 3), "b"), PromptFinding(Span(4, 4 + 3), "c")]
    once = iter([findings, []])
    made = await check_texts([PromptText("0123456789", "user")], [monitor("rewrite", lambda _: next(once))])
    assert made.texts[0].text == "*********789"


async def test_later_prompt_monitor_reads_rewritten_prompt():
    both = [monitor("rewrite", name="a"), monitor("refuse", words("***"), name="b")]
    with pytest.raises(PromptRefused) as raised:
        await check_prompt(CHAT, both)
    assert [one.outcome for one in raised.value.records] == ["rewritten"] * 3 + ["refused"] * 3


async def test_roles_limit_the_messages_read():
    prompt, records = await check_prompt(CHAT, [monitor(roles=("system", "tool"))])
    assert (prompt, records) == (CHAT, ())


def raises(_):
    raise ValueError("BAD")


def late(_):
    assert FREE.wait(60)
    return ()


FREE = threading.Event()


FAILURES = {
    "raises": raises,
    "late": late,
    "no findings": lambda _: [3],
    "not iterable": lambda _: 3,
    "outside": lambda _: [PromptFinding(Span(0, 10**6), "x")],
    "empty span": lambda _: [PromptFinding(Span(1, 1), "x")],
}


@pytest.mark.fault(
    "V13",
    injected="it raises, is late, or returns something else",
    happens="where it refuses or rewrites, the model is not asked; where it observes, the failure is recorded",
)
@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize(
    ("action", "on_error", "is_sent"),
    [("refuse", None, False), ("rewrite", None, False), ("observe", None, True), ("refuse", "open", True)],
)
async def test_failing_prompt_monitor_follows_on_error(failure, action, on_error, is_sent):
    FREE.clear()
    failing = monitor(action, FAILURES[failure], on_error=on_error, deadline=0.05 if failure == "late" else 5.0)
    with structlog.testing.capture_logs() as logs:
        if is_sent:
            prompt, records = await check_prompt("hello", [failing])
            assert prompt == "hello"
        else:
            with pytest.raises(PromptRefused) as raised:
                await check_prompt("hello", [failing])
            records = raised.value.records
    FREE.set()
    assert [one.outcome for one in records] == ["failed"]
    assert "BAD" not in str(records)
    assert any(log["event"] == "prompt_monitor.failed" for log in logs)


@pytest.mark.fault(
    "V13",
    injected="its rewriting raises, is no text, or leaves what was found",
    happens="the prompt is refused",
)
@pytest.mark.parametrize(
    "rewrite", [lambda *_: 3, lambda *_: "BAD", lambda *_: 1 / 0], ids=["number", "again", "raises"]
)
async def test_rewrite_that_leaves_finding_refuses_the_prompt(rewrite):
    with pytest.raises(PromptRefused):
        await check_prompt("say BAD", [monitor("rewrite", rewrite=rewrite)])


@pytest.mark.fault("V13", injected="it blocks its thread", happens="the event loop does not stop")
async def test_blocking_prompt_monitor_does_not_stop_loop():
    ticks = []
    FREE.clear()

    async def tick():
        while True:
            ticks.append(1)
            if len(ticks) > 3:
                FREE.set()
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await check_prompt("x", [monitor(find=late, deadline=60.0)])
        group.cancel_scope.cancel()
    assert len(ticks) > 3


# In a run


@interwhen.verifier(name="v", worker="inline")
def check(claim, task):
    TASKS.append(task)
    return Pass()


TASKS = []
KNOWS = Monitor(
    name="v",
    verifier=check,
    extractor=lambda segment, task: [Claim(key=segment.text, span=segment.span)],
    prepare=lambda task: task.prompt,
)


async def test_model_and_verifiers_get_the_rewritten_prompt():
    TASKS.clear()
    model = ScriptedModel(["fine\n"])
    async with interwhen.run(model, "say BAD", monitors=[KNOWS], prompt_monitors=[monitor("rewrite")]) as run:
        result = await run.drain()
    assert model.requests[0].prompt == "say ***"
    assert set(TASKS) == {"say ***"}
    assert [one.outcome for one in result.prompt_findings] == ["rewritten"]
    assert result.status == "verified"


async def test_refused_run_asks_no_model_and_is_watched():
    model = ScriptedModel(["fine\n"])
    with interwhen.integrations.watching() as seen, pytest.raises(PromptRefused):
        async with interwhen.run(model, "say BAD", prompt_monitors=[monitor()]):
            pass
    assert model.requests == []
    [call] = seen
    assert (call.label, call.result.prompt_findings[0].outcome) == ("abstained", "refused")


def test_a_refused_run_of_plain_code_raises_too():
    with pytest.raises(PromptRefused), interwhen.run_sync(ScriptedModel(["x"]), "BAD", prompt_monitors=[monitor()]):
        pass


async def test_journal_stores_the_rewritten_prompt(tmp_path):
    path = tmp_path / "run.journal"
    async with interwhen.run(
        ScriptedModel(["fine\n"]), "say BAD", prompt_monitors=[monitor("rewrite")], journal=path
    ) as run:
        await run.drain()
    assert b"BAD" not in path.read_bytes()
    again = interwhen.replay(path)
    assert again.differences == ()
    assert interwhen.journal.read_journal(path).header.prompt == "say ***"


@pytest.mark.fault(
    "P4", injected="a run with findings in its prompt, cut at every seventh byte", happens="its result has the findings"
)
async def test_resume_anywhere_keeps_prompt_findings(tmp_path):
    path = tmp_path / "run.journal"
    watching = [monitor("rewrite"), monitor("observe", words("say"), name="seen")]
    async with interwhen.run(
        ScriptedModel(["one\n", "two\n"]), "say BAD", prompt_monitors=watching, journal=path
    ) as run:
        findings = (await run.drain()).prompt_findings
    assert [(one.monitor, one.outcome) for one in findings] == [("m", "rewritten"), ("seen", "observed")]
    assert interwhen.replay(path).result.prompt_findings == findings
    data, resumed = path.read_bytes(), 0
    for size in range(len(data) - 1, 0, -7):
        path.write_bytes(data[:size])
        try:
            run = interwhen.resume(path, model=ScriptedModel(["one\n", "two\n"]))
        except interwhen.journal.JournalError:  # the header is not whole
            continue
        async with run:
            assert (await run.drain()).prompt_findings == findings
        resumed += 1
    assert resumed > 10


async def test_switched_off_prompt_monitor_reads_nothing(monkeypatch):
    monkeypatch.setenv("INTERWHEN_OFF", "1")
    async with interwhen.run(ScriptedModel(["fine\n"]), "BAD", prompt_monitors=[monitor()]) as run:
        assert (await run.drain()).prompt_findings == ()


def test_prompt_monitors_load_by_name():
    secrets, ours = load_prompt_monitors(["secrets:action=observe", monitor()])
    assert (secrets.name, secrets.action, ours.name) == ("secrets", "observe", "m")
    assert load_prompt_monitors([{"name": "tool_instructions", "action": "rewrite"}])[0].rewrite is not None
    for wrong, said in (
        ("secrets", "must be a list"),
        ([3], "must be a name, a mapping with a name, or a PromptMonitor"),
        ([monitor(), monitor()], "names of prompt monitors must differ"),
    ):
        with pytest.raises(interwhen.UsageError, match=said):
            load_prompt_monitors(wrong)
    for wrong in ("nothing", "secrets:strength=3", "secrets:action=stop"):
        with pytest.raises(interwhen.registry.PluginError):
            load_prompt_monitors([wrong])


PAGE = Path(__file__).parents[2] / "docs" / "prompt-monitors.md"


def test_documentation_examples_run_unchanged(capsys):
    first, own = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    exec(first, {})
    assert capsys.readouterr().out.splitlines() == [
        "['an AWS access key id is in the prompt']",
        "the prompt must pass its monitors, and was refused by secrets: an AWS access key id is in the prompt",
    ]
    exec(own, {})
    assert capsys.readouterr().out == "Call customer [number].\n"
