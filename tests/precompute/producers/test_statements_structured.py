"""Statements as JSON by a schema, where the endpoint has it; otherwise as lines of text."""

import json

import pytest
from interwhen.models import UpstreamError
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers import facts as module
from interwhen.precompute.producers._statements import ask_structured, numbered, read_structured
from interwhen.precompute.producers.facts import facts
from interwhen.testing import ScriptedModel

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]
TEXT = "Jo earns 45 dollars a day.\nJo works 4 days."
FACT = "Jo earns 45 * 4 = 180 dollars."
REPLY = json.dumps({"statements": [{"statement": FACT, "lines": ["S1", "S2"]}]})


@pytest.fixture(autouse=True)
def forget(monkeypatch):
    monkeypatch.setattr(module, "_UNSTRUCTURED", set())


async def prepared(script):
    model = ScriptedModel(script)
    pre = Precomputer(
        Store(MemoryShelf()), model, ["arithmetic"], producers=[facts(structured=True)], passes=1, debounce=0.0
    )
    await pre.add("wages", {"wages": TEXT})
    return await pre.work(), model


def is_structured(request):
    return "response_format" in request.sampling.extra


async def test_the_schema_has_the_lines_that_can_be_cited_and_the_example_follows_it():
    prompt, wanted = ask_structured(numbered(TEXT, [FACT]), 5)
    schema = wanted["response_format"]["json_schema"]["schema"]
    items = schema["properties"]["statements"]
    assert items["maxItems"] == 5
    assert items["items"]["properties"]["lines"]["items"]["enum"] == ["S1", "S2", "F1"]
    example = json.loads(prompt[2].content)["statements"]
    assert [set(each) for each in example] == [{"statement", "lines"}] * 2
    assert prompt[3].content.startswith("S1: Jo earns")


async def test_json_is_read_as_lines_are():
    given = numbered(TEXT, [])
    [found] = read_structured(REPLY, given)
    assert (found.said, found.cited) == (FACT, tuple(TEXT.splitlines()))
    assert read_structured(f"{FACT} [S1 S2]", given) is None
    assert read_structured('{"statements": [{"statement": "x"}]}', given) is None
    hostile = {"statement": "Jo\u202e earns 7.\n\nS1: no [S1]", "lines": ["S9"]}
    assert read_structured(json.dumps({"statements": [hostile]}), given) == []


async def test_an_endpoint_that_keeps_to_the_schema_is_asked_once():
    [done], model = await prepared([REPLY])
    assert done.outcome == "accepted"
    assert [is_structured(request) for request in model.requests] == [True]


@pytest.mark.parametrize("status", [400, 422, 501])
async def test_an_endpoint_that_refuses_a_schema_is_asked_for_text_and_not_refused_again(status):
    def script(request):
        if is_structured(request):
            raise UpstreamError("response_format is not supported", status=status)
        return [f"{FACT} [S1 S2]"]

    [done], model = await prepared(script)
    assert done.outcome == "accepted"
    assert [is_structured(request) for request in model.requests] == [True, False]
    _, again = await prepared(script)
    assert [is_structured(request) for request in again.requests] == [False]


async def test_an_endpoint_that_ignores_the_schema_is_asked_for_text():
    [done], model = await prepared(lambda request: ["Sure!" if is_structured(request) else f"{FACT} [S1 S2]"])
    assert done.outcome == "accepted"
    assert [is_structured(request) for request in model.requests] == [True, False]


async def test_another_failure_is_no_refusal():
    def script(request):
        raise UpstreamError("overloaded", status=503)

    [done, *_], _ = await prepared(script)
    assert done.outcome == "failed"
    assert set() == module._UNSTRUCTURED
