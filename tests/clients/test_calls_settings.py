"""Options that cannot work are refused at once, and the error says which and why."""

import dataclasses
import types

import openai
import pytest
from interwhen import Sampling, UsageError, wrap
from interwhen.clients import _calls
from watchers import passing

pytestmark = pytest.mark.anyio

ASK = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
BAD = [
    ({"reading": "alive"}, "reading must be one of live, gate, final, got 'alive'"),
    ({"starts_in": None}, "starts_in must be one of reasoning, answer, got None"),
    ({"resume": "now"}, "resume must be one of auto, tokens, prefill, turn, got 'now'"),
    ({"readin": "live"}, ", got 'readin'; did you mean 'reading'?"),
    ({"monitors": "missing"}, "plug-in 'missing': not installed"),
    ({"monitors": 3}, "a factory, or a Monitor, got 3"),
    ({"budgets": 3}, "budgets must be Budgets(...), got 3"),
    (
        {"budgets": {"remedis": 1}},
        ", got 'remedis'; did you mean 'remedies'?",
    ),
    ({"budgets": {"remedies": "1"}}, "Expected `int`, got `str` - at `$.remedies`"),
    ({"budgets": {"seconds": -1}}, "Expected `float` >= 0.0 - at `$.seconds`"),
    ({"feedback": {"x": 1}}, "the options of feedback must be among flag, locate, explain, witness, again, got 'x'"),
    ({"feedback": {"flag": 1}}, "Expected `str`, got `int` - at `$.flag`"),
    ({"feedback": "Wait."}, "feedback must be FeedbackTemplate(...) or None, got 'Wait.'"),
    ({"correction": 3}, "correction must be a text, got 3"),
    ({"tools": "no"}, "tools must be True or False, got 'no'"),
    ({"min_coverage": True}, "min_coverage must be a number from 0 to 1, got True"),
    ({"threads": 0}, "threads must be a whole number of at least 1, got 0"),
    ({"processes": True}, "processes must be a whole number of at least 1, got True"),
    ({"workers": 3}, "workers must be a WorkerPool or None, got 3"),
    ({1: 2}, ", got 1: correct or remove it"),
]


@pytest.mark.parametrize(("bad", "why"), BAD, ids=[str(bad) for bad, _ in BAD])
async def test_options_that_cannot_work_are_refused_at_once(bad, why):
    options = {"monitors": [passing()], **bad}
    client = wrap(openai.AsyncOpenAI(api_key="k", base_url="http://localhost:1"), [passing()])
    with pytest.raises(UsageError) as caught:
        await client.chat.completions.create(**ASK, interwhen=options)
    assert why in str(caught.value)
    if 1 not in bad:
        with pytest.raises(UsageError) as caught:
            wrap(openai.OpenAI(api_key="k"), **options)
        assert why in str(caught.value)


def test_each_shared_setting_reaches_the_run(monkeypatch):
    given, options = {}, {*_calls.RunOptions.__struct_fields__}
    monkeypatch.setattr(_calls, "RunOptions", lambda **chosen: given.update(chosen))
    monkeypatch.setattr(_calls, "Run", lambda *_: types.SimpleNamespace())
    call, settings = types.SimpleNamespace(prompt="q", streams=True), _calls.Settings()
    _calls.run_of_call(None, call, settings, (), None, None, sampling=Sampling(), budgets=settings.budgets)
    shared = {each.name for each in dataclasses.fields(settings)} & options
    # The call is observed as a whole, and its prompt is read before its run is made.
    assert given.keys() == (shared | {"sampling"}) - {"on_event", "on_result", "prompt_monitors"}
