"""Defects for the journal, and for runs resumed from one: a defect shows only if a process dies."""

from __future__ import annotations

import msgspec
from interwhen import Pass
from interwhen._core import machine
from interwhen._core.messages import Check, Settled
from interwhen._engine import recorders, resumed_runs, run
from interwhen._run import run as _run
from interwhen.journal import _rebuilt_run, _writer
from interwhen.journal._records import TextRecord
from interwhen.results import Judged
from tests.simulation.mutant import Mutant


def open_checks_are_forgotten(patch):
    real = resumed_runs.unfinished

    def unfinished(past, jobs):
        orders, facts = real(past, jobs)
        return [order for order in orders if not isinstance(order, Check)], facts

    patch.setattr(run, "unfinished", unfinished)


def open_checks_pass(patch):
    real = resumed_runs.unfinished

    def unfinished(past, jobs):
        orders, facts = real(past, jobs)
        passed = [Settled(order.job, Judged(Pass())) for order in orders if isinstance(order, Check)]
        return [order for order in orders if not isinstance(order, Check)], [*facts, *passed]

    patch.setattr(run, "unfinished", unfinished)


def last_text_is_not_written(patch):
    real = _writer.JournalWriter._drain

    def drain(self, parts):
        if self._items and type(self._items[-1]) is _writer.TextColumns:
            self._items[-1].take()
        real(self, parts)

    patch.setattr(_writer.JournalWriter, "_drain", drain)


def torn_record_stays(patch):
    real = recorders._writer
    patch.setattr(recorders, "_writer", lambda *given, **rest: real(*given, **{**rest, "keep": rest["size"]}))


def nothing_is_told_again(patch):
    real = _rebuilt_run.rebuild_to_go_on

    def rebuild(journaled, monitors):
        past = real(journaled, monitors)
        past.core.events.clear()
        return past

    patch.setattr(_run, "rebuild_to_go_on", rebuild)


def going_on_is_a_reconnect(patch):
    real = machine.Core._stream_is_over

    def over(self, *, lost):
        self.counts.reconnects += lost
        real(self, lost=lost)

    patch.setattr(machine.Core, "_stream_is_over", over)


def half_a_tag_stays(patch):
    real = machine.Core._stream_is_over

    def over(self, *, lost):
        if lost and self.state == "streaming":
            self._reopen()
        else:
            real(self, lost=lost)

    patch.setattr(machine.Core, "_stream_is_over", over)


def time_begins_anew(patch):
    real = resumed_runs.restore_meters

    def restore_meters(past, meter, forks, upstream):
        started = meter.started
        real(past, meter, forks, upstream)
        meter.started = started

    patch.setattr(run, "restore_meters", restore_meters)


def fork_tokens_are_forgotten(patch):
    patch.setattr(resumed_runs, "_count_forks", lambda past, forks: None)


def requests_are_not_hurried(patch):
    patch.setattr(recorders, "_TURNS", ())


def a_reader_who_left_has_ended_it(patch):
    patch.setattr(_rebuilt_run, "_is_void", lambda record: False)


def last_fact_is_told_twice(patch):
    real = _rebuilt_run.rebuild

    def rebuild(journaled, monitors, *, until=None):
        past = real(journaled, monitors, until=until)
        last = _rebuilt_run.standing(journaled.records)[:until][-1:]
        if last and isinstance(last[0], TextRecord):
            past.read(last[0])
        return past

    patch.setattr(_rebuilt_run, "rebuild", rebuild)


def budget_of_remedies_begins_anew(patch):
    real = _rebuilt_run.rebuild_to_go_on

    def rebuild(journaled, monitors):
        past = real(journaled, monitors)
        machine = past.core
        machine.budgets = msgspec.structs.replace(
            machine.budgets, remedies=machine.budgets.remedies + machine.violations.remedies
        )
        machine.violations._budgets = machine.budgets
        return past

    patch.setattr(_run, "rebuild_to_go_on", rebuild)


MUTANTS_OF_DEATHS = [
    Mutant("checks that were open are not made again", open_checks_are_forgotten, "bounded time"),
    Mutant("checks that were open count as passes", open_checks_pass, "P2"),
    Mutant("the last text of a flush is not written", last_text_is_not_written, "P4"),
    Mutant("a torn record stays in the file", torn_record_stays, "P4"),
    Mutant("what the reader saw is not told again", nothing_is_told_again, "P4"),
    Mutant("the last fact on file comes twice", last_fact_is_told_twice, "P4"),
    Mutant("half a tag stays when a run is resumed", half_a_tag_stays, "P4"),
    Mutant("a request is sent before what led to it is on file", requests_are_not_hurried, "P4"),
    Mutant("a run that its reader left is over", a_reader_who_left_has_ended_it, "P4"),
    Mutant("resuming counts as a reconnect", going_on_is_a_reconnect, "P5"),
    Mutant("the time before a death is not counted", time_begins_anew, "P5"),
    Mutant("the fork tokens before a death are not counted", fork_tokens_are_forgotten, "P5"),
    # The journal notices it: the run does not continue with the trace that is on file.
    Mutant("remedies before a death do not count", budget_of_remedies_begins_anew, "a run raises only exceptions"),
]
