"""Passages of a long document: the right ones are found, and a run gets them unless its prompt has them already."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Message, UsageError, precompute
from interwhen.models import Capabilities
from interwhen.precompute import MemoryShelf, Precomputer, Store, pieces_of
from interwhen.precompute._producer import ContextPiece
from interwhen.precompute._retrieval import PassageIndex, characters_in, passage_of, within
from interwhen.testing import ScriptedModel

pytestmark = pytest.mark.anyio
TOWNS = [
    f"{first}{last}" for first in ("Al", "Bor", "Cas", "Dun", "El", "Fen") for last in ("by", "ton", "mere", "wick")
]


def manual(pages, seed=0):
    rng = random.Random(seed)
    things = ("bridge", "mill", "harbour", "library", "market", "tower", "well", "school")
    facts, sections = [], []
    for page in range(pages):
        town, thing = f"{rng.choice(TOWNS)} {page}", rng.choice(things)
        fact = f"The {thing} was built in {rng.randint(1200, 1990)} by {rng.randint(3, 90)} workers."
        filler = "People live there and work, and in the evening they walk by the river. " * 20
        sections.append(f"## {town}\n\n{filler}\n\n{fact} {filler}")
        facts.append((town, thing, fact))
    return "# Towns\n\n" + "\n\n".join(sections), facts


def test_passages_are_retrieved_from_five_hundred_pages():
    text, facts = manual(500)
    assert len(text) > 1_000_000
    index = PassageIndex(pieces_of(text))
    for town, thing, fact in random.Random(1).sample(facts, 40):
        passages = within(index.ranked(f"When was the {thing} of {town} built?"))
        assert any(fact in passage_of(piece) for piece in passages), town


def test_passages_stay_within_their_budget():
    text, _ = manual(20)
    ranked = PassageIndex(pieces_of(text)).ranked("When was the bridge built?")
    passages = within(ranked, most=3, budget=6000)
    assert 1 <= len(passages) <= 3
    assert sum(len(passage_of(piece)) for piece in passages) <= 6000
    assert within(ranked, budget=10) == ()


@pytest.fixture
async def towns():
    text, facts = manual(12)
    pre = Precomputer(Store(MemoryShelf()), ScriptedModel(["So."]), producers=[], debounce=0.0, passages=3000)
    return pre, await pre.add("towns", text), text, facts


async def test_run_gets_passages_missing_from_its_prompt(towns):
    pre, ref, text, facts = towns
    town, thing, fact = facts[7]
    question = f"When was the {thing} of {town} built?"
    async with pre.run((Message("system", "Be brief."), Message("user", question)), context=ref) as run:
        result = await run.drain()
    system, user = pre.model.requests[-1].prompt
    assert system.content == "Be brief."
    assert user.content.startswith("From the text:\n")
    assert fact in user.content
    assert user.content.endswith(f"\n\n{question}")
    assert len(user.content) < 3200
    assert result.context.used == "passages"
    async with pre.run(f"{text}\n{question}", context=ref) as run:
        await run.drain()
    prompt = pre.model.requests[-1].prompt
    assert "From the text:" not in prompt[: -len(question) - 10] or prompt.count(fact) == 1


async def test_text_too_long_for_window_gives_passages(towns):
    pre, ref, text, facts = towns
    town, thing, fact = facts[5]
    question = f"When was the {thing} of {town} built?"
    pre.model._capabilities = Capabilities(resume="prefix", context_tokens=100_000)
    assert await pre.text_for(ref, question) == pre.contexts["towns"].context.text
    pre.model._capabilities = Capabilities(resume="prefix", context_tokens=2000)
    excerpt = await pre.text_for(ref, question)
    assert fact in excerpt
    assert len(excerpt) < 3000 + 100 < len(text)


async def test_caller_may_limit_passage_length(towns):
    pre, ref, text, facts = towns
    town, thing, fact = facts[5]
    question = f"When was the {thing} of {town} built?"
    excerpt = await pre.text_for(ref, question, room=2700)
    assert fact in excerpt
    assert len(excerpt) < 2700 + 100 < len(text)
    best = (await pre.passages(ref, question))[0]
    # No piece is so short: the beginning of the best one, and of the text where none has a word of the question.
    assert await pre.text_for(ref, question, room=300) == f"From the text:\n{passage_of(best)[:300]}"
    assert (
        await pre.text_for(ref, "Zyzzyva?", room=300) == f"From the text:\n{pre.contexts['towns'].context.text[:300]}"
    )
    assert await pre.text_for(ref, "When?", room=len(text) + 100) == pre.contexts["towns"].context.text


@pytest.mark.parametrize(
    ("text", "room"),
    [("plain", 1500), ("", 1500), ("\u4e2d\u6587" * 50, 500), ("na\u00efve text " * 100, 1200)],
    ids=["ascii", "empty", "chinese", "latin"],
)
def test_text_in_other_script_gets_fewer_characters(text, room):
    assert characters_in(1000, text) == pytest.approx(room, abs=100)
    assert characters_in(None, text) == pytest.approx(room * 16.384, rel=0.1)


async def test_unrelated_question_gets_no_passage(towns):
    pre, ref, _, _ = towns
    async with pre.run("Zyzzyva?", context=ref) as run:
        result = await run.drain()
    assert pre.model.requests[-1].prompt == "Zyzzyva?"
    assert result.context.used == "none"


async def test_an_edited_context_gives_no_old_passages(towns):
    pre, ref, _, facts = towns
    await pre.add("towns", "There are no towns.")
    with pytest.raises(UsageError, match="must be current, got one that is not"):
        await pre.passages(ref, "When was it built?")
    with pytest.raises(UsageError, match="must be current, got one that is not"):
        await pre.text_for(ref, "When was it built?")  # the new text is short, so no passages are looked up
    town, thing, _ = facts[3]
    async with pre.run(f"When was the {thing} of {town} built?", context=ref) as run:
        await run.drain()
    assert "From the text:" not in pre.model.requests[-1].prompt


def ranked(texts, question):
    pieces = PassageIndex([ContextPiece(str(at), text) for at, text in enumerate(texts)]).ranked(question)
    return [int(piece.name) for piece in pieces]


def test_rare_words_count_more():
    assert ranked(["the dog", "the cat", "the cow", "the owl"], "the owl") == [3]
    assert ranked(["an old dog", "an old cat", "an old cow", "an old owl"], "an old owl") == [3, 0, 1, 2]


@given(st.lists(st.text(max_size=30), max_size=12), st.text(max_size=30))
def test_any_text_can_be_looked_up(texts, question):
    places = ranked(texts, question)
    assert len(set(places)) == len(places)
    assert set(places) <= set(range(len(texts)))


@pytest.mark.parametrize(("name", "instead"), [("Embedder", "by your own embeddings"), ("LlamaSlots", "POST /slots/0")])
def test_removed_names_say_what_to_use_instead(name, instead):
    with pytest.raises(ImportError, match=f"interwhen.precompute.{name} was removed: .*{instead}"):
        getattr(precompute, name)
    with pytest.raises(AttributeError, match="has no attribute 'Nothing_at_all'"):
        _ = precompute.Nothing_at_all
