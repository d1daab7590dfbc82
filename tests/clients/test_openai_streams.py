"""The SDK's stream helpers count what they receive: after a correction the counts are still right."""

import json

import anyio.to_thread
import interwhen
import pytest
from both import KINDS
from interwhen import wrap
from interwhen.testing._server_script import delta
from interwhen.testing.server import Sleep, events, tool_call
from responses_writer import TOOL, Writer, vet
from watchers import no_call_with, word

pytestmark = pytest.mark.anyio

READINGS = ["live", "gate", "final"]
CHAT_TOOL = {"type": "function", "function": {"name": "move", "parameters": TOOL["parameters"]}}


@pytest.fixture(params=KINDS)
def helper(request, clients):
    async def follow(server, monitors, api, **options):
        client = wrap(clients(KINDS[request.param], server), monitors)
        if api == "responses":
            make, final, options = client.responses.stream, "get_final_response", {"input": "q", **options}
        else:
            make, final = client.chat.completions.stream, "get_final_completion"
            options = {"messages": [{"role": "user", "content": "q"}], **options}

        def read():
            with make(model="m", **options) as stream:
                return list(stream), getattr(stream, final)()

        if request.param == "sync":
            return await anyio.to_thread.run_sync(read)
        async with make(model="m", **options) as stream:
            return [event async for event in stream], await getattr(stream, final)()

    return follow


def responses(*answers, pause=0.0):
    def script(request):
        writer = Writer(f"resp_{request.number}")
        answers[min(request.number, len(answers) - 1)](writer)
        steps = []
        for step in writer.steps():
            steps.append(step)
            if pause and not request.number and b"text.delta" in step.data:
                steps.append(Sleep(pause))
        return tuple(steps)

    return script


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("remedy", [None, interwhen.Resample(), interwhen.Feedback(), interwhen.Feedback("append")])
@pytest.mark.parametrize("pause", [0.0, 30.0], ids=["whole", "in its middle"])  # the client does not wait for the rest
async def test_a_corrected_response_adds_up(pause, remedy, reading, serve, helper):
    script = responses(
        lambda w: w.text("We see BAD\n", "and so on\n"), lambda w: w.text(" Now ", "it is\n"), pause=pause
    )
    server = serve(script)
    monitor = word(good=None if remedy else "good", slow=0.05, **({"remedy": remedy} if remedy else {}))
    seen, final = await helper(server, [monitor], "responses", extra_body={"interwhen": {"reading": reading}})
    items = vet(seen)
    assert len(items) == 1 or not pause  # cut in its middle, it continues; else it was done, and another follows
    assert final.id == "resp_0"
    assert final.output_text.endswith(" Now it is\n")
    assert "BAD" not in final.output_text or isinstance(remedy, interwhen.Feedback)
    assert [output.id for output in final.output] == [items[max(items)].id]
    assert len(server.posts) == 2


@pytest.mark.parametrize("reading", READINGS)
async def test_a_response_that_reasons_adds_up(reading, serve, helper):
    server = serve(
        responses(
            lambda w: w.reasoning("hm BAD\n", "so").text("one\n"),
            lambda w: w.reasoning("right\n").text("two\n", "BAD\n", "x"),
            lambda w: w.reasoning("yes\n").text("three\n"),
        )
    )
    monitor = word(remedy=interwhen.Resample(), slow=0.02)
    seen, final = await helper(server, [monitor], "responses", extra_body={"interwhen": {"reading": reading}})
    vet(seen)
    assert final.output_text == "two\nthree\n"
    assert len(server.posts) == 3


@pytest.mark.parametrize("reading", READINGS)
async def test_a_response_whose_call_was_refused_adds_up(reading, serve, helper):
    server = serve(
        responses(
            lambda w: w.text("one\n").call('{"to": "BAD"}'),
            lambda w: w.reasoning("so").text("two\n").call('{"to": "home"}').call('{"to": "work"}'),
        )
    )
    seen, final = await helper(
        server, [no_call_with()], "responses", tools=[TOOL], extra_body={"interwhen": {"reading": reading}}
    )
    vet(seen)
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.arguments for call in calls] == ['{"to": "home"}', '{"to": "work"}']
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call", "function_call"]
    assert final.output_text == "one\ntwo\n"


async def test_calls_of_two_requests_add_up(serve, helper):
    server = serve(
        responses(
            lambda w: w.text("one\n").call('{"to": "home"}').text("BAD\n", "x"),
            lambda w: w.text("two\n").call('{"to": "work"}'),
        )
    )
    seen, final = await helper(server, [word(remedy=interwhen.Resample())], "responses", tools=[TOOL])
    vet(seen)
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.arguments for call in calls] == ['{"to": "home"}', '{"to": "work"}']
    assert final.output_text == "one\ntwo\n"


@pytest.mark.parametrize("remedy", [interwhen.remedies.Stop(), interwhen.remedies.Abstain()])
@pytest.mark.parametrize("reading", READINGS)
async def test_a_blocked_response_ends_incomplete_with_items_closed(remedy, reading, serve, clients):
    client = wrap(
        clients(KINDS["async"], serve(responses(lambda w: w.text("one\n", "BAD\n", "x")))),
        [word(remedy=remedy, slow=0.02)],
        reading=reading,
    )
    async with client.responses.stream(model="m", input="q") as stream:
        seen = [event async for event in stream]
    vet(seen)
    assert seen[-1].type == "response.incomplete"
    assert seen[-1].response.incomplete_details.reason == "content_filter"


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("field", ["content", "reasoning_content"])
@pytest.mark.parametrize("remedy", [None, interwhen.Resample(), interwhen.Feedback()])
async def test_a_corrected_chat_adds_up(remedy, field, reading, serve, helper):
    def script(request):
        if request.number == 0:
            return (
                delta({"role": "assistant", field: "We see BAD\n"}),
                delta({field: "and so on\n"}),
                *events([], api="chat"),
            )
        return (delta({"role": "assistant", field: " Now it is.\n"}), *events(["Done."], api="chat"))

    monitor = word(good=None if remedy else "good", slow=0.05, **({"remedy": remedy} if remedy else {}))
    seen, final = await helper(serve(script), [monitor], "chat", extra_body={"interwhen": {"reading": reading}})
    message = final.choices[0].message
    kinds = [event.type for event in seen]
    assert kinds.count("content.done") == 1
    text = "".join(event.delta for event in seen if event.type == "content.delta")
    assert message.content == text
    assert text.endswith("Done.")
    assert message.role == "assistant"
    assert final.choices[0].finish_reason == "stop"
    if field != "content":
        assert message.content == "Done."
        assert "Now it is" in message.reasoning_content


@pytest.mark.parametrize("reading", READINGS)
async def test_a_chat_whose_call_was_refused_adds_up(reading, serve, helper):
    def script(request):
        what = "BAD" if request.number == 0 else "home"
        return (
            delta({"role": "assistant", "content": f"try {request.number}\n"}),
            *tool_call("move", json.dumps({"to": what})),
            *events([], api="chat", finish_reason="tool_calls"),
        )

    seen, final = await helper(
        serve(script), [no_call_with()], "chat", tools=[CHAT_TOOL], extra_body={"interwhen": {"reading": reading}}
    )
    (call,) = final.choices[0].message.tool_calls
    assert json.loads(call.function.arguments) == {"to": "home"}
    assert [event.type for event in seen].count("tool_calls.function.arguments.done") == 1
    assert final.choices[0].message.content == "try 0\ntry 1\n"
    assert final.choices[0].finish_reason == "tool_calls"


@pytest.mark.parametrize("reading", READINGS)
async def test_calls_from_two_chat_requests_stay_separate(reading, serve, helper):
    def script(request):
        calls = [
            tool_call("move", json.dumps({"to": where}), call_id=f"{where}_{request.number}", index=index)
            for index, where in enumerate(("home", "work"))
        ]
        text = () if request.number else (delta({"content": "BAD\n"}),)
        # The first call is whole once the second one begins; what is wrong comes after it, so it stands.
        return (*calls[0], calls[1][0], *text, *calls[1][1:], *events([], api="chat", finish_reason="tool_calls"))

    server = serve(script)
    options = {"tools": [CHAT_TOOL], "extra_body": {"interwhen": {"reading": reading}}}
    seen, final = await helper(server, [word(remedy=interwhen.Resample())], "chat", **options)
    calls = final.choices[0].message.tool_calls
    assert [call.id for call in calls] == ["home_0", "home_1", "work_1"]
    assert [json.loads(call.function.arguments)["to"] for call in calls] == ["home", "home", "work"]
    done = [event for event in seen if event.type == "tool_calls.function.arguments.done"]
    assert [event.index for event in done] == [0, 1, 2]
