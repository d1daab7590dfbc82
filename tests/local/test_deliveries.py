"""What the reader sees of a refuted line, by delivery."""

import pytest
from interwhen import Delta, Retracted, Verified
from interwhen.events import Finished, Remedied, StreamEnded
from interwhen.models import open_local

from .support import PROMPT, REPAIR, play, refuting, unwatched

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_nothing_refuted_costs_nothing(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting(times=0)])
        bare = await unwatched(model)
    assert played.result.text == played.ever_shown == bare
    assert isinstance(played.result, Verified)
    assert played.result.ledger.requests == 1
    assert played.result.ledger.discarded == 0
    assert isinstance(played.events[-1], Finished)


async def test_observe_changes_nothing_and_says_what_was_found(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting(delivery="observe")])
        bare = await unwatched(model)
    assert played.result.text == played.ever_shown == bare
    [violation] = played.result.violations
    assert (violation.interrupted, violation.remedy) == (False, None)
    assert played.result.ledger.requests == 1
    assert not played.of(Remedied)


async def test_interrupt_shows_text_and_takes_it_back(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting()])
    [violation] = played.result.violations
    assert violation.interrupted
    assert played.shown == played.result.text
    [retracted] = played.of(Retracted)
    assert retracted.to == violation.cut
    # What was taken back had been shown, and is counted.
    shown = played.ever_shown
    assert len(shown) > len(played.result.text)
    assert shown[: violation.cut] == played.result.text[: violation.cut]
    assert played.result.ledger.discarded >= 1


async def test_a_gate_never_shows_what_is_refuted(anyio_backend):
    async with open_local() as model:
        played = await play(model, [refuting(delivery="gate")])
    [violation] = played.result.violations
    assert violation.interrupted
    assert not played.of(Retracted)
    assert played.ever_shown == played.result.text
    [insertion] = played.result.insertions
    assert played.result.text[insertion.span.start : insertion.span.end] == REPAIR


async def test_final_shows_reasoning_live_and_answers_once_checked(anyio_backend):
    async with open_local() as model:
        bare = await play(model, [], PROMPT)
        played = await play(model, [refuting(0, phase="answer", delivery="final")])
    assert bare.result.answer.strip(), "this test needs a trace with an answer"
    [violation] = played.result.violations
    assert violation.interrupted
    # The refuted answer was never shown ...
    assert not played.of(Retracted)
    assert played.ever_shown == played.result.text
    # ... although the reasoning was, before the stream had ended.
    ended = next(at for at, event in enumerate(played.events) if isinstance(event, StreamEnded))
    before = [event for event in played.events[:ended] if isinstance(event, Delta)]
    assert {event.phase for event in before} == {"reasoning"}
    assert {event.phase for event in played.events[ended:] if isinstance(event, Delta)} == {"answer"}
