"""Options that cannot work are refused at once, and the error says which and why."""

import openai
import pytest
from interwhen import UsageError, wrap
from watchers import passing

pytestmark = pytest.mark.anyio

ASK = {"model": "m", "messages": [{"role": "user", "content": "q"}]}
BAD = [
    ({"reading": "alive"}, "reading='alive', choose one of live, gate, final"),
    ({"starts_in": None}, "starts_in=None, choose one of reasoning, answer"),
    ({"resume": "now"}, "resume='now', choose one of auto, tokens, prefill, turn"),
    ({"readin": "live"}, "interwhen has no option 'readin'; did you mean 'reading'?"),
    ({"monitors": "missing"}, "plug-in 'missing': not installed"),
    ({"monitors": 3}, "3 is not a monitor: give a name"),
    ({"budgets": 3}, "budgets=3: give Budgets(...) or a mapping of its fields"),
    ({"budgets": {"remedis": 1}}, "budgets has no option 'remedis'; did you mean 'remedies'? options: remedies, "),
    ({"budgets": {"remedies": "1"}}, "Expected `int`, got `str` - at `$.remedies`"),
    ({"budgets": {"seconds": -1}}, "Expected `float` >= 0.0 - at `$.seconds`"),
    ({"feedback": {"x": 1}}, "feedback has no option 'x'; options: flag, locate, explain, witness"),
    ({"feedback": {"flag": 1}}, "Expected `str`, got `int` - at `$.flag`"),
    ({"feedback": "Wait."}, "feedback='Wait.': give FeedbackTemplate(...) or a mapping"),
    ({"correction": 3}, "correction=3: give a text"),
    ({"tools": "no"}, "tools='no': give True or False"),
    ({"threads": 0}, "threads=0: give a number of at least 1"),
    ({"processes": True}, "processes=True: give a number of at least 1"),
    ({"workers": 3}, "workers=3: give Workers(...)"),
    ({"allocator": 3}, "allocator=3: give AdaptiveAllocator(...)"),
    ({1: 2}, "interwhen has no option 1; options: monitors, "),
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
