"""The command line shows what a model wrote, and does nothing that it says: no escape, no control, no forged line."""

import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata

import msgspec
import pytest
import structlog
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import (
    Abstained,
    Delta,
    Failed,
    Pass,
    Retracted,
    Span,
    Unknown,
    Unverified,
    Violation,
)
from interwhen.cli import _app
from interwhen.cli._text import as_json, console_for, joined, one_line, print_error, visible
from interwhen.cli._view import JsonViewer, LiveViewer, PlainViewer
from interwhen.events import (
    CheckSettled,
    CheckStarted,
    Finished,
    Remedied,
    StreamBroken,
    ViolationFound,
)
from interwhen.results import CheckRecord, Judged, UnverifiedReason, ViolationRecord
from interwhen.testing.server import ScriptedServer, events, reply
from rich.console import Console
from tests.hostile.corpus import ALL, ARITHMETIC, EVENTS, HIDDEN, SHORT, TERMINAL, acting, texts

P7 = pytest.mark.fault(
    "P7", injected="escapes, C1, bidi and other controls in every text", happens="they are shown, not obeyed"
)
HOSTILE = "".join(text for text in (*TERMINAL, *HIDDEN, *EVENTS) if "\ud800" not in text and "\udfff" not in text)


def test_every_control_character_is_escaped():
    everything = "".join(map(chr, range(0x110000)))
    assert not acting(visible(everything))
    assert not acting(as_json(everything))
    assert json.loads(as_json(everything)) == everything.encode("utf-16", "surrogatepass").decode(
        "utf-16", "surrogatepass"
    )
    for text in (joined(everything), one_line(everything, 1 << 30), as_json(everything)):
        assert len(text.splitlines()) == 1


def test_harmless_text_is_unchanged():
    text = "e\u0301 é 漢 👩‍🔬 ❤️ می‌خواهم ½ ≈ 🇪🇺"
    assert visible(text) == text


def recorded(text):
    span = Span(0, len(text))
    violation = ViolationRecord(
        monitor=text, verifier=text, key=text, span=span, quote=text, why=text, witness=text, interrupted=True,
        remedy="feedback", cut=0, inserted=text,
    )  # fmt: skip

    def record(outcome):
        return CheckRecord(text, text, text, text, span, span, outcome)

    common = {"text": text, "reasoning": text, "answer": text, "finish_reason": "length", "violations": (violation,)}
    unverified_reasons = (UnverifiedReason(text, span, text), UnverifiedReason(text, None, text))
    for result in (
        Unverified(**common, unverified_reasons=unverified_reasons),
        Abstained(**common, reason=text, unverified_reasons=unverified_reasons),
        Failed(**common, error=text, unverified_reasons=unverified_reasons),
    ):
        yield [
            Delta(text, 0, "reasoning"),
            Delta(text, len(text)),
            CheckStarted(text, text, span),
            CheckSettled(record(Judged(Pass(text)))),
            CheckSettled(record(Judged(Unknown(text)))),
            CheckSettled(record(Judged(Violation(why=text)))),
            ViolationFound(violation),
            Retracted(0),
            Remedied(violation, 1),
            Delta(text, 0, "answer", "feedback"),
            Delta(f"{text}\n{text}", len(text), "answer", "repair"),
            StreamBroken(text, "reconnect"),
            Finished(result),
        ]


def shown(viewer_of, run):
    stream = io.StringIO()
    with viewer_of(stream) as viewer:
        for event in run:
            viewer.show(event)
    return stream.getvalue()


def live(stream):
    # Dumb and colourless: whatever escape comes out is not ours.
    return LiveViewer(Console(file=stream, width=60, markup=False, emoji=False, highlight=False, force_terminal=False))


VIEWERS = {"plain": lambda stream: PlainViewer(console_for(stream)), "json": JsonViewer, "live": live}


@P7
@pytest.mark.parametrize("viewer", VIEWERS)
def test_no_viewer_writes_control_characters(viewer, record_property):
    record_property("tries", 3 * len(SHORT))
    white = [char for char in map(chr, range(0x3000)) if char.isspace()]  # some of it acts, and all of it is stripped
    for text in (HOSTILE, "".join(white), *("".join(SHORT[at : at + 12]) for at in range(0, len(SHORT), 12))):
        for run in recorded(text):
            written = shown(VIEWERS[viewer], run)
            assert not acting(written), ascii(text)
            written.encode()


@P7
@settings(max_examples=8)
@given(texts(), st.sampled_from(sorted(VIEWERS)))
def test_mixed_texts_write_no_control_characters(text, viewer):
    for run in recorded(text or "x"):
        assert not acting(shown(VIEWERS[viewer], run))


@pytest.mark.fault(
    "P7", injected="newlines and lines that look like ours", happens="each line of the model begins with a bar"
)
def test_plain_log_lines_cannot_be_forged():
    for text in EVENTS:
        out = shown(VIEWERS["plain"], [Delta(f"x\n{text}\r{text}\x0b{text}\x85{text}\u2028{text}\n", 0)])
        assert all(line.startswith("  │ ") for line in out.splitlines())


@pytest.mark.fault(
    "P7",
    injected="hostile text in an error message or a log value",
    happens="one line, nothing that acts, no forged pair",
)
def test_errors_and_logs_are_one_line_each(capsys, record_property):
    record_property("tries", 2 * len(ALL))
    _app.configure("debug")
    log = structlog.get_logger()
    for text in ALL:
        print_error(f"the server said {text}")
        log.warning("stream.broken", error=text)
        err = capsys.readouterr().err
        assert not acting(err), ascii(text[:50])
        first, second, rest = err.split("\n")
        assert (first[:7], rest) == ("error: ", "")
        assert " level=warning event=stream.broken error=" in second
        value = second.partition(" error=")[2]
        assert value.startswith('"') or not {" ", "=", '"'} & set(value), value


def test_standard_logging_writes_one_line_per_event(capsys):
    code = (
        "import logging, sys, interwhen._types.log as l; logging.basicConfig(); l.log_warning('a.b', error=sys.argv[1])"
    )
    text = "x\n\x1b[2J\x9b\u202e level=info"
    done = subprocess.run([sys.executable, "-c", code, text], capture_output=True, text=True, check=True)
    assert done.stderr.count("\n") == 1
    assert not acting(done.stderr)


# ------------------------------------------------------------------------------------- the real command, on a terminal


@pytest.fixture(scope="module")
def server():
    def script(request):
        body = json.dumps(request.json)
        if "FAIL" in body:
            return reply(400, json.dumps({"error": {"message": HOSTILE, "code": HOSTILE}}).encode())
        if "BROKEN" in body:
            return reply(200, f"<html>{HOSTILE}".encode(), {"content-type": "text/html"})
        resumed = "1 + 1 = 2" in body
        lines = [f"\n{HOSTILE}\n"] if resumed else [f"{HOSTILE}\n", "1 + 1 = 3\n", f"{HOSTILE} 2 + 2 = 4\n"]
        return events(lines, api="chat" if "chat" in request.path else "completions")

    running = ScriptedServer(script, owned_by=HOSTILE)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(running) as scripted:
        yield scripted


MAIN = "from interwhen.cli._main import main; main()"


def in_terminal(*arguments, **environment):
    ours, theirs = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8", "COLUMNS": "90", "LINES": "30"}
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments], stdin=theirs, stdout=theirs, stderr=theirs, env=env | environment
    ) as process:
        os.close(theirs)
        written = bytearray()
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:  # how Linux tells the end of a terminal
            pass
        finally:
            os.close(ours)
        return process.wait(60), written.decode()  # no byte that is no UTF-8, so no 0x9b by itself


OURS = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[AK]|\?25[lh]|[0-9]*G)")
"""What a live picture may send."""


def check_written(written, *, plain):
    rest = written.replace("\r\n", "\n").replace("\r", "" if not plain else "\r")
    rest = rest if plain else OURS.sub("", rest)
    assert "\x1b" not in rest
    assert not acting(rest)
    assert not any(unicodedata.category(char) == "Cs" for char in rest)


@P7
@pytest.mark.parametrize(
    ("arguments", "environment", "code"),
    [
        (("run", "Add 1 and 2.", "-m", "arithmetic"), {}, 3),
        (("run", "Add 1 and 2.", "-m", "arithmetic"), {"TERM": "dumb", "NO_COLOR": "1"}, 3),
        (("run", "p", "--plain"), {"NO_COLOR": "1", "TERM": "dumb"}, 3),
        (("run", "p", "--json"), {}, 3),
        (("run", "FAIL", "--plain", "--log-level", "debug"), {"NO_COLOR": "1", "TERM": "dumb"}, 5),
        (("run", "BROKEN", "--plain"), {"NO_COLOR": "1", "TERM": "dumb"}, 5),
        (("demo", "--plain", "--speed", "0"), {"NO_COLOR": "1", "TERM": "dumb"}, 0),
        (("doctor",), {"NO_COLOR": "1", "TERM": "dumb"}, None),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else "",
)
def test_command_output_contains_no_terminal_controls(server, arguments, environment, code):
    options = ("--base-url", server.base_url, "--model", "m\x1b[2J\x9b\u202e")
    ended, written = in_terminal(*arguments, *options, **environment)
    check_written(written, plain="TERM" in environment or "--json" in arguments)
    assert code is None or ended == code, written
    if "--json" in arguments:
        for line in written.split("\r\n")[:-1]:
            json.loads(line)
    else:
        assert r"\x1b" in written  # it was shown


@P7
def test_traceback_contains_no_terminal_controls(server):
    ended, written = in_terminal(
        "run", "p", "--base-url", server.base_url + "\x1b[2J\x9b\u202e", "--debug", TERM="dumb"
    )
    assert ended == 1
    assert "Traceback" in written
    assert r"\x1b[2J\x9b\u202e" in written
    check_written(written, plain=True)


@P7
@pytest.mark.parametrize(
    "arguments",
    [("verifiers", "show"), ("verifiers", "why-failed"), ("run", "p", "--monitor"), ("run", "p", "--model")],
)
def test_argument_errors_contain_no_terminal_controls(arguments):
    ended, written = in_terminal(*arguments, "x\x1b[2J\x9b\u202e\ny", TERM="dumb", NO_COLOR="1")
    assert ended == 2
    check_written(written, plain=True)
    assert "x" in written


def test_hostile_entry_points_are_escaped(monkeypatch, capsys):
    from interwhen import registry
    from interwhen.cli import _verifiers

    bad = "x\x1b[2J\x9b\u202e\ny"
    plugin = registry.Plugin(name=bad, distribution=bad, version=bad, target=bad, loaded=False, error=bad)
    monkeypatch.setattr(registry, "verifiers", lambda **_: (plugin,))
    _verifiers.list_(load=True)
    assert not acting(capsys.readouterr().out)


def test_json_line_round_trips_model_text():
    for text in (*SHORT, *ARITHMETIC):
        [line] = shown(JsonViewer, [Delta(text, 0)]).splitlines()
        assert json.loads(line)["text"] == text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        if "\ud800" not in text and "\udfff" not in text:
            assert msgspec.json.decode(line, type=Delta).text == text


@P7
def test_gateway_log_cannot_be_forged(server):
    httpx2 = pytest.importorskip("httpx2")
    pytest.importorskip("uvicorn", reason="the extra 'gateway' is not installed")
    ours, theirs = pty.openpty()
    arguments = ["--log-level", "debug", "serve", "--port", "0", "-u", server.base_url, "-m", "arithmetic"]
    with subprocess.Popen(
        [sys.executable, "-c", MAIN, *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "dumb", "PYTHONIOENCODING": "utf-8"},
    ) as process:
        os.close(theirs)
        written = b""
        while not (match := re.search(rb"serving (http://\S+)", written)):
            written += os.read(ours, 65536)
        for said in ("hello", "FAIL", "BROKEN", HOSTILE):
            body = {"model": f"m{HOSTILE}", "prompt": said, "stream": said == "hello"}
            httpx2.post(f"{match[1].decode()}/completions", json=body, timeout=60)
        process.terminate()
        try:
            while data := os.read(ours, 65536):
                written += data
        except OSError:  # how Linux tells the end of a terminal
            pass
        finally:
            os.close(ours)
        process.wait(60)
    lines = written.decode().split("\r\n")
    check_written("\n".join(lines), plain=True)
    assert any("event=call.ended" in line for line in lines)
    assert all(line.startswith(("serving ", "timestamp=")) for line in lines if line)
