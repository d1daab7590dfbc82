"""Whatever text comes, reading it takes time in proportion to its length: counted in steps, and in seconds for C code."""

import re
import sys

import msgspec
import pytest
from corpus import TOKENS
from interwhen import (
    Answer,
    CodeBlocks,
    Lines,
    Monitor,
    Paragraphs,
    Segment,
    Sentences,
    Span,
    ToolCall,
    ToolCalls,
    Violation,
    load_monitor,
    registry,
)
from interwhen._core.segmenter import Intake
from interwhen._core.transcript import ThinkTags, Transcript
from interwhen._types.segments import is_writable, quote
from interwhen.cli._text import as_json, joined, one_line, visible
from interwhen.clients._supervision import tool_format
from interwhen.gateway._json_bodies import values
from interwhen.models import Chunk, ModelError
from interwhen.models._chunks import CallAssembler, decode_chat, decode_completion
from interwhen.models._sse import SseDecoder
from interwhen.remedies import FeedbackTemplate
from interwhen.testing.complexity import BAITS, Bait, assert_linear, assert_quick, prepared_for, suspicious
from interwhen.triggers import EveryChars, Markers, ThinkEnd
from tests.core.driving import run
from worlds import monitor

SHIPPED = [plugin.name for plugin in registry.verifiers() if registry.describe(plugin.name).monitors]
"""Those that can be had without options."""
APPLYING = [name for name in SHIPPED if prepared_for(load_monitor(name), "") is not None]
"""Those of them that need no problem in the prompt. The tests of the others measure them with problems."""
TRIGGERS = (
    Lines(),
    Lines(every=3),
    Paragraphs(),
    Sentences(),
    Markers(),
    EveryChars(50),
    CodeBlocks(),
    Answer(),
    ThinkEnd(),
    ToolCalls(),
)
pytestmark = pytest.mark.slow  # the counts are the same on each machine and in each sample
LINEAR = pytest.mark.fault(
    "V12", injected="texts that careless code reads in quadratic time", happens="steps grow with the length"
)
QUICK = pytest.mark.fault(
    "V12", injected="long texts that make C code slow", happens="a ceiling that only quadratic work reaches"
)
CODE = [bait for bait in BAITS if bait.unit.strip() and not bait.unit.isalpha()]
TAG = Bait('<tool_call>{"a":1}</tool_call>')


# ---------------------------------------------------------------------------------------------- verifiers


@LINEAR
@pytest.mark.parametrize("name", APPLYING)
def test_every_shipped_verifier_is_linear(name):
    watching = load_monitor(name)
    assert_linear(watching)
    # What opens an equation at the end makes it look at all that stands before.
    assert_linear(watching, baits=[Bait(bait.unit, bait.start, f"{bait.end} = 1") for bait in CODE], size=250)


@QUICK
@pytest.mark.parametrize("name", APPLYING)
def test_every_shipped_verifier_is_quick(name):
    watching = load_monitor(name)
    baits = [*BAITS, *(Bait(bait.unit, bait.start, f"{bait.end} = 1") for bait in CODE)]
    assert_quick(watching, baits=baits, size=19_900, seconds=3)
    # The fastest quadratic C code, a search for one character at 10 GB/s, would take 8 s.
    assert_quick(watching, baits=baits, size=400_000, seconds=3)


@LINEAR
def test_the_check_of_tool_calls_is_linear():
    format_of_calls = tool_format([{"name": "f", "parameters": {"required": ["a"]}}])

    def read(text):
        call = ToolCall("1", text[:50], text)
        segment = Segment(call.text, Span(0, len(call.text)), "answer", call)
        return [format_of_calls.verifier.check(claim) for claim in format_of_calls.extractor(segment)]

    assert_linear(read, baits=[bait for bait in BAITS if "\ud800" not in bait.unit])


# ---------------------------------------------------------------------------------------------- the core


def of_core(trigger, size=None, **options):
    def read(text):
        driver = run(Monitor(name="m", verifier=monitor().verifier, extractor=lambda _: (), trigger=trigger), **options)
        driver.say(text, size)
        driver.end()
        driver.settle()
        assert driver.summary.status == "unverified"

    return read


@LINEAR
@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
def test_scanners_are_linear_for_single_characters(trigger):
    baits = [*map(Bait, (".", "a. ", "\n", "Wait ", "<", "<tool_call>", "1. ", "e.g. ", " ")), TAG]
    assert_linear(of_core(trigger, 1), baits=baits, size=100)


@LINEAR
@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
def test_scanners_are_linear_for_one_chunk(trigger):
    baits = [*map(Bait, (".", "a. ", "\n", "a\n", "\n\n", "Wait ", "Wait, no. ", "<", "1. ")), TAG]
    assert_linear(of_core(trigger), baits=baits, size=300)


@QUICK
@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
def test_scanners_are_quick_for_one_chunk(trigger):
    baits = [*map(Bait, (".", "<", " ", "a" * 9, "<tool_call")), TAG]
    assert_quick(of_core(trigger), baits=baits, size=100_000, seconds=4)


@QUICK
def test_thousands_of_tool_calls_per_chunk_read_quickly():
    def read(text):
        intake = Intake([monitor(trigger=ToolCalls())], tags=None, phase="answer")
        assert len(list(intake.feed(text, 1, "answer"))) == len(text) // len(TAG.unit)

    assert_quick(
        read, baits=[TAG], size=4_000_000, seconds=10
    )  # linear: 1 s, or 4 s on a busy machine; quadratic: 15 s


@LINEAR
def test_tags_of_the_reasoning_are_linear():
    def read(text, size=1):
        tags = ThinkTags(("<think>", "</think>"), "answer")
        parts = [part for at in range(0, len(text), size) for part in tags.feed(text[at : at + size])] + tags.drain()
        assert "".join(part.text for part in parts) == text

    baits = [
        bait
        for start in ("", "<think>")
        for bait in (Bait(" ", start), Bait("</think", start), Bait("<", start), Bait("</", start))
    ]
    assert_linear(read, baits=baits)


@LINEAR
def test_phases_that_alternate_are_linear():
    def read(text):
        driver = run(monitor())
        driver.open()
        for at, char in enumerate(text):
            driver.chunk(char, phase="reasoning" if at % 2 else "answer")

    assert_linear(read, baits=[Bait("a"), Bait("\n")], size=100)


@LINEAR
def test_many_tool_calls_in_one_turn_are_linear():
    def read(text):
        driver = run(monitor())
        driver.open()
        for number in range(len(text)):
            call = ToolCall(str(number), "f", "{}")
            driver.tell(Chunk(call.text, call=call))

    assert_linear(read, baits=[Bait("a")], size=50)


@LINEAR
def test_violations_awaiting_an_earlier_check_take_linear_time():
    def read(text):
        driver = run(monitor())
        driver.open()
        driver.chunk("".join(f"{n % 10}+{n // 10 % 10}={21 + n // 100}\n" for n in range(len(text))))
        for job in list(driver.pending):
            driver.answer(job)  # the extractions
        for job in sorted(driver.pending, reverse=True)[:-1]:  # all but the first
            driver.answer(job)
        assert driver.state == "deciding"

    assert_linear(read, baits=[Bait("a")], size=100)


@LINEAR
def test_reading_the_standing_text_back_is_linear():
    def read(text):
        transcript = Transcript("answer")
        for char in text:
            transcript.append(char, 1)
        for at in range(len(text)):
            transcript.slice(at, at + 3)
        assert [each.text for each in transcript.runs(0, transcript.length)] == [text]
        transcript.cut(1)

    assert_linear(read, baits=[Bait("a")])


# ---------------------------------------------------------------------------------------------- the wire


SSE = [b"data: x\n\n", b"data: x\r\r", b"data: x\r\n\r\n", b"\n", b"\r", b":\r", b": c\n", b"data: a\n", b"data", b":", b"\r\n", b"\xef\xbb\xbf", b"id: 1\rdata: x\n\n"]  # fmt: skip


@QUICK
@pytest.mark.parametrize("unit", SSE, ids=repr)
def test_event_streams_are_quick(unit):
    size = 1 << (21 if len(unit) < 3 else 22)  # linear: 1 to 3 s; quadratic: 15 s and more
    body = (unit * (size // len(unit) + 1))[:size]

    def read(_text):
        SseDecoder(limit=1 << 23).feed(body)

    assert_quick(read, baits=[Bait("x")], seconds=8)


@LINEAR
def test_event_streams_of_single_bytes_are_linear():
    def read(text):
        decoder = SseDecoder()
        for byte in text.encode(errors="surrogatepass"):
            decoder.feed(bytes([byte]))

    assert_linear(read, baits=[Bait("data: x\n\n"), Bait("data: x\r\r"), Bait("x"), Bait("\r"), Bait(":\n")])


@pytest.mark.fault(
    "W1", injected="JSON nested ten thousand deep, and numbers of ten thousand digits", happens="a typed error"
)
@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
@pytest.mark.parametrize("field", [b'"x"', b'"error"', b'"choices"', b'"usage"'])
@pytest.mark.parametrize("value", [b"[" * 10_000, b"[" * 10_000 + b"]" * 10_000, b'{"a":' * 10_000, b"9" * 10_000, b"-1e999999"], ids=lambda v: v[:6].decode())  # fmt: skip
def test_chunks_beyond_the_limits_of_python(decode, field, value):
    with pytest.raises(ModelError):
        decode(b"{%b:%b}" % (field, value), 0, True)


@QUICK
@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
def test_chunks_are_quick(decode):
    def read(text):
        body = {"choices": [{"text": text, "delta": {"content": text}}]}
        decode(msgspec.json.encode(body), 0, True)

    assert_quick(read, baits=[bait for bait in BAITS if "\ud800" not in bait.unit], size=200_000)


@QUICK
def test_counting_the_values_of_request_bodies_is_quick():
    baits = [bait for bait in BAITS if "\ud800" not in bait.unit]
    baits += [Bait(bait.unit, '{"a":"', bait.end) for bait in baits]
    assert_quick(lambda text: values(text.encode()), baits=baits, size=200_000, seconds=1)


@LINEAR
def test_tool_calls_are_put_together_in_linear_time():
    def read(text):
        assembler = CallAssembler()
        for char in text:
            function = {"name": char, "arguments": char}
            assembler.feed(
                msgspec.json.encode({"choices": [{"delta": {"tool_calls": [{"index": 0, "function": function}]}}]})
            )
        [(_, call)] = assembler.end("stop")
        assert (call.name, call.arguments) == (text, text)

    assert_linear(read, baits=[Bait("a")], size=200)


@QUICK
def test_a_tool_name_in_many_pieces_assembles_quickly():
    piece = msgspec.json.encode(
        {"choices": [{"delta": {"tool_calls": [{"index": 0, "function": {"name": "x" * 400}}]}}]}
    )

    def read(text):
        assembler = CallAssembler()
        for _ in text:
            assembler.feed(piece)
        assert len(assembler.end("stop")[0][1].name) == 400 * len(text)

    assert_quick(read, baits=[Bait("a")], size=20_000, seconds=1)  # linear: 0.1 s; quadratic: 2 to 26 s


# ---------------------------------------------------------------------------------------------- what is said and shown

NESTED = [Bait(token) for token in TOKENS] + [
    Bait(token[: len(token) // 2], end=token[len(token) // 2 :] * 9) for token in TOKENS
]


@LINEAR
@pytest.mark.parametrize("function", [quote, is_writable, visible, joined, one_line], ids=lambda f: f.__name__)
def test_escaping_and_quoting_are_linear(function):
    size = 1000 if function is quote else 200  # a quote reads no more than 800 characters
    assert_linear(function, baits=[*BAITS[::3], *NESTED[::3]], size=size)


@QUICK
@pytest.mark.parametrize("function", [quote, is_writable, visible, joined, one_line, as_json], ids=lambda f: f.__name__)
def test_escaping_and_quoting_are_quick(function):
    assert_quick(function, baits=[*BAITS, *NESTED], size=100_000, seconds=2)


@QUICK
def test_rendering_feedback_is_quick():
    def read(text):
        return [
            FeedbackTemplate().render(level, Violation(why=text, witness=text), text)
            for level in ("locate", "explain", "witness")
        ]

    assert_quick(read, baits=[*BAITS, *NESTED], size=100_000, seconds=1)


# ---------------------------------------------------------------------------------------------- regexes


@pytest.mark.fault("V12", injected="nothing", happens="no shipped regex has a shape that backtracks without bound")
def test_no_shipped_regex_looks_dangerous():
    import interwhen.cli._app
    import interwhen.cli._view
    import interwhen.models._openai_api  # noqa: F401  they are looked for in sys.modules

    for name in SHIPPED:
        load_monitor(name)
    dangerous = {
        (name, of): value
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] in ("interwhen", "interwhen_verifiers")
        for of, value in vars(module).items()
        if isinstance(value, re.Pattern)
    }
    assert ("interwhen_verifiers._arithmetic.tokens", "_PATTERN") in dangerous
    assert ("interwhen._types.segments", "_CONTROL") in dangerous
    bad = {}
    for place, pattern in dangerous.items():
        text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
        if reasons := suspicious(re.compile(text, pattern.flags & ~re.UNICODE)):
            bad[place] = reasons
    assert not bad
