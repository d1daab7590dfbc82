"""What a reader gets when text is taken back: sensible by itself, and exact with the facts."""

from itertools import pairwise

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Feedback, Resample
from interwhen.remedies import Stop
from interwhen.testing._virtual_time import VirtualLoop
from watchers import no_call_with, passing, word
from wires import MemoryWire, collect, event, read_naively, said, spelled, texts

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualLoop}


def cut(text, borders):
    places = sorted({0, len(text), *(place % (len(text) + 1) for place in borders)})
    return [text[a:b] for a, b in pairwise(places)]


async def test_text_refuted_before_display_is_never_shown():
    transport = MemoryWire(lambda number, _: texts([["one\n", "BAD\n", "x"], ["two\n"]][number]))
    parts, result = await collect(transport, [word(remedy=Resample())])
    assert read_naively(parts) == spelled(parts) == result.text == "one\ntwo\n"


def scored(text, finish=None):
    tokens = {"logprobs": {"content": [{"token": text, "logprob": -1.0}]}, "token_ids": [len(text)]}
    return event({"id": "c", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish, **tokens}]})


@pytest.mark.parametrize("stream", [True, False])
async def test_each_token_comes_once_after_a_correction(stream):
    answers = [scored("one\n"), scored("BAD\n", "stop")], [scored("two\n"), scored("three\n", "stop")]
    transport = MemoryWire(lambda number, _: answers[number])
    parts, result = await collect(transport, [word(remedy=Resample())], stream=stream, settings={"reading": "gate"})
    choices = [choice for part in parts for choice in part.chunk()["choices"]]
    tokens = [token["token"] for choice in choices for token in (choice.get("logprobs") or {}).get("content") or ()]
    assert "".join(tokens) == result.text == "one\ntwo\nthree\n"
    assert [number for choice in choices for number in choice.get("token_ids") or ()] == [4, 4, 6]


def counts(**fields):
    return event({"id": "c", "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], **fields})


EARLY = {
    "vLLM, continuous_usage_stats": counts(usage={"prompt_tokens": 9, "completion_tokens": 0, "total_tokens": 9}),
    "llama.cpp, return_progress": counts(prompt_progress={"total": 9, "cache": 8, "processed": 9}),
}


@pytest.mark.parametrize("early", EARLY.values(), ids=EARLY)
async def test_early_token_counts_do_not_hold_back_text(early):
    def script(number, _):
        return [early, *texts([["one\n", "BAD\n", "x"], ["two\n"]][number])]

    parts, result = await collect(MemoryWire(script), [word(remedy=Resample())])
    assert read_naively(parts) == spelled(parts) == result.text == "one\ntwo\n"


@pytest.mark.parametrize(("resume", "line"), [("turn", "We see good\n"), ("prefill", "We see good news\n")])
async def test_a_repair_shows_its_line_from_the_beginning(resume, line):
    rest = [line.removeprefix("We see good").lstrip("\n"), "again"]
    transport = MemoryWire(lambda number, _: texts([["We see ", "BAD", " news\n", "and so on"], rest][number]))
    parts, result = await collect(transport, [word(good="good", slow=0.01)], settings={"resume": resume})
    assert read_naively(parts) == f"We see BAD news\nand so on\nCorrection: {line}again"
    assert spelled(parts) == result.text == f"{line}again"


async def test_gated_repairs_released_piecewise_remove_no_other_text():
    answers = [["one\n", "x BAD y\n", "one\n"], ["BAD\n", "one\n"], ["end"]]
    transport = MemoryWire(lambda number, _: texts(answers[number]))
    parts, result = await collect(transport, [word(good="good"), no_call_with()])  # what gates tool calls reads ahead
    assert read_naively(parts) == spelled(parts) == result.text == "one\nx good\ngood\nend"
    assert parts[-1].chunk()["choices"][0]["finish_reason"] == "stop"


async def test_feedback_speaks_for_itself():
    transport = MemoryWire(lambda number, _: texts([["We see ", "BAD", "\n", "and so on"], ["Sorry.\n"]][number]))
    parts, result = await collect(transport, [word(slow=0.01)])
    assert read_naively(parts) == "We see BAD\nand so on\nWait, BAD is no word.\nSorry.\n"
    assert spelled(parts) == result.text
    assert transport.bodies[1]["messages"][1:] == [
        {"role": "assistant", "content": "We see BAD"},
        {"role": "user", "content": "Wait, BAD is no word."},
    ]


async def test_a_second_sample_follows_a_lead():
    transport = MemoryWire(lambda number, _: texts([["one\n", "BAD\n", "x"], ["two\n"]][number]))
    parts, result = await collect(transport, [word(remedy=Resample(), slow=0.01)])
    assert read_naively(parts) == "one\nBAD\nx\nCorrection: two\n"
    assert spelled(parts) == result.text == "one\ntwo\n"


async def test_behind_a_gate_nothing_is_taken_back():
    transport = MemoryWire(lambda number, _: texts([["one\n", "BAD\n", "x"], ["two\n", "three"]][number]))
    parts, result = await collect(transport, [word(remedy=Resample())], settings={"reading": "gate"})
    assert read_naively(parts) == spelled(parts) == result.text == "one\ntwo\nthree"
    assert all(part.info.retracted is None and not part.info.lead for part in parts)


async def test_final_reading_holds_the_answer_but_not_reasoning():
    def script(number, _):
        return [said({"reasoning_content": "hm\n"}), *texts([["BAD\n"], ["fine\n"]][number])]

    transport = MemoryWire(script)
    parts, result = await collect(transport, [word(remedy=Resample())], settings={"reading": "final"})
    shown = [part.chunk()["choices"][0]["delta"] for part in parts]
    assert "BAD\n" not in [delta.get("content") for delta in shown]
    reasoning, answer = (
        next(at for at, delta in enumerate(shown) if delta.get(key)) for key in ("reasoning_content", "content")
    )
    assert reasoning < answer
    assert spelled(parts) == result.text


async def test_a_stop_remedy_finishes_with_content_filter():
    transport = MemoryWire(lambda *_: texts(["one\n", "BAD\n", "x"]))
    parts, result = await collect(transport, [word(remedy=Stop())])
    assert parts[-1].chunk()["choices"][0]["finish_reason"] == "content_filter"
    assert result.status == "unverified"
    assert spelled(parts) == result.text == "one\n"


async def test_reasoning_is_corrected_in_its_own_field():
    def script(number, _):
        if number == 0:
            return texts(["We ", "BAD\n", "x\n"], field="reasoning_content")
        return [said({"reasoning_content": "more\n"}), *texts(["done"])]

    transport = MemoryWire(script, models=b'{"data": [{"id": "m", "owned_by": "llamacpp"}]}')
    parts, result = await collect(transport, [word(good="good", slow=0.01)])
    assert read_naively(parts) == "We BAD\nx\nCorrection: We goodmore\ndone"
    assert spelled(parts) == result.text == "We goodmore\ndone"
    assert result.answer == "done"
    assert result.resume.mode == "prefill"
    assert transport.bodies[1]["messages"][-1] == {"role": "assistant", "content": "", "reasoning_content": "We good"}
    assert transport.bodies[1]["continue_final_message"] is True


async def test_later_requests_keep_the_first_response_id():
    transport = MemoryWire(lambda number, _: texts([["BAD\n"], ["two\n"]][number], number=number))
    parts, _ = await collect(transport, [word(remedy=Resample())])
    assert {part.chunk()["id"] for part in parts} == {"r0"}


async def test_server_capabilities_are_not_queried_when_unneeded():
    transport = MemoryWire(lambda *_: texts(["one\n"]))
    await collect(transport, [passing()])
    assert transport.model_lists == 0


@pytest.mark.parametrize("reading", ["live", "gate", "final"])
@given(data=st.data())
@settings(max_examples=60)
def test_facts_spell_the_trace_however_it_is_cut(reading, data):
    first = data.draw(
        st.sampled_from(["one\nBAD two\nthree\n", "BAD", "a\n<think>BAD", "x BAD y BAD\nz", "fine\nall fine"])
    )
    again = data.draw(st.sampled_from([" on\nand BAD again\nend", "good\n", "", "BAD\n"]))
    last = " over\nout"
    borders = data.draw(st.lists(st.integers(0, 30), max_size=8))
    good = data.draw(st.sampled_from([None, "good"]))
    remedy = (
        {}
        if good
        else {"remedy": data.draw(st.sampled_from([Resample(), Feedback("rewind"), Feedback("append"), Stop()]))}
    )
    thinks = data.draw(st.integers(0, 12))
    slow = data.draw(st.sampled_from([None, 0.0, 0.001]))
    reads_ahead = data.draw(st.booleans())

    def script(number, _):
        text = [first, again, last][min(number, 2)]
        pieces = cut(text, borders)
        if thinks and number == 0:
            head = cut(text[:thinks], borders)
            return [*(said({"reasoning_content": piece}) for piece in head), *texts(cut(text[thinks:], borders))]
        return texts(pieces)

    async def main():
        transport = MemoryWire(script)
        monitors = [word(good=good, slow=slow, **remedy), *([no_call_with()] if reads_ahead else [])]
        return await collect(transport, monitors, settings={"reading": reading})

    parts, result = anyio.run(main)
    assert spelled(parts) == result.text
    if reading == "gate":
        assert read_naively(parts) == result.text
    assert parts[-1].info.result == result
