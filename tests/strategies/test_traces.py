"""Traces are continued to their end or to the end of a step, however the chunks are cut."""

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Sampling
from interwhen._types.models import Piece
from interwhen.models import Chunk
from interwhen.strategies import Trace
from interwhen.strategies._traces import go_on
from interwhen.testing import ScriptedModel
from interwhen.testing._models import cut_into

pytestmark = pytest.mark.anyio


def traced(text, size=3):
    return Trace(tuple(Chunk(part) for part in cut_into(text, size)))


@settings(max_examples=40)
@given(st.integers(1, 12), st.sampled_from(["\n", "</think>", "ab"]), st.text("ab\n </think>", max_size=40))
def test_step_ends_at_its_mark_for_any_chunking(size, until, text):
    # There must be text before the mark: an empty line is not a step.
    model = ScriptedModel([cut_into(text, size)])
    trace = anyio.run(lambda: go_on(model, "", Trace(), Sampling(), until=until))
    at = 0
    while (mark := text.find(until, at)) >= 0 and not text[:mark].strip():
        at = mark + len(until)
    if mark >= 0:
        assert trace.text == text[: mark + len(until)]
        assert trace.finish_reason is None
    else:
        assert (trace.text, trace.finish_reason) == (text, "stop")


async def test_a_continuation_starts_a_step_of_its_own():
    model = ScriptedModel([cut_into("\n\nb\nc\n")])
    trace = await go_on(model, "P", traced("a\n"), Sampling(max_tokens=9), until="\n", most=4)
    assert trace.text == "a\n\n\nb\n"
    [request] = model.requests
    assert (request.prefix, request.sampling.max_tokens) == ("a\n", 4)
    assert model.closed == 1


async def test_a_stream_without_an_end_is_truncated():
    trace = await go_on(ScriptedModel([["ab", *[]]]), "", Trace(), Sampling())
    assert trace.ended
    from interwhen.testing import End

    trace = await go_on(ScriptedModel([["ab", End(None)]]), "", Trace(), Sampling())
    assert trace.finish_reason == "truncated"


def test_pieces_are_merged_by_phase():
    trace = Trace((Chunk("a", "reasoning"), Chunk("b", "reasoning"), Chunk("c")))
    assert trace.pieces() == (Piece("ab", phase="reasoning"), Piece("c"))
    assert trace.write("!").pieces()[-1] == Piece("c!")


@settings(max_examples=40)
@given(st.text(max_size=30), st.integers(0, 40), st.integers(1, 5))
def test_a_cut_trace_is_a_prefix(text, length, size):
    trace = traced(text, size)
    cut = trace.cut(length)
    assert cut.text == text[:length]
    assert cut.tokens == min(trace.tokens, -(-length // size))


def test_inserted_text_costs_no_token():
    assert traced("abc").write("wait").tokens == 1


@pytest.mark.parametrize(("reason", "said"), [("stop", "a\nb"), ("length", "a\n"), ("truncated", "a\n"), (None, "a\n")])
def test_truncated_line_is_not_part_of_answer(reason, said):
    assert Trace((Chunk("a\nb"),), reason).said == said
