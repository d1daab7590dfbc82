"""Labelled traces: texts of models, each with a label that says whether a verifier should find a mistake in it.

::

    traces = list(read_traces("my_traces.jsonl"))

A file has one :class:`LabelledTrace` per line, as JSON, and is compressed if its name ends in ``.gz``. Other formats
need a *reader*: a function from a path to traces, which a distribution provides as an entry point in the group
``interwhen.traces``.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Literal, TypeAlias

import msgspec

from interwhen._types.errors import DECODE_ERRORS, InterwhenError, PluginError, UsageError
from interwhen._types.models import Prompt
from interwhen._types.segments import Span, ToolCall
from interwhen.registry import load_trace_format

__all__ = ["Label", "LabelledTrace", "Mistake", "Turn", "read_traces", "write_traces"]

Label: TypeAlias = Literal["right", "wrong", "unclear"]
"""The correct judgement of a trace. ``right``: a violation is a false alarm. ``wrong``: the trace has a mistake that a
verifier should find. ``unclear``: precision and recall ignore the trace."""
_SHOWN = 200
"""The most characters of the reason in an error."""


class Turn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One answer of the model."""

    prompt: Prompt
    """The prompt: a text, or the messages of a chat, with earlier turns."""
    text: str = ""
    """The text of the model, with ``<think>…</think>``. A text with only the closing tag begins
    with reasoning."""
    calls: tuple[ToolCall, ...] = ()
    """The structured tool calls that followed the text."""

    @property
    def trace(self) -> str:
        """The text of the answer followed by the text of each tool call. Spans are character offsets in this string."""
        return self.text + "".join(call.text for call in self.calls)


class Mistake(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The position of the first mistake in a trace."""

    turn: int
    """The index of the turn with the mistake, from 0."""
    span: Span | None = None
    """The span of the mistake in :attr:`Turn.trace` of that turn; ``None`` if the span is not known."""


class LabelledTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A trace that is labelled right, wrong or unclear.

    Raises :class:`ValueError` if it has no turn, or if its mistake contradicts its label or lies outside its turns.

    >>> LabelledTrace(name="sum", turns=(Turn(prompt="2 + 2 =", text=" 5"),), label="wrong").label
    'wrong'
    """

    name: str
    turns: tuple[Turn, ...]
    label: Label
    mistake: Mistake | None = None
    """Where the first mistake is; ``None`` if it is not labelled. A right trace has none."""

    def __post_init__(self) -> None:
        if not self.turns:
            raise ValueError(f"the trace {self.name!r:.80} must have at least one turn, got none: add one")
        if self.mistake is None:
            return
        if self.label == "right":
            raise ValueError(
                f"the trace {self.name!r:.80} must not have a mistake with the label 'right': use 'wrong', "
                "or remove the mistake"
            )
        if not 0 <= self.mistake.turn < len(self.turns):
            raise ValueError(
                f"the mistake of the trace {self.name!r:.80} must be in one of its turns, 0 to "
                f"{len(self.turns) - 1}, got turn {self.mistake.turn}: correct the turn"
            )
        length = len(self.turns[self.mistake.turn].trace)
        if self.mistake.span is not None and self.mistake.span.end > length:
            raise ValueError(
                f"the mistake of the trace {self.name!r:.80} must end within its turn of {length} "
                f"characters, got the end {self.mistake.span.end}: correct the span"
            )


_DECODER = msgspec.json.Decoder(LabelledTrace)


def read_traces(path: str | os.PathLike[str], format: str | None = None) -> Iterator[LabelledTrace]:  # noqa: A002
    """Yield the traces in the file at *path*. *format* names an installed reader for other formats and folders.

    Raises :class:`~interwhen.UsageError` at the call if the file does not exist, or is a folder without a *format*. The
    iteration raises :class:`~interwhen.UsageError` for a file that cannot be read or an invalid line, and
    :class:`~interwhen.registry.PluginError` for a reader that is not installed or fails. An error of
    interwhen that the reader raises is passed on. Without *format*, blank lines are skipped.
    """
    where = Path(path)
    if not where.exists():
        raise UsageError(
            f"the traces must be in an existing file or folder, got {str(where)!r}, which does not exist: "
            "correct the path"
        )
    if format is not None:
        return _by_reader(format, where)
    if where.is_dir():
        raise UsageError(
            f"traces without a format must be in a file, got the folder {str(where)!r}: give a format for "
            "it, or the path of a file"
        )
    return _by_line(where)


def write_traces(path: str | os.PathLike[str], traces: Iterable[LabelledTrace]) -> int:
    """Write *traces* to a new file at *path*, one per line, compressed if *path* ends in ``.gz``. Return their count.

    Raises :class:`~interwhen.UsageError` if the file exists or cannot be written, or if a text has a lone surrogate. A
    failed write may leave a file with a part of the traces.
    """
    where = Path(path)
    count = 0
    try:
        with where.open("xb") as plain, _compressed(plain, where) as file:
            for count, trace in enumerate(traces, start=1):  # noqa: B007  # counts
                file.write(msgspec.json.encode(trace) + b"\n")
    except UnicodeEncodeError as error:
        raise UsageError(
            f"cannot write trace {count} to {str(where)!r}: its texts must be writable as UTF-8, got a lone surrogate "
            f"({error}): replace it"
        ) from error
    except OSError as error:
        raise UsageError(
            f"cannot write the traces to {str(where)!r} ({error.strerror or error}): give a new file in a "
            "writable folder"
        ) from error
    return count


def _compressed(file: IO[bytes], where: Path) -> IO[bytes]:
    # Without a timestamp, so that equal traces make equal files.
    return gzip.GzipFile(fileobj=file, mode="wb", mtime=0) if where.suffix == ".gz" else file  # type: ignore[return-value]


def _by_line(where: Path) -> Iterator[LabelledTrace]:
    number = 0
    try:
        with gzip.open(where, "rb") if where.suffix == ".gz" else where.open("rb") as opened:
            for number, line in enumerate(opened, start=1):
                if line.strip():
                    yield _decoded(where, number, line)
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(
            f"cannot read the traces in {str(where)!r} after line {number} ({error}): the file may be cut "
            "or damaged; write it again"
        ) from error


def _decoded(where: Path, number: int, line: bytes) -> LabelledTrace:
    try:
        return _DECODER.decode(line)
    except DECODE_ERRORS as error:
        said = f"{'other JSON' if isinstance(error, msgspec.ValidationError) else 'something else'} ({error}"
        raise UsageError(
            f"{str(where)!r}, line {number}: must be a labelled trace as JSON, got {said[:_SHOWN]}): correct or "
            "remove this line"
        ) from error


def _by_reader(name: str, where: Path) -> Iterator[LabelledTrace]:
    reader = load_trace_format(name)
    number = 0
    try:
        for number, trace in enumerate(reader(where), start=1):
            yield _vetted(name, number, trace)
    except InterwhenError:
        raise
    except Exception as error:
        # A reader may raise any exception: the error names it.
        raise PluginError(
            name,
            f"it must read {str(where)!r} without an exception, got {type(error).__name__} after trace "
            f"{number}: {error}",
            "give a file of its format, or correct the reader",
        ) from error


def _vetted(name: str, number: int, trace: object) -> LabelledTrace:
    if not isinstance(trace, LabelledTrace):
        raise PluginError(name, f"its trace {number} must be a LabelledTrace, got {trace!r:.80}", "correct the reader")
    return trace
