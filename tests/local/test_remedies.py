"""What follows a refuted line, by remedy, and how the trace continues."""

import pytest
from interwhen import (
    Abstained,
    Budgets,
    Feedback,
    Repair,
    Resample,
    Retracted,
    Unverified,
    Verified,
)
from interwhen._types.models import Piece
from interwhen.models import open_local
from interwhen.remedies import Abstain, FeedbackTemplate, Stop

from .support import REPAIR, WHY, WITNESS, play, refuting, unwatched

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


LEVELS = ("flag", "locate", "explain", "witness")
APIS = ("completions", "chat")


def remedied(played):
    result = played.result
    [violation] = result.violations
    assert violation.interrupted
    assert (violation.why, violation.witness) == (WHY, WITNESS)
    assert played.shown == result.text
    # Two streams: from nothing, and from the text up to the end of our insertion.
    kept = result.text[: violation.cut] + violation.inserted
    assert played.streams == ["", kept]
    assert result.text.startswith(kept)
    assert len(result.text) > len(kept), "the trace did not continue"
    assert (result.ledger.requests, result.ledger.remedies) == (2, 1)
    assert result.ledger.inserted_chars == len(violation.inserted)
    return violation


def sentence(level, quote):
    template = FeedbackTemplate()
    return {
        "flag": template.flag,
        "locate": template.locate.format(quote=quote),
        "explain": template.explain.format(why=WHY),
        "witness": template.witness.format(witness=WITNESS),
    }[level]


@pytest.mark.parametrize("api", APIS)
async def test_repair_inserts_a_correction_and_continues_that_line(anyio_backend, api):
    async with open_local(api=api) as model:
        played = await play(model, [refuting(remedy=Repair())])
        stated = await model.capabilities()
    violation = remedied(played)
    assert violation.inserted == REPAIR
    [insertion] = played.result.insertions
    assert insertion.origin == "repair"
    assert insertion.span.start == violation.cut == violation.span.start
    before = played.result.text[: violation.cut]
    assert before
    assert not before.endswith("\n")
    assert played.result.resume.mode == stated.resume == {"completions": "prefix", "chat": "prefill"}[api]


async def test_the_model_continues_exactly_from_the_repaired_prefix(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting(remedy=Repair())])
        kept = played.streams[1]
        assert await unwatched(model, Piece(kept)) == played.result.text[len(kept) :]


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("level", LEVELS)
async def test_appended_feedback_follows_the_line_that_stays(anyio_backend, api, level):
    async with open_local(api=api) as model:
        played = await play(model, [refuting(remedy=Feedback(), level=level)])
    violation = remedied(played)
    text, start, end = played.result.text, violation.span.start, violation.span.end
    assert violation.inserted == f"\n{sentence(level, text[start:end])}\n"
    assert violation.cut == end
    [insertion] = played.result.insertions
    assert insertion.origin == "feedback"
    assert text[insertion.span.start : insertion.span.end] == violation.inserted


@pytest.mark.parametrize("api", APIS)
@pytest.mark.parametrize("level", LEVELS)
async def test_rewound_feedback_stands_where_the_line_stood(anyio_backend, api, level):
    async with open_local(api=api) as model:
        played = await play(model, [refuting(remedy=Feedback(place="rewind"), level=level)])
    violation = remedied(played)
    text = played.result.text
    assert violation.inserted == f"{sentence(level, violation.quote)}\n"
    assert text[: violation.cut].endswith("\n")
    assert violation.cut < violation.span.start
    assert text[violation.cut :].startswith(violation.inserted)


async def test_after_feedback_only_the_refuted_reasoning_stays_unverified(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting(remedy=Feedback(), phase="reasoning")])
    violation = remedied(played)
    assert isinstance(played.result, Verified)
    [refuted] = played.result.certificate.refuted
    assert refuted.covers(violation.span)
    assert played.result.certificate.matches(played.result.text)


async def test_resampling_inserts_no_text_and_retries_the_line(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting(remedy=Resample())])
        bare = await unwatched(model)
    violation = remedied(played)
    assert violation.inserted == ""
    assert not played.result.insertions
    assert played.result.text[: violation.cut].endswith("\n")
    # Greedily, another chance is the same again.
    assert played.result.text == bare
    [retracted] = played.of(Retracted)
    assert retracted.to == violation.cut


async def test_what_does_not_converge_is_given_up(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting(times=99, remedy=Resample())])
    assert isinstance(played.result, Abstained)
    assert "not converging" in played.result.reason
    assert played.result.ledger.remedies == Budgets().repeats


async def test_a_spent_budget_is_no_answer(anyio_backend):
    async with open_local() as model:
        monitor = refuting(times=99, remedy=Feedback(), level="flag")
        played = await play(model, [monitor], budgets=Budgets(remedies=1))
    assert isinstance(played.result, Abstained)
    assert played.result.reason == "the budget of 1 remedies is spent"
    assert played.result.ledger.requests == 2


@pytest.mark.parametrize(("remedy", "kind"), [(Stop(), Unverified), (Abstain(), Abstained)])
async def test_stop_and_abstain_end_before_the_refuted_line(anyio_backend, remedy, kind):
    async with open_local() as model:
        played = await play(model, [refuting(remedy=remedy)])
        bare = await unwatched(model)
    result = played.result
    assert isinstance(result, kind)
    [violation] = result.violations
    assert (violation.interrupted, violation.inserted) == (True, "")
    assert played.shown == result.text == bare[: violation.cut]
    assert result.text.endswith("\n")
    assert result.finish_reason is None
    assert played.streams == [""]
