"""Streams of bytes at their worst: cut anywhere, broken off anywhere, changed anywhere."""

import json
import random
import subprocess
import sys
from pathlib import Path

import anyio
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interwhen import InterwhenError
from interwhen._types.errors import MalformedEvent
from interwhen.models import Retries
from interwhen.testing.server import ScriptedTransport, fault, faulty
from tests.fuzz.stream_property import cut_at, holds_for, read
from tests.virtual_clock import virtual_backend
from wire_cases import STORY, WHOLE, open_model, supervised

APIS = ("completions", "chat")
SEPARATORS = "\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
TEXT = st.text(st.one_of(st.characters(exclude_categories=["Cs"]), st.sampled_from(SEPARATORS + "\r\né😀")), max_size=6)
END = st.sampled_from([b"\n", b"\r", b"\r\n"])
NOISE = st.sampled_from([b"", b": a comment", b"event: message", b"id: 1", b"retry: 5", b"other: x", b"dataset: y"])


def framed(api, text, ends, noise, style):
    content = {"text": text} if api == "completions" else {"delta": {"content": text}}
    body = json.dumps({"choices": [{"index": 0, **content}]}, ensure_ascii=bool(style & 1)).encode()
    lines = [body]
    if style & 2:
        head, comma, tail = body.partition(b'": [')
        lines = [head + comma, tail]
    space = b" " if style & 4 else b""
    end = ends
    parts = [noise + end] if noise else []
    parts += [b"data:" + space + line + end for line in lines]
    return b"".join(parts) + end


@st.composite
def streams(draw, api):
    texts = draw(st.lists(TEXT, max_size=5))
    body = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    for text in texts:
        body += framed(api, text, draw(END), draw(NOISE), draw(st.integers(0, 7)))
    end = draw(END)
    return body + b"data: [DONE]" + end + end, "".join(texts)


@pytest.mark.fault("W3", injected="a stream cut at every one of its bytes", happens="the same text, to the character")
@pytest.mark.fault("W5", injected="every separator of str.splitlines, raw in JSON", happens="it is text")
@pytest.mark.fault("W6", injected="CR, LF and CRLF mixed, each cut in half", happens="one line end each")
@pytest.mark.parametrize("api", APIS)
def test_the_cuts_change_nothing(api, record_property):
    tries = 0

    @settings(max_examples=40)
    @given(streams(api), st.lists(st.integers(0, 1 << 16), max_size=6))
    def any_cut(stream, offsets):
        nonlocal tries
        body, text = stream
        whole = read([body], api)
        assert (whole.text, whole.error) == (text, None)
        for cuts in [offsets, *([at] for at in range(len(body))), range(len(body))]:
            assert read(cut_at(body, cuts), api) == whole
            tries += 1

    any_cut()
    record_property("tries", tries)


BODIES = {api: b"".join(step.data for step in fault("u2028", api)) for api in APIS}


@pytest.mark.fault("W18", injected="a body that ends at each of its bytes", happens="whole tokens stay, half ones go")
@pytest.mark.parametrize("api", APIS)
def test_a_stream_that_ends_anywhere_keeps_whole_tokens(api, record_property):
    body = BODIES[api]
    whole = read([body], api)
    borders = {len(text) for text in ("", "one ", "one \u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e")}
    for end in range(len(body)):
        chunks = read([body[:end]], api)
        assert whole.text.startswith(chunks.text)
        assert len(chunks.text) in borders | {len(whole.text), len(whole.text) - len("three")}
        assert chunks.error is None
        assert chunks.reasons in {("truncated",), ("stop",)}
    record_property("tries", len(body))


@pytest.mark.fault(
    "W1", injected="an event cut at each of its bytes", happens="a typed error with its place, or skipped"
)
@pytest.mark.parametrize("api", APIS)
def test_events_cut_anywhere_raise_typed_errors_keeping_text(api, record_property):
    first, event, *rest = [step.data for step in fault("none", api)]
    content = event.removesuffix(b"\n\n")
    for end in range(len(b"data: ") + 1, len(content)):
        body = [first, content[:end] + b"\n\n", *rest]
        strict = read(body, api)
        assert (strict.text, strict.reasons) == ("one ", ())
        kind, message = strict.error
        assert kind is MalformedEvent
        assert f"at byte {len(first)}" in message
        lax = read(body, api, skip=True)
        assert (lax.text, lax.reasons, lax.error, lax.skipped) == ("one three", ("stop",), None, 1)
    record_property("tries", end)


@pytest.mark.fault("W29", injected="bytes at random", happens="no exception except ours, and no endless loop")
def test_any_bytes(record_property):
    tries = 0

    @settings(max_examples=200)
    @given(
        st.one_of(
            st.binary(max_size=200),
            st.lists(st.sampled_from([b"data:", b" ", b"\n", b"\r", b"{", b"}", b"[DONE]", b'"choices"', b":", b"[", b"]",
                                      b"\xef\xbb\xbf", b"null", b"\xff", b'{"choices":[{"text":"x","delta":{"content":"x"}}]}',
                                      b'{"error":1}', b'{"usage":{}}']), max_size=30).map(b"".join),
        ),
        st.lists(st.integers(0, 1 << 16), max_size=5),
    )  # fmt: skip
    @example(b"data: " + b"[" * 5000 + b"\n\n", [])
    @example(b'data: {"choices":' + b'[{"text":' * 3000 + b"\n\n", [1])
    @example(b'data: {"usage": {"prompt_tokens": 1e400}}\n\n', [])
    @example(b'data: {"choices": [{"index": 99999999999999999999999}]}\n\n', [])
    @example(b'data: {"error": {"code": 99999999999999999999999999, "message": {"a": []}}}\n\n', [])
    @example(b'data: {"error": "\\ud800"}\n\n', [])
    @example(b'data: {"choices": [{"text": "\\ud800"}]}\n\n', [])
    def anything(body, offsets):
        nonlocal tries
        tries += 1
        holds_for(body, offsets)

    anything()
    record_property("tries", tries)


@pytest.mark.fault(
    "W29", injected="a few bytes of a stream changed", happens="no exception except ours, and no endless loop"
)
@pytest.mark.parametrize("api", APIS)
def test_any_change_of_a_few_bytes(api, record_property):
    body = BODIES[api]
    dice = random.Random(11)
    for _ in range(400):
        changed = bytearray(body)
        for _ in range(dice.randint(1, 6)):
            at = dice.randrange(len(changed))
            match dice.randrange(3):
                case 0:
                    changed[at] = dice.randrange(256)
                case 1:
                    del changed[at]
                case _:
                    changed[at:at] = bytes(dice.choices(b'\r\n\x00\xff{}[]":,', k=2))
        holds_for(bytes(changed), dice.choices(range(len(changed)), k=3))
    record_property("tries", 400)


@pytest.mark.anyio
class TestWholeRuns:
    @pytest.fixture
    def anyio_backend(self):
        return virtual_backend()

    @pytest.mark.fault(
        "W29", injected="a few bytes of a run's stream changed", happens="the run ends, its text as shown"
    )
    @pytest.mark.fault(
        "W18", injected="a connection that breaks at a random byte", happens="resumed; the text is whole"
    )
    @pytest.mark.parametrize("api", APIS)
    @pytest.mark.parametrize("name", ["mutated", "cut_anywhere"])
    async def test_a_run_over_a_damaged_stream_ends(self, name, api, record_property):
        for seed in range(60):
            transport = ScriptedTransport(faulty(name, story=STORY, seed=seed))
            model = open_model(api, "http://h/v1", transport=transport, retries=Retries(base=0.0))
            with anyio.fail_after(1000):
                run, shown = await supervised(model)
            assert shown == run.result.text
            assert transport.open_responses == 0
            assert run.error is None or isinstance(run.error, InterwhenError)
            if name == "cut_anywhere":
                assert (run.result.status, run.result.text) == ("verified", WHOLE)
        record_property("tries", 60)


def test_the_fuzz_target_says_what_it_needs():
    target = Path(__file__).parents[1] / "fuzz" / "fuzz_stream.py"
    code = f"import sys, runpy; sys.modules['atheris'] = None; sys.argv = [{str(target)!r}]; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 1
    assert "pip install atheris" in done.stderr
