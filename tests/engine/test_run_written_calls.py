"""Tool calls that are written as text, in a run: judged like calls in a field, held by gates, reported."""

import re
import subprocess
import sys
from pathlib import Path

import interwhen
import pytest
from interwhen import Claim, Delta, Feedback, Message, Monitor, Pass, Retracted, Sampling, ToolCalls, Violation
from interwhen._types.segments import CallFormat
from interwhen.testing import End, ScriptedModel
from tests.core.call_texts import CODE, OFFER, PROSE, REACT, TEXTS, UNREADABLE, WEATHER

PAGE = Path(__file__).parents[2] / "docs" / "tool-calls.md"
AGENT = (
    "Solve the task in a cycle of Thought, Code and Observation.\n<code>\n"
    'def get_weather(city: string, days: integer) -> string:\n    """The weather."""\n</code>'
)
LINES = "Use these lines: Thought, Action: the tool, Action Input: its input, Observation: the result."


@interwhen.verifier(name="no-weather", worker="inline")
def check(claim):
    return Violation(why="the weather is secret") if claim.key.startswith("get_weather") else Pass()


def extract(segment):
    for number, call in enumerate(segment.calls):
        yield Claim(key=f"{call.text} #{number}", span=segment.span)


def watch(**options):
    options = {"delivery": "gate_tools", "remedy": Feedback(), "trigger": ToolCalls(), **options}
    return Monitor(name="calls", verifier=check, extractor=extract, **options)


def asking(offer):
    prompt = (Message("user", "What is the weather?"),)
    sampling = Sampling(extra={"tools": [WEATHER]}) if offer is OFFER else Sampling()
    if offer in (CODE, REACT):
        prompt = (Message("system", AGENT if offer is CODE else LINES), *prompt)
    return prompt, sampling


def play(texts, offer, monitor, size=3):
    prompt, sampling = asking(offer)
    model = ScriptedModel(
        [[*(text[at : at + size] for at in range(0, len(text), size)), End("stop")] for text in texts]
    )
    with interwhen.run_sync(model, prompt, monitors=[monitor], sampling=sampling) as run:
        shown = ""
        for event in run:
            assert not isinstance(event, Retracted)  # a gate lets nothing through that it takes back
            if isinstance(event, Delta):
                shown += event.text
    assert shown == run.result.text
    return run.result


@pytest.mark.fault("G4", injected="a refuted call in each format", happens="the reader never sees it")
@pytest.mark.parametrize("name", TEXTS)
def test_a_refuted_call_is_not_released(name):
    given = TEXTS[name]
    result = play([f"I look it up.\n{given.text}", "I may not."], given.offer, watch())
    assert len(result.violations) >= 1
    assert "Paris" not in result.text
    assert "days" not in result.text
    assert result.text.startswith("I look it up.\n")
    assert result.text.endswith("I may not.")


@pytest.mark.fault("G4", injected="a call in each format that cannot be parsed", happens="held under gate_tools")
@pytest.mark.parametrize("name", UNREADABLE)
def test_a_call_that_cannot_be_read_is_held(name):
    given = UNREADABLE[name]
    result = play([f"I look it up.\n{given.text}"], given.offer, watch())
    assert result.status == "abstained"
    assert f"unreadable tool call (format {given.form})" in result.reason
    assert "Paris" not in result.text
    assert given.text[:40] not in result.text


@pytest.mark.parametrize("delivery", ["interrupt", "observe"])
def test_unreadable_call_makes_live_result_unverified(delivery):
    given = UNREADABLE["hermes, no JSON"]
    result = play([given.text], given.offer, watch(delivery=delivery))
    assert result.text == given.text
    assert [reason.why for reason in result.unverified_reasons if "unreadable" in reason.why]


def test_extractor_may_read_unreadable_calls():
    seen = []

    def look(segment):
        seen.append(segment.written.problem)
        yield Claim(key="get_weather", span=segment.span)

    monitor = Monitor(
        name="calls",
        verifier=check,
        extractor=look,
        trigger=ToolCalls(unreadable="extract"),
        delivery="gate_tools",
        remedy=Feedback(),
    )
    result = play([UNREADABLE["hermes, words"].text, "No."], REACT, monitor)
    assert seen == ["no arguments follow the name 'get'"]
    assert result.text.endswith("No.")


@pytest.mark.parametrize("name", ["mistral v3", "llama 3.1, json", "hermes, qwen 2.5"])
def test_call_as_text_is_reported_with_native_tools(name, caplog):
    result = play(
        [TEXTS[name].text], OFFER, Monitor(name="any", verifier=passes, extractor=extract, trigger=ToolCalls())
    )
    assert result.status == "unverified"
    [reason] = result.unverified_reasons
    assert reason.why.startswith("the request gave the tools in a field, and the model wrote a call as text")
    assert "'get_weather'" in reason.why
    assert result.text[reason.span.start : reason.span.end] == TEXTS[name].text
    assert "tool_call.written_as_text" in caplog.text


@interwhen.verifier(name="passes", worker="inline")
def passes(claim):
    return Pass()


def test_call_as_text_is_expected_by_prompt():
    monitor = Monitor(name="any", verifier=passes, extractor=extract, trigger=ToolCalls())
    assert play([TEXTS["react"].text], REACT, monitor).status == "verified"
    assert play([TEXTS["smolagents, code"].text], CODE, monitor).status == "verified"


@pytest.mark.parametrize("text", PROSE)
def test_tool_gate_passes_ordinary_text(text):
    result = play([text], None, watch())
    assert result.text == text
    assert result.checks == ()


@pytest.mark.parametrize("reason", ["length", "content_filter"])
def test_a_call_that_was_cut_short_is_withheld(reason):
    text = TEXTS["mistral v3"].text[:-2]
    with interwhen.run_sync(ScriptedModel([["Well. ", text, End(reason)]]), "q", monitors=[watch()]) as run:
        result = run.drain()
    assert result.text == "Well. "
    assert result.checks == ()


def test_journal_with_written_calls_replays(tmp_path):
    path = tmp_path / "run.journal"
    prompt, sampling = asking(OFFER)
    model = ScriptedModel([[TEXTS["llama 3.1, json"].text, End("stop")], ["No.", End("stop")]])
    with interwhen.run_sync(model, prompt, monitors=[watch()], sampling=sampling, journal=path) as run:
        result = run.drain()
    again = interwhen.replay(path)
    assert again.result.text == result.text
    assert again.differences == ()


def test_the_code_of_the_page_runs(tmp_path):
    code, shown = re.findall(r"^```(?:python|text)\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)[:2]
    (tmp_path / "calls.py").write_text(code)
    done = subprocess.run(
        [sys.executable, "calls.py"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == shown


def test_the_page_lists_all_formats():
    from typing import get_args

    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert set(rows) - {"form"} == set(get_args(CallFormat))
