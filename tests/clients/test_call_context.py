"""Prepared contexts in calls of the real `openai` package: stored answers, passages before the question, and neither."""

import shutil
import sqlite3

import anyio
import interwhen
import openai
import pytest
from both import KINDS, ask, read
from interwhen import Message, Resample, UsageError
from interwhen.clients._call_context import lead_of
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers.answers import answers
from interwhen.testing._server_script import counts
from interwhen.testing.server import events
from responses_writer import Writer
from tests.precompute.prepared import ANSWER, QUESTION, TEXT, named, prepare
from watchers import passing, word

pytestmark = pytest.mark.anyio
OTHER = "What does Jo earn in dollars by 4 days?"
LINES = TEXT.replace("\n\n", "\n")
LEAD = f"From the text:\n{LINES}\n\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = tmp_path_factory.mktemp("store") / "s.db"
    anyio.run(prepare, place)
    return place


@pytest.fixture
def place(prepared, tmp_path):
    return str(shutil.copy(prepared, tmp_path))


def told(text="180\n", api="chat"):
    return lambda _: events([text], api=api)


def asking(api, question, **more):
    field = {"chat": "messages", "completions": "prompt", "responses": "input"}[api]
    value = [{"role": "user", "content": question}] if api == "chat" else question
    return {field: value, **more}


def text_of(answer, api, *, stream):
    if api == "responses":
        return (
            "".join(each.delta for each in answer if each.type == "response.output_text.delta")
            if stream
            else answer.output_text
        )
    if not stream:
        return answer.choices[0].message.content if api == "chat" else answer.choices[0].text
    choices = [chunk.choices[0] for chunk in answer if chunk.choices]
    return "".join((each.delta.content if api == "chat" else each.text) or "" for each in choices)


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
async def test_stored_answers_are_returned_without_asking_the_server(kind, stream, api, place, serve, clients):
    server = serve(told(api=api))
    context = {"name": "wages", "store": place}
    client = interwhen.wrap(clients(KINDS[kind], server), monitors=[passing()], context=context)
    answer = await ask(client, api, stream=stream, **asking(api, QUESTION))
    chunks = await read(answer) if stream else None
    assert text_of(chunks if stream else answer, api, stream=stream) == ANSWER
    result = (chunks[-1] if stream else answer).interwhen.result
    assert not [request for request in server.requests if request.method == "POST"]
    assert result.text == ANSWER
    assert result.status == "verified"
    assert (result.context.name, result.context.used, len(result.precomputed)) == ("wages", "answer", 1)
    assert (result.ledger.kept, result.ledger.requests) == (0, 1)
    assert result.ledger.offline_tokens > 0
    if kind == "sync":
        client.close()


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", ["chat", "completions", "responses"])
async def test_passages_stand_before_the_question_in_the_request(stream, api, place, serve, clients):
    server = serve(told(api=api)) if api != "responses" else serve(responses)
    client = interwhen.wrap(
        clients(openai.AsyncOpenAI, server), context={"name": "wages", "store": place, "passages": 500}
    )
    answer = await ask(client, api, stream=stream, **asking(api, OTHER))
    last = (await read(answer))[-1] if stream else answer
    [request] = [request for request in server.requests if request.method == "POST"]
    sent = request.json
    said = sent["messages"][-1]["content"] if api == "chat" else sent["prompt" if api == "completions" else "input"]
    assert said == LEAD + OTHER
    assert last.interwhen.result.context.used == "passages"
    assert last.interwhen.result.precomputed == ()


def responses(_request):
    return Writer().text("180\n").steps()


async def test_passages_become_the_first_part_of_multipart_questions(place, serve, clients):
    server = serve(told())
    client = interwhen.wrap(
        clients(openai.AsyncOpenAI, server), context={"name": "wages", "store": place, "passages": 500}
    )
    turns = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": OTHER}]},
        {"role": "assistant", "content": "Hm."},
    ]
    await ask(client, messages=turns)
    assert server.requests[-1].json["messages"] == [
        turns[0],
        {"role": "user", "content": [{"type": "text", "text": LEAD}, {"type": "text", "text": OTHER}]},
        turns[2],
    ]


async def test_a_call_chooses_another_context_or_none(place, serve, clients, tmp_path):
    await prepare(place, "more")
    server = serve(told())
    client = interwhen.wrap(clients(openai.AsyncOpenAI, server), context={"name": "wages", "store": place})

    async def used(value):
        answer = await ask(client, interwhen={"context": value, "monitors": [passing()]}, **asking("chat", OTHER))
        return answer.interwhen.result.context

    assert (await used("more")).name == "more"
    assert await used(None) is None
    with pytest.raises(UsageError, match="context 'less' must be in the store"):
        await used("less")
    with pytest.raises(UsageError, match="context must be the name of a prepared context"):
        await used(7)
    # Without monitors, strategy and context the call passes through.
    bare = await ask(client, interwhen=False, **asking("chat", OTHER))
    assert not hasattr(bare, "interwhen")


def test_wrapping_with_a_missing_or_malformed_context_raises(tmp_path):
    with openai.OpenAI(base_url="http://127.0.0.1:9", api_key="key") as client:
        with pytest.raises(UsageError, match=r"must exist, got no file '.*s\.db'"):
            interwhen.wrap(client, context={"name": "wages", "store": str(tmp_path / "s.db")})
        with pytest.raises(UsageError, match="mapping of name, store, key_file and passages"):
            interwhen.wrap(client, context={"nam": "wages"})


@pytest.mark.parametrize(
    "more",
    [
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}]},
        {"response_format": {"type": "json_object"}},
        {"logprobs": True},
        {"stop": ["."]},
        {"max_tokens": 3},
    ],
    ids=lambda more: next(iter(more)),
)
async def test_requests_for_more_than_text_skip_stored_answers(more, place, serve, clients):
    server = serve(told())
    client = interwhen.wrap(clients(openai.AsyncOpenAI, server), context={"name": "wages", "store": place})
    answer = await ask(client, **asking("chat", QUESTION, **more))
    assert answer.choices[0].message.content == "180\n"
    use = answer.interwhen.result.context
    assert (use.used, answer.interwhen.result.precomputed) == ("none", ())
    assert next(iter(more)) in use.why or "tokens" in use.why


async def test_the_server_continues_a_refuted_stored_answer(place, serve, clients):
    server = serve(told("Answer: 200\n"))
    monitor = word("Answer: 180", remedy=Resample())
    client = interwhen.wrap(
        clients(openai.AsyncOpenAI, server), monitors=[monitor], context={"name": "wages", "store": place}
    )
    answer = await ask(client, **asking("chat", QUESTION))
    assert answer.choices[0].message.content == "45 * 4 = 180\nAnswer: 200\n"
    assert [violation.quote for violation in answer.interwhen.result.violations] == ["Answer: 180"]


@pytest.mark.parametrize("reading", ["gate", "final"])
async def test_a_stored_answer_is_gated_like_any_other(reading, place, serve, clients):
    server = serve(told())
    client = interwhen.wrap(
        clients(openai.AsyncOpenAI, server),
        monitors=[passing()],
        reading=reading,
        context={"name": "wages", "store": place},
    )
    chunks = await read(await ask(client, stream=True, **asking("chat", QUESTION)))
    assert text_of(chunks, "chat", stream=True) == ANSWER


async def test_strategies_receive_passages_but_never_stored_answers(place, serve, clients):
    server = serve(lambda _: (*events(["180\n"], api="chat")[:-1], counts(3, 2), events(["x"], api="chat")[-1]))
    client = interwhen.wrap(
        clients(openai.AsyncOpenAI, server),
        monitors=[passing()],
        strategy="best-of-n:n=2",
        context={"name": "wages", "store": place, "passages": 500},
    )
    answer = await ask(client, **asking("chat", OTHER))
    assert answer.interwhen.result.context.used == "passages"
    assert {request.json["messages"][-1]["content"] for request in server.requests} == {LEAD + OTHER}
    answer = await ask(client, **asking("chat", QUESTION))
    assert (answer.interwhen.result.context.used, answer.choices[0].message.content) == ("none", "180\n")


async def test_calls_succeed_without_context_when_store_is_locked(place, serve, clients):
    server = serve(told())
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    client = interwhen.wrap(clients(openai.AsyncOpenAI, server), context={"name": "wages", "store": place})
    client._interwhen_settings.context.source.opened_store().shelf._connection.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        answer = await ask(client, **asking("chat", QUESTION))
    finally:
        other.close()
    assert answer.choices[0].message.content == "180\n"
    assert answer.interwhen.result.context.used == "unavailable"
    assert "locked" in answer.interwhen.result.context.why


async def test_calls_pause_background_work_of_in_process_contexts(serve, clients):
    server = serve(told())
    pre = Precomputer(Store(MemoryShelf()), named("m"), producers=[answers()], passages=500)
    ref = await pre.add("wages", {"all": LINES})
    await pre.work()
    client = interwhen.wrap(clients(openai.AsyncOpenAI, server), context=ref)
    changes = pre.foreground_gate._changes
    answer = await ask(client, **asking("chat", OTHER))
    assert answer.interwhen.result.context.used == "passages"
    assert pre.foreground_gate._changes == changes + 2  # it began and ended


def test_only_text_before_the_question_can_be_added():
    system, user, reply = Message("system", "s"), Message("user", "q"), Message("assistant", "a")
    assert lead_of("q", "lead\nq") == "lead\n"
    assert lead_of("q", "q!") is None
    assert lead_of((system, user, reply), (system, Message("user", "lead q"), reply)) == "lead "
    assert lead_of((system, user), (system, user)) == ""
    assert lead_of((system, user), (Message("system", "other"), user)) is None
    assert lead_of((system, user), (system, Message("user", "other"))) is None
    assert lead_of((system,), (Message("system", "lead s"),)) is None
    assert lead_of((user,), "lead q") is None
