import json

import pytest
from interwhen import ToolCall
from interwhen.models import Chunk, ContextOverflow, RateLimited, StreamProtocolError, UpstreamError, Usage
from interwhen.models._chunks import DONE, UnexpectedForm, decode_chat, decode_completion, reading_calls

BOTH = pytest.mark.parametrize(("decode", "content"), [(decode_completion, "text"), (decode_chat, "delta")])


def completion(text, **choice):
    return json.dumps({"choices": [{"index": 0, "text": text, **choice}]}).encode()


def chat(delta, **choice):
    return json.dumps({"choices": [{"index": 0, "delta": delta, **choice}]}).encode()


def test_text_is_a_chunk_of_one_token():
    assert decode_completion(completion("hé"), 0, True) == Chunk("hé")
    assert decode_chat(chat({"role": "assistant", "content": "hé"}), 0, True) == Chunk("hé")


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
@pytest.mark.parametrize("mark", [b"[DONE]", b" [DONE]", b"[DONE] "])
def test_the_end_mark(decode, mark):
    assert decode(mark, 0, True) is DONE


@pytest.mark.parametrize("text", [None, ""])
def test_no_text_is_no_chunk(text):
    assert decode_completion(completion(text), 0, True) is None
    assert decode_chat(chat({"content": text}), 0, True) is None


def test_tool_call_deltas_and_roles_are_no_text():
    assert decode_chat(chat({"role": "assistant"}), 0, True) is None
    assert decode_chat(chat({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}), 0, True) is None
    assert decode_chat(chat(None), 0, True) is None


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_a_reasoning_field_is_the_reasoning_phase(name):
    assert decode_chat(chat({name: "hm", "content": None}), 0, True) == Chunk("hm", "reasoning")


def test_reasoning_and_answer_in_one_delta_are_split():
    decoded = decode_chat(chat({"reasoning_content": "so", "content": "4"}, finish_reason="stop"), 0, True)
    assert decoded == (Chunk("so", "reasoning"), Chunk("4", finish_reason="stop"))


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("content_filter", "content_filter"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("abort", "other"),
        ("¿?", "other"),
    ],
)
def test_finish_reasons(word, reason):
    assert decode_completion(completion("", finish_reason=word), 0, False) == Chunk("", tokens=0, finish_reason=reason)
    assert decode_chat(chat({}, finish_reason=word), 0, False).finish_reason == reason
    assert decode_chat(chat({"reasoning": "x"}, finish_reason=word), 0, False).finish_reason == reason


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
def test_usage_alone_is_kept(decode):
    counts = {"prompt_tokens": 7, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 5}}
    data = json.dumps({"choices": [], "usage": counts}).encode()
    assert decode(data, 0, False) == Chunk("", tokens=0, usage=Usage(7, 5, 3))
    counts["prompt_tokens_details"] = None
    assert decode(json.dumps({"usage": counts}).encode(), 0, True).usage == Usage(7, None, 3)


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
@pytest.mark.parametrize("count", [-1, 1 << 53, 10**30, 7.5, "7", [7], True])
def test_an_invalid_token_count_is_read_as_missing(decode, count):
    counts = {"prompt_tokens": count, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": count}}
    assert decode(json.dumps({"usage": counts}).encode(), 0, True).usage == Usage(None, None, 3)


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
def test_details_of_another_form_were_not_said(decode):
    data = json.dumps({"usage": {"prompt_tokens": 7, "prompt_tokens_details": [5]}}).encode()
    assert decode(data, 0, True).usage == Usage(7)


@pytest.mark.parametrize("word", ["", "null", None])
def test_a_finish_reason_that_says_nothing_is_none(word):
    assert decode_completion(completion("a", finish_reason=word), 0, True) == Chunk("a")
    assert decode_chat(chat({"content": "a"}, finish_reason=word), 0, True) == Chunk("a")
    assert decode_chat(chat({"reasoning": "a"}, finish_reason=word), 0, True) == Chunk("a", "reasoning")
    assert decode_chat(chat({}, finish_reason=word), 0, True) is None
    read = reading_calls(decode_chat)
    for piece in ({"id": "c", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}):
        assert read(chat({"tool_calls": [{"index": 0, **piece}]}, finish_reason=word), 0, True) is None
    (called, _) = read(chat({}, finish_reason="tool_calls"), 0, False)
    assert called.call == ToolCall("c", "f", "{}")


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
def test_an_error_beside_a_choice_is_raised(decode):
    choice = {"index": 0, "delta": {"content": ""}, "text": "", "finish_reason": "error"}
    for reason in ("error", None):
        data = {"choices": [{**choice, "finish_reason": reason}], "error": {"code": 502, "message": "gone"}}
        with pytest.raises(UpstreamError, match="status 502: 'gone'"):
            decode(json.dumps(data).encode(), 0, False)
    for none in (None, {}, ""):
        data = {"choices": [{**choice, "finish_reason": "stop"}], "error": none}
        assert decode(json.dumps(data).encode(), 0, False).finish_reason == "stop"


@pytest.mark.parametrize(
    ("decode", "choice"),
    [
        (decode_completion, {"delta": {"content": "a"}}),
        (decode_completion, {"message": {"content": "a"}}),
        (decode_chat, {"message": {"content": "a"}}),
        (decode_chat, {"text": "a"}),
    ],
)
def test_a_whole_answer_of_another_form_is_refused(decode, choice):
    data = json.dumps({"choices": [{**choice, "finish_reason": "stop"}]}).encode()
    with pytest.raises(UnexpectedForm):
        decode(data, 0, True)
    assert decode(data, 0, False) == Chunk("", tokens=0, finish_reason="stop")


def test_an_index_of_null_is_the_first():
    assert decode_chat(b'{"choices": [{"index": null, "delta": {"content": "a"}}]}', 0, True) == Chunk("a")


def test_usage_beside_text_is_kept():
    data = json.dumps({"choices": [{"text": "a"}], "usage": {"prompt_tokens": 1}}).encode()
    assert decode_completion(data, 0, False) == Chunk("a", usage=Usage(1))


def test_logprobs_count_the_tokens_of_either_form():
    listed = {"tokens": ["a", "b"], "token_logprobs": [-0.5, -0.25]}
    assert decode_completion(completion("ab", logprobs=listed), 0, True) == Chunk("ab", tokens=2, logprob=-0.75)
    objects = {"content": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1}]}
    assert decode_chat(chat({"content": "ab"}, logprobs=objects), 0, True) == Chunk("ab", tokens=2, logprob=-1.5)
    assert decode_completion(completion("ab", logprobs=objects), 0, True).tokens == 2
    thought = decode_chat(chat({"reasoning": "ab"}, logprobs=objects), 0, True)
    assert thought == Chunk("ab", "reasoning", 2, -1.5)


def test_an_empty_prompts_first_token_has_no_logprob():
    assert decode_completion(completion("a", logprobs={"token_logprobs": [None]}), 0, True) == Chunk("a")


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
@pytest.mark.parametrize(
    "data",
    [b'{"choices": [{"te', b"42", b'"text"', b"[1]", b"null", b"", b'{"choices": 3}', b'{"choices":[{"index":"a"}]}'],
)
def test_malformed_chunk_data_is_an_error_with_offset(decode, data):
    with pytest.raises(StreamProtocolError) as caught:
        decode(data, 1234, False)
    assert caught.value.offset == 1234
    assert caught.value.sample == data


@BOTH
def test_invalid_utf8_is_an_error(decode, content):
    value = '"\u00ff"' if content == "text" else '{"content": "\u00ff"}'
    data = f'{{"choices": [{{"{content}": {value}}}]}}'.encode().replace("\u00ff".encode(), b"\xff")
    with pytest.raises(StreamProtocolError):
        decode(data, 0, False)


def test_every_truncation_of_a_chunk_is_an_error():
    for decode, data in [(decode_completion, completion("é")), (decode_chat, chat({"content": "é"}))]:
        for size in range(len(data)):
            with pytest.raises(StreamProtocolError):
                decode(data[:size], 0, False)


@BOTH
def test_the_sample_of_an_error_is_bounded(decode, content):
    with pytest.raises(StreamProtocolError) as caught:
        decode(b"x" * 10_000, 0, False)
    assert caught.value.sample == b"x" * 200


@pytest.mark.parametrize("shape", [{}, {"event": "token"}, {"choices": [{"index": 0, "words": "x"}]}])
@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
def test_unknown_shapes_fail_first_and_are_ignored_later(decode, shape):
    data = json.dumps(shape).encode()
    with pytest.raises(StreamProtocolError):
        decode(data, 0, True)
    assert decode(data, 0, False) is None


def test_the_other_apis_chunks_are_an_unknown_shape():
    with pytest.raises(StreamProtocolError):
        decode_completion(chat({"content": "x"}), 0, True)
    with pytest.raises(StreamProtocolError):
        decode_chat(completion("x"), 0, True)


@BOTH
def test_a_second_choice_is_refused(decode, content):
    value = "x" if content == "text" else {"content": "x"}
    for choices in ([{"index": 1, content: value}], [{"index": 0, content: value}, {"index": 1, content: value}]):
        with pytest.raises(StreamProtocolError, match="set n=1"):
            decode(json.dumps({"choices": choices}).encode(), 0, False)


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
def test_error_objects_are_typed(decode):
    def error(value):
        with pytest.raises(UpstreamError) as caught:
            decode(json.dumps(value).encode(), 0, False)
        return caught.value

    unavailable = error({"error": {"message": "out of memory", "type": "server_error", "code": 503}})
    assert (unavailable.status, unavailable.code, unavailable.retryable) == (503, "503", True)
    assert "out of memory" in str(unavailable)
    assert isinstance(error({"error": {"message": "slow", "code": 429}}), RateLimited)
    overflow = error({"error": {"message": "too long", "code": "context_length_exceeded"}})
    assert isinstance(overflow, ContextOverflow)
    assert not overflow.retryable
    assert "boom" in str(error({"error": "boom"}))
    assert error({"object": "error", "message": "old vLLM", "code": 500}).status == 500


@pytest.mark.parametrize("decode", [decode_completion, decode_chat])
def test_a_null_error_is_no_error(decode):
    assert decode(b'{"error": null, "choices": []}', 0, True) is None


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"completion_tokens_details": {"reasoning_tokens": 7}}, 7),
        ({"completion_tokens_details": {"reasoning_tokens": 0}}, 0),
        ({"completion_tokens_details": {}}, None),
        ({"completion_tokens_details": "x", "total_tokens": "y"}, None),
        ({"total_tokens": 5}, None),
        ({"total_tokens": 50}, 45),  # Gemini: completion_tokens without the thoughts
        ({}, None),
    ],
)
def test_each_servers_count_of_reasoning_tokens_is_read(usage, tokens):
    data = json.dumps({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2, **usage}}).encode()
    assert decode_chat(data, 0, False).usage == Usage(3, None, 2, reasoning_tokens=tokens)


@pytest.mark.parametrize(("kind", "hidden"), [("reasoning.summary", True), ("reasoning.text", False)])
def test_a_reasoning_summary_marks_the_reasoning_as_hidden(kind, hidden):
    delta = {"reasoning": "so", "reasoning_details": [{"type": kind, "summary": "so"}]}
    decoded = decode_chat(json.dumps({"choices": [{"delta": delta}]}).encode(), 0, True)
    assert (decoded.text, decoded.phase) == ("so", "reasoning")
    assert (decoded.usage is not None and decoded.usage.hides_reasoning) == hidden
