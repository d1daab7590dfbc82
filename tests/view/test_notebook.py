"""What a notebook shows of a run, a result and a replay, and what it awaits."""

import html
import json
import re

import interwhen
import pytest
from interwhen import Claim, Pass, Unknown
from interwhen.journal._compact_form import to_json
from interwhen.journal._files import frames
from interwhen.results import UnverifiedReason
from interwhen.testing import LabelledTrace, ScriptedModel, Turn, try_monitor_sync
from interwhen.view._notebook import form_of_result
from tests.view.recorded import PROMPT, REPAIRED, record


def form_in(frame):
    page = html.unescape(re.fullmatch(r'<iframe sandbox="allow-scripts" [^>]* srcdoc="([^"]*)"></iframe>', frame)[1])
    return json.loads(re.search(r'id="run-0">(.*?)</script>', page, re.DOTALL)[1])


def test_a_replay_and_a_result_show_their_journal(tmp_path):
    path = record(tmp_path / "a.journal", REPAIRED)
    replay = interwhen.replay(path)
    result = interwhen.journal.read_journal(path).result
    assert form_in(replay._repr_html_())["remedies"][0]["violation"]["inserted"] == "2788"
    # The recorded result does not know its journal, so its page has its text alone.
    shown = form_in(result._repr_html_())
    assert shown["text"] == result.text
    assert [check["outcome"] for check in shown["checks"]] == ["pass"] * len(result.checks)


def test_ended_run_has_html_representation(tmp_path):
    run = interwhen.run_sync(
        ScriptedModel(["2 + 2 = 4\n"]), "Q", monitors=["arithmetic"], journal=tmp_path / "a.journal"
    )
    assert run._repr_html_() is None
    with run:
        run.drain()
    assert form_in(run._repr_html_())["label"] == "steps verified"


def test_result_without_journal_has_utf16_offsets():
    with interwhen.run_sync(ScriptedModel(["\U0001f600 2 + 2 = 4\n"]), "Q", monitors=["arithmetic"]) as run:
        result = run.drain()
    form = json.loads(to_json(form_of_result(result)))
    [check] = form["checks"]
    a, b = check["span"]
    units = result.text.encode("utf-16-le")
    span = result.checks[0].span
    assert units[2 * a : 2 * b].decode("utf-16-le") == result.text[span.start : span.end]
    assert a == span.start + 1
    assert form["chars"] == [len(units) // 2]


def test_only_certified_checks_are_shown_certified():
    monitors = [
        interwhen.Monitor(
            name=name,
            trigger=interwhen.Lines(),
            extractor=lambda segment: [Claim(key=segment.text, span=segment.span)],
            verifier=interwhen.verifier(name=name, version="1")(lambda _, verdict=verdict: verdict),
            required=name == "passes",
        )
        for name, verdict in (("doubts", Unknown(why="cannot tell")), ("passes", Pass()))
    ]
    with interwhen.run_sync(ScriptedModel(["a\nb\n"]), "Q", monitors=monitors) as run:
        result = run.drain()
    form = json.loads(to_json(form_of_result(result)))
    certified = [form["checks"][number]["outcome"] for number in form["certificate"]["checks"]]
    assert certified == ["pass"] * len(result.certificate.checks) == ["pass", "pass"]
    assert len(form["checks"]) == 4


def test_lone_surrogates_are_shown_as_escapes():
    with interwhen.run_sync(ScriptedModel(["\ud800\n2 + 2 = 4\n"]), "Q", monitors=["arithmetic"]) as run:
        result = run.drain()
    assert form_in(result._repr_html_())["text"] == result.text


@pytest.mark.anyio
async def test_run_and_trial_work_in_running_loop():
    result = await interwhen.run(ScriptedModel(["2 + 2 = 4\n"]), "Q", monitors=["arithmetic"])
    assert result.label == "steps verified"
    traces = [LabelledTrace(name="a", turns=(Turn(prompt="Q", text="2 + 2 = 5\n"),), label="wrong")]
    [tried] = try_monitor_sync("arithmetic", traces)
    assert tried.violations


def test_text_representation_is_one_short_line(tmp_path):
    path = tmp_path / "a.journal"
    run = interwhen.run_sync(ScriptedModel(REPAIRED, size=4), PROMPT, monitors=["arithmetic"], journal=path)
    assert repr(run) == "<SyncRun: not started>"
    with run:
        next(iter(run))
        assert re.fullmatch(r"<SyncRun: running, [\d,]+ characters>", repr(run))
        result = run.drain()
    line = r"steps verified, arithmetic: (\d+) of \1 numbers checked, \d checks, 1 violation, 1 remedy, \d+ tokens, \d+\.\d\d s"
    assert re.fullmatch(line, str(result))
    assert repr(result) == f"<Verified: {result}>"
    assert repr(run) == f"<SyncRun: {result}>"
    assert repr(interwhen.replay(path)).startswith(f"<Replay of {str(path)!r}: steps verified, ")
    data = path.read_bytes()
    (tmp_path / "b.journal").write_bytes(data[: list(frames(data, str(path)))[2].end])
    assert "not over, " in str(interwhen.replay(tmp_path / "b.journal"))


def test_result_line_gives_reason_without_control_characters():
    said = "\x1b[31m" + "x" * 500
    result = interwhen.Failed(text="", reasoning="", answer="", finish_reason=None, error=said)
    assert str(result).startswith("failed (\\x1b[31mxxx")
    assert len(repr(result)) < 200
    reason = UnverifiedReason("m", None, "no required monitor watched this run")
    result = interwhen.Unverified(
        text="t", reasoning="", answer="t", finish_reason="stop", unverified_reasons=(reason,)
    )
    assert str(result) == "unverified (no required monitor watched this run), 0 checks, 0 violations, 0 tokens, 0.00 s"


@pytest.fixture
def anyio_backend():
    return "asyncio"
