"""Reads the questions that readers have asked: from a text file, from JSON lines, or from the journal of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import msgspec

from interwhen._types.errors import DECODE_ERRORS, InterwhenError, UsageError
from interwhen._types.extensions import Task
from interwhen.journal import read_journal
from interwhen.journal._files import MAGIC
from interwhen.precompute._access import read_text
from interwhen.precompute._producer import factory_of
from interwhen.precompute._usage import LONGEST_QUESTION
from interwhen.registry import converted, own_options, producers, read_spec


class _Line(msgspec.Struct):
    question: str


def read_questions(path: Path) -> list[str]:
    # A file may be a journal (the question is the last paragraph of the user's last message), JSON lines (`.jsonl` or
    # `.ndjson`, the field `question`), or a text with a question on each line. Of a folder, the files `*.journal` and
    # `*.iwj` are read; those that cannot be read are left out. Raises `UsageError` if the file or a line of JSON cannot
    # be read, or a folder has no journal that can be read.
    if path.is_dir():
        return _in_folder(path)
    questions = _in_journal(path) if _is_journal(path) else _in_lines(path)
    return [question for question in questions if question and len(question) <= LONGEST_QUESTION]


def _is_journal(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError as error:
        raise UsageError(
            f"the file of questions {str(path)!r} must be readable, got an error ({error}); name another file"
        ) from error


def _in_folder(folder: Path) -> list[str]:
    journals = sorted(each for suffix in ("journal", "iwj") for each in folder.glob(f"*.{suffix}"))
    questions, is_readable = [], False
    for path in journals:
        with suppress(UsageError):
            if _is_journal(path):
                questions += read_questions(path)
                is_readable = True
    if not is_readable:
        raise UsageError(
            f"the folder {str(folder)!r} must have journals that can be read, got {len(journals)} files *.journal or "
            "*.iwj and none that can; name another folder, or a file"
        )
    return questions


def _in_journal(path: Path) -> list[str]:
    try:
        prompt = read_journal(path).header.prompt
    except InterwhenError as error:
        raise UsageError(f"the journal {str(path)!r} must be readable, got an error ({error}); leave it out") from error
    # In the prompt of a run with a prepared context, passages of the context may stand before the question.
    paragraphs = [part.strip() for part in Task(prompt).question.split("\n\n")]
    return [next((part for part in reversed(paragraphs) if part), "")]


def _in_lines(path: Path) -> list[str]:
    text = read_text(path)
    if path.suffix.lower() not in (".jsonl", ".ndjson"):
        return [line.strip() for line in text.splitlines() if line.strip()]
    try:
        # JSON may have other line separators in its texts, such as U+2028.
        return [msgspec.json.decode(line, type=_Line).question.strip() for line in text.split("\n") if line.strip()]
    except DECODE_ERRORS as error:
        raise UsageError(
            f'each line of {str(path)!r} must be a JSON object with the field "question", got another value ({error}); '
            "correct it, or name a text file with a question on each line"
        ) from error


def with_questions(specs: Sequence[str | Mapping[str, Any]], questions: Sequence[str]) -> list[dict[str, Any]]:
    read = [read_spec(spec, "a producer") for spec in specs or [each.name for each in producers()]]
    takers = [name for name, _ in read if questions and "questions" in own_options(factory_of(name))]
    if questions and not takers:
        raise UsageError(
            "questions must be used with a producer that takes some, and none of "
            f"{', '.join(name for name, _ in read)} does; add --producer answers"
        )
    new_specs = []
    for name, options in read:
        if name in takers:
            own = converted(name, "questions", options.get("questions", []), list[str])
            options["questions"] = [*cast("list[str]", own), *questions]
        new_specs.append({"name": name, **options})
    return new_specs
