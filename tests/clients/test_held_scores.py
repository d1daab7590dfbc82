"""Log-probabilities spell tokens. A gate shows none before the text of its token is released."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.clients._calls import make_settings, read_call
from interwhen.clients._held_scores import HeldScores, HeldTokens
from interwhen.clients._responses_fields import ResponsesFieldFilter, decode_event
from interwhen.clients._supervision import supervise
from interwhen.clients._upstream import ModelEndpoint, make_buffer
from watchers import word
from wires import MemoryWire, event

pytestmark = pytest.mark.anyio


def the_call(api):
    asked = {"messages": [{"role": "user", "content": "q"}]} if api == "chat" else {"prompt": "q"}
    return read_call(api, {"model": "m", "stream": True, **asked})


def score(token, **more):
    return {"token": token, "logprob": -0.5, "bytes": [*token.encode()], "top_logprobs": [], **more}


def chat(text, *tokens, reason=None, **more):
    scores = {"content": [score(token) for token in tokens], "refusal": None} if tokens else None
    choice = {"index": 0, "delta": {"content": text, **more}, "logprobs": scores, "finish_reason": reason}
    return {"id": "r", "object": "chat.completion.chunk", "created": 0, "model": "m", "choices": [choice]}


def completion(text, *tokens, reason=None):
    numbers = [-0.5] * len(tokens)
    scores = {"tokens": [*tokens], "token_logprobs": numbers, "top_logprobs": [{t: -0.5} for t in tokens]}
    choice = {"index": 0, "text": text, "logprobs": {**scores, "text_offset": [0] * len(tokens)}}
    return {"id": "r", "object": "text_completion", "model": "m", "choices": [{**choice, "finish_reason": reason}]}


def tokens_of(body):
    scores = body["choices"][0].get("logprobs") or {}
    return [*(scores.get("tokens") or []), *(each["token"] for each in scores.get("content") or [])]


def shown(*bodies, api="chat", holds=True):
    """The tokens that each chunk shows."""
    buffer = make_buffer(the_call(api), holds=holds)
    buffer.begin(())
    for body in bodies:
        buffer.decode(json.dumps(body).encode(), 0, False)
    return [tokens_of(json.loads(arrival.data)) for arrival in buffer.queue]


@pytest.mark.fault(
    "G2", injected="log-probabilities of text that a gate holds back", happens="held until the text is checked"
)
@pytest.mark.parametrize("api", ["chat", "completions"])
@pytest.mark.parametrize("reading", ["gate", "live"])
async def test_a_gate_shows_no_token_before_its_text_is_checked(api, reading):
    make = chat if api == "chat" else completion
    wire = [make("ok\n", "ok\n"), make("", "BAD"), make("", " SECRET\n"), make("BAD SECRET\n"), make("", reason="stop")]
    transport = MemoryWire(lambda *_: [*map(event, wire), b"data: [DONE]\n\n"])
    supervised = await supervise(
        the_call(api), make_settings([word()], {"reading": reading}), transport, ModelEndpoint()
    )
    parts = []
    try:
        while found := await supervised.parts():
            parts += found
    finally:
        await supervised.aclose()
    said, early = "", []
    for body in [part.chunk() for part in parts]:
        [choice] = body["choices"]
        said += choice.get("text") or (choice.get("delta") or {}).get("content") or ""
        early += [token for token in tokens_of(body) if token not in said]
    assert early[:2] == ([] if reading == "gate" else ["BAD", " SECRET\n"])
    assert "ok\n" in said


@pytest.mark.parametrize(("api", "make"), [("chat", chat), ("completions", completion)])
def test_tokens_are_shown_with_the_chunk_that_completes_their_text(api, make):
    wire = [make("", "a"), make("a", "bc", "d"), make("b", "</s>"), make("cd"), make("", "e"), make("e", "")]
    assert shown(*wire, api=api) == [[], ["a"], [], ["bc", "d"], [], ["e", ""]]  # the end mark is in no text
    assert shown(*wire, api=api, holds=False) == [tokens_of(body) for body in wire]


def test_the_scores_keep_their_form():
    scores = HeldScores()
    assert scores.take({"content": [score("a")], "refusal": None}, "a", "") == {
        "content": [score("a")],
        "refusal": None,
    }
    assert scores.take({"content": [score("b")], "refusal": [score("no")]}, "", "") is None
    given = completion("b", "b")["choices"][0]["logprobs"]
    assert HeldScores().take(given, "b", "") == given
    assert HeldScores().take({"reasoning_content": [score("hm")], "content": []}, "", "hm") == {
        "reasoning_content": [score("hm")],
        "content": None,
    }
    assert HeldScores().take("no scores", "b", "") is None


def test_a_mark_in_no_text_is_left_out_and_delays_nothing():
    assert shown(chat("", "<think>"), chat("ab", "a", "b"), chat("c", "</think>", "c"), chat("d", "d")) == [
        [],
        ["a", "b"],
        ["c"],
        ["d"],
    ]


def test_parts_of_a_character_are_known_by_their_bytes():
    halves = [score("\ufffd", bytes=[0xC3]), score("\\xa9", bytes=[0xA9])]
    held = HeldTokens()
    scores = HeldScores()
    assert scores.take({"content": halves[:1]}, "", "") is None
    assert scores.take({"content": halves[1:]}, "é", "") == {"content": halves}
    assert not held.waits


def test_other_bytes_do_not_hide_a_token():
    assert HeldScores().take({"content": [score("SECRET", bytes=[])]}, "", "") is None
    assert HeldScores().take({"content": [score("SECRET", bytes=[97])]}, "a", "") is None


def test_a_chunk_of_a_call_keeps_its_own():
    calls = [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    assert shown(chat(None, "<call>", "f", tool_calls=calls)) == [["<call>", "f"]]


def test_another_request_forgets_the_tokens_that_wait():
    buffer = make_buffer(the_call("chat"), holds=True)
    buffer.begin(())
    buffer.decode(json.dumps(chat("", "a")).encode(), 0, False)
    buffer.begin(())
    buffer.decode(json.dumps(chat("a")).encode(), 0, False)
    assert [tokens_of(json.loads(arrival.data)) for arrival in buffer.queue][-1] == []


def test_events_of_the_responses_api_wait_too():
    field_filter = ResponsesFieldFilter(holds=True)

    def fed(**event):
        raw = json.dumps(event).encode()
        return json.loads(field_filter.filtered(decode_event(raw), raw))

    place = {"output_index": 0, "content_index": 0}
    kind = "response.output_text"
    first = fed(type=f"{kind}.delta", **place, delta="a", logprobs=[score("a"), score("bc")])
    assert [each["token"] for each in first["logprobs"]] == ["a"]
    last = fed(type=f"{kind}.delta", **place, delta="bc")
    assert [each["token"] for each in last["logprobs"]] == ["bc"]
    done = fed(type=f"{kind}.done", **place, text="abc", logprobs=[score("a"), score("SECRET"), score("bc")])
    assert [each["token"] for each in done["logprobs"]] == ["a", "bc"]
    part = {"type": "output_text", "text": "abc", "logprobs": [score("SECRET")]}
    assert fed(type="response.content_part.done", **place, part=part)["part"]["logprobs"] == []


@given(st.lists(st.sampled_from(["a", "ab", "b", "</s>", ""]), max_size=8), st.integers(0, 6), st.data())
def test_no_token_is_shown_before_its_text(tokens, lag, draw):
    """The text of a stream comes *lag* characters later than its tokens; each token shown is in the text so far."""
    text = "".join(token for token in tokens if token != "</s>")
    held, said, sent, found = HeldTokens(), "", 0, []
    for token in [*tokens, *[None] * 8]:
        sent += len(token) if token not in (None, "</s>") else 0
        end = max(len(said), sent - lag if token is not None else draw.draw(st.integers(len(said), len(text))))
        new, said = text[len(said) : end], text[:end]
        found += held.take(new, [(token.encode(), token)] if token is not None else [])
        assert "".join(found) in said or len("".join(found)) <= len(said)
        assert "</s>" not in found
