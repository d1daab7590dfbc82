"""Facts: pass by pass, each statement shown to follow from what it cites."""

import json
import re

import pytest
from interwhen import UsageError
from interwhen.models import ContextOverflow, Request
from interwhen.precompute import MemoryShelf, Precomputer, Store
from interwhen.precompute.producers.facts import facts, notes_of
from interwhen.testing import ScriptedModel
from tests.precompute.world import sources

pytestmark = pytest.mark.anyio
PIECE = "Ann reports to Bob.\nBob reports to Cid.\nCid reports to Dot.\nDot reports to Eve."
RIGHT = "2 steps above Ann is Cid. [S1 S2]"
WRONG = "2 steps above Bob is Eve. [S2 S3]"
VAGUE = "Eve is surely above them all. [S4]"


def scripted(*replies):
    return ScriptedModel(list(replies))


async def prepared(model, pieces, *, passes=1, monitors=None, grounding="monitors", **options):
    # The monitor of this file works out each statement from the lines that it cites.
    producer = facts(grounding=grounding, **options)
    precomputer = Precomputer(
        Store(MemoryShelf()), model, monitors or [sources()], producers=[producer], passes=passes, debounce=0.0
    )
    ref = await precomputer.add("people", pieces)
    await precomputer.work()
    return precomputer, ref


def said(precomputer, ref):
    return [fact.said for item in precomputer.ready(ref) for fact in notes_of(item).facts]


async def test_only_what_was_shown_is_kept():
    precomputer, ref = await prepared(scripted(f"{WRONG}\n{RIGHT}\n{VAGUE}"), {"people": PIECE})
    assert said(precomputer, ref) == ["2 steps above Ann is Cid."]


async def test_each_fact_has_its_premises():
    precomputer, ref = await prepared(scripted(RIGHT), {"people": PIECE})
    (item,) = precomputer.ready(ref)
    assert notes_of(item).facts[0].cited == ("Ann reports to Bob.", "Bob reports to Cid.")


async def test_what_is_true_but_does_not_follow_from_what_is_cited_is_not_kept():
    precomputer, ref = await prepared(scripted("2 steps above Ann is Cid. [S1]"), {"people": PIECE})
    assert said(precomputer, ref) == []


async def test_a_pass_builds_on_accepted_facts_and_on_no_others():
    model = scripted(f"{RIGHT}\n{WRONG}\n{VAGUE}", "4 steps above Ann is Eve. [F1 S3 S4]")
    precomputer, ref = await prepared(model, {"people": PIECE}, passes=2)
    second = model.requests[1].prompt[-1].content
    assert "F1: 2 steps above Ann is Cid." in second
    assert "above Bob" not in second
    assert "surely" not in second
    assert said(precomputer, ref)[1:] == ["4 steps above Ann is Eve."]


async def test_passes_stop_with_one_that_finds_too_little():
    model = scripted(RIGHT, "3 steps above Ann is Dot. [F1 S3]", "4 steps above Ann is Eve. [F2 S4]")
    precomputer, ref = await prepared(model, {"people": PIECE}, passes=8, min_gain=1e9)
    assert len(model.requests) == 1
    assert len(said(precomputer, ref)) == 1


async def test_passes_stop_with_one_that_finds_nothing():
    model = scripted(RIGHT, "nothing new", "nothing new at all")
    await prepared(model, {"people": PIECE}, passes=8, min_gain=0.0)
    assert len(model.requests) == 3  # a reply without a statement is asked for again, once


async def test_a_piece_may_build_on_the_one_before():
    pieces = {"one": "Step 1: start with 7.\nStep 2: add 5.", "two": "Step 3: multiply by 2.\nStep 4: subtract 1."}

    def reply(request: Request):
        return ["After step 4 the value is 23. [F1 S1 S2]" if "F1" in request.prompt[-1].content else
                "After step 2 the value is 12. [S1 S2]"]  # fmt: skip

    precomputer, ref = await prepared(ScriptedModel(reply), pieces, link="chain")
    assert said(precomputer, ref) == ["After step 2 the value is 12.", "After step 4 the value is 23."]
    alone, other = await prepared(ScriptedModel(reply), pieces)
    assert said(alone, other) == ["After step 2 the value is 12."]


async def test_an_edit_of_one_piece_leaves_the_facts_of_others():
    def reply(request: Request):
        first = request.prompt[-1].content.splitlines()[0].removeprefix("S1: ")
        low, high = first.rstrip(".").split(" reports to ")
        return [f"1 step above {low} is {high}. [S1]"]

    model = ScriptedModel(reply)
    pieces = {name: f"{name} reports to Zed." for name in ("Ann", "Bob", "Cid", "Dot")}
    precomputer, ref = await prepared(model, pieces)
    asked = len(model.requests)
    edited = await precomputer.edit(ref, {"Cid": "Cid reports to Ann."})
    assert said(precomputer, ref) == []
    assert len(said(precomputer, edited)) == 3
    await precomputer.work()
    assert len(model.requests) == asked + 1
    assert "1 step above Cid is Ann." in said(precomputer, edited)


class Continuing(ScriptedModel):
    """Takes no chat."""

    async def stream(self, request):
        if not isinstance(request.prompt, str):
            raise UsageError("it continues texts only")
        return await super().stream(request)


async def test_a_model_that_only_continues_texts_is_asked_as_one():
    model = Continuing([RIGHT])
    precomputer, ref = await prepared(model, {"people": PIECE})
    assert said(precomputer, ref) == ["2 steps above Ann is Cid."]
    assert "S1: Ann reports to Bob." in model.requests[0].prompt
    assert "Tom sells 30 + 25 = 55 cups" in model.requests[0].prompt  # the example


WAGES = "Jo earns 45 dollars a day.\nJo works 4 days."


async def test_an_equation_that_holds_is_no_fact_about_the_text():
    reply = "Jo earns 45 * 4 * 15 = 2700 dollars. [S1 S2]\nJo earns 45 * 4 = 180 dollars. [S1 S2]"
    precomputer, ref = await prepared(scripted(reply), {"wages": WAGES}, monitors=["arithmetic"], grounding="text")
    assert said(precomputer, ref) == ["Jo earns 45 * 4 = 180 dollars."]


async def test_a_wrong_equation_is_no_fact_either():
    reply = "Jo earns 45 * 4 = 190 dollars. [S1 S2]"
    precomputer, ref = await prepared(scripted(reply), {"wages": WAGES}, monitors=["arithmetic"], grounding="text")
    assert said(precomputer, ref) == []


async def test_a_reply_without_statements_is_asked_for_again_with_what_was_wrong():
    model = scripted("Jo is well paid.", "Jo earns 45 * 4 = 180 dollars. [S1 S2]")
    precomputer, ref = await prepared(model, {"wages": WAGES}, monitors=["arithmetic"], grounding="text")
    assert said(precomputer, ref) == ["Jo earns 45 * 4 = 180 dollars."]
    again = model.requests[1].prompt
    assert again[-2].content == "Jo is well paid."
    assert again[-1].content.startswith("No statement could be read in your reply.")


@pytest.mark.parametrize(
    ("replies", "why"),
    [
        (["Jo is well paid.", "She is."], "no statement could be read in the reply of the model: 'She is.'"),
        (["Jo earns 44 dollars. [S1]"], "is not the beginning of a cited sentence"),
        ([""], "no statement could be read in the reply of the model: ''"),
    ],
    ids=["unreadable", "not grounded", "empty"],
)
async def test_no_statement_is_explained_with_the_text(replies, why):
    precomputer = Precomputer(
        Store(MemoryShelf()), scripted(*replies), ["arithmetic"], producers=[facts()], passes=1, debounce=0.0
    )
    await precomputer.add("wages", {"wages": WAGES})
    (done,) = await precomputer.work()
    assert done.outcome == "nothing"
    assert why in done.why


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"max_tokens": 0},
        {"min_gain": -1.0},
        {"min_gain": float("nan")},
        {"limit": 1.5},
        {"max_tokens": True},
        {"link": "tree"},
        {"grounding": "hope"},
    ],
    ids=json.dumps,
)
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(UsageError):
        facts(**options)


def narrow(window, seen):
    """A model with a context window of *window* characters. It adds the two numbers in the first line of the text."""

    def reply(request: Request):
        text = "\n".join(turn.content for turn in request.prompt)
        if len(text) > window:
            raise ContextOverflow("the context window is full", status=400)
        seen.append(request.prompt[-1].content)
        one, other = re.findall(r"\d+", request.prompt[-1].content.partition(":")[2])[:2]
        return [f"{one} + {other} = {int(one) + int(other)} [S1]"]

    return ScriptedModel(reply)


async def test_a_piece_that_exceeds_the_window_is_asked_about_in_parts():
    seen = []
    model = narrow(1700, seen)
    producer = facts(grounding="monitors")
    pre = Precomputer(Store(MemoryShelf()), model, ["arithmetic"], producers=[producer], passes=1, debounce=0.0)
    lines = [f"Week {at} brings {at + 3} pens, and the shop has other goods too." for at in range(60)]
    ref = await pre.add("shop", {"weeks": "\n\n".join(lines)})
    assert [done.outcome for done in await pre.work()] == ["accepted"]
    (item,) = pre.ready(ref)
    assert len(notes_of(item).facts) == len(seen) > 2
    assert all(any(line in part for part in seen) for line in lines)


async def test_what_exceeds_the_window_in_any_size_is_nothing_and_is_not_asked_again():
    model = narrow(100, [])
    pre = Precomputer(Store(MemoryShelf()), model, ["arithmetic"], producers=[facts()], passes=1, debounce=0.0)
    await pre.add("shop", {"weeks": "Week 1 brings 3 pens.\n\n" * 20})
    (done,) = await pre.work()
    assert done.outcome == "nothing"
    assert "context window" in done.why
    requests = len(model.requests)
    assert await pre.work() == ()
    assert len(model.requests) == requests


async def test_the_headings_above_a_piece_are_read_with_it():
    seen = []
    pre = Precomputer(Store(MemoryShelf()), narrow(9000, seen), ["arithmetic"], producers=[facts()], passes=1)
    filler = "The shop opens at 8 and closes at 6 on each day. " * 40
    await pre.add("shop", f"# Shop 12\n\n{filler}\n\n## Prices\n\n{filler}\n\n{filler}")
    await pre.work()
    assert len(seen) >= 3
    assert seen[-1].startswith("S1: # Shop 12\nS2: ## Prices\nS3: ")


BOXES = "There are 6 boxes. Each box has 8 bags. Each bag has 5 sweets."


async def test_a_statement_builds_on_the_one_before_it_and_needs_not_cite_all_its_lines():
    reply = "6 * 8 = 48 bags. [S1]\n48 * 5 = 240 sweets. [S3]\n48 + 6 = 54 bags. [S1]"
    precomputer, ref = await prepared(scripted(reply), {"boxes": BOXES}, monitors=["arithmetic"], grounding="text")
    (item,) = precomputer.ready(ref)
    first, second = notes_of(item).facts
    assert (first.said, second.said) == ("6 * 8 = 48 bags.", "48 * 5 = 240 sweets.")
    assert first.cited == ("There are 6 boxes.", "Each box has 8 bags.")
    assert second.cited == ("Each bag has 5 sweets.", "6 * 8 = 48 bags.")


async def test_a_statement_does_not_build_on_one_that_was_refused():
    reply = "6 + 8 = 14 bags. [S1 S2]\n14 * 5 = 70 sweets. [S3]"
    precomputer, ref = await prepared(scripted(reply), {"boxes": BOXES}, monitors=["arithmetic"], grounding="text")
    assert precomputer.ready(ref) == ()
