"""A verifier judges one claim. The decorator makes one from a function."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Concatenate, Literal, Protocol, TypeVar, runtime_checkable

from interwhen.claims import Claim
from interwhen.errors import UsageError
from interwhen.verdicts import Verdict

Worker = Literal["inline", "thread", "process", "async"]
"""Where a check runs. ``inline`` is for pure checks of microseconds only: it holds the event loop."""

ClaimT = TypeVar("ClaimT", bound=Claim)


@runtime_checkable
class Verifier(Protocol):
    """What judges claims. ``deadline`` is in seconds and bounds one check."""

    @property
    def name(self) -> str:
        """The verifier's name, in certificates and on the command line."""
        ...

    @property
    def version(self) -> str:
        """Changes whenever a verdict may change: certificates record it."""
        ...

    @property
    def deadline(self) -> float:
        """How long one check may take, in seconds."""
        ...

    @property
    def worker(self) -> Worker:
        """Where a check runs."""
        ...

    def check(self, claim: Any, /) -> Verdict | Awaitable[Verdict]:
        """Judge *claim*. May raise: that is the outcome ``Errored``, never a pass."""
        ...


@dataclass(frozen=True, slots=True)
class FunctionVerifier:
    """A verifier made from a function by :func:`verifier`. Calling it calls the function."""

    name: str
    version: str
    deadline: float
    worker: Worker
    check: Callable[..., Verdict | Awaitable[Verdict]]

    def __call__(self, claim: Any, *prepared: Any) -> Verdict | Awaitable[Verdict]:
        """Judge *claim*, as a plain call."""
        return self.check(claim, *prepared)

    def __reduce__(self) -> tuple[Callable[[str, str], FunctionVerifier], tuple[str, str]]:
        """Pickle by name, as functions are, so that a worker process finds it by importing its module."""
        return _find, (self.check.__module__, self.check.__qualname__)


def _find(module: str, qualname: str) -> FunctionVerifier:
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, FunctionVerifier):
        raise UsageError(
            f"a worker process cannot find the verifier {qualname!r} in module {module!r}: "
            "a verifier with worker='process' must be defined at the top level of a module"
        )
    return found


def verifier(
    *, name: str, version: str = "1", deadline: float = 5.0, worker: Worker | None = None
) -> Callable[[Callable[Concatenate[ClaimT, ...], Verdict | Awaitable[Verdict]]], FunctionVerifier]:
    """Make a :class:`Verifier` from a function of one claim (and of what its monitor's ``prepare`` returns).

    Without *worker*, an ``async def`` runs as a task and any other function in a thread, where blocking does
    not stop the stream. Raises :class:`UsageError` on a deadline that is not positive or a worker that does
    not fit the function.
    """

    def decorate(function: Callable[Concatenate[ClaimT, ...], Verdict | Awaitable[Verdict]]) -> FunctionVerifier:
        is_async = inspect.iscoroutinefunction(function)
        chosen: Worker = worker or ("async" if is_async else "thread")
        if is_async != (chosen == "async"):
            kind = "an async function" if is_async else "a plain function"
            raise UsageError(f"verifier {name!r} is {kind}, which cannot run with worker={chosen!r}")
        if not deadline > 0:
            raise UsageError(f"verifier {name!r}: deadline must be positive seconds, got {deadline!r}")
        return FunctionVerifier(name=name, version=version, deadline=deadline, worker=chosen, check=function)

    return decorate
