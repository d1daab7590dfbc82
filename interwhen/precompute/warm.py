"""Z3 problems that stay warm between checks, and lie on disk as SMT-LIB between processes (extra ``z3``).

A check that builds its problem from nothing pays for it each time: making the context, asserting the conditions, and
finding again what Z3 had found out about them. A warm problem has all this behind it; a check adds its question on top
(``push``), asks, and takes it away again (``pop``).
"""

from __future__ import annotations

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from interwhen.deadlines import when_called_off
from interwhen.errors import MissingExtraError, UsageError
from interwhen.solving import Problem
from interwhen.verdicts import Pass, Verdict, Violation

try:
    import z3
except ImportError as missing:
    raise MissingExtraError("interwhen.precompute.warm", "z3") from missing

__all__ = ["Build", "WarmProblem", "WarmProblems", "from_smt2", "to_smt2"]

Build = Callable[[Problem], None]
"""Adds its conditions to a new problem, with variables of its ``context``."""

_NAME: Final = re.compile(r"^; interwhen: (.*)$", re.MULTILINE)


class WarmProblem(Problem):
    """A problem whose conditions have been asserted and, *ahead* of any question, solved once.

    One thread at a time may use it. *minimal*: see :class:`WarmProblems`.
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
            self._verdict, self._because = super().consistent(), self.reasons

    @property
    def spent(self) -> int:
        """What Z3 has spent on it so far, in its own deterministic count (``rlimit count``)."""
        return int(self._solver.statistics().get_key_value("rlimit count"))

    @property
    def size(self) -> int:
        """How many conditions it has."""
        return len(self._names)

    def consistent(self) -> Verdict:
        """Pass if all conditions can hold at once; known from the start, where the check required nothing more."""
        if isinstance(self._verdict, Pass | Violation) and self._is_as_built():
            self.reasons = self._because
            return self._verdict
        return super().consistent()

    @contextmanager
    def lent(self, seconds: float | None) -> Iterator[None]:
        """Let the running thread use it for a block; what the block requires is taken away after it."""
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
    """A pool of warm problems by key, for the checks of all threads. Never holds more than *most* that are idle.

    Without *minimal*, the reasons of a verdict may hold conditions that are not needed for it: finding the needed ones
    takes many solutions, and is what remains to be paid for in a warm problem.

    A key must name everything that a problem's conditions are made from (a digest of the policy and the version of what
    reads it): under an equal key, equal conditions are expected, and nobody looks whether they are.
    """

    def __init__(self, *, most: int = 16, memory_mb: int = 1024, minimal: bool = True) -> None:
        if most < 1:
            raise UsageError(f"most={most!r}: a pool that holds no problem keeps nothing warm")
        self._most = most
        self._memory_mb = memory_mb
        self._minimal = minimal
        self._idle: OrderedDict[int, tuple[str, WarmProblem]] = OrderedDict()
        self._lock = threading.Lock()
        self._number = 0
        self.built = 0
        """How many problems were built from nothing."""

    @contextmanager
    def problem(self, key: str, build: Build, *, seconds: float | None = None) -> Iterator[WarmProblem]:
        """Lend the problem *key* to the running check, built by *build* where none is idle.

        Deadlines hold as in :func:`interwhen.solving.problem`. A problem in which something was called off or raised is
        not used again.
        """
        found = self._take(key)
        if found is None:
            found = WarmProblem(build, memory_mb=self._memory_mb, minimal=self._minimal)
            with self._lock:
                self.built += 1
        called_off = threading.Event()

        def interrupt() -> None:
            called_off.set()
            found.context.interrupt()

        with when_called_off(interrupt), found.lent(seconds):
            yield found
        if not called_off.is_set():
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
    """Return named *conditions* (Booleans of one Z3 context) as SMT-LIB 2.6, which any solver reads."""
    if not conditions:
        raise UsageError("there are no conditions to write")
    solver = z3.Solver(ctx=next(iter(conditions.values())).ctx)
    for condition in conditions.values():
        solver.add(condition)
    names = "".join(f"; interwhen: {msgspec.json.encode(name).decode()}\n" for name in conditions)
    return names + str(solver.to_smt2())


def from_smt2(text: str) -> Build:
    """Return what asserts the conditions that :func:`to_smt2` wrote. Raises :class:`UsageError` on other texts."""
    names = _names(text)

    def build(problem: Problem) -> None:
        try:
            conditions = z3.parse_smt2_string(text, ctx=problem.context)
        except z3.Z3Exception as error:
            raise UsageError(f"this is no SMT-LIB that Z3 reads: {error}") from error
        if len(conditions) != len(names):
            raise UsageError(f"{len(names)} conditions are named, and {len(conditions)} are asserted: it was changed")
        for name, condition in zip(names, conditions, strict=True):
            problem.require(name, condition)

    return build


def _names(text: str) -> list[str]:
    try:
        found = [msgspec.json.decode(name, type=str) for name in _NAME.findall(text)]
    except msgspec.DecodeError as error:
        raise UsageError(f"the name of a condition cannot be read: {error}") from error
    if not found:
        raise UsageError("no condition is named in this text: was it written by to_smt2?")
    return found
