"""A trial tells what a monitor says of labelled traces, whatever the chunks were, and what it comes to."""

import math
from dataclasses import dataclass, replace

import anyio
import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import (
    Claim,
    Fork,
    Lines,
    Monitor,
    Pass,
    Span,
    ToolCall,
    ToolCalls,
    Tracker,
    Unknown,
    UsageError,
    Violation,
)
from interwhen.registry import PluginError
from interwhen.remedies import Retry
from interwhen.testing import (
    LabelledTrace,
    Mistake,
    ScriptedModel,
    Turn,
    assert_trial,
    cases,
    recut,
    score,
    try_monitor,
    try_monitor_sync,
)
from interwhen.testing._scores import Rate, Spread, percentile, place
from interwhen.testing._trials import TrialResult, TrialViolation


@dataclass(frozen=True, slots=True, kw_only=True)
class Word(Claim):
    word: str


def extract(segment):
    at = 0
    for word in segment.text.split(" "):
        yield Word(key=word, span=None if word == "floats" else segment.at(at, at + len(word)), word=word)
        at += len(word) + 1


def judge(claim, *prepared):
    match claim.word.strip(".,\n"):
        case "bad":
            return Violation(why="it is bad", witness="good", where=Span(0, 3), repair="good")
        case "floats":
            return Violation(why="somewhere")
        case "odd":
            return Unknown("odd")
        case "crash":
            raise RuntimeError("crashed")
        case _:
            return Pass()


check = interwhen.verifier(name="words", worker="inline")(judge)


def words(**options):
    return Monitor(name="words", verifier=check, extractor=extract, **options)


def trace(*texts, label="wrong", mistake=None, name="t"):
    return LabelledTrace(
        name=name, turns=tuple(Turn(prompt="q", text=text) for text in texts), label=label, mistake=mistake
    )


def tried(*traces, monitor=None, **options):
    return try_monitor_sync(monitor or words(), traces, **options)


class TestOneTrace:
    def test_all_violations_are_reported_with_spans(self):
        [one] = tried(trace("a bad day\nb\n", "fine\nvery bad"))
        assert [(violation.turn, violation.span, violation.segment) for violation in one.violations] == [
            (0, Span(2, 5), Span(0, 9)),
            (1, Span(10, 13), Span(5, 13)),
        ]
        assert one.violations[0] == TrialViolation(
            turn=0, span=Span(2, 5), segment=Span(0, 9), quote="bad", why="it is bad", witness="good", repair="good"
        )
        assert (one.passed, one.violated, one.unknown) == (5, 2, 0)

    def test_trial_counts_each_outcome(self):
        [one] = tried(trace("odd\ncrash\nbad floats\nodd"))
        assert (one.passed, one.violated, one.unknown, one.claims) == (0, 2, 2, 4)
        assert one.reasons == ("odd", "odd")
        assert len(one.violations) == 1
        [trouble] = one.troubles
        assert (trouble.turn, trouble.span) == (0, Span(4, 9))
        assert trouble.what.startswith("RuntimeError: crashed")

    def test_ungrounded_claim_flags_no_text(self):
        [one] = tried(trace("floats"))
        assert (one.is_flagged, one.violated) == (False, 1)

    def test_equal_claims_are_checked_once(self):
        [one] = tried(trace("good good good"))
        assert one.passed == 3
        assert len(one.check_seconds) == 1

    @pytest.mark.parametrize("delivery", ["interrupt", "gate", "final"])
    def test_trial_only_observes_with_any_delivery(self, delivery):
        monitor = words(delivery=delivery, unproven="closed", on_error=Retry(1, "closed", 0.0))
        [one] = tried(trace("odd\ncrash\nbad\nbad"), monitor=monitor)
        assert len(one.violations) == 2
        assert len(one.troubles) == 1

    def test_reasoning_is_judged_as_its_own_phase(self):
        only_reasoning = words(phase="reasoning")
        for text in ("<think>bad\n</think>bad", "bad\n</think>bad"):
            [one] = tried(trace(text), monitor=only_reasoning)
            assert [violation.span.start for violation in one.violations] == [text.index("bad")]

    def test_tool_calls_follow_the_text(self):
        turn = Turn(prompt="q", text="Let me. ", calls=(ToolCall("a", "f", "1"), ToolCall("b", "bad ", "2")))
        labelled = LabelledTrace(name="t", turns=(turn,), label="wrong")
        [one] = tried(labelled, monitor=words(trigger=ToolCalls(), delivery="gate_tools"))
        assert [each.span for each in one.violations] == [Span(12, 15)]
        assert turn.trace[12:15] == "bad"

    def test_tracker_state_lasts_one_turn(self):
        def step(state, segment):
            return state + 1, [Word(key=str(state), span=segment.span, word="bad" if state == 2 else "good")]

        monitor = Monitor(name="third", verifier=check, extractor=Tracker(lambda _: 1, step))
        [one] = tried(trace("one\ntwo\nthree", "one\ntwo"), monitor=monitor)
        assert [(violation.turn, violation.span.start) for violation in one.violations] == [(0, 4), (1, 4)]

    def test_fork_is_answered_by_the_given_model(self):
        fork = Fork(
            "Which word is bad?", lambda reply, segment: [Word(key="w", span=segment.ground(reply), word="bad")]
        )
        monitor = Monitor(name="asks", verifier=check, extractor=fork)
        [one] = tried(trace("a very dull day"), monitor=monitor, model=ScriptedModel([""], forks=lambda _: "dull"))
        assert [violation.quote for violation in one.violations] == ["dul"]
        [one] = tried(trace("a very dull day"), monitor=monitor)
        assert "without a model for forks cannot answer" in one.troubles[0].what

    def test_empty_turn_has_no_claims(self):
        [one] = tried(trace(""))
        assert (one.claims, one.violations) == (0, ())


class TestPreparing:
    def test_prepare_gets_prompt_and_may_return_none(self):
        def prepare(task):
            return task.question if "bad" in task.question else None

        monitor = replace(words(prepare=prepare), extractor=lambda segment, prepared: extract(segment))
        about = LabelledTrace(
            name="a", turns=(Turn(prompt="bad?", text="bad"), Turn(prompt="?", text="bad")), label="wrong"
        )
        [one] = tried(about, monitor=monitor)
        assert (len(one.violations), one.aside, len(one.prepare_seconds)) == (1, 1, 2)

    def test_prepare_may_be_asynchronous(self):
        async def prepare(task):
            await anyio.sleep(0)
            return "ready"

        monitor = replace(words(prepare=prepare), extractor=lambda segment, prepared: extract(segment))
        assert len(tried(trace("bad"), monitor=monitor)[0].violations) == 1

    def test_raising_prepare_is_a_trouble(self):
        def prepare(task):
            raise KeyError("grid")

        [one] = tried(trace("bad\nbad"), monitor=words(prepare=prepare))
        assert [trouble.what for trouble in one.troubles][:1] == ["preparing the monitor raised KeyError: 'grid'"]
        assert len(one.troubles) == 3


class TestRunning:
    def test_an_unknown_monitor_is_refused(self):
        with pytest.raises(PluginError):
            tried(trace("x"), monitor="no-such-verifier")

    def test_trial_accepts_a_monitor_spec(self):
        [one] = tried(trace("1 + 1 = 3"), monitor="arithmetic:rounding=exact")
        assert one.is_flagged

    def test_each_trial_is_reported_when_it_ends(self):
        told = []
        done = tried(trace("bad", name="a"), trace("good", name="b"), on_trial=told.append)
        assert told == done

    def test_trial_runs_in_event_loop(self):
        async def main():
            return [one async for one in try_monitor(words(), [trace("bad")])]

        assert len(anyio.run(main)) == 1

    def test_threaded_checks_give_the_same_result(self):
        threaded = replace(words(), verifier=interwhen.verifier(name="words", worker="thread")(judge))
        assert [one.violations for one in tried(trace("a bad day"), monitor=threaded)] == [
            one.violations for one in tried(trace("a bad day"))
        ]

    @given(
        st.lists(st.sampled_from(["bad", "good", "odd", "\n", "<think>", "</think>", " "]), max_size=30), st.integers()
    )
    def test_findings_are_equal_for_any_chunking(self, parts, seed):
        whole = trace("".join(parts))
        monitor = words(trigger=Lines())
        once, again = tried(whole, monitor=monitor, seed=1), tried(whole, monitor=monitor, seed=seed)
        assert [one.violations for one in once] == [one.violations for one in again]


@given(st.text(max_size=200), st.integers())
def test_chunks_are_the_text(text, seed):
    assert "".join(recut(text, seed)) == text
    assert recut(text, seed) == recut(text, seed)
    assert all(recut(text, seed))


def test_different_seeds_cut_differently():
    assert recut("a" * 100, 1) != recut("a" * 100, 2)


def flagged(span, label="wrong", mistake=None, segment=None, text="x" * 100, turn=0):
    one = LabelledTrace(
        name="t", turns=(Turn(prompt="", text=text), Turn(prompt="", text=text)), label=label, mistake=mistake
    )
    violations = (TrialViolation(turn=turn, span=span, segment=segment or span, quote="", why=""),) if span else ()
    return TrialResult(trace=one, violations=violations)


class TestScores:
    def test_score_computes_each_rate(self):
        everything = [
            *[flagged(Span(0, 1))] * 3,
            flagged(None),
            *[flagged(None, label="right")] * 9,
            flagged(Span(0, 1), label="right"),
            flagged(Span(0, 1), label="unclear"),
        ]
        scores = score(everything)
        assert (scores.recall.hits, scores.recall.of) == (3, 4)
        assert (scores.precision.hits, scores.precision.of) == (3, 4)
        assert (scores.false_interrupts.hits, scores.false_interrupts.of) == (1, 10)
        assert (scores.unclear.hits, scores.unclear.of) == (1, 1)
        assert (len(cases(everything).false_alarms), len(cases(everything).misses)) == (1, 1)

    @pytest.mark.parametrize(
        ("mistake", "where"),
        [
            (None, "unknown"),
            (Mistake(turn=0, span=Span(5, 9)), "at"),
            (Mistake(turn=0, span=Span(10, 20)), "before"),
            (Mistake(turn=0, span=Span(0, 4)), "after"),
            (Mistake(turn=0, span=Span(7, 7)), "at"),
            (Mistake(turn=0), "at"),
            (Mistake(turn=1), "before"),
        ],
    )
    def test_violation_place_is_relative_to_mistake(self, mistake, where):
        one = flagged(Span(4, 10), mistake=mistake)
        assert place(one) == where
        assert len(cases([one]).early) == (where == "before")
        assert score([one]).located.of == (where != "unknown")

    def test_a_violation_in_a_later_turn_comes_after(self):
        assert place(flagged(Span(4, 10), mistake=Mistake(turn=0), turn=1)) == "after"

    def test_earliness_counts_over_the_turns(self):
        one = flagged(Span(10, 12), segment=Span(5, 50), turn=1, mistake=Mistake(turn=0, span=Span(90, 95)))
        scores = score([one])
        assert scores.delay.p50 == 60
        assert scores.remaining.p50 == 0.25

    def test_empty_score_has_no_rates(self):
        scores = score([])
        assert scores.recall == Rate(0, 0, None, 0.0, 1.0)
        assert str(scores.recall) == "nothing to count"
        assert scores.check_ms == Spread()

    def test_rate_lies_within_its_interval(self):
        for of in range(1, 200):
            for hits in range(of + 1):
                rate = Rate.make(hits, of)
                assert 0.0 <= rate.low <= rate.value <= rate.high <= 1.0

    @pytest.mark.parametrize(
        ("hits", "of", "low", "high"),
        # Newcombe (1998), table I, method 3
        [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
    )
    def test_wilson_intervals_match_published_values(self, hits, of, low, high):
        rate = Rate.make(hits, of)
        assert math.isclose(rate.low, low, abs_tol=5e-5)
        assert math.isclose(rate.high, high, abs_tol=5e-5)

    @given(st.lists(st.floats(0, 1e6), min_size=1))
    def test_spread_percentiles_are_ordered(self, values):
        spread = Spread.make(values)
        assert spread.p50 <= spread.p90 <= spread.p99 <= spread.most == max(values)
        assert sum(value <= spread.p50 for value in values) * 2 >= len(values)


def test_trial_is_refused_while_supervision_is_off(monkeypatch):
    monkeypatch.setenv("INTERWHEN_OFF", "1")
    with pytest.raises(UsageError, match="supervision must be on"):
        try_monitor_sync(words(), [trace("bad")])


@pytest.mark.parametrize("limit", [{"recall": math.nan}, {"false_interrupts": 5}, {"precision": -0.1}, {"located": 2}])
def test_a_limit_that_cannot_fail_is_refused(limit):
    with pytest.raises(UsageError, match=f"{next(iter(limit))} must be a share from 0 to 1"):
        assert_trial("arithmetic", [], **limit)


def test_trial_without_traces_fails():
    with pytest.raises(AssertionError, match="at least one trace, got none"):
        assert_trial("arithmetic", [])


def test_a_percentile_is_a_value_that_was_measured():
    assert percentile([5, 1, 4, 2, 3], 0.5) == 3
    assert percentile(list(range(1, 101)), 0.99) == 99
    assert percentile([7], 0.99) == 7
