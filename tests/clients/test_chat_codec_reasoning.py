"""Reasoning between tags is corrected where it stands; where a server hides it, everything else stays as it is."""

import pytest
from both import KINDS, ask, outcome, read, shown
from interwhen import wrap
from interwhen.testing._server_script import data, delta
from interwhen.testing.server import Send, events
from responses_writer import TOOL, Writer
from watchers import no_call_with, passing, word

pytestmark = pytest.mark.anyio

ADVICE = "Wait, BAD is no word.\n"
END = Send(b"data: [DONE]\n\n")


def hiding(texts, finish="stop"):
    usage = {"prompt_tokens": 3, "completion_tokens": 9, "total_tokens": 12}
    usage["completion_tokens_details"] = {"reasoning_tokens": 7}
    head = {"id": "scripted", "object": "chat.completion.chunk", "created": 0, "model": "scripted"}
    first = delta({"role": "assistant", "content": "", "refusal": None})
    counted = Send(data({**head, "choices": [], "usage": usage}))
    return (first, *events(texts, api="chat", finish_reason=finish)[:-1], counted, END)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reading", ["live", "gate", "final"])
@pytest.mark.parametrize(("resume", "mode"), [("turn", "turn"), ("prefill", "unproven_prefill")])
async def test_mistakes_between_think_tags_are_corrected_there(resume, mode, reading, stream, kind, serve, clients):
    answers = [["<thi", "nk>so\n", "BAD\n", "hm</think>", "no\n"], ["ok\n", "</think>", "not BAD here\n"]]
    server = serve(lambda request: events(answers[request.number], api="chat"))
    monitors = [word(phase="reasoning"), passing()]
    client = wrap(clients(KINDS[kind], server), monitors, reading=reading, resume=resume)
    answer = await ask(client, stream=stream)
    chunks = await read(answer) if stream else []
    result = (chunks[-1] if stream else answer).interwhen.result
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    text = text if stream else answer.choices[0].message.content
    assert text == result.text == f"<think>so\nBAD\n{ADVICE}ok\n</think>not BAD here\n"
    assert result.reasoning == f"so\nBAD\n{ADVICE}ok\n"
    assert result.answer == "not BAD here\n"
    assert (result.status, result.resume.mode, len(result.violations)) == ("verified", mode, 1)
    _, *own = server.posts[1].json["messages"]
    kept = "<think>so\nBAD"
    turns = [{"role": "assistant", "content": kept}, {"role": "user", "content": ADVICE.strip()}]
    assert own == (turns if resume == "turn" else [{"role": "assistant", "content": f"{kept}\n{ADVICE}"}])


@pytest.mark.parametrize("kind", KINDS)
async def test_text_shown_between_think_tags_is_replaced_there(kind, serve, clients):
    answers = [["<think>so\n", "BAD\n", "hm\n", "hm</think>", "no\n"], ["\n", "ok</think>", "yes\n"]]
    server = serve(lambda request: events(answers[request.number], api="chat"))
    client = wrap(clients(KINDS[kind], server), [word(good="good", slow=0.05), passing()], resume="prefill")
    chunks = await read(await ask(client, stream=True))
    result = chunks[-1].interwhen.result
    assert result.text == "<think>so\ngood\nok</think>yes\n"
    assert (result.reasoning, result.answer, result.status) == ("so\ngood\nok", "yes\n", "verified")
    trace = ""
    for chunk in chunks:
        info = chunk.interwhen
        if info.start is not None:
            trace = trace[: info.start] + (chunk.choices[0].delta.content or "")[info.lead :]
    assert trace == result.text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_chat_with_hidden_reasoning_passes_unchanged(stream, kind, serve, clients):
    bare = clients(KINDS[kind], serve(hiding(["one\n", "two"])))
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    got, error = await outcome(wrap(bare, [passing()]), **options)
    assert error is None
    if stream:
        want, _ = await outcome(bare, **options)
        assert [shown(chunk) for chunk in got] == [shown(chunk) for chunk in want]
    else:
        assert got[0].choices[0].message.content == "one\ntwo"
    assert got[-1].usage.completion_tokens_details.reasoning_tokens == 7
    result = got[-1].interwhen.result
    assert (result.status, result.reasoning, result.answer) == ("unverified", "", "one\ntwo")
    assert result.resume is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
async def test_a_chat_that_hides_its_reasoning_is_corrected(stream, kind, serve, clients):
    server = serve(lambda request: hiding([["We see ", "BAD", " news\n"], ["It is news.\n"]][request.number]))
    client = wrap(clients(KINDS[kind], server), [word(good="good")], reading="gate")
    answer = await ask(client, stream=stream)
    chunks = await read(answer) if stream else []
    result = (chunks[-1] if stream else answer).interwhen.result
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert (text if stream else answer.choices[0].message.content) == result.text == "We see good\nIt is news.\n"
    assert (result.status, result.resume.mode, result.reasoning) == ("unverified", "turn", "")
    assert server.posts[1].json["messages"][1] == {"role": "assistant", "content": "We see good\n"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_response_with_hidden_reasoning_passes_unchanged(kind, serve, clients):
    bare = clients(KINDS[kind], serve(lambda _: Writer().hidden_reasoning().text("one\n", "two").steps()))
    want, _ = await outcome(bare, "responses", stream=True)
    got, error = await outcome(wrap(bare, [passing()]), "responses", stream=True)
    assert error is None
    assert [shown(event) for event in got] == [shown(event) for event in want]
    result = got[-1].interwhen.result
    assert (result.status, result.reasoning, result.answer) == ("verified", "", "one\ntwo")
    assert result.resume is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("what", ["text", "call"])
async def test_a_response_that_hides_its_reasoning_is_corrected(what, stream, kind, serve, clients):
    def script(request):
        writer = Writer(f"resp_{request.number}").hidden_reasoning()
        if what == "call":
            return writer.call(['{"to": "BAD"}', '{"to": "home"}'][request.number]).steps()
        return writer.text(*[["We see ", "BAD", " news\n"], ["It is news.\n"]][request.number]).steps()

    server = serve(script)
    client = wrap(clients(KINDS[kind], server), [word(good="good") if what == "text" else no_call_with()])
    answer = await ask(client, "responses", stream=stream, tools=[TOOL])
    seen = await read(answer) if stream else []
    last = seen[-1] if stream else answer
    result = last.interwhen.result
    assert (result.status, result.resume.mode, result.reasoning) == ("verified", "turn", "")
    response = last.response if stream else answer
    # The reasoning must be given back with the calls of the same request, by who makes them.
    reasoning = [item.encrypted_content for item in response.output if item.type == "reasoning"]
    assert reasoning == ["gAAA_resp_1"]
    if what == "text":
        assert response.output_text == result.answer == "We see good\nIt is news.\n"
    else:
        assert [item.arguments for item in response.output if item.type == "function_call"] == ['{"to": "home"}']
    assert [event.sequence_number for event in seen] == list(range(len(seen)))
    assert len(server.posts) == 2
