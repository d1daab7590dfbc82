"""Labelled traces: what models wrote, and whether a verifier should have found something wrong in it.

::

    traces = list(read_traces("my_traces.jsonl"))

A file holds one :class:`LabelledTrace` a line, as JSON; with a name that ends in ``.gz`` it is compressed. Files of
any other format are read by a *reader*, a function from a path to traces that a distribution offers as an entry point
of the group ``interwhen.traces``.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, TypeAlias

import msgspec

from interwhen._types.errors import InterwhenError, PluginError, UsageError
from interwhen._types.models import Prompt
from interwhen._types.segments import ToolCall
from interwhen._types.spans import Span
from interwhen.registry import load_trace_format

__all__ = ["Label", "LabelledTrace", "Mistake", "Turn", "read_traces", "write_traces"]

Label: TypeAlias = Literal["right", "wrong", "unclear"]
"""``right``: a violation would be a false alarm; ``wrong``: holds a mistake that the verifier must find;
``unclear``: not counted."""
_SHOWN = 200
"""The most characters of a message about a bad line."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer of the model."""

    prompt: Prompt
    """What it was asked: a text, or the messages of a chat, earlier turns included."""
    text: str = ""
    """What it wrote, ``<think>…</think>`` included. With a closing tag alone, it began inside of its reasoning."""
    calls: tuple[ToolCall, ...] = ()
    """The structured tool calls that followed the text."""

    @property
    def trace(self) -> str:
        """The text and then the text of each call, as they stand in the trace of a run: spans count in it."""
        return self.text + "".join(call.text for call in self.calls)


class Mistake(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a wrong trace first goes wrong."""

    turn: int
    """The turn, counted from 0."""
    span: Span | None = None
    """Where in :attr:`Turn.trace` of that turn; ``None``: not known."""


class LabelledTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a model wrote, and what a verifier should say about it. Raises :class:`ValueError` on a contradiction.

    >>> LabelledTrace(name="sum", turns=(Turn(prompt="2 + 2 =", text=" 5"),), label="wrong").label
    'wrong'
    """

    name: str
    turns: tuple[Turn, ...]
    label: Label
    mistake: Mistake | None = None

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError(f"trace {self.name!r} has no turns: give at least one")
        if self.mistake is None:
            return
        if self.label == "right":
            raise ValueError(f"trace {self.name!r} is labelled right, and yet it has a mistake")
        if not 0 <= self.mistake.turn < len(self.turns):
            raise ValueError(
                f"trace {self.name!r}: its mistake is in turn {self.mistake.turn}, but it has {len(self.turns)} turns, "
                "counted from 0"
            )
        length = len(self.turns[self.mistake.turn].trace)
        if self.mistake.span is not None and self.mistake.span.end > length:
            raise ValueError(
                f"trace {self.name!r}: its mistake ends at {self.mistake.span.end}, but its turn has only {length}"
            )


_DECODER = msgspec.json.Decoder(LabelledTrace)


def read_traces(path: str | os.PathLike[str], format: str | None = None) -> Iterator[LabelledTrace]:  # noqa: A002
    """Yield the traces in the file at *path*, or those that the reader named *format* finds there.

    Raises :class:`~interwhen.UsageError` where there is no such file, or a line of it is no labelled trace (it
    names line and field), and :class:`~interwhen.PluginError` where the reader is not installed or fails.
    """
    where = Path(path)
    if not where.exists():
        raise UsageError(f"there are no traces at {str(where)!r}: no such file or folder")
    if format is not None:
        return _by_reader(format, where)
    if where.is_dir():
        raise UsageError(f"{str(where)!r} is a folder: say the format of what is in it, or name a file")
    return _by_line(where)


def write_traces(path: str | os.PathLike[str], traces: Iterable[LabelledTrace]) -> int:
    """Write *traces* to a new file at *path*, one a line, compressed if it ends in ``.gz``; return how many.

    Raises :class:`~interwhen.UsageError` where the file is there already or cannot be written.
    """
    where = Path(path)
    count = 0
    try:
        with where.open("xb") as plain, _compressed(plain, where) as file:
            for count, trace in enumerate(traces, start=1):  # noqa: B007  # counts
                file.write(msgspec.json.encode(trace) + b"\n")
    except OSError as error:
        raise UsageError(f"{str(where)!r} cannot be written: {error.strerror or error}") from error
    return count


def _compressed(file: IO[bytes], where: Path) -> IO[bytes]:
    # Without a time in it, equal traces make equal files.
    return gzip.GzipFile(fileobj=file, mode="wb", mtime=0) if where.suffix == ".gz" else file  # type: ignore[return-value]


def _by_line(where: Path) -> Iterator[LabelledTrace]:
    opened = gzip.open(where, "rb") if where.suffix == ".gz" else where.open("rb")  # noqa: SIM115  # closed below
    number = 0
    try:
        with opened:
            for number, line in enumerate(opened, start=1):
                if line.strip():
                    yield _decoded(where, number, line)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"{str(where)!r} cannot be read behind line {number}: {error}") from error


def _decoded(where: Path, number: int, line: bytes) -> LabelledTrace:
    try:
        return _DECODER.decode(line)
    except msgspec.ValidationError as error:
        said = f"not a labelled trace: {error}"
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        said = f"not JSON: {error}"
    raise UsageError(f"{str(where)!r}, line {number}: {said[:_SHOWN]}")


def _by_reader(name: str, where: Path) -> Iterator[LabelledTrace]:
    reader = load_trace_format(name)
    number = 0
    try:
        for number, trace in enumerate(reader(where), start=1):
            yield _vetted(name, number, trace)
    except InterwhenError:
        raise
    except Exception as error:
        # A reader may raise anything; it is named, and the original stays attached.
        raise PluginError(
            name, f"it cannot read {str(where)!r}: behind trace {number} it raised {type(error).__name__}: {error}"
        ) from error


def _vetted(name: str, number: int, trace: object) -> LabelledTrace:
    if not isinstance(trace, LabelledTrace):
        raise PluginError(name, f"its trace {number} is {trace!r:.80}, which is no LabelledTrace")
    return trace
