"""A text is judged by the engine itself: what it would have certified of a run, and nothing else."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Answer, Claim, Fork, Monitor, Pass, Verified, run, verifier
from interwhen.models import Chunk
from interwhen.models._metered import MeteredModel
from interwhen.strategies import Judgement, Trace
from interwhen.strategies._strategy import judge, merit, needs_tokens
from interwhen.testing import End, ScriptedModel
from interwhen.testing._models import cut_into
from tests.strategies.worlds import KNOWS, RIGHT, WRONG, question

pytestmark = pytest.mark.anyio

LINES = st.lists(st.sampled_from(["2 + 2 = 4", "2 + 2 = 5", "well", "", "3 * 3 = 9", "Answer: 4"]), max_size=6)


def traced(text, reason="stop", size=5):
    return Trace(tuple(Chunk(part) for part in cut_into(text, size)), reason)


@settings(max_examples=25)
@given(LINES, st.integers(1, 9), st.sampled_from(["stop", "length"]))
def test_judge_agrees_with_an_observing_run(lines, size, reason):
    text = "\n".join(lines)
    trace = traced(text, reason, size)
    asked = question()

    async def both():
        again = await judge(asked, trace, ScriptedModel([""]))
        model = ScriptedModel([[*cut_into(text, 3)] if reason == "stop" else [*cut_into(text, 3), End(reason)]])
        async with run(model, asked.prompt, monitors=["arithmetic:delivery=observe", KNOWS]) as running:
            return again, await running.drain()

    again, result = anyio.run(both)
    assert again.result.status == result.status
    assert again.result.text == result.text == text
    finished = lines if reason == "stop" else lines[:-1]  # a line that was cut off is no claim
    assert again.refuted == len(result.violations) == sum(line == "2 + 2 = 5" for line in finished)
    assert again.verified == result.answer_verified
    if isinstance(again.result, Verified):
        assert again.result.certificate.matches(text)


async def test_judging_acts_on_nothing_and_is_free():
    meter = MeteredModel(ScriptedModel(["never"]), 5)
    judgement = await judge(question(), traced(WRONG), meter)
    assert (judgement.refuted, judgement.result.text, meter.spent, meter.requests) == (1, WRONG, 0, 0)
    assert judgement.result.ledger.remedies == 0


async def test_forks_are_asked_of_the_model_and_metered():
    @verifier(name="asks", worker="inline")
    def check(claim):
        return Pass("said so", scope="answer")

    def parse(reply, segment):
        yield Claim(key=reply, span=segment.span)

    monitor = Monitor(name="asks", verifier=check, extractor=Fork("\nSure?", parse, max_tokens=8), scope="answer")
    meter = MeteredModel(ScriptedModel([""], forks=lambda _: "yes I am"), 100)
    asked = question(monitors=(monitor,))
    judgement = await judge(asked, traced(RIGHT), meter)
    assert judgement.verified
    assert (meter.forks, meter.fork_tokens) == (2, 6)
    assert needs_tokens(asked.watchers(acting=False))
    assert not needs_tokens(question().watchers(acting=False))


async def test_partial_text_is_not_judged_as_answer():
    @verifier(name="whole", worker="inline")
    def check(claim):
        return Pass()

    seen = []

    def extract(segment):
        seen.append(segment.text)
        return ()

    whole = Monitor(name="whole", verifier=check, extractor=extract, trigger=Answer())
    asked = question(monitors=(whole,))
    await judge(asked, traced("2 + 2 = 4\n", None), ScriptedModel([""]), partial=True)
    assert seen == []
    await judge(asked, traced(RIGHT), ScriptedModel([""]))
    assert seen == [RIGHT]


async def test_stateful_monitors_are_created_per_use():
    made = []

    def watch(acting):
        made.append(acting)
        return ("arithmetic",)

    asked = question(monitors=watch)
    await judge(asked, traced(RIGHT), ScriptedModel([""]))
    assert asked.watchers(acting=True)[0].delivery == "interrupt"
    assert made == [False, True]


async def test_texts_are_ranked_verified_first_and_refuted_last():
    texts = ["2 + 2 = 5\n2 + 2 = 6", WRONG, "2 + 2 = 4\n2 + 2 = 5\nAnswer: 5", "hm.", "Answer: 4", RIGHT]
    asked = question()
    ranked = []
    for text in texts:
        trace = traced(text)
        ranked.append((merit(asked, trace, await judge(asked, trace, ScriptedModel([""]))), text))
    assert [text for _, text in sorted(ranked)] == [texts[0], texts[3], texts[1], texts[2], texts[4], texts[5]]


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 50))
def test_smoothed_share_lies_between_zero_and_one(passed, refuted, unclear):
    judgement = Judgement(None, passed, refuted, unclear)
    assert 0 < judgement.share < 1
    assert (judgement.share == 0.5) or (passed != refuted + unclear)


@pytest.mark.parametrize(
    ("chunks", "answer"),
    [
        ([Chunk("<think>\nAnswer: 4\n")], None),
        ([Chunk("<think>\nAnswer: 4\n</think>\nAnswer: 5\n<think>\nAnswer: 6\n")], "5"),
        ([Chunk("<think>\nAnswer: 4\n</think>\nAnswer: 5\n")], "5"),
        ([Chunk("\nAnswer: 4\n", "reasoning")], None),
        ([Chunk("hm\n", "reasoning"), Chunk("Answer: 5\n", "answer")], "5"),
        ([Chunk("hm\n</think>\nAnswer: 5\n", "reasoning")], "5"),
        ([Chunk("Answer: 5\n")], "5"),
    ],
)
@pytest.mark.parametrize("reason", ["stop", "length"])
def test_reasoning_that_has_not_ended_gives_no_answer(chunks, answer, reason):
    assert question().answer(Trace(tuple(chunks), reason)) == answer
