"""The monitor ``early_stopping``: when it stops, when it does not, and that what it stopped is never verified."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Claim, Lines, Message, Monitor, Pass, Segment, Span, Unknown, UsageError, Violation, run, verifier
from interwhen.models import Capabilities, Completion, Reply, ScoredToken, Usage
from interwhen.testing import ScriptedModel
from interwhen.testing._virtual_time import VirtualLoop
from interwhen.testing.complexity import assert_linear
from tests.virtual_clock import virtual_backend

from interwhen_verifiers.early_stopping import answer_in, confidence_in, early_stopping, entropy_of

PROMPT = (Message(role="user", content="What is 6 * 7?"),)
pytestmark = pytest.mark.anyio


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return virtual_backend() if request.param == "trio" else ("asyncio", {"loop_factory": VirtualLoop})


def tokens(text, logprob=-0.01, top=()):
    return tuple(ScoredToken(char, logprob, top) for char in text)


def probe(monitor, *replies):
    tracker = monitor.extractor.parse
    state, verdicts = tracker.start(None), []
    for number, said in enumerate(replies):
        reply = Reply(said) if isinstance(said, str) else said
        state, (claim,) = tracker.step(state, reply, Segment("text", Span(9 * number, 9 * number + 4), "reasoning"))
        assert claim.span == Span(9 * number + 4, 9 * number + 4)
        verdicts.append(monitor.verifier.check(claim))
    return verdicts


class Probed(ScriptedModel):
    """Answers each probe with the next of *replies*, and further probes with the last one."""

    def __init__(self, script, replies, **options):
        super().__init__(script, **options)
        self.replies = list(replies)

    async def complete(self, request):
        self.fork_requests.append(request)
        text, scores = self.replies[min(len(self.fork_requests), len(self.replies)) - 1]
        return Completion(text, "stop", Usage(9, 0, len(text)), None, scores)


def test_three_equal_answers_in_a_row_stop():
    verdicts = probe(early_stopping(), "42}", "41}", "42}", "42 }", "42}")
    assert [type(verdict) for verdict in verdicts] == [Unknown] * 4 + [Violation]
    assert verdicts[-1] == Violation("the probed answer was the same 3 times in a row", "it was '42'")


def test_truncated_reply_is_no_answer():
    cut = Reply("42, because", (), "length")
    assert probe(early_stopping(times=1), cut) == [Unknown("no probe gave an answer")]
    assert answer_in(Reply("\\frac{1}{2}} and", ()), boxed=True) == "\\frac{1}{2}"
    assert answer_in(Reply("42", (), "stop"), boxed=False) == "42"
    assert answer_in(cut, boxed=False) is None
    assert answer_in(Reply("\n 42\nso", (), "length"), boxed=False) == "\n 42"


def test_confidence_is_geometric_mean_over_answer():
    scores = (ScoredToken("4", math.log(0.9)), ScoredToken("2", math.log(0.4)), ScoredToken("}", math.log(0.01)))
    assert confidence_in(scores, 2) == pytest.approx(0.6)
    monitor = early_stopping(rule="confident", threshold=0.95)
    sure = Reply("42}", tokens("42}"))
    unsure = Reply("42}", tokens("42}", -0.2))
    verdicts = probe(monitor, unsure, sure, "42}")
    assert [type(verdict) for verdict in verdicts] == [Unknown, Violation, Unknown]
    assert verdicts[2] == Unknown("the endpoint gives no probabilities of a fork's tokens")
    assert "0.990" in verdicts[1].why
    assert "42" not in verdicts[1].why


def test_settled_entropy_stops_the_run():
    def with_share(share):
        return Reply("A", tokens("A", math.log(share), (("A", math.log(share)), ("B", math.log(1 - share)))))

    assert entropy_of(with_share(0.5).tokens[0]) == pytest.approx(math.log(2))
    monitor = early_stopping(rule="entropy", threshold=0.01)
    restless = probe(monitor, *map(with_share, [0.5, 0.99, 0.5, 0.99, 0.5, 0.99]))
    assert {type(verdict) for verdict in restless} == {Unknown}
    settled = probe(monitor, *map(with_share, [0.5] + [0.97] * 60))
    assert isinstance(settled[-1], Violation)
    assert isinstance(settled[3], Unknown)
    assert probe(monitor, "A") == [Unknown("the endpoint gives no probabilities of the likeliest tokens")]


@given(st.lists(st.floats(-700, 0), min_size=1, max_size=20))
def test_entropy_is_bounded_by_uniform_distribution(logprobs):
    total = math.log(sum(map(math.exp, logprobs)) + 1e-300)
    top = tuple((str(at), value - max(total, 0.0)) for at, value in enumerate(logprobs))
    assert -1e-9 <= entropy_of(ScoredToken("0", top[0][1], top)) <= math.log(len(top) + 1) + 1e-9


THOUGHTS = [
    "<think>6 * 7 is 42.\n\n",
    "Let me see: 42.\n\n",
    "Once more: 42.\n\n",
    "And once more.\n\n",
    "And again.\n\n",
]


async def test_stable_answer_stops_the_reasoning():
    def script(request):
        return ["The answer is 42."] if "</think>" in request.prefix else [*THOUGHTS, "</think>I say 42."]

    model = Probed(script, [("42}", ())], delay=0.01)
    async with run(model, PROMPT, monitors=[early_stopping()]) as supervised:
        result = await supervised.drain()
    assert result.status == "unverified"
    assert result.text == "<think>6 * 7 is 42.\n\nLet me see: 42.\n\nOnce more: 42.\n</think>\n\nThe answer is 42."
    assert result.answer == "\n\nThe answer is 42."
    assert result.unverified_reasons[0].why.startswith(
        "the reasoning was stopped early: the probed answer was the same 3 times"
    )
    assert result.violations[0].remedy == "conclude"
    assert result.ledger.forks == 3
    assert result.ledger.fork_tokens == 9
    side = model.fork_requests[0]
    assert side.prompt == PROMPT
    assert (side.prefix, side.side) == ("<think>6 * 7 is 42.", "\n</think>\n\n**Final Answer**\n\\boxed{")


async def test_stopped_run_is_never_verified():
    @verifier(name="sure", worker="inline")
    def sure(_claim):
        return Pass()

    judge = Monitor(name="sure", trigger=Lines(), verifier=sure, extractor=lambda s: [Claim(key=s.text, span=s.span)])

    def script(request):
        return ["It is 42."] if "</think>" in request.prefix else [*THOUGHTS, "</think>I say 42."]

    for replies, status in (([("42}", ())], "unverified"), ([("42}", ()), ("41}", ())] * 9, "verified")):
        model = Probed(script, replies, delay=0.01)
        async with run(model, PROMPT, monitors=[early_stopping(), judge]) as supervised:
            result = await supervised.drain()
        assert result.status == status


async def test_probe_replies_are_processed_in_text_order():
    import anyio

    class Slow(Probed):
        async def complete(self, request):
            number = request.prefix.count("\n\n")
            await anyio.sleep(0.2 if number == 0 else 0.01)
            self.fork_requests.append(request)
            return Completion(f"{number}}}" if number > 1 else "7}", "stop", Usage(), None, ())

    model = Slow([[*THOUGHTS, "</think>7"]], [], delay=0.05)
    async with run(model, PROMPT, monitors=[early_stopping(times=2)]) as supervised:
        result = await supervised.drain()
    assert [type(check.outcome).__name__ for check in result.checks][:2] == ["Judged", "Judged"]
    assert result.text.startswith("<think>6 * 7 is 42.\n\nLet me see: 42.\n</think>")


async def test_run_does_not_wait_for_pending_probes():
    import anyio

    class Hanging(Probed):
        async def complete(self, request):
            await anyio.sleep(600)

    model = Hanging([[*THOUGHTS, "</think>It is 42."]], [])
    with anyio.fail_after(60):
        async with run(model, PROMPT, monitors=[early_stopping()]) as supervised:
            result = await supervised.drain()
    assert result.answer == "It is 42."


async def test_model_without_think_tags_is_not_probed():
    model = Probed(
        ["One.\n\nTwo.\n\nThree.\n\n"], [("1}", ())], capabilities=Capabilities(resume="turn", think_tags=None)
    )
    async with run(model, PROMPT, monitors=[early_stopping(times=1)]) as supervised:
        result = await supervised.drain()
    assert (result.text, model.fork_requests) == ("One.\n\nTwo.\n\nThree.\n\n", [])


@pytest.mark.parametrize(
    "options",
    [
        {"rule": "sure"},
        {"at": "words"},
        {"times": 0},
        {"tokens": 0},
        {"rule": "entropy", "scores": 1},
        {"rule": "confident", "scores": 99},
        {"lead": ""},
        {"rule": "confident", "threshold": float("nan")},
        {"rule": "confident", "threshold": 0},
        {"rule": "entropy", "threshold": -1.0},
        {"seconds": 0},
    ],
)
def test_invalid_options_are_refused(options):
    with pytest.raises(UsageError):
        early_stopping(**options)


@pytest.mark.parametrize("rule", ["stable", "confident", "entropy"])
def test_reading_a_reply_is_linear(rule):
    assert_linear(early_stopping(rule=rule))
