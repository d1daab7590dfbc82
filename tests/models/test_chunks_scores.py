"""Probabilities of a fork's tokens: how they are asked for, and how both APIs give them."""

import json
import math

import pytest
from interwhen import Sampling
from interwhen._types.models import Piece
from interwhen.models import ChatModel, CompletionsModel, Request, ScoredToken
from interwhen.models._chunks import Logprobs, chat_decoder, completion_decoder, scored_tokens
from interwhen.testing._server_script import data
from interwhen.testing.server import ScriptedServer, Send, reply

pytestmark = pytest.mark.anyio
ASKED = Sampling(max_tokens=3, logprobs=True, top_logprobs=2)
LISTED = {
    "content": [
        {
            "token": "4",
            "logprob": -0.1,
            "top_logprobs": [{"token": "4", "logprob": -0.1}, {"token": "5", "logprob": -3}],
        },
        {"token": "2", "logprob": -0.2, "bytes": [50], "top_logprobs": []},
    ]
}
TABLED = {
    "tokens": ["4", "2"],
    "token_logprobs": [-0.1, -0.2],
    "top_logprobs": [{"4": -0.1, "5": -3}, None],
    "text_offset": [0, 1],
}
WANTED = (ScoredToken("4", -0.1, (("4", -0.1), ("5", -3.0))), ScoredToken("2", -0.2))


@pytest.mark.parametrize("kind", [CompletionsModel, ChatModel])
@pytest.mark.parametrize("scores", [LISTED, TABLED], ids=["listed", "tabled"])
async def test_the_scores_of_a_fork(kind, scores, transport):
    def script(_request):
        content = {"message": {"content": "42"}} if kind is ChatModel else {"text": "42"}
        choice = {"index": 0, "finish_reason": "stop", "logprobs": scores, **content}
        return reply(200, json.dumps({"choices": [choice]}).encode())

    async with ScriptedServer(script) as server, kind(server.base_url, "m", transport=transport) as model:
        completion = await model.complete(Request("q", sampling=ASKED))
        body = server.posts[0].json
    assert completion.tokens == WANTED
    assert completion.logprob == pytest.approx(-0.3)
    asked = {"logprobs": 2} if kind is CompletionsModel else {"logprobs": True, "top_logprobs": 2}
    assert {name: body.get(name) for name in asked} == asked


async def test_a_prefilled_forks_scores_come_in_its_stream(transport):
    def script(_request):
        events = [
            {"choices": [{"index": 0, "delta": {"content": text}, "logprobs": {"content": [scores]}}]}
            for text, scores in zip("42", LISTED["content"], strict=True)
        ]
        end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
        return [*(Send(data(event)) for event in [*events, end]), Send(b"data: [DONE]\n\n")]

    pieces = (Piece("<think>hm", phase="reasoning"),)
    async with (
        ScriptedServer(script) as server,
        ChatModel(server.base_url, "m", transport=transport, resume="prefill") as model,
    ):
        completion = await model.complete(Request("q", pieces, ASKED, side="\n</think>\n"))
    assert (completion.text, completion.tokens) == ("42", WANTED)


@pytest.mark.parametrize(
    "given",
    [
        {"content": [{"logprob": None}, {"token": 7, "logprob": -1, "top_logprobs": "none"}]},
        {"token_logprobs": [None, -1], "tokens": "none", "top_logprobs": [None, {"a": "x"}]},
        {"token_logprobs": [-1], "top_logprobs": [[["a", -1]]]},
        {
            "content": [
                {"token": "", "logprob": -1, "top_logprobs": [{"token": None, "logprob": -1}, 3, {"token": "a"}]}
            ]
        },
    ],
)
def test_odd_shapes_cost_nothing_but_their_scores(given):
    body = json.dumps({"choices": [{"index": 0, "text": "x", "message": {"content": "x"}, "logprobs": given}]}).encode()
    for decoder in (completion_decoder, chat_decoder):
        scores = scored_tokens(decoder.decode(body).choices[0].logprobs)
        assert scores == (ScoredToken("", -1.0),)


def test_no_scores():
    assert scored_tokens(None) == scored_tokens(Logprobs()) == ()
    assert math.isclose(sum(token.logprob for token in WANTED), -0.3)
