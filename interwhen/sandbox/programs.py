"""What a sandbox runs: a function, a script, or a command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TypeAlias

from interwhen.errors import UsageError

Json: TypeAlias = "bool | int | float | str | list[Json] | tuple[Json, ...] | dict[str, Json] | None"
"""A value that crosses the border of a sandbox."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Run *source*, call *function* of it with *arguments*, and give back what it returns.

    The value is plain JSON, whatever the function is up to; anything else that it returns ends as ``Crashed``.
    """

    source: str
    function: str
    arguments: tuple[Json, ...] = ()
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.function.isidentifier():
            raise UsageError(f"function={self.function!r} is not the name of a function")
        check_files(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """Run *source* as a Python program; *files* lie in its current directory."""

    source: str
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_files(self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """Run the executable ``argv[0]``; it sees *files* in its current directory and nothing of our environment."""

    argv: tuple[str, ...]
    stdin: bytes = b""
    files: Mapping[str, bytes] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.argv or not self.argv[0] or any("\0" in argument for argument in self.argv):
            raise UsageError(f"argv={self.argv!r} names no executable, or holds a NUL character")
        check_files(self.files)


Program: TypeAlias = Call | Script | Command


def encoded(arguments: tuple[Json, ...]) -> str:
    """Return *arguments* as the JSON text in which they go in."""
    try:
        return json.dumps(arguments, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"arguments={arguments!r:.200}: only JSON goes into a sandbox ({error})") from error


def check_files(files: Mapping[str, bytes]) -> None:
    """Refuse names that would lie outside the program's directory."""
    for name in files:
        path = PurePosixPath(name)
        if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
            raise UsageError(f"file {name!r}: a file of a program has a relative path without '..'")
