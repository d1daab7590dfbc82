"""After any cut, the events of the Responses API are consistent by the SDK's own account."""

import anyio
from hypothesis import example, given, settings
from hypothesis import strategies as st
from interwhen import Feedback, Resample
from interwhen.clients._calls import make_settings, read_call
from interwhen.clients._supervision import supervise
from interwhen.clients._upstream import ModelEndpoint
from interwhen.remedies import Abstain, Stop
from openai._models import construct_type
from openai._types import omit
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent
from responses_writer import TOOL, Writer, vet
from watchers import no_call_with, word
from wires import MemoryWire

LINES = st.lists(st.sampled_from(["one\n", "BAD\n", "x BAD y\n", "tw", "o", "\n", "end"]), min_size=1, max_size=4)
ITEM = st.one_of(
    st.tuples(st.just("reasoning"), LINES),
    st.tuples(st.just("text"), LINES),
    st.tuples(st.just("text"), LINES),
    st.tuples(st.just("call"), st.sampled_from(['{"to": "home"}', '{"to": "BAD"}'])),
)
ANSWERS = st.lists(st.lists(ITEM, min_size=1, max_size=3), min_size=1, max_size=4)
REMEDIES = st.sampled_from([None, Resample(), Feedback("rewind"), Feedback("append"), Stop(), Abstain()])


def written(number, items):
    writer = Writer(f"resp_{number}")
    for kind, said in items:
        if kind == "call":
            writer.call(said)
        else:
            getattr(writer, kind)(*said)
    return [step.data for step in writer.steps()]


async def told(answers, monitors, **options):
    transport = MemoryWire(
        lambda number, _: written(number, answers[number] if number < len(answers) else [("text", ["end"])])
    )
    call = read_call("responses", {"model": "m", "input": "q", "stream": True, "tools": [TOOL]})
    supervised = await supervise(call, make_settings(monitors, options), transport, ModelEndpoint())
    parts = []
    try:
        while more := await supervised.parts():
            parts += more
    finally:
        await supervised.aclose()
    return parts, supervised.result


def kept_by_the_sdk(parts):
    state = ResponseStreamState(input_tools=omit, text_format=omit)
    seen = []
    for part in parts:
        seen += state.handle_event(construct_type(type_=ResponseStreamEvent, value=part.chunk()))
    return seen


@given(
    answers=ANSWERS,
    remedy=REMEDIES,
    slow=st.sampled_from([None, 0.0, 0.001]),
    reading=st.sampled_from(["live", "gate", "final"]),
)
@example(answers=[[("call", '{"to": "home"}'), ("text", ["\n"])]], remedy=None, slow=None, reading="live")
@settings(max_examples=60)
def test_what_a_reader_is_told_adds_up(answers, remedy, slow, reading):
    monitors = [word(good=None if remedy else "good", slow=slow, **({"remedy": remedy} if remedy else {}))]
    parts, result = anyio.run(lambda: told(answers, [*monitors, no_call_with()], reading=reading))
    seen = kept_by_the_sdk(parts)
    vet(seen)
    last = seen[-1]
    if last.type == "response.incomplete":
        assert result.status == "abstained" or result.finish_reason is None
        return
    assert last.type == "response.completed"
    calls = [item.arguments for item in last.response.output if item.type == "function_call"]
    # An untouched answer is the server's own. A changed one has no text that is only white space beside a call.
    text = last.response.output_text
    assert text == result.answer or (calls and not text and not result.answer.strip())
    assert "BAD" not in "".join(calls)
    assert [f"move({arguments})" in result.text for arguments in calls] == [True] * len(calls)
    for part in parts:
        if part.info.start is not None:
            assert part.chunk()["type"].endswith((".delta", "in_progress", "completed", "incomplete"))
