"""Pickles that can make nothing but values: what a monitor's ``prepare`` returned, from a store that others may write.

Reading a pickle with Python's own module may run any code. Here only a closed list of plain types can be named, and
records (dataclasses, named tuples, enums, msgspec structs) of the package that prepared the value: whatever else a
pickle names, it is refused before anything is made of it.
"""

from __future__ import annotations

import dataclasses
import enum
import io
import pickle
import sys
from typing import Any

import msgspec

from interwhen.errors import UsageError

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
    """The bytes are no pickle of plain values and own records."""


def dump(value: Any, package: str) -> bytes:
    """Return *value* as bytes that :func:`load` takes back. Raises :class:`Unsafe` where it could not."""
    try:
        data = pickle.dumps(value, protocol=5)
    except Exception as error:
        # Any __reduce__ may raise anything.
        raise Unsafe(f"it cannot be pickled: {type(error).__name__}: {error}") from error
    load(data, package)
    return data


def load(data: bytes, package: str) -> Any:
    """Return the value in *data*, with records of *package* (the top-level name) only. Raises :class:`Unsafe`."""
    try:
        return _Unpickler(io.BytesIO(data), package).load()
    except Unsafe:
        raise
    except Exception as error:
        # Damaged bytes end in any exception.
        raise Unsafe(f"it cannot be read: {type(error).__name__}: {error}") from error


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, package: str) -> None:
        super().__init__(file)
        self._package = package

    def find_class(self, module: str, name: str, /) -> Any:
        """Return a type that may be made."""
        if (module, name) in _PLAIN:
            return super().find_class(module, name)
        # Only modules that are loaded already: importing one would run it.
        if module.partition(".")[0] == self._package and module in sys.modules and not name.startswith("__"):
            found = super().find_class(module, name)
            if _is_record(found):
                return found
        raise Unsafe(f"it names {module}.{name}, which is no plain value and no record of {self._package!r}")


def _is_record(found: object) -> bool:
    return isinstance(found, type) and (
        dataclasses.is_dataclass(found)
        or issubclass(found, enum.Enum | msgspec.Struct)
        or (issubclass(found, tuple) and hasattr(found, "_fields"))
    )
