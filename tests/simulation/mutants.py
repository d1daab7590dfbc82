"""Defects, one for each promise, to be planted in the engine and the core: a simulator that finds none sees nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import anyio
import msgspec
from interwhen import Delta, Pass
from interwhen._core import checks, machine, segmenter, transcript, violations
from interwhen._core import release as release_rule
from interwhen._core.messages import Extracted
from interwhen._core.violations import Candidate
from interwhen._engine import jobs, monitors, resumed_runs, run, stream
from interwhen._engine import monitors as engine_checks
from interwhen.remedies import FeedbackTemplate
from interwhen.results import Errored, Judged, TimedOut
from tests.simulation.mutant import Mutant


def raising_passes(patch):
    real = engine_checks.check_inline

    def lenient(verifier, claim):
        outcome = real(verifier, claim)
        return Judged(Pass()) if isinstance(outcome, Errored) else outcome

    patch.setattr(jobs, "check_inline", lenient)


def garbage_passes(patch):
    real = engine_checks.as_outcome

    def lenient(verifier, claim, value):
        outcome = real(verifier, claim, value)
        return Judged(Pass()) if isinstance(outcome, Errored) else outcome

    patch.setattr(engine_checks, "as_outcome", lenient)


def _counts_as_a_pass(patch, counts):
    passed, judge = release_rule.passed, checks.CheckTable._judge

    def lenient(self, ref, outcome, *rest):
        if not counts(outcome):
            return judge(self, ref, outcome, *rest)
        self._note(ref.monitor, self._describe(ref, outcome, *rest))
        return self._settle(ref.monitor, ref.home, passed=True)

    patch.setattr(release_rule, "passed", lambda outcome: counts(outcome) or passed(outcome))
    patch.setattr(checks.CheckTable, "_judge", lenient)


def timeout_passes(patch):
    _counts_as_a_pass(patch, lambda outcome: isinstance(outcome, TimedOut))


def unknown_passes(patch):
    _counts_as_a_pass(patch, lambda outcome: isinstance(outcome, Judged))


def latest_wins(patch):
    patch.setattr(violations, "earliest", lambda candidates, monitors: max(candidates, key=lambda c: c.order(monitors)))


def nobody_is_awaited(patch):
    patch.setattr(checks.CheckTable, "may_precede", lambda *_: False)


def list_order_decides(patch):
    def order(self, monitors):
        return (self.span.start, self.span.end, self.violation is None, str(-self.ref.monitor), "", "")

    patch.setattr(Candidate, "order", order)


def retraction_is_not_told(patch):
    real = machine.Core._cut

    def cut(self, to):
        self.released = min(self.released, to)
        real(self, to)

    patch.setattr(machine.Core, "_cut", cut)


def text_after_a_mistake_is_not_held(patch):
    patch.setattr(machine.Core, "_hold_back", lambda self, monitor: None)


def delta_is_lost_after_a_cut(patch):
    real = machine.Core._show

    def show(self, limit):
        before = len(self.events)
        real(self, limit)
        deltas = [e for e in list(self.events)[before:] if isinstance(e, Delta) and e.origin == "feedback"]
        for event in deltas[:1]:
            self.events.remove(event)

    patch.setattr(machine.Core, "_show", show)


def stale_records_stay(patch):
    real = checks._MonitorSegments.remove

    def remove(self, span):
        kept = dict(self._records)
        real(self, span)
        self._records.update({**kept, **self._records})

    patch.setattr(checks._MonitorSegments, "remove", remove)


def cut_checks_go_on(patch):
    real = checks.CheckTable._lose_of
    patch.setattr(
        checks.CheckTable, "_lose_of", lambda self, job, gone, to: None if job.refs else real(self, job, gone, to)
    )


def discarded_is_forgotten(patch):
    real = segmenter.Intake.cut

    def cut(self, to):
        before = self.discarded
        real(self, to)
        self.discarded = before

    patch.setattr(segmenter.Intake, "cut", cut)


def late_is_forgotten(patch):
    patch.setattr(machine.Counts, "came_late", lambda self, chunk: None)


def reads_behind_the_end_are_forgotten(patch):
    real = run.build_result
    patch.setattr(run, "build_result", lambda summary, **rest: real(summary, **{**rest, "unread": 0}))


def gate_ignores_open_checks(patch):
    patch.setattr(release_rule.Gates, "_cleared", lambda self, monitor, unclear: self._intake.hold(monitor))


def gate_ignores_half_segments(patch):
    patch.setattr(segmenter.Intake, "hold", lambda self, monitor: self.transcript.length)


def final_is_shown_early(patch):
    patch.setattr(release_rule.Gates, "_answer_start", lambda self: self._transcript.length)


def frontier_runs_ahead(patch):
    patch.setattr(release_rule.Gates, "_verified", lambda self, monitor: self._cleared(monitor, None))


def task_is_left(patch):
    real = jobs.Jobs.check
    kept = []

    def check(self, order):
        kept.append(asyncio.get_running_loop().create_task(anyio.sleep(3), name="left"))
        return real(self, order)

    patch.setattr(jobs.Jobs, "check", check)


def stream_is_left_open(patch):
    async def no_close(stream):
        await anyio.lowlevel.checkpoint()

    patch.setattr(stream, "close_stream", no_close)


def cancellation_is_swallowed(patch):
    real = run.Run.__anext__

    async def next_event(self):
        try:
            return await real(self)
        except asyncio.CancelledError:
            raise StopAsyncIteration from None

    patch.setattr(run.Run, "__anext__", next_event)
    real_exit = run.Run.__aexit__

    async def aexit(self, kind, error, traceback):
        await real_exit(self, kind, error, traceback)
        return kind is not None and issubclass(kind, asyncio.CancelledError)

    patch.setattr(run.Run, "__aexit__", aexit)


def deadline_is_ignored(patch):
    real = jobs.Jobs.check

    def check(self, order):
        fact = real(self, order)
        if order.job in self._scopes:
            self._scopes[order.job].deadline = float("inf")
        return fact

    patch.setattr(jobs.Jobs, "check", check)


def stall_is_not_noticed(patch):
    patch.setattr(stream.ModelReader, "stalled", lambda self, timer, seconds: None)


def remedies_are_not_limited(patch):
    real = violations.Violations._overspent

    def overspent(self, todo, times):
        why = real(self, todo, times)
        return None if why and why.endswith("remedies is spent") else why

    patch.setattr(violations.Violations, "_overspent", overspent)


def repeats_are_not_limited(patch):
    def overspent(self, todo, times):
        return "the budget is spent" if todo.goes_on and self.remedies >= self._budgets.remedies else None

    patch.setattr(violations.Violations, "_overspent", overspent)


def forks_are_not_limited(patch):
    real = checks.CheckTable.open

    def opened(self, dues):
        self._budgets = msgspec.structs.replace(self._budgets, forks=10_000)
        return real(self, dues)

    patch.setattr(checks.CheckTable, "open", opened)


def reconnects_are_not_limited(patch):
    real = machine.Core._broken

    def broken(self, fact):
        self.budgets = msgspec.structs.replace(self.budgets, reconnects=99)
        real(self, fact)

    patch.setattr(machine.Core, "_broken", broken)


def cut_short_is_verified(patch):
    patch.setattr(
        release_rule, "ENDED_WELL", frozenset(("stop", "tool_calls", "length", "truncated", "content_filter"))
    )


def reconnect_loses_a_piece(patch):
    real = stream.ModelReader.open

    async def open_stream(self, order):
        if len(order.pieces) > 1:
            order = self.wanted = msgspec.structs.replace(order, pieces=order.pieces[:-1])
        await real(self, order)

    patch.setattr(stream.ModelReader, "open", open_stream)


def half_a_token_is_dropped(patch):
    real = transcript.Transcript.cut

    def cut(self, to):
        return real(self, max((start for start in self._starts if start <= to), default=to))

    patch.setattr(transcript.Transcript, "cut", cut)


def only_whole_chunks_are_scanned(patch):
    real = segmenter.Intake.feed

    def feed(self, text, tokens, phase):
        dues = list(real(self, text, tokens, phase))
        return dues if len(text) > 1 else []

    patch.setattr(segmenter.Intake, "feed", feed)


def certificate_of_another_text(patch):
    real = machine.certificate

    def certificate(*arguments, **options):
        return msgspec.structs.replace(real(*arguments, **options), text_sha256="0" * 64)

    patch.setattr(machine, "certificate", certificate)


def only_the_first_monitor_counts(patch):
    real = release_rule.unverified_reasons
    patch.setattr(machine, "unverified_reasons", lambda records, monitors, *rest: real(records, monitors[:1], *rest))


def answers_are_refuted(patch):
    patch.setattr(violations.Violations, "refuted", lambda self: [span for span, _ in self._answered])


def gates_open_on_failure(patch):
    changed = {("failure", "gating"): release_rule.ReleaseRule("released", "on_error", "closed", "held")}
    patch.setattr(release_rule, "TABLE", {**release_rule.TABLE, **changed})


def gates_ignore_unproven(patch):
    patch.setattr(
        release_rule, "TABLE", {**release_rule.TABLE, ("unknown", "gating"): release_rule.ReleaseRule("released")}
    )


def feedback_opens_every_gate(patch):
    patch.setattr(
        violations.Violations,
        "is_answered",
        lambda self, ref: any(span.covers(ref.span) for span, _ in self._answered),
    )


def what_is_held_is_kept_at_an_early_end(patch):
    patch.setattr(machine.Core, "_withhold", lambda self: None)


def verdicts_forget_the_verifier(patch):
    patch.setattr(checks, "_number_verifiers", lambda monitors: [0] * len(monitors))


def first_claim_only(patch):
    real = checks.CheckTable.extracted
    patch.setattr(
        checks.CheckTable,
        "extracted",
        lambda self, fact: real(self, msgspec.structs.replace(fact, claims=fact.claims[:1])),
    )


def repair_is_not_noted(patch):
    real = transcript.Transcript.insert

    def insert(self, text, origin):
        if origin == "repair":
            self.append(text, 0)
        else:
            real(self, text, origin)

    patch.setattr(transcript.Transcript, "insert", insert)


def generation_is_not_counted(patch):
    real = stream.ModelReader._sampling_for
    patch.setattr(
        stream.ModelReader, "_sampling_for", lambda self, order: replace(real(self, order), seed=self._sampling.seed)
    )


def coverage_counts_overlaps_twice(patch):
    real = machine.certificate

    def certificate(*arguments, **options):
        original = real(*arguments, **options)
        covered = tuple(check.span for check in original.checks if check.span is not None)
        share = sum(map(len, covered)) / max(arguments[0].length, 1)
        return msgspec.structs.replace(original, covered=covered, coverage=share)

    patch.setattr(machine, "certificate", certificate)


def certificate_lists_what_did_not_pass(patch):
    real = machine.certificate

    def certificate(transcript, records, *rest, **options):
        original = real(transcript, records, *rest, **options)
        return (
            msgspec.structs.replace(original, checks=tuple(records))
            if len(records) > len(original.checks)
            else original
        )

    patch.setattr(machine, "certificate", certificate)


def certificate_forgets_a_check(patch):
    real = machine.certificate

    def certificate(*arguments, **options):
        original = real(*arguments, **options)
        fewer = original.checks[:-1] if len(original.checks) > 1 else original.checks
        covered = release_rule.merge(check.span for check in fewer if check.span is not None)
        share = sum(map(len, covered)) / arguments[0].length if arguments[0].length else 0.0
        return msgspec.structs.replace(original, checks=fewer, covered=covered, coverage=share)

    patch.setattr(machine, "certificate", certificate)


def verdicts_are_known_by_their_key_alone(patch):
    real = checks.CheckTable.__init__

    class ByKey(dict):
        def get(self, question):
            return super().get(question[:2])

        def __setitem__(self, question, value):
            super().__setitem__(question[:2], value)

        def __delitem__(self, question):
            super().__delitem__(question[:2])

    def init(self, *given, **options):
        real(self, *given, **options)
        self._answers, self._in_flight = ByKey(), ByKey()

    patch.setattr(checks.CheckTable, "__init__", init)


def everything_is_given_away(patch):
    real = FeedbackTemplate.render
    patch.setattr(FeedbackTemplate, "render", lambda self, _level, *rest: real(self, "witness", *rest))


def repairs_are_written_at_any_level(patch):
    real = violations.plan

    def plan(candidate, monitor, *rest, **more):
        return real(candidate, replace(monitor, level="witness"), *rest, **more)

    patch.setattr(violations, "plan", plan)


def trackers_keep_what_was_refuted(patch):
    patch.setattr(monitors._TrackerStates, "invalidate", lambda self, start, end: None)


def trackers_forget_what_stands(patch):
    real = monitors._TrackerStates.invalidate
    patch.setattr(monitors._TrackerStates, "invalidate", lambda self, start, end: real(self, 0, 0))


def a_preparation_that_fails_stands_aside(patch):
    real = monitors.Watcher.prepare

    async def prepare(self, task):
        facts = await real(self, task)
        if self._failure is not None:
            self._failure, self._stands_aside = None, True
            return [Extracted(fact.job, (), 0.0) for fact in facts]
        return facts

    patch.setattr(monitors.Watcher, "prepare", prepare)


def prompts_are_not_counted(patch):
    real = stream.ModelReader._count

    def count(self, usage):
        self._usages.clear()
        real(self, usage)

    patch.setattr(stream.ModelReader, "_count", count)


def fork_prompts_are_not_counted(patch):
    real = jobs.infer

    async def infer(model, base, order, fork, meter):
        before = meter.prompt_tokens
        reply = await real(model, base, order, fork, meter)
        meter.prompt_tokens = before
        return reply

    patch.setattr(jobs, "infer", infer)


def tried_again_with_half_a_claim(patch):
    real = resumed_runs._read_again

    def read_again(past, monitor, known, jobs):
        return known if real(past, monitor, known, jobs) is not None else None

    patch.setattr(resumed_runs, "_read_again", read_again)


def unread_text_is_forgotten(patch):
    real = checks.CheckTable.extracted
    patch.setattr(
        checks.CheckTable, "extracted", lambda self, fact: real(self, msgspec.structs.replace(fact, unread=()))
    )


def unread_text_passes(patch):
    patch.setattr(checks, "UNREAD", Judged(Pass()))


def what_was_read_counts_as_unread(patch):
    patch.setattr(monitors, "_uncovered", lambda spans, claims: spans)


def unread_text_has_no_place(patch):
    real = monitors.recognize

    def recognize(name, find, segment, claims):
        recognized = real(name, find, segment, claims)
        return (
            recognized
            if isinstance(recognized, Errored)
            else (tuple(segment.span for _ in recognized[0][:1]), recognized[1])
        )

    patch.setattr(monitors, "recognize", recognize)


def reasoning_counts_as_answer(patch):
    patch.setattr(transcript.Transcript, "phase_at", lambda self, offset: "answer")


def any_monitor_may_judge_the_answer(patch):
    real = machine.certificate

    def certificate(trace, records, watching, *rest, **options):
        return real(trace, records, [replace(monitor, scope="answer") for monitor in watching], *rest, **options)

    patch.setattr(machine, "certificate", certificate)


def an_answer_counts_as_steps(patch):
    real = machine.certificate
    patch.setattr(
        machine,
        "certificate",
        lambda *arguments, **options: msgspec.structs.replace(real(*arguments, **options), scope="steps"),
    )


MUTANTS = [
    Mutant("a verifier that raises counts as a pass", raising_passes, "P2"),
    Mutant("a verifier that answers garbage counts as a pass", garbage_passes, "P2"),
    Mutant("a check that timed out counts as a pass", timeout_passes, "P2"),
    Mutant("whatever was judged counts as a pass", unknown_passes, "P2"),
    Mutant("the latest violation wins", latest_wins, "P3"),
    Mutant("the first violation found wins", nobody_is_awaited, "P3"),
    Mutant("the order of the monitors decides", list_order_decides, "P3"),
    Mutant("a retraction is not told", retraction_is_not_told, "P4"),
    Mutant("a delta is lost behind a cut", delta_is_lost_after_a_cut, "P4"),
    Mutant("text after a shown mistake is not held", text_after_a_mistake_is_not_held, "P9"),
    Mutant("verdicts on text that was cut count", stale_records_stay, "P"),
    Mutant("checks of text that was cut continue", cut_checks_go_on, ""),
    Mutant("the ledger forgets what was cut", discarded_is_forgotten, "P5"),
    Mutant("the ledger forgets what came late", late_is_forgotten, "P5"),
    Mutant("the ledger forgets what was read with the end", reads_behind_the_end_are_forgotten, "P5"),
    Mutant("a gate does not wait for checks", gate_ignores_open_checks, "gate"),
    Mutant("a gate lets half a segment through", gate_ignores_half_segments, "gate"),
    Mutant("a gate opens when its check fails", gates_open_on_failure, "release rule"),
    Mutant("a gate opens to what is unproven and closed", gates_ignore_unproven, "release rule"),
    Mutant("feedback of one monitor opens the gate of another", feedback_opens_every_gate, "release rule"),
    Mutant("a run that ends early keeps what a gate held", what_is_held_is_kept_at_an_early_end, "release rule"),
    Mutant("a final answer is shown early", final_is_shown_early, "held for the end"),
    Mutant("the frontier passes what has not passed", frontier_runs_ahead, "frontier"),
    Mutant("a task is left", task_is_left, "no task"),
    Mutant("a stream is left open", stream_is_left_open, "no open stream"),
    Mutant("a cancellation is swallowed", cancellation_is_swallowed, "stays cancelled"),
    Mutant("the deadline of a check is ignored", deadline_is_ignored, "bounded time"),
    Mutant("a stall is not noticed", stall_is_not_noticed, "bounded time"),
    Mutant("remedies are not limited", remedies_are_not_limited, "budgets"),
    Mutant("repeats are not limited", repeats_are_not_limited, "budgets"),
    Mutant("forks are not limited", forks_are_not_limited, "budgets"),
    Mutant("reconnects are not limited", reconnects_are_not_limited, "budgets"),
    Mutant("text that was cut short is verified", cut_short_is_verified, "P2"),
    Mutant("a reconnect loses a piece", reconnect_loses_a_piece, "P4"),
    Mutant("a cut drops half a token more", half_a_token_is_dropped, "P4"),
    Mutant("a chunk of one character is not scanned", only_whole_chunks_are_scanned, "P"),
    Mutant("the certificate is of another text", certificate_of_another_text, "P2"),
    Mutant("a certificate counts text twice", coverage_counts_overlaps_twice, "lists passes"),
    Mutant("a certificate lists what did not pass", certificate_lists_what_did_not_pass, "lists passes"),
    Mutant("a certificate forgets a check", certificate_forgets_a_check, "a certificate has each claim"),
    Mutant("verdicts are known by their key alone", verdicts_are_known_by_their_key_alone, "P2"),
    Mutant("feedback gives everything away", everything_is_given_away, "P6"),
    Mutant("a repair is written at any level", repairs_are_written_at_any_level, "P6"),
    Mutant("a tracker builds on what was refuted", trackers_keep_what_was_refuted, "tracker"),
    Mutant("a tracker forgets the text that stays", trackers_forget_what_stands, "tracker"),
    Mutant("a preparation that fails stands aside", a_preparation_that_fails_stands_aside, ""),
    Mutant("prompts of earlier requests are not counted", prompts_are_not_counted, "server's token counts"),
    Mutant("prompts of forks are not counted", fork_prompts_are_not_counted, "server's token counts"),
    Mutant("a resumed run checks half a claim", tried_again_with_half_a_claim, ""),
    Mutant("only the first monitor counts", only_the_first_monitor_counts, "P2"),
    Mutant("a refuted answer is disavowed", answers_are_refuted, "P2"),
    Mutant("one verifier's verdict serves another", verdicts_forget_the_verifier, "P"),
    Mutant("only the first claim of a segment is checked", first_claim_only, "P"),
    Mutant("a repair is not noted as ours", repair_is_not_noted, "P4"),
    Mutant("text that was recognized and not read is forgotten", unread_text_is_forgotten, "P2: in verified text"),
    Mutant("text that was recognized and not read passes", unread_text_passes, "P2: in verified text"),
    Mutant("text that was recognized and read is unread", what_was_read_counts_as_unread, "P2: a flawless world"),
    Mutant("a doubt on unread text does not say where", unread_text_has_no_place, "P2: recognized text"),
    Mutant("a right sum in the reasoning verifies the answer", reasoning_counts_as_answer, "covers the answer"),
    Mutant("any monitor may verify the answer", any_monitor_may_judge_the_answer, "covers the answer"),
    Mutant("a verified answer is called verified steps", an_answer_counts_as_steps, "covers the answer"),
    Mutant("a resampled stream has the seed of the one before", generation_is_not_counted, "P4"),
]
