"""From what a checker said to a verdict on the file."""

from __future__ import annotations

from typing import NamedTuple

from interwhen import Pass, Scope, Span, Unknown, Verdict, Violation

from interwhen_verifiers._blocks.blocks import line_span
from interwhen_verifiers._command.checker import Checker, Diagnostic
from interwhen_verifiers._command.running import Ran

_SIGNALS = {-4: "SIGILL", -6: "SIGABRT", -7: "SIGBUS", -8: "SIGFPE", -11: "SIGSEGV"}


class Judgement(NamedTuple):
    """A verdict, and whether it is a pass."""

    verdict: Verdict
    passed: bool = False


def judge(
    checker: Checker, ran: Ran, starts: tuple[int, ...], end: int, *, before: int, scope: Scope = "steps"
) -> Judgement:
    """Return what *ran* says of a text whose lines stand at *starts* and that ends at *end*.

    In the file that was judged, *before* other lines stand in front of it. *scope* is that of a pass.
    """
    line = " ".join(checker.steps[min(ran.step, len(checker.steps) - 1)]).replace("{file}", checker.file)
    if ran.missing:
        return Judgement(Unknown(f"{line.split()[0]} is not installed; {checker.hint or 'it must be in the PATH'}"))
    if ran.trouble:
        return Judgement(Unknown(f"{line}: {ran.trouble}"))
    if ran.code == 0:
        return Judgement(Pass(f"{line} accepts it", scope=scope), passed=True)
    if checker.crash_refutes and ran.step == len(checker.steps) - 1:
        name = _SIGNALS.get(ran.code or 0)
        if name is None:
            return Judgement(Unknown(f"the program ended with exit code {ran.code}"))
        return Judgement(Violation(why=f"the program crashes ({name})"))
    if ran.code not in checker.refutes:
        return Judgement(Unknown(f"{line} ended with exit code {ran.code}, which says nothing of the file"))
    return Judgement(_refuted(checker, ran, starts, end, before, line))


def _refuted(checker: Checker, ran: Ran, starts: tuple[int, ...], end: int, before: int, line: str) -> Verdict:
    if checker.unclear.search(ran.output):
        return Unknown(f"{line} lacks something on this machine: {ran.output.strip()[:200]}")
    found = list(checker.diagnostics(ran.output)) if ran.found is None else list(ran.found)
    mine = next((one for one in found if one.line > before), None)
    if mine is None and (checker.needs_diagnostic or any(one.line for one in found)):
        return Unknown(f"{line} ended with exit code {ran.code}, and names no line of this text")
    if mine is None:
        said = found[0].message if found else " ".join(ran.output.split())[:200]
        return Violation(why=f"{checker.name} refuses it" + (f": {said}" if said else ""))
    at = mine.line - before
    return Violation(
        why=f"{checker.name} refuses line {at} of that text: {mine.message}", where=_where(mine, starts, end, at)
    )


def _where(found: Diagnostic, starts: tuple[int, ...], end: int, line: int) -> Span | None:
    span = line_span(starts, end, line)
    if span is None or not len(span):
        return None
    start = span.start + found.column - 1
    return Span(start, span.end) if found.column > 0 and start < span.end else span
