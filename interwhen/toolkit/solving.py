"""Solves problems of verifiers with Z3, with limits of time and memory (extra ``z3``).

Without the extra, the import of this module raises :class:`~interwhen.toolkit.MissingExtraError`.
"""

from __future__ import annotations

import io
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from interwhen._types.errors import DECODE_ERRORS, MissingExtraError, UsageError
from interwhen._types.verdicts import Pass, Unknown, Verdict, Violation
from interwhen._types.verifiers import on_cancel, time_left

try:
    import z3
    from z3 import z3printer
except ImportError as missing:
    raise MissingExtraError("interwhen.toolkit.solving", "z3") from missing

__all__ = ["Build", "Problem", "WarmProblem", "WarmProblems", "from_smt2", "problem", "to_smt2", "z3_text"]

_SHARE = 0.9
"""The share of the remaining time that Z3 may use. The rest is for reporting the verdict before the deadline."""
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

    *seconds* limits the time of Z3 each time that it solves (``None``: only the deadline of the check does), and
    *memory_mb* the memory of Z3 in this process. Create variables in ``context``: ``z3.Int("x", found.context)``. A
    method that adds a condition or solves raises :class:`UsageError` in another thread.
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
        found = self._solve()
        if found == z3.sat:
            return Pass(f"{len(self._names)} conditions hold together, for example with {self._values()}")
        if found == z3.unsat:
            return Violation(f"these cannot all hold: {self._core()}")
        return self._unknown(found)

    def follows(self, conclusion: Any) -> Verdict:
        """Return a pass if *conclusion* follows from the conditions, else a violation with a counterexample.

        The counterexample is the witness. ``Unknown`` if the conditions contradict each other, or if Z3 came to no
        answer.
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
        """Return a pass if *conclusion* follows from the conditions, and a violation if its negation follows.

        If neither follows, if the conditions contradict each other, or if Z3 came to no answer, the verdict is
        ``Unknown``. :attr:`reasons` has the names of the conditions that decide it, or that contradict each other.
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
        """Let Z3 solve the conditions. Return its answer (``sat`` or ``unsat``), or the reason why there is none."""
        self.reasons = ()
        left = min(time_left(), self._seconds if self._seconds is not None else float("inf")) * _SHARE
        # Set each time, because a warm problem keeps the limit of the check before.
        self._solver.set("timeout", max(int(min(left * 1000, _NO_TIMEOUT)), 1))
        try:
            found = self._solver.check()
            return self._solver.reason_unknown() if found == z3.unknown else found
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
    """Interrupt Z3 in *context* if the check is cancelled in the ``with`` block. The event tells whether it was."""
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


# Warm problems: Z3 problems that are kept between checks, and can be stored as SMT-LIB (extra ``z3``).
#
# A check that builds a new problem must create the context, add the conditions, and let Z3 repeat its deductions about
# them. A warm problem has done this already. A check adds its question (``push``), solves, and removes it (``pop``).

Build = Callable[[Problem], None]
"""A function that adds conditions to a new problem, with variables in the ``context`` of the problem."""

_NAME: Final = re.compile(r"^; interwhen: (.*)$", re.MULTILINE)


class WarmProblem(Problem):
    """A problem that is used for many checks. *build* is a function that adds its conditions once, at the start.

    With *ahead*, Z3 also solves them then. Without *minimal*, the reasons of a verdict may include unnecessary
    conditions, which is faster. Only one thread at a time may use the problem, and another than the one that made it
    must use :meth:`lent`.
    """

    def __init__(self, build: Build, *, memory_mb: int = 1024, minimal: bool = True, ahead: bool = True) -> None:
        super().__init__(z3.Context(), None, memory_mb)
        self._solver.set("core.minimize", minimal)
        build(self)
        self._conditions = len(self._names)
        self._floor = 0
        self._verdict: Verdict | None = None
        self._because: tuple[str, ...] = ()
        if ahead:
            self.solve_ahead(None)

    def solve_ahead(self, seconds: float | None) -> None:
        """Let Z3 solve the conditions now, in at most *seconds* (``None``: no limit of its own), for later checks."""
        self._seconds = seconds
        self._verdict, self._because = super().consistent(), self.reasons
        self._seconds = None

    @property
    def spent(self) -> int:
        """The work that Z3 has done on this problem so far, in its deterministic unit (``rlimit count``)."""
        return int(self._solver.statistics().get_key_value("rlimit count"))

    @property
    def size(self) -> int:
        """The number of conditions in this problem."""
        return len(self._names)

    def consistent(self) -> Verdict:
        """Return a verdict as :meth:`Problem.consistent` does.

        A pass or a violation that was found at the start is returned again for checks that add no conditions.
        """
        if isinstance(self._verdict, Pass | Violation) and self._is_as_built():
            self.reasons = self._because
            return self._verdict
        return super().consistent()

    @contextmanager
    def lent(self, seconds: float | None) -> Iterator[None]:
        """Let the current thread use the problem in a ``with`` block.

        *seconds* limits the time of Z3, as for :class:`Problem`. Conditions that the block adds are removed at its end.
        """
        self._thread = threading.get_ident()
        self._seconds = seconds
        names = dict(self._names)
        self._solver.push()
        self._floor = self._solver.num_scopes()
        try:
            yield
        finally:
            self._solver.pop()
            self._floor = self._solver.num_scopes()
            self._names = names

    def _solve(self) -> Any:
        if isinstance(self._verdict, Pass) and self._is_as_built():
            self.reasons = ()
            return z3.sat
        return super()._solve()

    def _is_as_built(self) -> bool:
        return self._solver.num_scopes() == self._floor and len(self._names) == self._conditions


class WarmProblems:
    """A pool of warm problems, each identified by a key, for the checks of all threads.

    At most *most* idle problems are kept. *memory_mb* limits the memory of Z3 in this process. Without *minimal*, the
    reasons of a verdict may include unnecessary conditions, which is faster. Raises :class:`UsageError` if *most* is
    below 1.

    Problems with equal keys must have equal conditions; the pool does not check this. So a key must identify everything
    that the conditions are made from, for example by a digest of the policy.
    """

    def __init__(self, *, most: int = 16, memory_mb: int = 1024, minimal: bool = True) -> None:
        if most < 1:
            raise UsageError(
                f"WarmProblems: most must be at least 1, got {most!r}; give the number of idle problems to keep"
            )
        self._most = most
        self._memory_mb = memory_mb
        self._minimal = minimal
        self._idle: OrderedDict[int, tuple[str, WarmProblem]] = OrderedDict()
        self._lock = threading.Lock()
        self._number = 0
        self.built = 0
        """How many problems were built, because none with the key was idle."""

    @contextmanager
    def problem(self, key: str, build: Build, *, seconds: float | None = None) -> Iterator[WarmProblem]:
        """Lend a problem with this *key* to the running check, for the ``with`` block.

        If none is idle, a new one is made with *build*, and Z3 solves it once. *seconds* is as for :func:`problem`. If
        the check is cancelled or the block raises, the problem is not used again.
        """
        idle = self._take(key)
        found = idle or WarmProblem(build, memory_mb=self._memory_mb, minimal=self._minimal, ahead=False)
        with _interrupted(found.context) as cancelled:
            if idle is None:
                found.solve_ahead(seconds)
                with self._lock:
                    self.built += 1
            with found.lent(seconds):
                yield found
        if not cancelled.is_set():
            self._give_back(key, found)

    def _take(self, key: str) -> WarmProblem | None:
        with self._lock:
            number = next((number for number, (name, _) in reversed(self._idle.items()) if name == key), None)
            return None if number is None else self._idle.pop(number)[1]

    def _give_back(self, key: str, problem: WarmProblem) -> None:
        with self._lock:
            self._number += 1
            self._idle[self._number] = (key, problem)
            if len(self._idle) > self._most:
                self._idle.popitem(last=False)


def to_smt2(conditions: Mapping[str, Any]) -> str:
    """Return named *conditions* (Booleans of one Z3 context) as SMT-LIB 2, which other solvers can often read, too.

    Raises :class:`UsageError` if there are none.
    """
    if not conditions:
        raise UsageError(
            "to_smt2: conditions must hold at least one condition, got none; give a mapping of names to conditions"
        )
    solver = z3.Solver(ctx=next(iter(conditions.values())).ctx)
    for condition in conditions.values():
        solver.add(condition)
    names = "".join(f"; interwhen: {msgspec.json.encode(name).decode()}\n" for name in conditions)
    return names + str(solver.to_smt2())


def from_smt2(text: str) -> Build:
    """Return a function that adds the conditions in *text*, which :func:`to_smt2` wrote, to a problem.

    Raises :class:`UsageError` if *text* names no condition, or if a name is not a JSON string. The returned function
    raises it if it cannot add all conditions.
    """
    names = _names(text)

    def build(problem: Problem) -> None:
        try:
            conditions = z3.parse_smt2_string(text, ctx=problem.context)
        except z3.Z3Exception as error:
            raise UsageError(
                f"from_smt2: the text must be SMT-LIB that Z3 can read, got an error of Z3: {error}; use "
                "a text that to_smt2 wrote"
            ) from error
        if len(conditions) != len(names):
            raise UsageError(
                f"from_smt2: SMT-LIB text was modified: it asserts {len(conditions)} conditions but names "
                f"{len(names)}; use it as to_smt2 wrote it"
            )
        for name, condition in zip(names, conditions, strict=True):
            problem.require(name, condition)

    return build


def _names(text: str) -> list[str]:
    try:
        found = [msgspec.json.decode(name, type=str) for name in _NAME.findall(text)]
    except DECODE_ERRORS as error:
        raise UsageError(
            f"from_smt2: the name of a condition must be a JSON string, got an error: {error}; use a "
            "text that to_smt2 wrote"
        ) from error
    if not found:
        raise UsageError(
            "from_smt2: the text must name its conditions, got none that is named; use a text that to_smt2 wrote"
        )
    return found
