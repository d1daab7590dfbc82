"""What crosses the border to a model: the prefix of a request, and what is said in turns."""

import msgspec
import pytest
from interwhen import Fork, Message, Sampling, UsageError
from interwhen._types.models import Piece
from interwhen.models import Chunk, Request, Retries, Timeouts, Usage


def test_a_requests_prefix_joins_its_pieces_texts():
    pieces = (Piece("1+1", phase="reasoning"), Piece("=2\n"), Piece("Wait.", "feedback", ask="Check that."))
    assert Request("Q", pieces).prefix == "1+1=2\nWait."
    assert Request("Q").prefix == ""
    assert [piece.said for piece in pieces] == ["1+1", "=2\n", "Check that."]


@pytest.mark.parametrize("value", [Message("user", "hi"), Chunk("x", usage=Usage(1, 2, 3)), Piece("x", "repair")])
def test_a_record_survives_json(value):
    assert msgspec.json.decode(msgspec.json.encode(value), type=type(value)) == value


def test_a_message_is_encoded_without_its_unset_fields():
    assert msgspec.json.encode(Message("user", "hi")) == b'{"role":"user","content":"hi"}'


@pytest.mark.parametrize("stop", ["END", ("",), ("a", ""), (5,)])
def test_stop_sequences_are_texts_in_a_tuple(stop):
    with pytest.raises(UsageError, match="stop must be a tuple, each item a text that is not empty"):
        Sampling(stop=stop)
    with pytest.raises(UsageError, match="stop must be a tuple, each item a text that is not empty"):
        Fork("Which sums?", parse=lambda reply, segment: (), stop=stop)


@pytest.mark.parametrize("value", [-1, float("nan"), "5"])
def test_times_are_numbers_of_at_least_0(value):
    for name in ("connect", "first_token", "inter_token", "total", "min_rate", "idle"):
        with pytest.raises(UsageError, match=f"Timeouts: {name} must be"):
            Timeouts(**{name: value})
    for name in ("attempts", "base", "cap", "budget"):
        with pytest.raises(UsageError, match=f"Retries: {name} must be"):
            Retries(**{name: value})


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_tokens", "5"),
        ("max_tokens", -1),
        ("max_tokens", 5.0),
        ("max_tokens", True),
        ("temperature", "0"),
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("temperature", float("inf")),
        ("top_p", 1.1),
        ("seed", "7"),
        ("seed", 7.0),
        ("logprobs", 1),
        ("top_logprobs", "5"),
        ("top_logprobs", -1),
        ("extra", ["a"]),
        ("extra", None),
    ],
)
def test_wrong_sampling_options_are_refused(option, value):
    with pytest.raises(UsageError, match=f"{option} must be .*, got .*: correct it"):
        Sampling(**{option: value})


def test_sampling_options_at_their_limits():
    Sampling(max_tokens=0, temperature=0, top_p=1, seed=-1, logprobs=True, top_logprobs=0, extra={"min_p": 0.1})
    Sampling(max_tokens=1, temperature=2.0, top_p=0.0)
