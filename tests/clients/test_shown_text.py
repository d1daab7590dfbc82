"""What a reader sees who knows nothing of interwhen: no mistake twice, and each correction stands."""

import re

import anyio
import interwhen
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Auto, Claim, Delta, Monitor, Pass, Retracted, Violation
from interwhen.clients._calls import make_settings, read_call
from interwhen.clients._supervision import supervise
from interwhen.clients._upstream import ModelEndpoint
from interwhen.testing import ScriptedModel
from interwhen.testing._virtual_time import VirtualLoop
from responses_writer import Writer
from test_chat_codec import cut
from watchers import no_call_with, passing
from wires import MemoryWire, collect, event, read_naively, spelled, texts

pytestmark = pytest.mark.anyio

STOPPED = "This answer was stopped, because a part of it could not be verified."
WRONG = "Answer: 11996\nSo it is.\n"


@pytest.fixture
def anyio_backend():
    return "asyncio", {"loop_factory": VirtualLoop}


def answers(right=408, *, name="answers", slow=None, repairs=False, **options):
    line = re.compile(r"Answer: (\d+)")

    def judge(claim):
        repair = str(right) if repairs else None
        return Pass() if claim.key == str(right) else Violation(why=f"{claim.key} is wrong", repair=repair)

    @interwhen.verifier(name=name, worker="inline")
    def now(claim):
        return judge(claim)

    @interwhen.verifier(name=name, worker="async", deadline=120.0)
    async def later(claim):
        await anyio.sleep(slow)
        return judge(claim)

    def find(segment):
        return [Claim(key=m[1], span=segment.at(m.start(1), m.end(1))) for m in line.finditer(segment.text)]

    return Monitor(name=name, verifier=now if slow is None else later, extractor=find, **options)


def tokens(text):
    return re.findall(r".{1,3}|\n", text)


def wire(*samples):
    return MemoryWire(lambda number, _: texts(tokens(samples[min(number, len(samples) - 1)])))


async def read(*samples, monitors=None, **options):
    call = {name: options.pop(name) for name in ("tools", "response_format", "messages") if name in options}
    collected = await collect(
        wire(*samples), monitors or [answers()], settings={"resume": "prefill", **options}, **call
    )
    parts, result = collected
    assert spelled(parts) == result.text
    return read_naively(parts), result


@pytest.mark.parametrize("slow", [None, 0.01])
@pytest.mark.parametrize("resume", ["prefill", "turn"])
async def test_wrong_samples_are_never_shown(resume, slow):
    wrong = [f"Answer: {value}\nSo it is.\n" for value in (11996, 11996, 14556, 11, 12, 13, 14)]
    seen, result = await read(*wrong, resume=resume, monitors=[answers(slow=slow)])
    assert result.status == "abstained"
    assert "\n".join(re.findall(r"Answer.*|Correction.*", seen)) == "Answer: 11996"
    assert seen.endswith(f"\n{STOPPED}")


@pytest.mark.parametrize("resume", ["prefill", "turn"])
async def test_a_correction_comes_once_before_text_that_stands(resume):
    samples = [WRONG, "Answer: 14556\n", *(["Answer: 11\n"] if resume == "prefill" else []), "Answer: 408\nSo.\n"]
    seen, result = await read(*samples, resume=resume, monitors=[answers(remedy=interwhen.Resample())])
    assert seen == "Answer: 11996\nCorrection: Answer: 408\nSo.\n"
    assert result.status == "verified"


async def test_later_mistakes_are_not_shown_at_all():
    seen, result = await read(WRONG, "Answer: 408\nthen\nAnswer: 11\n", "Answer: 408\nthe end\n")
    assert seen == "Answer: 11996\nCorrection: Answer: 408\nthen\nAnswer: 408\nthe end\n"
    assert result.status == "verified"


async def test_a_second_monitor_holds_the_replacement_too():
    other = answers(408, name="slow", slow=1.0)
    first = answers(408, name="first", remedy=interwhen.Resample())
    loose = answers(14556, name="loose", delivery="observe")
    seen, _ = await read(WRONG, "Answer: 14556\n" * 2, "Answer: 408\n", monitors=[first, other, loose])
    assert seen == "Answer: 11996\nCorrection: Answer: 408\n"


async def test_a_repaired_line_is_shown_only_when_complete():
    seen, result = await read("Answer: 11996 it is\n", " it is\nfine\n", monitors=[answers(repairs=True)])
    assert seen == "Answer: 11996 it is\nCorrection: Answer: 408 it is\nfine\n"
    assert result.text == "Answer: 408 it is\nfine\n"


async def test_only_monitors_that_refuted_hold_back_later_answers():
    whole = answers(408, name="whole", trigger=interwhen.Answer())
    transport = MemoryWire(lambda number, _: texts(tokens([WRONG, "Answer: 408\none\ntwo\n"][min(number, 1)])))
    parts, _ = await collect(transport, [answers(), whole], settings={"resume": "prefill"})
    assert len([part for part in parts if part.chunk()["choices"][0]["delta"].get("content") in ("one", "two")]) == 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, True),
        ({"reading": "gate"}, True),
        ({"abstention": ""}, False),
        ({"abstention": "Sorry."}, False),
        ({"response_format": {"type": "json_object"}}, False),
        ({"tools": [{"type": "function", "function": {"name": "move"}}]}, False),
    ],
    ids=["live", "gate", "none", "other words", "JSON", "tools"],
)
async def test_an_abstention_is_said_where_people_read(options, says):
    seen, result = await read(WRONG, **options)
    assert result.status == "abstained"
    assert (STOPPED in seen) is says
    assert seen.endswith("Sorry.") is (options.get("abstention") == "Sorry.")


async def test_agents_that_read_text_get_no_abstention_notice():
    seen, _ = await read(WRONG, monitors=[answers(), no_call_with()])
    assert STOPPED not in seen


SUMS = "The price is 17 * 4 = 67, so we have 67.\n"
SUMMED = {"monitors": ["arithmetic"], "resume": "turn", "messages": [{"role": "user", "content": "17 * 4 + 340?"}]}


@pytest.mark.fault("H5", injected="a repaired half line and a new turn of the model", happens="no number is joined")
@pytest.mark.parametrize(
    "turn",
    ["340 + 68 = 408\n", "The price is 17 * 4 = 68\n340 + 68 = 408\n", "\n340 + 68 = 408\n"],
    ids=["continues", "repeats", "begins with a line break"],
)
async def test_no_number_is_joined_to_a_new_turn(turn):
    seen, result = await read(SUMS, turn, **SUMMED)
    assert result.text == "The price is 17 * 4 = 68\n340 + 68 = 408\n"
    assert seen.endswith("\nCorrection: The price is 17 * 4 = 68\n340 + 68 = 408\n")
    assert (result.status, len(result.violations), result.ledger.requests) == ("verified", 1, 2)


async def test_restarting_with_the_same_mistake_costs_three_requests():
    seen, result = await read(f"So we begin here.\n{SUMS}", **SUMMED)
    assert (result.status, result.ledger.requests) == ("abstained", 3)
    assert seen.count("67, so") == 1


async def test_a_model_restarting_without_its_mistake_is_verified():
    again = "So we begin here.\nWe need 4 * 17 = 68.\n340 + 68 = 408\n"
    seen, result = await read(f"So we begin here.\n{SUMS}", again, **SUMMED)
    assert (result.status, result.text) == ("verified", again)
    assert seen == f"So we begin here.\n{SUMS.partition(', so')[0]}" + seen.partition("67")[2]
    assert seen.endswith("\nCorrection: We need 4 * 17 = 68.\n340 + 68 = 408\n")


async def test_a_right_answer_has_no_such_words():
    seen, result = await read("Answer: 408\n")
    assert (seen, result.status) == ("Answer: 408\n", "verified")


@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
@pytest.mark.parametrize("right", [True, False])
@pytest.mark.parametrize("stream", [True, False])
async def test_all_apis_show_a_mistake_once(api, right, stream):
    samples = [WRONG, "Answer: 14556\n", "Answer: 408\nSo.\n" if right else "Answer: 11\n"]

    def script(number, _):
        said = tokens(samples[min(number, 2)])
        if api == "responses":
            writer = Writer(f"r{number}").text(*said)
            writer.steps()
            return [event(each) for each in writer.events]
        if api == "chat":
            return texts(said)
        bodies = [{"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": None}]} for text in said]
        bodies.append({"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
        return [event(body) for body in bodies]

    asked = {"messages": [{"role": "user", "content": "q"}], "prompt": "q", "input": "q"}
    call = read_call(api, {"model": "m", "stream": stream, **asked})
    monitor = answers(remedy=interwhen.Resample())
    supervised = await supervise(call, make_settings([monitor], {}), MemoryWire(script), ModelEndpoint())
    seen, parts = "", []
    while batch := await supervised.parts():
        parts += batch
    for part in parts:
        chunk = part.chunk()
        seen += chunk.get("delta", "") if api == "responses" and chunk["type"].endswith("text.delta") else ""
        for choice in chunk.get("choices") or ():
            seen += choice.get("text") or choice.get("delta", {}).get("content") or ""
    if right:
        assert seen == ("Answer: 11996\nCorrection: " if stream else "") + "Answer: 408\nSo.\n"
    else:
        assert seen == ("Answer: 11996\n" if stream else "") + STOPPED
    if api == "responses":
        output = parts[-1].chunk()["response"]["output"]
        assert output[-1]["content"][0]["text"] == (supervised.result.text if right else STOPPED)


async def test_a_reader_of_events_sees_no_refuted_replacement():
    model = ScriptedModel([WRONG, "Answer: 14556\n", "Answer: 11\nand\n", "Answer: 408\n"], size=3)
    shown, ever = "", []
    async with interwhen.run(model, "q", monitors=[answers(remedy=interwhen.Resample())]) as run:
        async for event in run:
            if isinstance(event, Delta):
                assert event.start == len(shown)
                shown += event.text
            elif isinstance(event, Retracted):
                shown = shown[: event.to]
            ever.append(shown)
    assert shown == run.result.text == "Answer: 408\n"
    assert not any(wrong in text for wrong in ("14556", "11\n") for text in ever)


def wrong_in(text):
    # A correction may cut the right answer of the first request ("Answer: 4"). Nothing has refuted that beginning.
    return len(re.findall(r"Answer: (?!4(?:0(?:8)?)?\n)\d+", text))


@pytest.mark.parametrize("repairs", [True, False])
async def test_a_correction_may_cut_a_right_answer(repairs):
    sample = "Answer: 11996\nand\nAnswer: 408\n"
    transport = MemoryWire(lambda _number, _: texts(cut(sample, [14, 27])))
    monitor = answers(slow=0.0, remedy=Auto(), repairs=repairs)
    parts, result = await collect(transport, [monitor], settings={"resume": "turn"})
    seen = read_naively(parts)
    assert seen.startswith("Answer: 11996\nand\nAnswer: 4\nWait,")
    assert {each.key for each in result.violations} == {"11996"}
    assert wrong_in(seen) == wrong_in(sample) == 1


@given(st.data())
@settings(max_examples=150)
def test_no_refuted_text_is_shown_twice(data):
    line = st.sampled_from(["Answer: 11996\n", "Answer: 14556\n", "Answer: 408\n", "some words here\n", "and\n"])
    samples = data.draw(st.lists(st.lists(line, min_size=1, max_size=5).map("".join), min_size=1, max_size=8))
    borders = data.draw(st.lists(st.integers(0, 40), max_size=8))
    slow = data.draw(st.sampled_from([None, 0.0, 0.001]))
    resume = data.draw(st.sampled_from(["turn", "prefill"]))
    remedy = data.draw(
        st.sampled_from(
            [
                Auto(),
                interwhen.Resample(),
                interwhen.Repair(otherwise=interwhen.Resample()),
                interwhen.Feedback("rewind"),
                Auto(end="unverified"),
            ]
        )
    )
    repairs = data.draw(st.booleans())
    others = data.draw(st.lists(st.sampled_from([passing(), no_call_with()]), max_size=1))

    async def main():
        transport = MemoryWire(lambda number, _: texts(cut(samples[min(number, len(samples) - 1)], borders)))
        monitors = [answers(slow=slow, remedy=remedy, repairs=repairs), *others]
        return await collect(transport, monitors, settings={"resume": resume})

    parts, result = anyio.run(main)
    seen = read_naively(parts)
    assert spelled(parts) == result.text
    assert seen.count("Correction") <= len(result.violations)
    # The first request may show more than one mistake before one is refuted. What stands is unverified.
    assert wrong_in(seen) <= wrong_in(samples[0]) + wrong_in(result.text)
