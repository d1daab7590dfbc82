"""Labelled traces: they come back as they were written, and a bad line is named."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Message, Span, ToolCall, UsageError
from interwhen.registry import PluginError
from interwhen.testing import LabelledTrace, Mistake, Turn, read_traces, write_traces
from interwhen.testing import _traces as module

TURN = Turn(prompt="2 + 2 =", text=" 5")
TRACE = LabelledTrace(name="sum", turns=(TURN,), label="wrong", mistake=Mistake(turn=0, span=Span(1, 2)))
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.parametrize("name", ["t.jsonl", "t.jsonl.gz"])
def test_traces_round_trip_through_a_file(tmp_path, name):
    talk = (Message("system", "Be brief."), Message("user", "Go."))
    turn = Turn(prompt=talk, text="Going.", calls=(ToolCall("a", "move", "{}"),))
    traces = [TRACE, LabelledTrace(name="talk", turns=(turn, TURN), label="right")]
    assert write_traces(tmp_path / name, traces) == 2
    assert list(read_traces(tmp_path / name)) == traces
    if name.endswith(".gz"):
        assert gzip.decompress((tmp_path / name).read_bytes()).count(b"\n") == 2


@given(TEXTS, TEXTS, st.sampled_from(["right", "wrong", "unclear"]))
def test_any_text_round_trips(tmp_path_factory, prompt, text, label):
    path = tmp_path_factory.mktemp("traces") / "t.jsonl"
    trace = LabelledTrace(name=prompt, turns=(Turn(prompt=prompt, text=text),), label=label)
    write_traces(path, [trace])
    assert list(read_traces(path)) == [trace]


def test_blank_lines_are_ignored(tmp_path):
    path = tmp_path / "t.jsonl"
    write_traces(path, [TRACE])
    path.write_bytes(b"\n" + path.read_bytes() + b"\n \n")
    assert list(read_traces(path)) == [TRACE]


def test_spans_count_in_the_text_and_the_calls():
    turn = Turn(prompt="", text="Well. ", calls=(ToolCall("a", "f", "{}"), ToolCall("b", "g", "1")))
    assert turn.trace == "Well. f({})g(1)"
    LabelledTrace(name="x", turns=(turn,), label="wrong", mistake=Mistake(turn=0, span=Span(6, 15)))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"turns": []}, "at least one turn"),
        ({"label": "right"}, "the label 'right'"),
        ({"label": "false"}, r"label"),
        ({"mistake": {"turn": 1}}, "got turn 1"),
        ({"mistake": {"turn": -1}}, "got turn -1"),
        ({"mistake": {"turn": 0, "span": {"start": 1, "end": 3}}}, "its turn of 2 characters, got the end 3"),
        ({"mistake": {"turn": 0, "span": {"start": 2, "end": 1}}}, "start"),
        ({"mistakes": None}, "mistakes"),
        ({"turns": [{"prompt": "a", "text": 3}]}, r"\$\.turns\[0\]\.text"),
        ({"name": None}, r"\$\.name"),
    ],
)
def test_invalid_line_is_refused(tmp_path, changes, why):
    good = {
        "name": "sum",
        "turns": [{"prompt": "2 + 2 =", "text": " 5"}],
        "label": "wrong",
        "mistake": {"turn": 0, "span": {"start": 1, "end": 2}},
    }
    path = tmp_path / "t.jsonl"
    path.write_text(json.dumps(good) + "\n\n" + json.dumps(good | changes) + "\n")
    traces = read_traces(path)
    assert next(traces) == TRACE
    with pytest.raises(UsageError, match=rf"t\.jsonl', line 3: .*{why}"):
        next(traces)


@pytest.mark.parametrize("line", [b"{", b"\xff", b"[1]", b"null", b'{"a": ' * 5000])
def test_invalid_trace_is_refused(tmp_path, line):
    (tmp_path / "t.jsonl").write_bytes(line + b"\n")
    with pytest.raises(UsageError, match="line 1: "):
        list(read_traces(tmp_path / "t.jsonl"))


def test_unreadable_trace_file_is_an_error(tmp_path):
    path = tmp_path / "t.jsonl"
    write_traces(path, [TRACE])
    traces = read_traces(path)
    path.unlink()
    with pytest.raises(UsageError, match="cannot read the traces in"):
        next(traces)


@pytest.mark.parametrize("keep", [5, 40])
def test_broken_archive_is_an_error(tmp_path, keep):
    path = tmp_path / "t.jsonl.gz"
    write_traces(path, [TRACE])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UsageError, match=r"cannot read .* after line"):
        list(read_traces(path))


def test_missing_file_or_folder_is_refused(tmp_path):
    with pytest.raises(UsageError, match="does not exist"):
        read_traces(tmp_path / "absent")
    with pytest.raises(UsageError, match="must be in a file, got the folder"):
        read_traces(tmp_path)
    with pytest.raises(UsageError, match=r"cannot write the traces to .*No such file"):
        write_traces(tmp_path / "absent" / "t.jsonl", [])


def test_no_file_is_overwritten(tmp_path):
    write_traces(tmp_path / "t.jsonl", [TRACE])
    with pytest.raises(UsageError, match="File exists"):
        write_traces(tmp_path / "t.jsonl", [])
    assert list(read_traces(tmp_path / "t.jsonl")) == [TRACE]


class TestReaders:
    @pytest.fixture
    def offer(self, monkeypatch):
        readers = {}
        monkeypatch.setattr(module, "load_trace_format", readers.__getitem__)
        return readers

    def test_trace_format_gets_the_path(self, offer, tmp_path):
        offer["mine"] = lambda path: [TRACE] if path == tmp_path else []
        assert list(read_traces(tmp_path, "mine")) == [TRACE]

    def test_raising_trace_format_is_an_error(self, offer, tmp_path):
        def mine(path):
            yield TRACE
            raise KeyError("steps")

        offer["mine"] = mine
        traces = read_traces(tmp_path, "mine")
        assert next(traces) == TRACE
        with pytest.raises(PluginError, match=r"'mine'.*got KeyError after trace 1: 'steps'"):
            next(traces)

    def test_trace_format_yielding_other_values_is_an_error(self, offer, tmp_path):
        offer["mine"] = lambda path: [TRACE, {"name": "sum"}]
        with pytest.raises(PluginError, match=r"'mine'.*trace 2 must be a LabelledTrace"):
            list(read_traces(tmp_path, "mine"))

    def test_unknown_format_error_lists_known_formats(self, tmp_path):
        with pytest.raises(PluginError, match=r"'nonsense': not installed \(install its package, or use one of: "):
            list(read_traces(tmp_path, "nonsense"))


def test_lone_surrogate_is_refused(tmp_path):
    bad = LabelledTrace(name="bad", turns=(Turn(prompt="p", text="\ud800"),), label="right")
    with pytest.raises(UsageError, match=r"cannot write trace 1 .*lone surrogate"):
        write_traces(tmp_path / "traces.jsonl", [bad])
