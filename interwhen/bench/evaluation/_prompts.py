"""Reads the prompts of an evaluation: from a file, a URL, a dataset of the Hugging Face hub, or an installed task.

Rows are numbered from 0 in the order of the source. Most sources are read row by row.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import io
import itertools
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeAlias

import msgspec

from interwhen import InterwhenError, UsageError
from interwhen._types.errors import DECODE_ERRORS
from interwhen.bench._task_files import SHIPPED, PromptLine, exercise_of, grader, reader
from interwhen.models import Prompt
from interwhen.registry import MonitorSpec
from interwhen.strategies._answers import ANSWER
from interwhen.strategies._attempts import Exercise, load_exercises
from interwhen.toolkit import MissingExtraError

_PARQUET_ROWS = 256
"""How many rows of a Parquet file are in memory at the same time."""
_HUB = "datasets:"
_RawRows: TypeAlias = Iterator[tuple[str, Mapping[str, Any]]]
"""Rows as they are written, each with the place of the row for messages."""


class PromptRow(NamedTuple):
    number: int
    """The place in its source, from 0."""
    name: str
    """The name that the source gives, or ``row-`` and the number."""
    prompt: Prompt
    monitors: tuple[MonitorSpec, ...] = ()
    """Those of the command are added, and replace monitors with the same name."""
    grade: Callable[[str], bool] | None = None
    """Tells whether the text after the reasoning has the right answer; ``None``: the source has none for this row."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """Each call of ``rows`` starts again at the first prompt."""

    spec: str
    digest: str
    """Changes with the prompts of the source, so that results are not continued with other prompts."""
    rows: Callable[[], Iterator[PromptRow]]
    count: int | None = None
    """``None``: it is known only at the end."""


def open_prompts(
    spec: str,
    *,
    count: int | None = None,
    seed: int = 0,
    prompt_field: str = "prompt",
    answer_field: str = "answer",
    answer_pattern: str = ANSWER,
) -> Prompts:
    """Return the prompts that *spec* names.

    *spec* is a path or fsspec URL of a JSONL file (also compressed: ``.gz``, ``.bz2``, ``.xz``) or Parquet file,
    ``datasets:NAME``, ``datasets:NAME:CONFIG`` or ``datasets:NAME:CONFIG:SPLIT`` for the Hugging Face hub, or an
    installed task with its options. *count* limits the rows (default: all, or 100 exercises of a task), and *seed* is
    that of a task. A row without an answer is not graded. The first group of *answer_pattern* is the answer in a text
    of the model.

    A file is read and checked now; wrong rows of the hub raise :class:`~interwhen.UsageError` when they are read.
    """
    if count is not None and count < 1:
        raise UsageError(f"--count must be at least 1, got {count}; leave it out for all rows")
    read = _RowReader(prompt_field, answer_field, answer_pattern)
    if spec.startswith(_HUB):
        return _limited(_from_hub(spec, read), count)
    name = spec.partition("?")[0].removesuffix(_compression(spec))
    if name.endswith(".parquet"):
        return _from_file(spec, _parquet_rows, read, count)
    if name.endswith((".jsonl", ".ndjson")):
        return _from_file(spec, _json_rows, read, count)
    if spec == "-" or "://" in spec or Path(spec).exists():
        raise UsageError(
            "--task must name a file that ends in .jsonl, .ndjson (also with .gz, .bz2, .xz) or .parquet, got "
            f"{spec!r}; write the prompts to such a file, which is read more than once"
        )
    return _from_task(spec, 100 if count is None else count, seed)


def _limited(prompts: Prompts, count: int | None) -> Prompts:
    if count is None:
        return prompts
    known = count if prompts.count is None else min(count, prompts.count)
    digest = f"{prompts.digest} first {count}"
    return Prompts(prompts.spec, digest, lambda: itertools.islice(prompts.rows(), count), known)


_OPENERS: Mapping[str, Callable[[IO[bytes]], Iterable[bytes]]] = {
    ".gz": lambda file: gzip.GzipFile(fileobj=file),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
}


def _compression(spec: str) -> str:
    return next((ending for ending in _OPENERS if spec.partition("?")[0].endswith(ending)), "")


class _RowReader:
    """Converts raw rows to prompt rows. The parameters are those of :func:`open_prompts`."""

    def __init__(self, prompt_field: str, answer_field: str, answer_pattern: str) -> None:
        self._fields = {"prompt": prompt_field, "answer": answer_field}
        self._read = reader(answer_pattern)
        self.digest = f"{prompt_field} {answer_field} {answer_pattern}"

    def row(self, number: int, raw: Mapping[str, Any], where: str) -> PromptRow:
        # `where` names the place of the row in error messages.
        if self._fields["prompt"] not in raw:
            raise UsageError(
                f"{where} must have the field {self._fields['prompt']!r}, got {', '.join(map(str, raw)) or 'no field'};"
                " choose one of these with --prompt-field"
            )
        plain = {name: raw[name] for name in ("name", "monitors") if raw.get(name) is not None}
        fields = plain | {ours: raw.get(theirs) for ours, theirs in self._fields.items()}
        try:
            line = msgspec.convert(fields, PromptLine)
        except msgspec.ValidationError as error:
            raise UsageError(f"{where} must be a prompt with an answer, got an error: {error}; correct it") from error
        if line.prompt == ():
            raise UsageError(f"{where} must have at least one message in its prompt, got none; add one")
        exercise = exercise_of(line, f"row-{number}", self._read)
        asked, grade = exercise.question, None if line.answer is None else grader(exercise)
        return PromptRow(number, asked.name, asked.prompt, line.monitors or (), grade)


def _from_file(spec: str, raw_rows: Callable[[str], _RawRows], read: _RowReader, count: int | None) -> Prompts:
    def rows() -> Iterator[PromptRow]:
        for number, (where, raw) in enumerate(raw_rows(spec)):
            yield read.row(number, raw, where)

    digest = _digest(spec)
    # Read all rows first: a row that is found to be wrong later would have cost tokens, and the corrected file could
    # not continue in the same folder.
    known = sum(1 for _ in itertools.islice(rows(), count))
    if not known:
        raise UsageError(f"--task must name a file with prompts, got {spec!r}, which has none; name another one")
    return _limited(Prompts(spec, f"{digest} {read.digest}", rows, known), count)


@contextmanager
def _opened(spec: str) -> Iterator[IO[bytes]]:
    # An error that reading raises in the block becomes a `UsageError`, too.
    try:
        if "://" in spec:
            try:
                import fsspec
            except ImportError as error:
                raise MissingExtraError("prompts at a URL", "precompute") from error
            with fsspec.open(spec, "rb") as file:
                yield file
        else:
            with Path(spec).open("rb") as file:
                yield file
    except InterwhenError:
        raise
    except (OSError, EOFError, zlib.error, lzma.LZMAError, ValueError, ImportError) as error:
        # `ImportError`: fsspec needs another package for this kind of URL.
        raise UsageError(f"--task must name a readable file, got {spec!r} ({error}); name another one") from error


def _digest(spec: str) -> str:
    with _opened(spec) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # fsspec's have readinto, too


def _json_rows(spec: str) -> _RawRows:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with _opened(spec) as raw:
        ending = _compression(spec)
        for line, read in enumerate(_OPENERS[ending](raw) if ending else raw, start=1):
            text = read.removeprefix(codecs.BOM_UTF8) if line == 1 else read
            if not text.strip():
                continue
            where = f"{spec!r}, line {line}"
            try:
                yield where, decoder.decode(text)
            except DECODE_ERRORS as error:
                raise UsageError(f"{where} must be a JSON object, got an error: {error}; correct the line") from error


def _parquet_rows(spec: str) -> _RawRows:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtraError("prompts in a Parquet file", "datasets") from error
    with _opened(spec) as raw:
        file = raw if raw.seekable() else io.BytesIO(raw.read())
        try:
            number = 0
            for batch in pyarrow.parquet.ParquetFile(file).iter_batches(_PARQUET_ROWS):
                for row in batch.to_pylist():
                    yield f"{spec!r}, row {number}", row
                    number += 1
        except pyarrow.ArrowException as error:
            raise UsageError(f"{spec!r} must be a Parquet file, got an error: {error}; write the file again") from error


def _from_hub(spec: str, read: _RowReader) -> Prompts:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("prompts of the Hugging Face hub", "datasets") from error
    name, config, split = (*spec.removeprefix(_HUB).split(":"), "", "")[:3]
    try:
        dataset = datasets.load_dataset(name, config or None, split=split or "test")
    except Exception as error:
        raise UsageError(
            f"--task must name a dataset that can be loaded, got {spec!r} ({error}); correct its name, "
            "configuration or split"
        ) from error

    # The library offers no public name for the hash of a dataset's content.
    fingerprint: str = dataset._fingerprint  # noqa: SLF001

    def rows() -> Iterator[PromptRow]:
        for number, raw in enumerate(dataset):
            yield read.row(number, raw, f"row {number} of {name!r}")

    return Prompts(spec, f"{fingerprint} {read.digest}", rows, len(dataset))


def _from_task(spec: str, count: int, seed: int) -> Prompts:
    exercises = load_exercises(spec, count=count, seed=seed, shipped=SHIPPED)

    def row(number: int, exercise: Exercise) -> PromptRow:
        question = exercise.question
        return PromptRow(number, question.name, question.prompt, question.watchers(acting=True), grader(exercise))

    told = hashlib.sha256(msgspec.json.encode([(one.question.name, one.question.prompt) for one in exercises]))
    return Prompts(spec, told.hexdigest(), lambda: itertools.starmap(row, enumerate(exercises)), count)
