"""Solves problems of verifiers with Z3, with limits of time and memory (extra ``z3``).

Without the extra, the import of this module raises :class:`~interwhen.toolkit.MissingExtraError`.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from interwhen._types.errors import MissingExtraError, UsageError
from interwhen._types.verdicts import Pass, Unknown, Verdict, Violation
from interwhen._types.verifiers import on_cancel, time_left

try:
    import z3
    from z3 import z3printer
except ImportError as missing:
    raise MissingExtraError("interwhen.toolkit.solving", "z3") from missing

__all__ = ["problem", "z3_text"]

_SHARE = 0.9
"""The share of the remaining time that Z3 may use; the rest is for reporting the verdict."""
_NO_TIMEOUT = 0xFFFF_FFFF
"""The timeout of Z3, in milliseconds, that stands for none."""
_WORDS = 300
"""The most characters of a list of names or values, or of a reason of Z3, in a verdict."""
_FREE = threading.local()


def z3_text(term: Any) -> str:
    """Return *term* in the notation of Z3's ``str()``. Unlike ``str()``, this may run in several threads at once."""
    # str() uses one printer for the whole process. A second thread that prints replaces its output in between: the text
    # of the first is then empty or ends in the text of the second. Options of Z3's own printer do not apply here.
    out = io.StringIO()
    z3printer.PP()(out, z3printer.Formatter()(term))
    return out.getvalue()


class Problem:
    """Named conditions in one Z3 context, for the use of one thread (see :func:`problem`).

    Create variables in ``context``: ``z3.Int("x", found.context)``. A method that adds a condition or solves raises
    :class:`UsageError` in another thread.
    """

    def __init__(self, context: Any, seconds: float | None, memory_mb: int) -> None:
        self.context: Any = context
        """The ``z3.Context`` of everything in this problem."""
        self.reasons: tuple[str, ...] = ()
        """The names of the conditions that prove the last verdict: they contradict each other, or the conclusion (or
        its negation) follows from them. Empty if an example or a counterexample proves it, or if Z3 came to no
        answer."""
        self._seconds = seconds
        self._solver: Any = z3.Solver(ctx=context)
        self._solver.set("max_memory", memory_mb)
        self._solver.set("core.minimize", True)
        self._names: dict[str, str] = {}
        self._thread = threading.get_ident()

    def require(self, name: str, condition: Any) -> None:
        """Add *condition*, a Boolean of Z3, under a *name* that verdicts can give as a reason.

        Raises :class:`UsageError` if the name is in use.
        """
        self._mine()
        if name in self._names.values():
            raise UsageError(
                f"a name of a condition must be used once, got a second condition {name!r:.100}; give "
                "each condition its own name"
            )
        self._track(name, condition)

    def consistent(self) -> Verdict:
        """Return a pass if all conditions can be true at once, else a violation that names a contradiction.

        The violation gives at most 300 characters of the names. ``Unknown`` if Z3 came to no answer.
        """
        self._mine()
        answer = self._solve()
        if answer == z3.sat:
            return Pass(f"{len(self._names)} conditions hold together, for example with {self._values()}")
        if answer == z3.unsat:
            return Violation(f"these cannot all hold: {self._core()}")
        return self._unknown(answer)

    def follows(self, conclusion: Any) -> Verdict:
        """Return a pass if *conclusion* follows from the conditions, else a violation with a counterexample.

        The counterexample is the witness. ``Unknown`` if the conditions contradict each other, or if Z3 came to no
        answer.
        """
        self._mine()
        self._solver.push()
        try:
            self._solver.add(z3.Not(z3.BoolSort(self.context).cast(conclusion)))
            answer = self._solve()
            values = self._values() if answer == z3.sat else ""
            reasons = self._core() if answer == z3.unsat else ""
        finally:
            self._solver.pop()
        if answer == z3.sat:
            return Violation(
                "it does not follow from the conditions", f"all of them hold with {values}, and it does not"
            )
        if answer != z3.unsat:
            return self._unknown(answer)
        core = self.reasons
        alone = self._solve()
        if alone == z3.unsat:
            return Unknown(f"the conditions contradict each other: {self._core()}")
        if alone != z3.sat:
            return self._unknown(alone)
        self.reasons = core
        return Pass(f"it follows from {reasons}" if reasons else "it holds by itself")

    def decides(self, conclusion: Any) -> Verdict:
        """Return a pass if *conclusion* follows from the conditions, and a violation if its negation follows.

        If neither follows, if the conditions contradict each other, or if Z3 came to no answer, the verdict is
        ``Unknown``. :attr:`reasons` has the names of the conditions that decide it, or that contradict each other.
        """
        for claimed in (True, False):
            wanted = z3.BoolSort(self.context).cast(conclusion)
            verdict = self.follows(wanted if claimed else z3.Not(wanted))
            match verdict:
                case Pass() if claimed:
                    return verdict
                case Pass():
                    against = "; ".join(self.reasons)[:_WORDS]
                    return Violation(f"it contradicts {against}" if against else "it can never hold")
                case Unknown():
                    return verdict
        return Unknown("the conditions leave it open")

    def _mine(self) -> None:
        if threading.get_ident() != self._thread:
            here = threading.current_thread().name
            raise UsageError(
                "a Z3 problem must be used in the thread that made it, got a call from thread "
                f"{here!r:.80}; make a problem in each thread"
            )

    def _track(self, name: str, condition: Any) -> None:
        label = f"interwhen!{len(self._names)}"
        self._solver.assert_and_track(z3.BoolSort(self.context).cast(condition), z3.Bool(label, self.context))
        self._names[label] = name

    def _solve(self) -> Any:
        # The result is `sat`, `unsat`, or a text: the reason why there is no answer.
        self.reasons = ()
        left = min(time_left(), self._seconds if self._seconds is not None else float("inf")) * _SHARE
        # Set each time: a method may solve several times, and the check has less time left then.
        self._solver.set("timeout", max(int(min(left * 1000, _NO_TIMEOUT)), 1))
        try:
            answer = self._solver.check()
            return self._solver.reason_unknown() if answer == z3.unknown else answer
        except z3.Z3Exception as error:
            return error.value.decode(errors="replace") if isinstance(error.value, bytes) else str(error)

    def _unknown(self, reason: str) -> Unknown:
        return Unknown(f"Z3 came to no answer: {reason}"[:_WORDS])

    def _core(self) -> str:
        self.reasons = tuple(sorted(self._names[label.decl().name()] for label in self._solver.unsat_core()))
        return "; ".join(self.reasons)[:_WORDS]

    def _values(self) -> str:
        model = self._solver.model()
        values = {decl.name(): model[decl] for decl in model.decls() if not decl.arity()}
        shown = (f"{name} = {z3_text(values[name])}" for name in sorted(values) if name not in self._names)
        return ", ".join(shown)[:_WORDS]


@contextmanager
def _interrupted(context: Any) -> Iterator[threading.Event]:
    # If the check is cancelled in the `with` block, Z3 is interrupted and the event is set.
    cancelled = threading.Event()

    def interrupt() -> None:
        cancelled.set()
        context.interrupt()

    with on_cancel(interrupt):
        yield cancelled


@contextmanager
def problem(*, seconds: float | None = None, memory_mb: int = 1024) -> Iterator[Problem]:
    """Open a :class:`Problem` for the running check.

    Each time that Z3 solves, it may use nine tenths of the time that the check has left, or of *seconds* if that is
    less; a method may solve several times. Z3 also stops if it uses more than *memory_mb* for all its problems in this
    process. Both end as ``Unknown``. Cancelling the check interrupts Z3.
    """
    context, _FREE.context = getattr(_FREE, "context", None) or z3.Context(), None
    with _interrupted(context) as cancelled:
        yield Problem(context, seconds, memory_mb)
    if not cancelled.is_set():
        _FREE.context = context
