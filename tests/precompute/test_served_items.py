"""Serving: a stored answer to the very question, and nothing else."""

import pytest
from interwhen import Claim, Lines, Message, Monitor, Pass, Violation, verifier
from interwhen.precompute import MemoryShelf, Payload, Precomputer, Proposal, Step, Store
from interwhen.precompute._served_items import ServeReady, before_question, last_line
from interwhen.precompute.producers.answers import answers, compose
from interwhen.testing import ScriptedModel
from tests.precompute.world import sources

pytestmark = pytest.mark.anyio
TEXT = "Ann reports to Bob.\nBob reports to Cid.\nCid reports to Dot."
WHO = "Who is 2 steps above Ann?"
SAID = "1 step above Ann is Bob.\n2 steps above Ann is Cid."


def model():
    return ScriptedModel([SAID])


async def prepared(model, **serving):
    precomputer = Precomputer(
        Store(MemoryShelf()),
        model,
        [sources()],
        producers=[answers(questions=[WHO])],
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
async def test_same_question_gets_stored_answer_without_tokens(prompt):
    scripted = model()
    precomputer, ref = await prepared(scripted)
    asked = len(scripted.requests)
    chats = {WHO: (Message("user", WHO),), compose(TEXT, WHO): (Message("system", TEXT), Message("user", WHO))}
    result = await run(precomputer, ref, chats.get(prompt, prompt), monitors=[])
    assert result.text == SAID
    assert len(scripted.requests) == asked
    assert result.ledger.kept == result.ledger.discarded == 0
    assert result.ledger.offline_tokens > 0
    assert len(result.precomputed) == 1


async def test_stored_answer_is_verified_again():
    precomputer, ref = await prepared(model())
    result = await run(precomputer, ref, compose(TEXT, WHO))
    assert result.status == "verified"
    assert result.text == SAID


async def test_refuted_stored_answer_is_continued_by_the_model():
    scripted = model()
    precomputer, ref = await prepared(scripted)
    asked = len(scripted.requests)
    # The reader's monitor knows better than those that the answer was verified by.
    result = await run(precomputer, ref, WHO, monitors=[no_cid()])
    assert result.violations
    assert len(scripted.requests) > asked


@pytest.mark.parametrize(
    "question",
    ["Who is 3 steps above Ann?", "Who is 2 steps below Ann?", f"Not: {WHO}", "Please: who is 2 steps above Ann?"],
)
async def test_another_question_gets_no_stored_answer(question):
    scripted = model()
    precomputer, ref = await prepared(scripted)
    asked = len(scripted.requests)
    await run(precomputer, ref, compose(TEXT, question), monitors=[])
    assert len(scripted.requests) == asked + 1


async def test_item_refused_by_gate_is_not_used():
    scripted = model()
    precomputer, ref = await prepared(scripted, allows=lambda _item: False)
    result = await run(precomputer, ref, compose(TEXT, WHO), monitors=[])
    assert result.precomputed == ()
    assert scripted.requests[-1].prompt == compose(TEXT, WHO)


class Others:
    """A producer of somebody else, with data of its own."""

    name, version, kind = "others", "1", "answers"

    def plan(self, _context):
        return [Step(name="only", reads=("people",))]

    async def make(self, _step, context):
        return Proposal(payload=Payload(SAID, b"\x00not ours"), prompt=f"{context.read('people')}\n{WHO}")


async def test_answers_without_their_question_are_not_served():
    scripted = model()
    precomputer = Precomputer(Store(MemoryShelf()), scripted, [sources()], producers=[Others()], debounce=0.0)
    ref = await precomputer.add("people", {"people": TEXT})
    await precomputer.work()
    assert [item.payload.text for item in precomputer.ready(ref)] == [SAID]
    result = await run(precomputer, ref, WHO, monitors=[])
    assert scripted.requests[0].prompt == WHO
    assert result.precomputed == ()


def test_added_lines_precede_the_last_user_turn():
    turns = (Message("system", "Be brief."), Message("user", "Who?"), Message("assistant", "Hm."))
    assert before_question("Who?", "A line.") == "A line.\n\nWho?"
    assert before_question(turns, "A line.")[1].content == "A line.\n\nWho?"
    assert before_question((Message("system", "x"),), "A line.")[0] == Message("system", "A line.")


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
async def test_question_inside_longer_text_is_another_question(before):
    precomputer, ref = await prepared(model())
    served = ref.serve(precomputer.model, (*before, Message("user", WHO)))
    kinds = {item.key.kind for item in precomputer.ready(ref) if item.id in served.items}
    assert "answers" not in kinds
