"""The viewers: pipes get lines, terminals a picture, and neither a control character of the model's."""

import io
import os
import pty
import re
import subprocess
import sys

import msgspec
import pytest
from interwhen._types.ledger import ResumeCost
from interwhen.cli._text import console_for
from interwhen.cli._view import JsonViewer, LiveViewer, PlainViewer, viewer_for
from interwhen.results import Ledger

from .recorded import REPAIR, RESULTS

HOSTILE = "\\x1b]0;owned\\x07\\x1b[2J\\x9b31m\\u202e[bold red]x\\n1 + 2 = 4\\n\\x1b[A\\r\\n"
SCRIPT = f"""
import sys
from interwhen.cli import _flags as flags
from interwhen.cli._main import main
from interwhen.testing import ScriptedModel
flags.load_model = lambda *a, **k: ScriptedModel(["{HOSTILE}", "\\n\\x1b[2J 2 + 2 = 4\\n"], delay=0.01)
main(sys.argv[1:])
"""
# What rich itself may send: styles, and the moves of a live display.
OURS = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[AK]|\?25[lh]|[0-9]*G)|\x1b\[2K|\r")


def plain(events):
    stream = io.StringIO()
    with PlainViewer(console_for(stream)) as viewer:
        for event in events:
            viewer.show(event)
    return stream.getvalue()


def in_terminal(*arguments, **environment):
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "COLUMNS": "90", "LINES": "30"}
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=env | environment
    )
    os.close(theirs)
    written = b""
    while True:
        try:
            data = os.read(ours, 65536)
        except OSError:  # Linux says so at the end of a terminal
            break
        if not data:
            break
        written += data
    os.close(ours)
    process.wait(30)
    return written.decode()


class TestTerminal:
    @pytest.mark.fault("P7", injected="control characters in the model's text", happens="none reaches the terminal")
    def test_live_view_escapes_model_control_characters(self):
        written = in_terminal("run", "Add 1, 2 and 2.", "-m", "arithmetic")
        rest = OURS.sub("", written)
        assert "\x1b" not in rest
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]", rest)
        assert r"\x1b]0;owned\x07\x1b[2J\x9b31m\u202e[bold red]x" in rest
        assert "\x1b]0;" not in written

    def test_picture_is_redrawn_and_cursor_restored(self):
        written = in_terminal("run", "Add 1, 2 and 2.", "-m", "arithmetic")
        assert "\x1b[?25l" in written
        assert written.rindex("\x1b[?25h") > written.rindex("\x1b[?25l")
        assert "«3»" in written
        assert "verified" in written

    def test_no_color_disables_colours(self):
        written = in_terminal("run", "Add 1, 2 and 2.", "-m", "arithmetic", NO_COLOR="1")
        assert not re.search(r"\x1b\[(?:[0-9;]*;)?(?:3[0-7]|9[0-7]|38|4[0-8])[;m]", written)
        assert "«3»" in written

    def test_dumb_terminal_gets_plain_output(self):
        written = in_terminal("run", "Add 1, 2 and 2.", "-m", "arithmetic", TERM="dumb")
        assert "\x1b" not in written
        assert "retracted" in written

    def test_json_on_terminal_contains_no_controls(self):
        written = in_terminal("run", "p", "--json")
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202e]", written)

    def test_plain_option_avoids_live_redrawing(self):
        written = in_terminal("run", "Add 1, 2 and 2.", "-m", "arithmetic", "--plain")
        assert "\x1b[?25l" not in written
        assert "retracted" in written


class TestPlain:
    @pytest.mark.fault("P7", injected="the same, into a pipe", happens="none comes out")
    def test_pipe_output_contains_no_control_characters(self):
        out = plain(REPAIR)
        assert "\x1b" not in out
        assert " ✗ sums: 12  (5 + 6 is 11)\n" in out
        assert " ✓ steps verified" in out

    @pytest.mark.parametrize("result", RESULTS, ids=lambda r: r.status)
    def test_every_result_has_a_summary(self, result):
        from interwhen.events import Finished

        out = plain([Finished(result)])
        assert result.status in out
        assert "tokens kept" in out
        assert "first token" in out

    def test_summary_counts_tokens_reread_by_resumes(self):
        from interwhen.events import Finished

        costs = (ResumeCost(2, 300, 296, 0.25), ResumeCost(3, 320, None, None), ResumeCost(4, 100, 90, 1.5))
        out = plain([Finished(msgspec.structs.replace(RESULTS[0], ledger=Ledger(resumes=costs)))])
        assert re.search(r"tokens read again +14 of 400", out)
        assert re.search(r"slowest resume +1.50 s", out)
        out = plain([Finished(msgspec.structs.replace(RESULTS[0], ledger=Ledger(resumes=costs[1:2])))])
        assert re.search(r"tokens read again +not counted", out)

    def test_limited_encoding_uses_ascii_signs(self):
        raw = io.BytesIO()
        stream = io.TextIOWrapper(raw, encoding="ascii")
        with PlainViewer(console_for(stream)) as viewer:
            for event in REPAIR:
                viewer.show(event)
        assert b" x sums: 12" in raw.getvalue()


class TestChoice:
    def test_pipe_selects_plain_viewer(self):
        assert isinstance(viewer_for(console_for(io.StringIO()), json=False, plain=False), PlainViewer)

    def test_json_option_selects_json_viewer(self):
        assert isinstance(viewer_for(console_for(io.StringIO()), json=True, plain=False), JsonViewer)

    def test_terminal_selects_live_viewer(self, monkeypatch):
        monkeypatch.setenv("TERM", "xterm")
        stream = io.StringIO()
        stream.isatty = lambda: True
        assert isinstance(viewer_for(console_for(stream), json=False, plain=False), LiveViewer)
        assert isinstance(viewer_for(console_for(stream), json=False, plain=True), PlainViewer)


def test_a_frame_is_never_taller_than_the_screen():
    from interwhen import Delta
    from rich.console import Console

    console = Console(file=io.StringIO(), width=40, height=12, force_terminal=True)
    viewer = LiveViewer(console, clock=lambda: 0.0)
    viewer.show(Delta("a line that is longer than the screen is wide, so it is wrapped\n" * 30, 0))
    frame = console.render_lines(viewer._frame(), pad=False)
    assert len(frame) <= 12
    assert "starting the model" in "".join(s.text for s in frame[-1])
