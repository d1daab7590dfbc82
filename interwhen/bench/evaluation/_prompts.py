"""Reads the prompts of an evaluation: from a file, a URL, a dataset of the Hugging Face hub, or an installed task.

Rows are numbered from 0 in the order of the source. They are read one after another, so that a million prompts need
no more memory than one.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

import msgspec

from interwhen import Message, UsageError
from interwhen.bench._task_files import SHIPPED, reader
from interwhen.models import Prompt
from interwhen.registry import MonitorSpec
from interwhen.strategies._answers import ANSWER, normal
from interwhen.strategies._attempts import Exercise, load_exercises
from interwhen.toolkit import MissingExtraError

_PARQUET_ROWS = 256
"""The rows of a Parquet file that are in memory at the same time."""
_HUB = "datasets:"


class PromptRow(NamedTuple):
    """One prompt of an evaluation, with its monitors, and with the function that grades its answer."""

    number: int
    """The place of the row in its source, from 0."""
    name: str
    prompt: Prompt
    monitors: tuple[MonitorSpec, ...] = ()
    """The monitors of this row, in addition to those of the command."""
    grade: Callable[[str], bool] | None = None
    """Tells whether a final text has the right answer; ``None``: the source has no right answer for this row."""


@dataclass(frozen=True, slots=True)
class Prompts:
    """A source of prompts. Each call of ``rows`` starts again at the first one."""

    spec: str
    digest: str
    """Changes when the content of the source changes, so that results are never continued with other prompts."""
    rows: Callable[[], Iterator[PromptRow]]
    count: int | None = None
    """The number of rows; ``None``: it is known only at the end."""


class _FileRow(msgspec.Struct, frozen=True):
    """A row of a file of prompts: the prompt, the right answer, a name, and the monitors for this row.

    Fields with other names are ignored.
    """

    prompt: str | tuple[Message, ...]
    answer: str | int | float | None = None
    name: str = ""
    monitors: tuple[str, ...] = ()


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

    *spec* is a path or fsspec URL of a JSONL file (also compressed: ``.gz``) or Parquet file, ``datasets:NAME``,
    ``datasets:NAME:CONFIG`` or ``datasets:NAME:CONFIG:SPLIT`` for the Hugging Face hub, or an installed task with its
    options, of which *count* exercises with *seed* are taken. *count* also limits the rows of files. *prompt_field* and
    *answer_field* are the fields of a row; a row without an answer is not graded. The first group of *answer_pattern*
    is the answer in a text of the model. Raises :class:`~interwhen.UsageError` if the source cannot be read.
    """
    if count is not None and count < 1:
        raise UsageError(f"--count must be at least 1, got {count}; leave it out for all rows")
    read = _RowReader(prompt_field, answer_field, answer_pattern)
    if spec.startswith(_HUB):
        return _limited(_from_hub(spec, read), count)
    name = spec.partition("?")[0]
    if name.endswith(".parquet"):
        return _limited(_from_file(spec, lambda: _parquet_rows(spec), read), count)
    if name.endswith((".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz")):
        return _limited(_from_file(spec, lambda: _json_rows(spec), read), count)
    if "://" in spec or Path(spec).exists():
        raise UsageError(
            f"--task must name a file that ends in .jsonl, .jsonl.gz, .ndjson or .parquet, got {spec!r}; rename it"
        )
    return _from_task(spec, 100 if count is None else count, seed)


def _limited(prompts: Prompts, count: int | None) -> Prompts:
    if count is None:
        return prompts
    known = count if prompts.count is None else min(count, prompts.count)
    digest = f"{prompts.digest} first {count}"
    return Prompts(prompts.spec, digest, lambda: itertools.islice(prompts.rows(), count), known)


# The rows of files and of the hub.


class _RowReader:
    """Converts the raw rows of a source to prompt rows. The parameters are those of :func:`open_prompts`."""

    def __init__(self, prompt_field: str, answer_field: str, answer_pattern: str) -> None:
        self._fields = {"prompt": prompt_field, "answer": answer_field}
        self._read = reader(answer_pattern)
        self.digest = f"{prompt_field} {answer_field} {answer_pattern}"

    def row(self, number: int, raw: Mapping[str, Any], where: str) -> PromptRow:
        """Convert *raw*, a mapping of fields, to row *number*.

        Raises :class:`UsageError` if the prompt is missing or a field has the wrong type; the text *where* says in the
        message where the row is.
        """
        if self._fields["prompt"] not in raw:
            raise UsageError(
                f"{where} must have the field {self._fields['prompt']!r}, got {', '.join(map(str, raw)) or 'no field'};"
                " choose one of these with --prompt-field"
            )
        plain = {name: raw[name] for name in ("name", "monitors") if raw.get(name) is not None}
        fields = plain | {ours: raw.get(theirs) for ours, theirs in self._fields.items()}
        try:
            line = msgspec.convert(fields, _FileRow)
        except msgspec.ValidationError as error:
            raise UsageError(f"{where} must be a prompt with an answer, got an error: {error}; correct it") from error
        grade = None if line.answer is None else self._grader(str(line.answer))
        prompt = (Message("user", line.prompt),) if isinstance(line.prompt, str) else line.prompt
        return PromptRow(number, line.name or f"row-{number}", prompt, line.monitors, grade)

    def _grader(self, answer: str) -> Callable[[str], bool]:
        right, read = normal(answer), self._read

        def grade(text: str) -> bool:
            found = read(text)
            return found is not None and found == right

        return grade


def _from_file(spec: str, raw_rows: Callable[[], Iterator[tuple[str, Mapping[str, Any]]]], read: _RowReader) -> Prompts:
    def rows() -> Iterator[PromptRow]:
        for number, (where, raw) in enumerate(raw_rows()):
            yield read.row(number, raw, where)

    digest, count = _scanned(spec)
    return Prompts(spec, f"{digest} {read.digest}", rows, count)


@contextmanager
def _opened(spec: str) -> Iterator[IO[bytes]]:
    """Open the file *spec*, a path or an fsspec URL, for reading. Raises :class:`UsageError` if that fails."""
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
    except (OSError, ValueError, ImportError) as error:
        raise UsageError(f"--task must name a readable file, got {spec!r} ({error}); name another one") from error


def _scanned(spec: str) -> tuple[str, int | None]:
    """Read the file *spec*, and return the hash of its content and its number of rows; ``None``: not known."""
    found, rows, is_lines = hashlib.sha256(), 0, not spec.endswith((".gz", ".parquet"))
    with _opened(spec) as file:
        if is_lines:
            for line in file:
                found.update(line)
                rows += bool(line.strip())
        else:
            while block := file.read(1 << 20):
                found.update(block)
    return found.hexdigest(), rows if is_lines else None


def _json_rows(spec: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    with _opened(spec) as raw:
        file = gzip.GzipFile(fileobj=raw) if spec.endswith(".gz") else raw
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            where = f"{spec!r}, line {line}"
            try:
                yield where, decoder.decode(text)
            except msgspec.MsgspecError as error:
                raise UsageError(f"{where} must be a JSON object, got an error: {error}; correct the line") from error


def _parquet_rows(spec: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
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
        found = datasets.load_dataset(name, config or None, split=split or "test")
    except Exception as error:
        raise UsageError(
            f"--task must name a dataset that can be loaded, got {spec!r} ({error}); correct its name, "
            "configuration or split"
        ) from error

    # The library offers no public name for the hash of a dataset's content.
    fingerprint: str = found._fingerprint  # noqa: SLF001

    def rows() -> Iterator[PromptRow]:
        for number, raw in enumerate(found):
            yield read.row(number, raw, f"row {number} of {name!r}")

    return Prompts(spec, f"{fingerprint} {read.digest}", rows, len(found))


# Installed tasks, whose exercises have their own graders.


def _from_task(spec: str, count: int, seed: int) -> Prompts:
    exercises = load_exercises(spec, count=count, seed=seed, shipped=SHIPPED)

    def row(number: int, exercise: Exercise) -> PromptRow:
        question = exercise.question

        def grade(text: str) -> bool:
            answer = question.read(text)
            return answer is not None and exercise.grade(answer)

        return PromptRow(number, question.name, question.prompt, question.watchers(acting=True), grade)

    told = hashlib.sha256(msgspec.json.encode([(one.question.name, one.question.prompt) for one in exercises]))
    return Prompts(spec, told.hexdigest(), lambda: itertools.starmap(row, enumerate(exercises)), count)
