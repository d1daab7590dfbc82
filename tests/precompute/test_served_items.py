"""Serving: a stored answer to the very question, else few facts that bear on it; and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Claim, Lines, Message, Monitor, Pass, UsageError, Violation, verifier
from interwhen.precompute import MemoryShelf, Payload, Precomputer, Proposal, ServeReady, Step, Store
from interwhen.precompute._retrieval import FactIndex
from interwhen.precompute._served_items import HEADING, choose_facts, last_line, with_facts
from interwhen.precompute.producers.answers import answers, compose
from interwhen.precompute.producers.facts import facts
from interwhen.testing import ScriptedModel
from tests.precompute.world import sources

pytestmark = pytest.mark.anyio
TEXT = "Ann reports to Bob.\nBob reports to Cid.\nCid reports to Dot."
WHO = "Who is 2 steps above Ann?"
SAID = "1 step above Ann is Bob.\n2 steps above Ann is Cid."


def model():
    return ScriptedModel(
        lambda request: ["3 steps above Ann is Dot. [S1 S2 S3]" if not isinstance(request.prompt, str) else SAID]
    )


async def prepared(found, **serving):
    precomputer = Precomputer(
        Store(MemoryShelf()),
        found,
        [sources()],
        producers=[answers(questions=[WHO]), facts(grounding="monitors")],
        passes=1,
        debounce=0.0,
        serving=ServeReady(**serving),
    )
    ref = await precomputer.add("people", {"people": TEXT})
    await precomputer.work()
    return precomputer, ref


def no_cid():
    @verifier(name="no Cid", version="1", worker="inline")
    def check(claim: Claim):
        return Violation("Cid has left") if "Cid" in claim.key else Pass()

    def extract(segment):
        yield Claim(key=segment.text, span=segment.span)

    return Monitor(name="no Cid", verifier=check, extractor=extract, trigger=Lines())


async def run(precomputer, ref, prompt, **options):
    async with precomputer.run(prompt, context=ref, **options) as supervised:
        return await supervised.drain()


@pytest.mark.parametrize("prompt", [WHO, f"  {WHO}\n", compose(TEXT, WHO)], ids=["question", "spaced", "whole"])
async def test_the_very_question_gets_the_stored_answer_and_no_token_is_generated(prompt):
    found = model()
    precomputer, ref = await prepared(found)
    asked = len(found.requests)
    chats = {WHO: (Message("user", WHO),), compose(TEXT, WHO): (Message("system", TEXT), Message("user", WHO))}
    result = await run(precomputer, ref, chats.get(prompt, prompt), monitors=[])
    assert result.text == SAID
    assert len(found.requests) == asked
    assert result.ledger.kept == result.ledger.discarded == 0
    assert result.ledger.offline_tokens > 0
    assert len(result.precomputed) == 1


async def test_a_stored_answer_is_verified_again_for_the_reader():
    precomputer, ref = await prepared(model())
    result = await run(precomputer, ref, compose(TEXT, WHO))
    assert result.status == "verified"
    assert result.text == SAID


async def test_a_stored_answer_that_the_readers_monitors_refute_is_gone_on_with_by_the_model():
    found = model()
    precomputer, ref = await prepared(found)
    asked = len(found.requests)
    # The reader's monitor knows better than those that the answer was verified by.
    result = await run(precomputer, ref, WHO, monitors=[no_cid()])
    assert result.violations
    assert len(found.requests) > asked


@pytest.mark.parametrize("question", ["Who is 3 steps above Ann?", "Who is 2 steps below Ann?", f"Not: {WHO}"])
async def test_another_question_gets_no_stored_answer(question):
    found = model()
    precomputer, ref = await prepared(found)
    asked = len(found.requests)
    await run(precomputer, ref, compose(TEXT, question), monitors=[])
    assert len(found.requests) == asked + 1


async def test_facts_that_bear_on_the_question_stand_before_it():
    found = model()
    precomputer, ref = await prepared(found)
    result = await run(precomputer, ref, compose(TEXT, "Who is 3 steps above Ann?"), monitors=[])
    assert found.requests[-1].prompt.startswith(f"{HEADING}\n3 steps above Ann is Dot.\n\n{TEXT}")
    assert result.precomputed


async def test_what_bears_on_nothing_is_left_out():
    found = model()
    precomputer, ref = await prepared(found)
    result = await run(precomputer, ref, "How warm will it be?", monitors=[])
    assert found.requests[-1].prompt == "How warm will it be?"
    assert result.precomputed == ()


async def test_what_the_gate_does_not_allow_is_not_used():
    found = model()
    precomputer, ref = await prepared(found, allows=lambda _item: False)
    result = await run(precomputer, ref, compose(TEXT, WHO), monitors=[])
    assert result.precomputed == ()
    assert found.requests[-1].prompt == compose(TEXT, WHO)


class Others:
    """A producer of somebody else, with data of its own."""

    version = "1"

    def __init__(self, kind):
        self.name, self.kind = f"others' {kind}", kind

    def plan(self, _context):
        return [Step(name="only", reads=("people",))]

    async def make(self, _step, context):
        return Proposal(payload=Payload("3 steps above Ann is Dot.\n", b"\x00not ours"), prompt=context.read("people"))


@pytest.mark.parametrize("kind", ["facts", "answers"])
async def test_items_of_other_producers_are_used_as_far_as_they_say_what_they_are(kind):
    found = model()
    precomputer = Precomputer(Store(MemoryShelf()), found, [sources()], producers=[Others(kind)], debounce=0.0)
    ref = await precomputer.add("people", {"people": TEXT})
    await precomputer.work()
    result = await run(precomputer, ref, "Who is 3 steps above Ann?", monitors=[])
    assert len(found.requests) == 1
    assert bool(result.precomputed) == (kind == "facts")
    assert found.requests[0].prompt.startswith(HEADING) == (kind == "facts")


def test_facts_stand_in_the_last_turn_of_the_user():
    turns = (Message("system", "Be brief."), Message("user", "Who?"), Message("assistant", "Hm."))
    assert with_facts(turns, ["A fact."])[1].content == f"{HEADING}\nA fact.\n\nWho?"
    assert with_facts((Message("system", "x"),), ["A fact."])[0].content.startswith(HEADING)


@given(
    st.lists(st.text(min_size=1, max_size=60), max_size=20),
    st.text(max_size=60),
    st.integers(1, 5),
    st.integers(0, 200),
)
def test_facts_stay_within_their_budget(statements, question, most, budget):
    chosen, _ = choose_facts([(said, "item") for said in statements], question, most=most, budget=budget)
    assert len(chosen) <= most
    assert sum(len(said) + 1 for said in chosen) <= budget or not chosen
    assert set(chosen) <= set(statements)


def test_the_nearest_number_bears_most():
    found = FactIndex([f"After step {at} the value is 1." for at in (12, 36, 37, 90)]).scores("after step 37")
    assert sorted(found, key=lambda at: -found[at])[:2] == [2, 1]


def test_rare_words_count_more():
    found = FactIndex(["the dog", "the cat", "the cow", "the owl"]).scores("the owl")
    assert set(found) == {3}
    both = FactIndex(["an old dog", "an old cat", "an old cow", "an old owl"]).scores("an old owl")
    assert max(both, key=both.get) == 3
    assert both[0] == both[1] > 0


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=30))
def test_any_text_can_be_looked_up(statements, question):
    found = FactIndex(statements).scores(question)
    assert all(0 <= at < len(statements) and mark > 0 for at, mark in found.items())


def test_only_statements_that_share_a_word_or_are_near_are_marked():
    found = FactIndex([f"Item {at} is blue {chr(97 + at % 26)}." for at in range(5_000)]).scores("Does 700 cost c?")
    assert max(found, key=found.get) == 700 // 26 * 26 + 2 or max(found, key=found.get) == 700
    assert len(found) < 5_000 / 26 + 100


def test_the_question_is_the_last_line():
    assert last_line("a long text\nWho?\n\n") == "Who?"
    assert last_line("") == ""


@pytest.mark.parametrize(
    "before",
    [
        (Message("user", "Let us speak of the other firm."), Message("assistant", "Yes.")),
        (Message("system", "Ann now reports to Eve."),),
        (Message("user", "Let us speak of the other firm."),),
    ],
    ids=["earlier turns", "instructions", "two turns"],
)
async def test_a_question_inside_of_something_else_is_another_one(before):
    precomputer, ref = await prepared(model())
    served = ref.serve(precomputer.model, (*before, Message("user", WHO)))
    kinds = {item.key.kind for item in precomputer.ready(ref) if item.id in served.items}
    assert "answers" not in kinds


@pytest.mark.parametrize("options", [{"most": -1}, {"budget": -1}, {"budget": float("nan")}], ids=str)
def test_a_negative_limit_is_refused(options):
    with pytest.raises(UsageError, match=r"ServeReady: (most|budget) must be a whole number of at least 0"):
        ServeReady(**options)
