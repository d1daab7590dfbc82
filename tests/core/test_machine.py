"""The whole core as a state machine: whatever happens in whatever order, the promises hold."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from interwhen import (
    Answer,
    Budgets,
    Delta,
    Feedback,
    Fork,
    Lines,
    Paragraphs,
    Pass,
    Repair,
    Resample,
    Sentences,
    ToolCalls,
)
from interwhen._core.machine import Core
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Check,
    Ended,
    Extract,
    Extracted,
    OutOfTime,
    Resumed,
    Settled,
    SwitchedOff,
)
from interwhen.events import CheckSettled, Remedied, StreamBroken
from interwhen.remedies import Abstain, Conclude, Retry, Stop
from interwhen.results import Errored, Judged, TimedOut
from interwhen.triggers import EveryChars, Markers, ThinkEnd
from tests.core.worlds import PLAIN, STRICT, SUM, Driver, judge, monitor, parse, parse_ungrounded

WHOLE = (Lines(), Lines(every=2), Paragraphs(), Sentences(), Markers(), ThinkEnd(), Answer())
"""Triggers whose segments never part a sum, and leave none out."""

PIECES = st.sampled_from(
    [
        *("1+1=2", "2+2=4", "2+2=5", "4+5=8", "3+1=5", "5+5=10", "1+1=3", "7+1=8", "6+6=10", "1+"),
        *("\n", "\n", "\n\n", " ", ". ", "so ", "Wait ", "<think>", "</think>", "</", "<tool_call>", "</tool_call>"),
    ]
)
LINE = st.sampled_from(["1+1=2\n", "2+2=5\n", "2+2=4 and 4+5=8\n", "3+1=5\n", "so\n\n", "4+4=8. 5+5=10\n", "</think>"])
RIGHT = "3+3=6, 1+1=2.\n"
TEXT = st.lists(PIECES, min_size=1, max_size=5).map("".join)


@st.composite
def monitors(draw):
    made = []
    if draw(st.booleans()):  # the usual case, so that long runs with many remedies are seen, too
        remedies = st.sampled_from([Repair(), Feedback(), Feedback("rewind")])
        deliveries = st.sampled_from(["interrupt", "gate"])
        return tuple(
            monitor(
                f"m{number}", trigger=draw(st.sampled_from(WHOLE)), remedy=draw(remedies), delivery=draw(deliveries)
            )
            for number in range(draw(st.integers(1, 2)))
        )
    for number in range(draw(st.integers(0, 3))):
        trigger = draw(st.sampled_from([*WHOLE, Lines(), Lines(), EveryChars(count=9), ToolCalls()]))
        concludes = not isinstance(trigger, ThinkEnd | Answer | ToolCalls) and draw(
            st.sampled_from([True, False, False])
        )
        grounded = draw(st.sampled_from([True, True, True, False]))
        parser = parse if grounded else parse_ungrounded
        if draw(st.sampled_from([False, False, True])):
            extractor = Fork(prompt="?", parse=lambda _reply, segment, parser=parser: parser(segment))
        else:
            extractor = parser
        made.append(
            monitor(
                f"m{number}",
                verifier=draw(st.sampled_from([PLAIN, STRICT])),
                extractor=extractor,
                trigger=trigger,
                delivery="interrupt"
                if concludes
                else draw(st.sampled_from(["interrupt", "interrupt", "gate", "gate", "observe", "final"])),
                remedy=Conclude()
                if concludes
                else draw(
                    st.sampled_from([Repair(), Repair(), Feedback(), Feedback("rewind"), Resample(), Stop(), Abstain()])
                ),
                level=draw(st.sampled_from(["witness", "explain", "flag"])),
                phase="reasoning" if concludes else draw(st.sampled_from(["both", "both", "reasoning", "answer"])),
                unproven=draw(st.sampled_from(["open", "open", "closed"])),
                on_error=draw(st.sampled_from([None, None, "open", "closed", Retry(1), Retry(2, "closed")])),
                required=not concludes and trigger in WHOLE and draw(st.booleans()),
            )
        )
    return tuple(made)


def phase_of(who):
    return {ThinkEnd: "reasoning", Answer: "answer"}.get(type(who.trigger), who.phase)


class CoreMachine(RuleBasedStateMachine):
    @initialize(
        monitors=monitors(),
        budgets=st.builds(
            Budgets,
            remedies=st.sampled_from([16, 16, 2, 0]),
            repeats=st.sampled_from([1, 2]),
            forks=st.sampled_from([99, 99, 1, 0]),
            reconnects=st.sampled_from([0, 2]),
            discarded_tokens=st.sampled_from([9999, 9999, 40, 0]),
            failures=st.sampled_from([5, 2, 1, None]),
        ),
        tags=st.sampled_from([None, ("<think>", "</think>")]),
        starts_in=st.sampled_from(["answer", "reasoning"]),
        max_tokens=st.sampled_from([None, None, None, 60, 3]),
    )
    def begin(self, monitors, **options):
        options["think_tags"] = options.pop("tags")
        self.tags = options["think_tags"] is not None
        self.make = lambda: Core(monitors, **options)
        self.monitors = monitors
        self.driver = Driver(self.make())
        self.mirror = []
        self.looked = 0
        self.settled = set()
        self.failed = []

    # ------------------------------------------------------------ what may happen

    def tell(self, fact):
        self.driver.tell(fact)
        self.read_events()

    def read_events(self):
        new, self.looked = self.driver.seen[self.looked :], len(self.driver.seen)
        for event in new:
            match event:
                case Remedied(violation=v):
                    origin = "repair" if v.remedy == "repair" else "feedback"
                    self.mirror[v.cut :] = [(c, origin) for c in v.inserted]
                case StreamBroken(action="reconnect"):
                    del self.mirror[self.driver.core.transcript.length :]
                case CheckSettled(check=check) if check.key:
                    self.settled.add((check.monitor, check.key, check.segment if check.span is None else check.span))
                case CheckSettled(check=check):
                    self.failed.append((check.monitor, check.segment))
                case Delta(phase=phase):
                    holds = any(who.delivery == "final" for who in self.monitors) and not self.is_off
                    assert not (holds and phase == "answer" and self.driver.summary is None)

    @rule(text=TEXT, tokens=st.integers(1, 3), phase=st.sampled_from(["answer", "answer", "reasoning"]))
    def chunk(self, text, tokens, phase):
        self.chunk_of(text, tokens, phase)

    def chunk_of(self, text, tokens, phase):
        streaming = self.driver.state == "streaming"
        if streaming:
            self.mirror += [(c, "model") for c in text]
        self.driver.chunk(text, tokens=tokens, phase="answer" if self.tags else phase)
        self.read_events()

    @rule(lines=st.lists(LINE, min_size=1, max_size=3), right=st.booleans(), size=st.sampled_from([1, 3, 50]))
    @precondition(lambda self: self.driver.summary is None)
    def lines(self, lines, right, size):
        self.opened()
        text = "".join(RIGHT if right else line for line in lines)
        for at in range(0, len(text), size):
            self.chunk_of(text[at : at + size], 1, "answer")

    @rule(lines=st.lists(LINE, max_size=2), right=st.booleans())
    @precondition(lambda self: self.driver.summary is None)
    def settled_lines(self, lines, right):
        self.lines(lines, right, 4)
        self.all_answered()

    @rule()
    @precondition(lambda self: self.driver.state == "opening")
    def opened(self):
        if self.driver.state == "opening":
            self.driver.open()

    @rule(reason=st.sampled_from([*["stop"] * 6, "length", None, "content_filter"]), now=st.integers(0, 3))
    @precondition(lambda self: self.driver.state == "streaming" and len(self.mirror) > 12)
    def ended(self, reason, now):
        if now:
            return
        if reason is not None:
            self.driver.chunk("", tokens=0, finish=reason)
        self.tell(Ended())

    @rule(data=st.data())
    @precondition(lambda self: self.driver.pending)
    def answered(self, data):
        job = data.draw(st.sampled_from(sorted(self.driver.pending)))
        self.driver.answer(job)
        self.read_events()

    @rule()
    def all_answered(self):
        self.driver.settle(max)
        self.read_events()

    @rule(data=st.data(), outcome=st.sampled_from([Errored("x"), TimedOut(1.0)]), now=st.integers(0, 4))
    @precondition(lambda self: self.driver.pending)
    def faulty(self, data, outcome, now):
        if now:
            return
        job = data.draw(st.sampled_from(sorted(self.driver.pending)))
        del self.driver.pending[job]
        self.tell(Settled(job, outcome))

    @rule(data=st.data(), now=st.integers(0, 9))
    @precondition(lambda self: self.driver.pending)
    def mixed_up(self, data, now):
        # The wrong kind of fact for a job is never a pass.
        if now:
            return
        job = data.draw(st.sampled_from(sorted(self.driver.pending)))
        order = self.driver.pending.pop(job)
        self.tell(Settled(job, Judged(Pass())) if isinstance(order, Extract) else Extracted(job, (), 0.0))

    @rule(job=st.integers(0, 99))
    def stale(self, job):
        if job not in self.driver.pending:
            before = len(self.driver.orders), len(self.driver.seen)
            self.tell(Settled(job, Judged(Pass())))
            self.tell(Extracted(job, ()))
            assert (len(self.driver.orders), len(self.driver.seen)) == before

    @rule(now=st.integers(0, 9))
    def resumed(self, now):
        if now or self.driver.summary is not None:
            return
        reconnects, streaming = self.driver.core.counts.reconnects, self.driver.state == "streaming"
        self.tell(Resumed())
        assert self.driver.core.counts.reconnects == reconnects
        assert self.driver.state != "streaming"
        if streaming:
            del self.mirror[self.driver.core.transcript.length :]

    @rule(now=st.integers(0, 29))
    def switched_off(self, now):
        if now or self.driver.summary is not None or not self.monitors:
            return
        self.tell(SwitchedOff())
        assert not self.driver.pending
        assert self.driver.state != "deciding"

    @property
    def is_off(self):
        return any(isinstance(fact, SwitchedOff) for fact in self.driver.facts)

    @rule(rare=st.integers(0, 60))
    def over(self, rare):
        if rare == 60:
            self.tell(OutOfTime(3.0))
        elif rare == 59:
            self.tell(Abandoned())
        elif rare == 58:
            self.tell(Broken("refused", retryable=False))
        elif rare > 50:
            self.tell(Broken("reset", retryable=True))
        elif rare == 50:
            self.tell(Ended())

    # ------------------------------------------------------------ what must hold

    @invariant()
    def the_reader_sees_a_prefix_of_the_trace(self):
        core = self.driver.core
        text = core.transcript.slice(0, core.transcript.length)
        assert text[: len(self.driver.shown)] == self.driver.shown
        assert core.released == len(self.driver.shown)
        if self.driver.summary is None:
            assert "".join(c for c, _ in self.mirror).startswith(text)
            assert (core.state == "deciding") == bool(core.violations)

    @invariant()
    def gated_text_is_shown_only_after_its_checks(self):
        core, shown = self.driver.core, len(self.driver.shown)
        for who in () if self.is_off else self.monitors:
            if who.delivery != "gate" or who.trigger not in WHOLE:
                continue
            for run in core.transcript.runs(0, shown):
                if run.origin == "feedback" or phase_of(who) not in ("both", run.phase):
                    continue
                for match in SUM.finditer(run.text):
                    at = range(run.start + match.start(), run.start + match.end())
                    inside = run.start < at[0] and at[-1] + 1 < run.start + len(run.text)
                    if inside:  # a sum at the border of a run may continue beyond it
                        assert self.was_settled(who, match[0], at), (who, match[0])

    def was_settled(self, who, key, at):
        places = [span for name, k, span in self.settled if (name, k) == (who.name, key)]
        places += [span for name, span in self.failed if name == who.name]
        return any(span.start <= at[0] and at[-1] < span.end for span in places)

    @invariant()
    def every_open_job_is_ordered(self):
        jobs = self.driver.core.checks.jobs
        assert set(jobs) == set(self.driver.pending)
        if self.driver.summary is not None:
            assert not jobs

    @invariant()
    def the_end_is_what_its_status_says(self):
        end = self.driver.summary
        if end is None:
            return
        assert self.driver.state == "done"
        assert end.kept + end.discarded == self.driver.fed
        standing = "".join(c for c, _ in self.mirror)
        assert standing.startswith(end.text)
        if end.status in ("verified", "unverified") and end.reason != "the reader left before the end":
            assert self.driver.shown == end.text
        ours = {(at, entry.origin) for entry in end.insertions for at in range(entry.span.start, entry.span.end)}
        mine = {(at, who) for at, (_, who) in enumerate(self.mirror[: len(end.text)]) if who != "model"}
        assert ours == mine
        if end.status == "verified":
            assert not self.is_off
            self.is_verified(end)
        else:
            assert end.certificate is None
            assert end.unverified_reasons or end.status in ("abstained", "failed")

    def is_verified(self, end):
        assert end.finish_reason in ("stop", "tool_calls")
        assert end.certificate.text_sha256 == hashlib.sha256(end.text.encode()).hexdigest()
        assert not end.reason
        transcript = self.driver.core.transcript
        required = [who for who in self.monitors if who.required]
        assert required
        shown_right = {check.monitor for check in end.certificate.checks}
        assert all(isinstance(check.outcome, Judged) for check in end.certificate.checks)
        for who in required:
            assert who.name in shown_right
            for match in SUM.finditer(end.text):
                at, to = match.span()
                if self.counts(who, transcript, at, to, end):
                    assert isinstance(judge(who.verifier.name, match[0]), Pass), match[0]

    def counts(self, who, transcript, at, to, end):
        written_by_us = any(e.origin == "feedback" and e.span.start < to and at < e.span.end for e in end.insertions)
        refuted = any(span.start <= at and to <= span.end for span in end.certificate.refuted)
        phases = {transcript.phase_at(place) for place in range(at, to)}
        return not written_by_us and not refuted and len(phases) == 1 and phase_of(who) in ("both", *phases)

    def teardown(self):
        if not hasattr(self, "driver"):
            return
        self.come_to_an_end()
        again = Driver(self.make())
        for fact in self.driver.facts:
            again.pending.pop(getattr(fact, "job", None), None)
            again.tell(fact)
        assert again.orders == self.driver.orders
        assert again.seen == self.driver.seen

    def come_to_an_end(self):
        for _ in range(60):
            for check in (self.a_claim_in_flight_is_checked_once, self.every_open_job_is_ordered):
                check()
            self.the_reader_sees_a_prefix_of_the_trace()
            self.gated_text_is_shown_only_after_its_checks()
            self.the_end_is_what_its_status_says()
            if self.driver.summary is not None:
                return
            self.opened()
            self.chunk_of(RIGHT, 1, "answer")
            self.all_answered()
            if self.driver.state == "streaming":
                self.chunk_of("</think>1+1=2, so 3+3=6", 1, "answer")
                self.driver.chunk("", tokens=0, finish="stop")
                self.tell(Ended())
        raise AssertionError("the run does not end")

    @invariant()
    def a_claim_in_flight_is_checked_once(self):
        core, flying = self.driver.core, set()
        for order in self.driver.pending.values():
            if isinstance(order, Check) and (job := core.checks.jobs.get(order.job)) is not None:
                assert job.question not in flying  # its verifier, its key, and the text it stands for
                flying.add(job.question)


CoreMachine.TestCase.settings = settings(
    max_examples=250,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestCore = pytest.mark.fault(
    "V7", injected="verdicts in any order, also stale ones", happens="what is shown, kept and verified stays sound"
)(CoreMachine.TestCase)
