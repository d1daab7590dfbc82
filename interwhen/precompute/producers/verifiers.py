"""Prepared verifiers: runs the ``prepare`` of monitors in advance and stores the results for runs on the same task.

Such a result is a solved puzzle, a parsed policy or a search table.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import io
import pickle
import sys
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import anyio
import anyio.to_thread
import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.extensions import Task
from interwhen._types.log import log_warning
from interwhen._types.monitors import Monitor
from interwhen._types.vetting import require
from interwhen.precompute._items import Digest, Item, Kind, Payload, digest
from interwhen.precompute._judge import Unseen, settings_of
from interwhen.precompute._precomputer import ContextRef
from interwhen.precompute._producer import Context, Nothing, Proposal, Step, StepContext
from interwhen.precompute.producers.answers import compose
from interwhen.registry import MonitorSpec, load_monitors

__all__ = ["verifiers", "with_prepared"]


# Restricted pickles for the results of ``prepare``, in a store that others may write to.
#
# Unpickling with Python's own module may run any code. Here a pickle can only name types from a closed list of plain
# types, and records (dataclasses, named tuples, enums, msgspec structs) of the package that prepared the value. Any
# other name is refused before an object is made.

_PLAIN = frozenset(
    {
        ("builtins", "complex"),
        ("builtins", "frozenset"),
        ("builtins", "range"),
        ("builtins", "set"),
        ("builtins", "slice"),
        ("collections", "Counter"),
        ("collections", "OrderedDict"),
        ("collections", "deque"),
        ("datetime", "date"),
        ("datetime", "datetime"),
        ("datetime", "time"),
        ("datetime", "timedelta"),
        ("datetime", "timezone"),
        ("decimal", "Decimal"),
        ("fractions", "Fraction"),
        ("re", "_compile"),
    }
)


class Unsafe(UsageError):
    """Raised if a value cannot be pickled or read, or has types other than plain ones and records of its package."""


def dump(value: Any, package: str) -> bytes:
    # Records must be classes of `package`. `load` is tried at once, so that no value is stored which it would refuse.
    try:
        data = pickle.dumps(value, protocol=5)
    except Exception as error:
        # A __reduce__ may raise anything.
        raise Unsafe(
            f"the value must be one that pickle can store, got {type(error).__name__}: {error}; use "
            "plain types and records"
        ) from error
    load(data, package)
    return data


def load(data: bytes, package: str) -> Any:
    """Unpickle *data*, which may name only plain types, and records of *package*; else raise :class:`Unsafe`."""
    try:
        return _Unpickler(io.BytesIO(data), package).load()
    except Unsafe:
        raise
    except Exception as error:
        # Damaged bytes may raise anything.
        raise Unsafe(
            f"the stored value must be readable by pickle, got {type(error).__name__}: {error}; evict "
            "the item, so that it is made again"
        ) from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, package: str) -> None:
        super().__init__(file)
        self._package = package

    def find_class(self, module: str, name: str, /) -> Any:
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        if (module, name) == ("builtins", "getattr"):
            # Python 3.11.0 to 3.11.3 write a member of an enumeration as getattr(class, name).
            return _member
        # Only loaded modules, because importing one would run its code.
        if module.partition(".")[0] == self._package and module in sys.modules and not name.startswith("__"):
            record_class = super().find_class(module, name)
            if _is_record(record_class):
                return record_class
        raise Unsafe(
            f"a stored value may name only plain types and records of {self._package!r}, got "
            f"{module}.{name}; use only these in it"
        )


def _member(kind: object, name: str) -> enum.Enum:
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and name in kind.__members__:
        return kind.__members__[name]
    raise Unsafe(
        f"a stored value may ask only for members of an enumeration, got {name!r} of "
        f"{kind!r:.80}; use plain types and records"
    )


def _is_record(candidate: object) -> bool:
    return isinstance(candidate, type) and (
        dataclasses.is_dataclass(candidate)
        or issubclass(candidate, enum.Enum | msgspec.Struct)
        or (issubclass(candidate, tuple) and hasattr(candidate, "_fields"))
    )


_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


class PreparedFor(msgspec.Struct, frozen=True):
    """What ``prepare`` of one monitor returned for one task."""

    made_by: str
    """The monitor with its options, its verifier with its version, and the version of Python."""
    task: Digest
    """The digest of the text of the task."""
    value: bytes
    """The result, pickled by :func:`dump`."""


class _VerifierParams(msgspec.Struct, frozen=True):
    made_by: str
    question: str | None


class VerifierProducer:
    """Runs the ``prepare`` of *monitors* for the context alone, and for the context with each of *questions*."""

    # Monitors without `prepare`, and those whose options cannot be compared, are left out. Raises `UsageError` if
    # `questions` is a single text, or if a monitor cannot be loaded.

    name = "verifiers"
    version = "1"
    kind: Kind = "verifiers"

    def __init__(self, *, monitors: Iterable[MonitorSpec], questions: Sequence[str]) -> None:
        require("verifiers: questions", questions, Sequence[str], "put a single text in a list")
        self._monitors: dict[str, Monitor] = {}
        for each in load_monitors(tuple(monitors)):
            if each.prepare is None:
                continue
            try:
                self._monitors[made_by(each)] = each
            except Unseen as error:
                log_warning("prepared.untold", monitor=each.name, why=str(error))
        self._questions = tuple(dict.fromkeys(questions))

    def plan(self, context: Context) -> Iterable[Step]:
        pieces = tuple(piece.name for piece in context.pieces)
        for name in self._monitors:
            for question in (None, *self._questions):
                which = name if question is None else f"{name}/{digest(question)[:16]}"
                yield Step(name=which, reads=pieces, params=msgspec.json.encode(_VerifierParams(name, question)))

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        params = msgspec.json.decode(step.params, type=_VerifierParams)
        monitor = self._monitors[params.made_by]
        text = "\n".join(context.read(piece) for piece in step.reads)
        task = Task(text if params.question is None else compose(text, params.question))
        prepared: list[Any] = []
        with anyio.move_on_after(monitor.prepare_deadline):
            prepared.append(await _prepared(monitor, task))
        if not prepared:
            # It may be quicker later, so this is not stored as a result.
            raise TimeoutError(
                f"prepare of monitor {monitor.name!r} must end within {monitor.prepare_deadline:g} s, and "
                "did not; give it a longer prepare_deadline"
            )
        if prepared[0] is None:
            return Nothing("the monitor does not apply to this problem")
        try:
            value = dump(prepared[0], _package(monitor))
        except Unsafe as error:
            return Nothing(f"the prepared value cannot be stored: {error}")
        kept = PreparedFor(params.made_by, digest(task.text), value)
        return Proposal(
            payload=Payload(data=msgspec.msgpack.encode(kept)),
            basis="derived",
            evidence=f"prepared by {params.made_by}",
        )


def verifiers(*, monitors: Iterable[MonitorSpec] = (), questions: Sequence[str] = ()) -> VerifierProducer:
    """Make the producer that runs ``prepare`` of *monitors* ahead of time (see :func:`with_prepared`).

    The producer prepares the context alone, and the context with each of the likely *questions*. Raises
    :class:`UsageError` if *questions* is a single text, or if a monitor cannot be loaded.
    """
    named = [monitors] if isinstance(monitors, str) else monitors
    return VerifierProducer(monitors=named, questions=questions)


def made_by(monitor: Monitor) -> str:
    # Raises `Unseen` if the options cannot be compared.
    verifier = monitor.verifier
    options = settings_of(monitor.prepare)[:16]
    return f"{monitor.name} ({verifier.name} {verifier.version}, options {options}, Python {_PYTHON})"


def with_prepared(monitors: Iterable[MonitorSpec], context: ContextRef) -> tuple[Monitor, ...]:
    """Return *monitors* for runs with *context* that use stored results of ``prepare``.

    A result is used only for exactly the same text of the prompt; without one, ``prepare`` runs as usual. Raises
    :class:`UsageError` if a monitor cannot be loaded.
    """
    return tuple(
        monitor if monitor.prepare is None else replace(monitor, prepare=_looking_first(monitor, context))
        for monitor in load_monitors(tuple(monitors))
    )


def _looking_first(monitor: Monitor, context: ContextRef) -> Callable[[Task], Awaitable[Any]]:
    async def prepare(task: Task) -> Any:
        wanted = digest(task.text)
        try:
            name = made_by(monitor)
        except Unseen:
            return await _prepared(monitor, task)
        for item in context.precomputer.ready(context):
            kept = prepared_in(item)
            if kept is not None and (kept.made_by, kept.task) == (name, wanted):
                try:
                    return load(kept.value, _package(monitor))
                except Unsafe as error:
                    log_warning("prepared.refused", monitor=monitor.name, why=str(error))
        return await _prepared(monitor, task)

    return prepare


def prepared_in(item: Item) -> PreparedFor | None:
    return (
        msgspec.msgpack.decode(item.payload.data, type=PreparedFor)
        if item.key.producer == VerifierProducer.name
        else None
    )


async def _prepared(monitor: Monitor, task: Task) -> Any:
    assert monitor.prepare is not None
    if inspect.iscoroutinefunction(monitor.prepare):
        return await monitor.prepare(task)
    # At the deadline the thread is abandoned, because it cannot be stopped.
    return await anyio.to_thread.run_sync(monitor.prepare, task, abandon_on_cancel=True)


def _package(monitor: Monitor) -> str:
    return str(getattr(monitor.prepare, "__module__", "")).partition(".")[0]
