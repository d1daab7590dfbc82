"""A chat continues from token ids, inside the reasoning too, whatever its template does with assistant messages."""

import json

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Sampling
from interwhen._types.models import Piece
from interwhen.models import ChatModel, Request
from interwhen.models._chunks import decode_chat
from interwhen.models._sse import END_MARK as DONE
from interwhen.models._token_resume import (
    FAMILIES,
    ChatEvents,
    RawText,
    TokenPrompt,
    TokenTrail,
    completion_body,
    fragments,
    runs_of,
    without_ids,
)
from interwhen.testing._server_script import data
from interwhen.testing.server import ScriptedServer
from tests.token_server import TAGS, Vllm, ids_of, text_of

THINK = FAMILIES[0]


@interwhen.verifier(name="sure")
def sure(claim):
    return interwhen.Pass()


# ------------------------------------------------------------------------------------------ a trail and its cuts


def trail_of(*units, prompt=(9, 9)):
    trail = TokenTrail(prompt)
    for phase, text in units:
        trail.add(ids_of(text), [(phase, text)] if phase else [])
    return trail


STORY = ((None, "<think>"), ("reasoning", "1 + 1"), ("reasoning", " = 3"), (None, "</think>"), ("answer", "It is 3"))


def test_text_kept_whole_retains_its_original_token_ids():
    kept = trail_of(*STORY).kept(runs_of([Piece("1 + 1 = 3", phase="reasoning"), Piece("It is 3")]))
    assert list(kept.ids) == [9, 9, *ids_of("<think>1 + 1 = 3</think>It is 3")]
    assert kept.rest == ()
    assert kept.phase == "answer"


def test_a_cut_inside_a_token_keeps_earlier_tokens():
    kept = trail_of(*STORY).kept(runs_of([Piece("1 + 1 =", phase="reasoning"), Piece(" 2", "repair", "reasoning")]))
    assert list(kept.ids) == [9, 9, *ids_of("<think>1 + 1")]
    assert [(run.phase, run.text, run.ours) for run in kept.rest] == [
        ("reasoning", " =", False),
        ("reasoning", " 2", True),
    ]
    assert kept.phase == "reasoning"


def test_the_models_own_tag_separates_the_two_phases():
    kept = trail_of(*STORY).kept(runs_of([Piece("1 + 1 = 3", phase="reasoning"), Piece("It is 2", "repair")]))
    assert list(kept.ids) == [9, 9, *ids_of("<think>1 + 1 = 3</think>")]
    assert [(run.phase, run.text) for run in kept.rest] == [("answer", "It is 2")]
    assert kept.phase == "answer"


def test_cutting_after_the_reasoning_omits_its_closing_tag():
    kept = trail_of(*STORY).kept(
        runs_of([Piece("1 + 1 = 3", phase="reasoning"), Piece(" No", "feedback", "reasoning")])
    )
    assert list(kept.ids) == [9, 9, *ids_of("<think>1 + 1 = 3")]
    assert kept.phase == "reasoning"


@given(st.integers(0, 9), st.integers(0, 7))
def test_any_cut_keeps_exactly_the_text_before_it(reasoning, answer):
    thought, said = "1 + 1 = 3"[:reasoning], "It is 3"[:answer] if reasoning == 9 else ""
    pieces = [Piece(thought, phase="reasoning"), Piece(said)]
    kept = trail_of(*STORY).kept(runs_of(pieces))
    standing = "".join(text for tag, text in (("", thought), ("</think>", said)) if text)
    rest = "".join(run.text for run in kept.rest)
    raw = text_of(kept.ids[2:]).replace("<think>", "").replace("</think>", "") + rest
    assert raw == thought + said
    assert standing.replace("</think>", "") == raw


def test_a_stream_without_ids_makes_no_trail():
    trail = TokenTrail()
    read = trail.reading(decode_chat)
    read(b'{"choices":[{"delta":{"content":"Hi"}}],"prompt_token_ids":[1,2]}', 0, True)
    assert trail.prompt == (1, 2)
    assert not trail.is_whole


@given(
    st.lists(st.sampled_from([("reasoning", "ab"), ("answer", "abc"), ("answer", "b"), (None, "<think>")])), st.data()
)
def test_kept_ids_and_rest_always_equal_kept_text(units, pick):
    trail = trail_of(*units)
    spelled = [(phase, text) for phase, text in units if phase]
    cut = pick.draw(st.integers(0, len(spelled)))
    pieces = [Piece(text, phase=phase) for phase, text in spelled[:cut]]
    if cut < len(spelled):
        phase, text = spelled[cut]
        pieces.append(Piece(text[: pick.draw(st.integers(0, len(text)))], phase=phase))
    pieces.append(
        Piece(
            pick.draw(st.sampled_from(["", "abx", "b"])), "repair", pick.draw(st.sampled_from(["reasoning", "answer"]))
        )
    )
    kept = trail.kept(runs_of(pieces))
    read = [part for unit in kept.trail.events for part in unit.parts] + [(run.phase, run.text) for run in kept.rest]
    assert spell(read) == spell((piece.phase, piece.text) for piece in pieces)
    own = [number for unit in kept.trail.events for number in (*unit.lead, *unit.ids)]
    assert list(kept.ids)[: 2 + len(own)] == [9, 9, *own]
    # After these ids, only the tag before the next phase may follow.
    assert all(number in TAGS.values() for number in kept.ids[2 + len(own) :])


def spell(parts):
    return [(phase, char) for phase, text in parts for char in text]


# ------------------------------------------------------------------------------------------ ids that a reader hides

EVENTS = (
    b'{"id":"x","prompt_token_ids":[1,2],"choices":[{"index":0,"delta":{"content":"a"},"token_ids":[7, 8]}]}',
    b'{"prompt_token_ids": [1, 2], "choices": [{"token_ids": [7], "index": 0, "delta": {"content": "a"}}]}',
    b'{"choices":[{"index":0,"delta":{"content":"a"},"token_ids":null}],"prompt_token_ids":null}',
    b'{"choices":[{"token_ids":[]}],"prompt_token_ids":[]}',
    b'{"choices":[{"delta":{"content":",\\"token_ids\\":[1]"},"token_ids":[3]}]}',
    b'{"choices":[{"delta":{"content":","},"token_ids":[3]}]}',
    b"[DONE]",
    b'{"token_ids":',
)


@pytest.mark.parametrize("event", EVENTS)
def test_only_the_ids_leave_an_event(event):
    shown = without_ids(event)
    if not event.startswith(b"{") or not event.endswith(b"}"):
        assert shown == event
        return

    def bare(value):
        if isinstance(value, dict):
            return {name: None if name.endswith("token_ids") else bare(inner) for name, inner in value.items()}
        return [bare(inner) for inner in value] if isinstance(value, list) else value

    assert json.loads(shown) == bare(json.loads(event))


@given(st.text(alphabet=',"[]{}:\\ token_ids', max_size=30))
def test_text_never_looks_like_a_field_with_ids(text):
    event = json.dumps({"choices": [{"delta": {"content": text}, "token_ids": [1]}]}, separators=(",", ":")).encode()
    assert json.loads(without_ids(event)) == {"choices": [{"delta": {"content": text}, "token_ids": None}]}


# ------------------------------------------------------------------------------------------ raw text


@given(st.lists(st.integers(1, 6)), st.sampled_from(FAMILIES))
def test_reasoning_and_answer_separate_wherever_text_is_cut(sizes, markup):
    raw = f"so 1 < 2{markup.closing}It is <b>2</b>"
    reader, pieces, at = RawText(markup, "reasoning"), [], 0
    for size in [*sizes, len(raw)]:
        pieces += reader.feed(raw[at : at + size])
        at += size
    pieces += reader.finish()
    assert "".join(text for phase, text in pieces if phase == "reasoning") == "so 1 < 2"
    assert "".join(text for phase, text in pieces if phase == "answer") == "It is <b>2</b>"


@given(st.text(alphabet="ab ", max_size=3), st.sampled_from(FAMILIES), st.sampled_from(["reasoning", "answer"]))
def test_cutting_raw_text_never_changes_its_phases(between, markup, phase):
    raw = f"so{markup.closing}{between}{markup.opening}ab{markup.closing}c{markup.opening}d"

    def phases(parts):
        reader = RawText(markup, phase)
        pieces = [part for piece in parts for part in reader.feed(piece)] + reader.finish()
        return [(each, sign) for each, text in pieces for sign in text]

    assert phases([raw]) == phases(raw)


def test_an_opening_tag_inside_an_answer_is_text():
    reader = RawText(THINK, "answer")
    assert reader.feed("write <think> here") == [("answer", "write <think> here")]


@given(st.text(alphabet="<>[]|/ab ", max_size=40))
def test_fragments_hold_no_special_token_and_lose_nothing(text):
    parts = fragments(text)
    assert "".join(parts) == text
    for part in parts:
        for token in ("<|a|>", "<a>", "[a]", "</a>", "<|ab|>"):
            assert token not in part


async def chat_events(raw_chunks, phase="reasoning", *, ends=True):
    class Response:
        status, headers = 200, {}

        def __init__(self):
            self.parts = [data(chunk) for chunk in raw_chunks] + [DONE] * ends

        async def receive(self):
            return self.parts.pop(0) if self.parts else b""

        async def aclose(self):
            pass

    events = ChatEvents(Response(), TokenPrompt((), phase, THINK, TokenTrail()), "reasoning")
    body = b""
    while part := await events.receive():
        body += part
    assert not ends or body.endswith(DONE)
    return [json.loads(line[6:]) for line in body.decode().splitlines() if line.startswith("data: {")]


@pytest.mark.anyio
async def test_a_completion_becomes_the_events_of_a_chat():
    raw = [
        {"id": "x", "choices": [{"index": 0, "text": text, "finish_reason": None, "token_ids": ids_of(text)}]}
        for text in ("a", "</thi", "nk>b")
    ]
    raw.append({"id": "x", "choices": [{"index": 0, "text": "", "finish_reason": "stop"}]})
    raw.append({"id": "x", "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 3}})
    events = await chat_events(raw)
    assert [event["choices"][0]["delta"] for event in events[:4]] == [{"reasoning": "a"}, {}, {"content": "b"}, {}]
    assert events[3]["choices"][0]["finish_reason"] == "stop"
    assert events[4]["usage"]["completion_tokens"] == 3


@pytest.mark.anyio
@pytest.mark.parametrize("ends", [True, False])
async def test_an_unfinished_tag_survives_a_missing_finish_reason(ends):
    events = await chat_events([{"choices": [{"index": 0, "text": text}]} for text in ("5 ", "</thi")], ends=ends)
    assert [event["choices"][0]["delta"] for event in events] == [{"reasoning": "5 "}, {}, {"reasoning": "</thi"}]


@pytest.mark.anyio
async def test_an_events_ids_never_hold_later_text():
    # `a <` may be followed by `/think>`: its `a ` waits, so that a cut after it does not keep the id of ` <`.
    texts = ("x", "a <", " 5", " <", "/think>b")
    raw = [{"choices": [{"index": 0, "text": text, "token_ids": [at]}]} for at, text in enumerate(texts)]
    trail = TokenTrail((9,))
    read = trail.reading(decode_chat)
    for event in await chat_events([*raw, {"choices": [{"index": 0, "text": "", "finish_reason": "stop"}]}]):
        read(json.dumps(event).encode(), 0, False)
    assert [(unit.lead, unit.ids, unit.parts) for unit in trail.events] == [
        ((), (0,), (("reasoning", "x"),)),
        ((1,), (2,), (("reasoning", "a < 5"),)),
        ((3,), (4,), (("reasoning", " "), ("answer", "b"))),
    ]
    assert trail.kept(runs_of([Piece("xa ", phase="reasoning")])).ids == (9, 0)


def test_settings_of_the_chat_reach_the_completion():
    chat = {"model": "m", "messages": [], "tools": [], "logprobs": True, "top_logprobs": 3, "max_completion_tokens": 7}
    body = completion_body(chat, TokenPrompt((1, 2), "answer", THINK, TokenTrail()))
    assert body == {
        "model": "m",
        "max_tokens": 7,
        "logprobs": 3,
        "prompt": [1, 2],
        "return_token_ids": True,
        "skip_special_tokens": False,
    }


# ------------------------------------------------------------------------------------------ with a server


async def supervised(script, **options):
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", **options) as model,
        interwhen.run(
            model, "59 + 1?", monitors=["arithmetic:remedy=repair"], sampling=Sampling(max_tokens=200)
        ) as run,
    ):
        async for _ in run:
            pass
        return run.result, server


@pytest.mark.anyio
@pytest.mark.parametrize("opened", [False, True])
async def test_a_repair_in_the_reasoning_continues_there(opened):
    script = Vllm(opened=opened)
    result, server = await supervised(script)
    assert script.continued == ["59 + 1?<think>59 + 1 = 60"]
    assert result.resume.mode == "tokens"
    assert result.reasoning == "59 + 1 = 60\n"
    assert result.answer == "It is 60"
    assert [post.path for post in server.posts if post.path.endswith("chat/completions")] == ["/v1/chat/completions"]


@pytest.mark.anyio
async def test_the_kept_text_is_never_tokenized_again():
    script = Vllm()
    await supervised(script, resume="tokens")
    assert [text for text in script.tokenized if "<" not in text and "THINK" not in text] == ["\n", "\n0"]


@pytest.mark.anyio
async def test_cut_token_rest_and_repair_are_tokenized_together():
    script = Vllm()
    async with ScriptedServer(script, owned_by="vllm") as server, ChatModel(server.base_url, "scripted") as model:
        pieces = (Piece("so ", phase="reasoning"), Piece("60", "repair", "reasoning"))
        await (
            await model.stream(
                Request("59 + 1?", pieces, trail=trail_of(("reasoning", "so 61"), prompt=ids_of("59 + 1?<think>")))
            )
        ).aclose()
    assert "\nso 60" in script.tokenized
    assert script.continued == ["59 + 1?<think>so 60"]


@pytest.mark.anyio
async def test_a_fork_starts_from_the_streams_token_ids():
    script = Vllm()
    async with (
        ScriptedServer(script, owned_by="vllm") as server,
        ChatModel(server.base_url, "scripted", resume="tokens") as model,
    ):
        fork = interwhen.Fork("Right?", lambda reply, segment: ())
        monitor = interwhen.Monitor(name="fork", extractor=fork, verifier=sure, delivery="observe")
        async with interwhen.run(model, "59 + 1?", monitors=[monitor]) as run:
            async for _ in run:
                pass
    assert run.result.ledger.forks
    assert all(
        "59 + 1?<think>59 + 1 = 61\n</think>It is 61Right?".startswith(raw.removesuffix("Right?"))
        for raw in script.continued
    )
    assert not [text for text in script.tokenized if "59" in text]


@pytest.mark.anyio
async def test_a_resumed_journal_without_trail_requests_token_ids():
    script = Vllm()
    async with ScriptedServer(script, owned_by="vllm") as server, ChatModel(server.base_url, "scripted") as model:
        stream = await model.stream(Request("59 + 1?", (Piece("59 + 1 = 60", phase="reasoning"),)))
        chunks = []
        while more := await stream.receive():
            chunks += more
        await stream.aclose()
    assert script.continued == ["59 + 1?<think>59 + 1 = 60"]
    assert "".join(chunk.text for chunk in chunks if chunk.phase == "answer") == "It is 60"


@pytest.mark.anyio
async def test_missing_tokenize_is_tried_once_before_a_turn():
    result, server = await supervised(Vllm(tokenizes=False))
    assert result.resume.mode == "turn"
    assert sum(post.path.endswith("/tokenize") for post in server.posts) == 1


@pytest.mark.anyio
async def test_text_like_special_tokens_is_sent_as_text():
    script = Vllm()
    async with ScriptedServer(script, owned_by="vllm") as server, ChatModel(server.base_url, "scripted") as model:
        piece = Piece("say </think> 60", origin="feedback", phase="reasoning")
        stream = await model.stream(Request("59 + 1?", (piece,)))
        await stream.aclose()
        prompts = [post.json["prompt"] for post in server.posts if post.path == "/v1/completions"]
    assert TAGS["</think>"] not in prompts[0]
    assert text_of(prompts[0]) == "59 + 1?<think>say </think> 60"


@pytest.mark.anyio
async def test_tags_in_text_become_tokens_and_stay_visible():
    class Plain(Vllm):
        """Without a reasoning parser."""

        def chat(self, body):
            steps = [({"delta": {"content": text_of([number])}}, [number]) for number in ids_of(self.first)]
            return self.stream(steps, body.get("return_token_ids"))

    script = Plain()
    result, _ = await supervised(script)
    assert script.continued == ["59 + 1?<think>59 + 1 = 60"]
    assert result.resume.mode == "tokens"
    assert result.text == "<think>59 + 1 = 60\n</think>It is 60"


# ---------------------------------------------------------------------------------------- the count of the prompt


def _read(trail, *events):
    decode = trail.reading(decode_chat)
    return [decode(json.dumps(event).encode(), 0, number == 0) for number, event in enumerate(events)]


def _event(text, ids, **fields):
    return {"choices": [{"index": 0, "delta": {"content": text}, "token_ids": list(ids)}], **fields}


def test_the_first_chunk_counts_the_prompts_token_ids():
    first, second = _read(TokenTrail(), _event("It", [7], prompt_token_ids=[1, 2, 3]), _event(" is", [8]))
    assert (first.usage.prompt_tokens, first.usage.completion_tokens, second.usage) == (3, None, None)


def test_a_continuations_prompt_count_includes_everything_sent():
    trail = trail_of(("answer", "It is 3"))
    size = trail.size
    first, second = _read(trail, _event("4", [7]), _event("2", [8]))
    assert (first.usage.prompt_tokens, second.usage) == (size, None)


def test_a_count_of_the_server_is_not_replaced():
    [only] = _read(TokenTrail(), _event("It", [7], prompt_token_ids=[1, 2, 3], usage={"prompt_tokens": 9}))
    assert only.usage.prompt_tokens == 9


def test_the_prompt_count_waits_for_the_first_chunk():
    role = {"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}], "prompt_token_ids": [1, 2, 3]}
    tag = {"choices": [{"index": 0, "delta": {}, "token_ids": [6]}]}
    chunks = _read(TokenTrail(), role, tag, _event("It", [7]), _event(" is", [8]))
    assert chunks[:2] == [None, None]
    assert [chunk.usage and chunk.usage.prompt_tokens for chunk in chunks[2:]] == [3, None]
