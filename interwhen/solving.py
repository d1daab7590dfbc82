"""Questions for Z3 from a verifier, within its deadline, each thread with a context of its own (extra ``z3``)."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from interwhen.deadlines import time_left, when_called_off
from interwhen.errors import MissingExtraError, UsageError
from interwhen.verdicts import Pass, Unknown, Verdict, Violation

try:
    import z3
except ImportError as missing:
    raise MissingExtraError("interwhen.solving", "z3") from missing

__all__ = ["Problem", "problem"]

_SHARE = 0.9
"""The part of the time left that Z3 may use: the rest is for the verdict to be told in time."""
_WORDS = 300
"""The most characters of a list of names or values."""
_FREE = threading.local()


class Problem:
    """Named conditions over one Z3 context, for the thread that made it (see :func:`problem`).

    Make variables and values in ``context``: ``z3.Int("x", found.context)``.
    """

    def __init__(self, context: Any, seconds: float | None, memory_mb: int) -> None:
        self.context: Any = context
        """The ``z3.Context`` of everything in this problem."""
        self.reasons: tuple[str, ...] = ()
        """The conditions on which the last verdict rests, by name, none of them in vain: those that contradict each
        other, or from which the conclusion (or its negation) follows. Empty where it rests on a case."""
        self._seconds = seconds
        self._solver: Any = z3.Solver(ctx=context)
        self._solver.set("max_memory", memory_mb)
        self._solver.set("core.minimize", True)
        self._names: dict[str, str] = {}
        self._thread = threading.get_ident()

    def require(self, name: str, condition: Any) -> None:
        """Add *condition*, a Boolean of Z3, under a *name* that verdicts can give as a reason.

        Raises :class:`UsageError` where the name is taken.
        """
        self._mine()
        if name in self._names.values():
            raise UsageError(f"a condition named {name!r} is there already: give each one a name of its own")
        self._track(name, condition)

    def consistent(self) -> Verdict:
        """Pass if all conditions can hold at once; a violation names some that cannot, and none of them in vain."""
        self._mine()
        found = self._solve()
        if found == z3.sat:
            return Pass(f"{len(self._names)} conditions hold together, for example with {self._values()}")
        if found == z3.unsat:
            return Violation(f"these cannot all hold: {self._core()}")
        return self._unknown(found)

    def follows(self, conclusion: Any) -> Verdict:
        """Pass if *conclusion* holds whenever all conditions do; a violation has a case against it as its witness.

        From conditions that contradict each other everything would follow: that is ``Unknown``.
        """
        self._mine()
        self._solver.push()
        try:
            self._solver.add(z3.Not(z3.BoolSort(self.context).cast(conclusion)))
            found = self._solve()
            values = self._values() if found == z3.sat else ""
            reasons = self._core() if found == z3.unsat else ""
        finally:
            self._solver.pop()
        if found == z3.sat:
            return Violation(
                "it does not follow from the conditions", f"all of them hold with {values}, and it does not"
            )
        if found != z3.unsat:
            return self._unknown(found)
        core = self.reasons
        alone = self._solve()
        if alone == z3.unsat:
            return Unknown(f"the conditions contradict each other: {self._core()}")
        if alone != z3.sat:
            return self._unknown(alone)
        self.reasons = core
        return Pass(f"it follows from {reasons}" if reasons else "it holds by itself")

    def decides(self, conclusion: Any) -> Verdict:
        """Pass if *conclusion* holds whenever all conditions do; a violation if it never does; else ``Unknown``.

        This is what a step deserves that may be left open: :attr:`reasons` has the conditions that decide it.
        """
        for claimed in (True, False):
            wanted = z3.BoolSort(self.context).cast(conclusion)
            found = self.follows(wanted if claimed else z3.Not(wanted))
            match found:
                case Pass() if claimed:
                    return found
                case Pass():
                    against = "; ".join(self.reasons)[:_WORDS]
                    return Violation(f"it contradicts {against}" if against else "it can never hold")
                case Unknown():
                    return found
        return Unknown("the conditions leave it open")

    def _mine(self) -> None:
        if threading.get_ident() != self._thread:
            raise UsageError("a problem belongs to the thread that made it: Z3 must not be shared between threads")

    def _track(self, name: str, condition: Any) -> None:
        label = f"interwhen!{len(self._names)}"
        self._solver.assert_and_track(z3.BoolSort(self.context).cast(condition), z3.Bool(label, self.context))
        self._names[label] = name

    def _solve(self) -> Any:
        """Return Z3's answer, or why there is none, as a text."""
        self.reasons = ()
        left = min(time_left(), self._seconds if self._seconds is not None else float("inf")) * _SHARE
        if left != float("inf"):
            self._solver.set("timeout", max(int(left * 1000), 1))
        try:
            found = self._solver.check()
            return self._solver.reason_unknown() if found == z3.unknown else found
        except z3.Z3Exception as error:
            return error.value.decode(errors="replace") if isinstance(error.value, bytes) else str(error)

    def _unknown(self, reason: str) -> Unknown:
        return Unknown(f"Z3 came to no answer: {reason}"[:_WORDS])

    def _core(self) -> str:
        self.reasons = tuple(sorted(self._names[str(label)] for label in self._solver.unsat_core()))
        return "; ".join(self.reasons)[:_WORDS]

    def _values(self) -> str:
        model = self._solver.model()
        values = {decl.name(): model[decl] for decl in model.decls() if not decl.arity()}
        return ", ".join(f"{name} = {values[name]}" for name in sorted(values) if name not in self._names)[:_WORDS]


@contextmanager
def problem(*, seconds: float | None = None, memory_mb: int = 1024) -> Iterator[Problem]:
    """Open a :class:`Problem` for the running check.

    Z3 has nine tenths of the time that the check has left, and of *seconds* if that is less; a check that is called
    off interrupts it. Beyond *memory_mb* (of all that Z3 holds in this process) it gives up. Both are ``Unknown``.
    A thread keeps its context for the next problem, unless something went wrong in it.
    """
    context, _FREE.context = getattr(_FREE, "context", None) or z3.Context(), None
    called_off = threading.Event()

    def interrupt() -> None:
        called_off.set()
        context.interrupt()

    with when_called_off(interrupt):
        yield Problem(context, seconds, memory_mb)
    if not called_off.is_set():
        _FREE.context = context
