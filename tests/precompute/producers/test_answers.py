"""Answers: worked out under the monitors, stored only when verified."""

import pytest
from interwhen import Task, UsageError
from interwhen.models import Capabilities, ContextOverflow, Request
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers.answers import answer_of, answers, asked, compose, rank
from interwhen.testing import ScriptedModel
from tests.precompute.world import sources

pytestmark = pytest.mark.anyio
TEXT = "Ann reports to Bob.\nBob reports to Cid."
WHO = "Who is 2 steps above Ann?"


async def prepared(model, **options):
    precomputer = Precomputer(Store(MemoryShelf()), model, [sources()], producers=[answers(**options)], debounce=0.0)
    ref = await precomputer.add("people", {"people": TEXT})
    done = await precomputer.work()
    return precomputer.ready(ref), done


async def test_a_verified_answer_is_stored_with_its_question():
    (item,), _ = await prepared(ScriptedModel(["1 step above Ann is Bob.\n2 steps above Ann is Cid."]), questions=[WHO])
    assert item.payload.text == "1 step above Ann is Bob.\n2 steps above Ann is Cid."
    assert answer_of(item).question == WHO
    assert asked(WHO) in answer_of(item).asked
    assert asked(compose(TEXT, WHO)) in answer_of(item).asked


async def test_slip_is_repaired_before_storing():
    replies = ["1 step above Ann is Cid.\n2 steps above Ann is Cid.", "\n2 steps above Ann is Cid."]
    (item,), _ = await prepared(ScriptedModel(replies), questions=[WHO])
    assert item.payload.text == "1 step above Ann is Bob.\n2 steps above Ann is Cid."


@pytest.mark.parametrize("reply", ["It is Cid, I think.", "1 step above Ann is Bob.\nSo it is Cid.", ""])
async def test_unverified_answer_is_not_stored(reply):
    items, _ = await prepared(ScriptedModel([reply]), questions=[WHO])
    assert items == ()


async def test_truncated_answer_is_not_stored():
    from interwhen.testing import End

    items, (done,) = await prepared(ScriptedModel([["2 steps above Ann is Cid.", End("length")]]), questions=[WHO])
    assert items == ()
    assert "did not end" in done.why


@pytest.mark.parametrize("options", [{"questions": [WHO]}, {"anticipate": 1}], ids=str)
async def test_text_exceeding_the_window_is_cut_further(options):
    sizes = []

    def reply(request):
        sizes.append(len(Task(request.prompt).text))
        if sizes[-1] > 500:
            raise ContextOverflow("the context window has 500 tokens", status=400)
        return [WHO] if not isinstance(request.prompt, str) else ["1 step above Ann is Bob.\n2 steps above Ann is Cid."]

    model = ScriptedModel(reply, capabilities=Capabilities(resume="prefix", context_tokens=1024))
    precomputer = Precomputer(Store(MemoryShelf()), model, [sources()], producers=[answers(**options)], debounce=0.0)
    pieces = {f"p{at}": f"Nothing is said about Ann, {at}. " * 10 for at in range(9)}
    ref = await precomputer.add("people", {"people": TEXT, **pieces})
    done = await precomputer.work()
    assert [one.outcome for one in done if one.outcome not in ("accepted", "guess")] == []
    (item,) = precomputer.ready(ref)
    assert answer_of(item).question == WHO
    assert max(sizes) > 500


async def test_text_that_never_fits_is_abandoned():
    def reply(_request):
        raise ContextOverflow("the context window has 4 tokens", status=400)

    model = ScriptedModel(reply)
    _, (done,) = await prepared(model, questions=[WHO])
    assert done.outcome == "nothing"
    assert len(model.requests) < 10


async def test_answer_excludes_tags_and_separates_reasoning():
    reply = "<think>\n1 step above Ann is Bob.\n</think>\n2 steps above Ann is Cid."
    (item,), _ = await prepared(ScriptedModel([reply]), questions=[WHO])
    kept = answer_of(item)
    assert item.payload.text[: kept.reasoning] == "1 step above Ann is Bob.\n"
    assert item.payload.text[kept.reasoning :] == "2 steps above Ann is Cid."


async def test_the_model_may_anticipate_questions_itself():
    def reply(request: Request):
        if not isinstance(request.prompt, str):
            return [f"1. {WHO}\n2. Who leads?\n"]
        return ["2 steps above Ann is Cid." if WHO in request.prompt else "nobody knows"]

    items, _ = await prepared(ScriptedModel(reply), anticipate=3)
    assert [answer_of(item).question for item in items] == [WHO]
    assert 0 < answer_of(items[0]).predictability <= 1


@pytest.mark.parametrize("mark", ["<|im_end|>", "</think>", "[INST]", "\u202e", "\u200b"])
async def test_questions_with_hidden_characters_are_dropped(mark):
    model = ScriptedModel([f"{mark}Who leads?\n"])
    items, done = await prepared(model, anticipate=1)
    assert items == ()
    assert done[0].why == "the model anticipated no question"


async def test_questions_are_answered_by_frequency():
    model = ScriptedModel(["2 steps above Ann is Cid."])
    await prepared(model, questions=["Who?", WHO, WHO, f" {WHO}  "])
    assert [request.prompt.splitlines()[-1] for request in model.requests] == [WHO, "Who?"]


async def test_growing_log_recomputes_no_answer():
    store = Store(MemoryShelf())
    model = ScriptedModel(["2 steps above Ann is Cid."])
    for log in ([WHO], [WHO, WHO, WHO], ["Who?", WHO]):
        producer = answers(questions=log)
        precomputer = Precomputer(store, model, [sources()], producers=[producer], debounce=0.0)
        await precomputer.add("people", {"people": TEXT})
        await precomputer.work()
    assert len([request for request in model.requests if WHO in request.prompt]) == 1


def test_predictability_is_a_smoothed_frequency():
    anticipated = rank(["a", "b", "a", "a"])
    assert [one.question for one in anticipated] == ["a", "b"]
    assert [one.predictability for one in anticipated] == pytest.approx([4 / 7, 2 / 7])


@pytest.mark.parametrize(
    ("one", "other"), [("What is a?", "What is A?"), ("5", "5!"), ("x²", "x2"), ("is it?", "is it"), ("ab", "a b")]
)
def test_questions_that_may_mean_something_else_are_different(one, other):
    assert asked(one) != asked(other)


def test_questions_are_compared_without_white_space():
    assert asked("Who  is\nit?") == asked(" Who is it? ")


@pytest.mark.parametrize(
    "options",
    [
        {"questions": "one text"},
        {"anticipate": -1},
        {"anticipate": float("nan")},
        {"max_tokens": 0},
    ],
    ids=str,
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(UsageError):
        answers(**options)


async def test_a_long_context_is_answered_from_its_passages():
    def reply(request: Request):
        assert len(str(request.prompt)) < 2500
        return ["1+1=2"]

    model = ScriptedModel(reply, capabilities=Capabilities(resume="prefix", context_tokens=1000))
    producer = answers(questions=["What does the zebra weigh?"], anticipate=1)
    pre = Precomputer(Store(MemoryShelf()), model, [], producers=[producer], debounce=0.0)
    await pre.add("zoo", {f"p{at}": f"The {name} eats hay. " * 50 for at, name in enumerate(("ant", "zebra", "cow"))})
    await pre.work()
    prompts = [request.prompt for request in model.requests if isinstance(request.prompt, str)]
    assert "zebra" in prompts[0]
    assert "ant" not in prompts[0]
    (listed,) = [request.prompt[-1].content for request in model.requests if not isinstance(request.prompt, str)]
    assert all(name in listed for name in ("ant", "zebra", "cow"))  # the start of each piece
