"""Side inferences on the model's own trace, on a slot of their own."""

import re

import interwhen
import pytest
from interwhen import Budgets, Claim, Fork, Monitor, Pass, Repair, Unverified, Verified, Violation
from interwhen.models import open_local

from .support import play, unwatched

pytestmark = pytest.mark.anyio

ASKED = "\nState so far, in braces:"


def asking(verdict, replies, **options):
    def parse(reply, segment):
        replies.append((segment.text, reply))
        for number in re.findall(r"\d+", reply)[:1]:
            # No two keys alike: a claim once refuted stays refuted, and the model may well say the same again.
            yield Claim(key=f"{len(replies)} {number}", span=segment.ground(number))

    @interwhen.verifier(name="state", worker="inline")
    def judge(claim):
        return verdict(claim)

    fork = Fork(ASKED, parse, max_tokens=24)
    return Monitor(name="state", verifier=judge, extractor=fork, phase="reasoning", **options)


@pytest.mark.parametrize("api", ["completions", "chat"])
async def test_forks_return_the_state_without_changing_the_stream(anyio_backend, api):
    replies = []
    async with open_local(api=api) as model:
        played = await play(model, [asking(lambda claim: Pass(), replies)])
        bare = await unwatched(model)
    assert isinstance(played.result, Verified)
    assert played.result.text == played.ever_shown == bare
    ledger = played.result.ledger
    assert ledger.forks == len(replies) == len({line for line, _ in replies}) >= 2
    assert ledger.fork_tokens > ledger.forks
    assert ledger.requests == 1
    # The question is understood as one, and not as a line of the puzzle.
    assert all(reply.lstrip().startswith("{") for _, reply in replies)


async def test_fork_replies_can_interrupt_where_they_are_grounded(anyio_backend):
    replies, refuted = [], []

    def verdict(claim):
        if refuted or claim.span is None:
            return Pass()
        refuted.append(claim.span)
        return Violation(why="the test says so", repair="7")

    async with open_local() as model:
        played = await play(model, [asking(verdict, replies, remedy=Repair())])
    [violation] = played.result.violations
    assert violation.interrupted
    assert violation.span == refuted[0]
    assert any(violation.quote in line for line, _ in replies)
    assert violation.remedy == "feedback"  # a repair is not written: only the model could read it again
    assert played.streams[1] == played.result.text[: len(played.streams[1])]
    assert played.streams[1].startswith(played.result.text[: violation.cut])
    assert played.result.ledger.forks >= 2


async def test_forks_beyond_the_budget_are_skipped_and_reported(anyio_backend):
    replies = []
    async with open_local() as model:
        played = await play(model, [asking(lambda claim: Pass(), replies)], budgets=Budgets(forks=1))
    assert played.result.ledger.forks == len(replies) == 1
    assert isinstance(played.result, Unverified)
    assert any("forks" in doubt.why for doubt in played.result.unverified_reasons)
