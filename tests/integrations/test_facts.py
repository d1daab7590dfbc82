"""The facts are JSON values with what was caught, and an adapter keeps a client that is wrapped already."""

import json
from types import SimpleNamespace

import interwhen
import interwhen.integrations
import openai
import pytest
from interwhen.clients import SupervisedCall
from interwhen.integrations import facts_of
from interwhen.integrations._facts import KEY, supervised_copy, with_facts, wrapped
from interwhen.integrations.litellm import attach_facts
from tests.integrations.conftest import is_caught

ASK = {"model": "m", "messages": [{"role": "user", "content": "17 * 24?"}]}


def test_call_facts_join_metadata(client):
    with interwhen.integrations.watching() as seen:
        answer = client.chat.completions.create(**ASK)
    facts = facts_of(seen[0])
    assert is_caught(facts)
    assert facts["call_id"] == answer.interwhen.call_id
    assert facts["violations"][0]["why"] == answer.interwhen.violations[0].why
    assert facts["tokens"] == answer.interwhen.result.ledger.total_tokens > 0
    assert with_facts({"a": 1}, seen) == {"a": 1, KEY: facts}
    assert with_facts(None, []) == {}


@pytest.mark.parametrize(
    ("result", "label", "reasons"),
    [
        (None, "failed", []),
        (interwhen.Failed(text="", reasoning="", answer="", finish_reason=None, error="404"), "failed", ["404"]),
        (
            interwhen.Abstained(text="", reasoning="", answer="", finish_reason=None, reason="held"),
            "abstained",
            ["held"],
        ),
    ],
)
def test_unanswered_call_has_json_facts(result, label, reasons):
    facts = facts_of(SupervisedCall(call_id="c", source="wrap", model="m", result=result))
    assert (facts["label"], facts["reasons"], facts["violations"]) == (label, reasons, [])
    assert json.loads(json.dumps(facts)) == facts


class LitellmStream:
    """A stream as litellm returns it: an iterator with hidden parameters, as its chunks have them.

    *ends* is called before the last chunk comes.
    """

    def __init__(self, ends=lambda: None):
        self._hidden_params = {"a": 1}
        self._chunks = self._made(ends)

    def _made(self, ends):
        yield SimpleNamespace(text="one", _hidden_params={})
        yield SimpleNamespace(text="two", _hidden_params={})
        ends()
        yield SimpleNamespace(text="three", _hidden_params={"b": 2})

    def __next__(self):
        return next(self._chunks)

    async def __anext__(self):
        try:
            return next(self._chunks)
        except StopIteration:
            raise StopAsyncIteration from None


def test_litellm_stream_is_readable_chunk_by_chunk(client):
    def ask(*, stream):
        answer = client.chat.completions.create(**ASK, stream=stream)
        return LitellmStream(lambda: list(answer))

    stream = attach_facts(ask)(stream=True)
    first, second = next(stream), next(stream)
    assert KEY not in stream._hidden_params
    [last] = stream
    assert [each.text for each in (first, second, last)] == ["one", "two", "three"]
    assert is_caught(last._hidden_params[KEY])
    assert stream._hidden_params[KEY] == last._hidden_params[KEY] == first._hidden_params[KEY]
    assert (stream._hidden_params["a"], last._hidden_params["b"]) == (1, 2)
    assert KEY not in second._hidden_params


@pytest.mark.anyio
async def test_async_litellm_stream_is_readable_chunk_by_chunk():
    async def asked(*, stream):
        return LitellmStream()

    stream = await attach_facts(asked)(stream=True)
    assert [chunk.text async for chunk in stream] == ["one", "two", "three"]
    assert stream._hidden_params == {"a": 1}


def test_a_client_is_wrapped_once(client):
    assert wrapped(client, [], {}) is client
    assert wrapped(client, ["arithmetic"], {}) is not client


class Plain:
    def __init__(self, client):
        self.client = client

    def ask(self):
        return ["plain"]


class Mixin:
    def ask(self):
        return ["mixin", *super().ask()]


def test_a_model_that_is_supervised_already_is_copied(client):
    once = supervised_copy(Plain(client), Mixin, client="client")
    again = supervised_copy(once, Mixin, client="client")
    assert once.ask() == again.ask() == ["mixin", "plain"]
    assert again is not once
    assert again.client is client


def test_a_model_without_a_client_is_refused():
    with pytest.raises(interwhen.UsageError, match="must get a model with a client of openai, got <object object"):
        supervised_copy(object(), Mixin, client="client")


@pytest.mark.parametrize("monitors", ["arithmetic", {"name": "arithmetic"}, ["arithmetic"]])
def test_one_monitor_needs_no_list(monitors):
    bare = openai.OpenAI(base_url="http://localhost:1/v1", api_key="k")
    assert wrapped(bare, monitors, {}) is not bare
    assert wrapped(bare, (), {}) is bare
    with pytest.raises(interwhen.UsageError, match="a monitor must be a name"):
        wrapped(bare, None, {})
