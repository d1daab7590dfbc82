"""Every delivery with every remedy: what is asked of the model next, and what the reader is left with."""

import interwhen
import msgspec
import pytest
from interwhen import Feedback, Repair, Resample, Sampling, Violation
from interwhen._types.models import Piece
from interwhen.models import Capabilities, ConnectError
from interwhen.remedies import Abstain, FeedbackTemplate, Stop
from interwhen.testing import ScriptedModel
from sums import Accountant, apply, judge, supervise, watch

pytestmark = pytest.mark.anyio

FIRST = "1+1=2\n2+2=5\n4+4=9\n"
WAIT = "Wait, 2+2=4.\n"

REMEDIES = {
    "repair": (Repair(), [Piece("1+1=2\n2+2="), Piece("4", "repair")], "\n3+3=6\n", "verified"),
    "append": (Feedback("append"), [Piece("1+1=2\n2+2=5"), Piece("\n" + WAIT, "feedback")], "2+2=4\n", "unverified"),
    "rewind": (Feedback("rewind"), [Piece("1+1=2\n"), Piece(WAIT, "feedback")], "2+2=4\n", "verified"),
    "resample": (Resample(), [Piece("1+1=2\n")], "2+2=4\n", "verified"),
    "stop": (Stop(), None, "", "unverified"),
    "abstain": (Abstain(), None, "", "abstained"),
}


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize("delivery", ["interrupt", "gate", "final"])
@pytest.mark.parametrize("name", REMEDIES)
async def test_each_remedy_sends_expected_request_and_text(name, delivery, size):
    remedy, pieces, more, status = REMEDIES[name]
    model = Accountant([FIRST, more], size=size, capabilities=Capabilities(resume="prefill"))
    sampling = Sampling(max_tokens=100, seed=7, temperature=0.5)
    result, events = await supervise(model, watch(remedy=remedy, delivery=delivery), sampling=sampling)

    kept = "".join(piece.text for piece in pieces) if pieces else "1+1=2\n"
    assert result.text == kept + more
    assert result.status == status
    seen = apply(events)
    assert seen == result.text if status != "abstained" else result.text.startswith(seen)
    assert result.violations[0].remedy == ("feedback" if name in {"append", "rewind"} else name)
    model.assert_all_closed_once()
    if pieces is None:
        assert len(model.requests) == 1
        assert result.resume is None
        return
    assert [request.prefix for request in model.requests] == ["", kept]
    resumed = model.requests[1]
    assert [msgspec.structs.replace(piece, ask=None) for piece in resumed.pieces] == list(pieces)
    assert result.resume.mode == "prefill"
    assert resumed.sampling.seed == 8
    assert resumed.sampling.temperature == 0.5
    if size == 1:  # one token a character
        own = sum(len(piece.text) for piece in pieces if piece.origin == "model")
        assert resumed.sampling.max_tokens == 100 - own
        assert result.ledger.kept == own + len(more)
        assert result.ledger.discarded == len(FIRST[: FIRST.index("5\n") + 2]) - own
    assert result.ledger.requests == 2
    assert result.ledger.remedies == 1
    assert len(result.timing.close_latency) == 1


@pytest.mark.parametrize("name", REMEDIES)
async def test_observe_delivery_changes_no_text(name):
    model = Accountant([FIRST])
    result, events = await supervise(model, watch(remedy=REMEDIES[name][0], delivery="observe"))
    assert (result.text, result.status) == (FIRST, "unverified")
    assert apply(events) == FIRST
    assert [(violation.quote, violation.interrupted) for violation in result.violations] == [("5", False), ("9", False)]
    assert len(model.requests) == 1


async def test_unset_seed_stays_unset_in_every_request():
    model = Accountant([FIRST, "\n"])
    await supervise(model, watch())
    assert [request.sampling for request in model.requests] == [Sampling(), Sampling()]


async def test_run_feedback_overrides_model_feedback():
    for given, words in ((None, "Nope: again."), (FeedbackTemplate(witness="No."), "No.")):
        model = ScriptedModel(["2+2=5\n", "2+2=4\n"])
        model.feedback = FeedbackTemplate(witness="Nope: again.")
        run = interwhen.run(model, "p", monitors=[watch(remedy=Feedback("rewind"))], feedback=given)
        async with run:
            result = await run.drain()
        assert result.text == f"{words}\n2+2=4\n"


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(0.0, [0.0, 0.7, 0.8, 0.9, 0.0]), (0.3, [0.3] * 5), (None, [None] * 5)],
)
async def test_greedy_resampling_raises_the_temperature(temperature, expected):
    @interwhen.verifier(name="odd", worker="inline")
    def check(claim):
        verdict = judge(claim)
        return (
            msgspec.structs.replace(verdict, repair=None)
            if claim.left % 2 and isinstance(verdict, Violation)
            else verdict
        )

    # Three samples that differ and cannot be repaired, then one that can be.
    model = Accountant(["3+3=7\n", "3+3=8\n", "3+3=9\n", "2+2=5\n", "\n"])
    sampling = Sampling(temperature=temperature, seed=5)
    result, _ = await supervise(model, watch(check, remedy=Repair(otherwise=Resample())), sampling=sampling)
    assert result.text == "2+2=4\n"
    assert [request.sampling.temperature for request in model.requests] == pytest.approx(expected)
    assert [request.sampling.seed for request in model.requests] == [5, 6, 7, 8, 9]


async def test_reconnect_keeps_the_raised_temperature():
    steps = [["3+3=7\n"], ["3+", ConnectError("reset")], ["3=6\n"]]
    model = Accountant(steps)
    result, _ = await supervise(model, watch(remedy=Resample()), sampling=Sampling(temperature=0.0))
    assert (result.text, result.ledger.reconnects) == ("3+3=6\n", 1)
    assert [request.sampling.temperature for request in model.requests] == [0.0, 0.7, 0.7]
