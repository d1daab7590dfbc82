"""Keeps test data out of training data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from unicodedata import normalize

from interwhen._types.errors import UsageError
from interwhen._types.vetting import Positive, require

SIZE = 13
"""Consecutive words that count as an overlap: as in Brown et al. 2020, appendix C."""

_ROLES = ("system", "developer", "user", "assistant", "tool")
_WORD = re.compile(r"[^\W_]+")


class Decontaminator:
    """Finds texts that share *size* consecutive words with one of *texts*, or all words of a shorter one."""

    # Case, punctuation and Unicode forms are ignored. Raises `UsageError` if `size` is less than 1.

    def __init__(self, texts: Iterable[str], size: int = SIZE) -> None:
        require("the overlap", size, Positive)
        self._sizes: dict[int, set[tuple[str, ...]]] = {}
        for text in texts:
            words = words_of(text)
            width = min(size, len(words))
            if width:
                self._sizes.setdefault(width, set()).update(_runs(words, width))

    def is_contaminated(self, text: str) -> bool:
        words = words_of(text)
        return any(run in wanted for width, wanted in self._sizes.items() for run in _runs(words, width))


def words_of(text: str) -> list[str]:
    return _WORD.findall(normalize("NFKC", text).casefold())


def _runs(words: list[str], width: int) -> Iterator[tuple[str, ...]]:
    return (tuple(words[at : at + width]) for at in range(len(words) - width + 1))


def read_texts(path: Path) -> list[str]:
    try:
        lines = [line for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"--decontaminate must be a readable file, got {str(path)!r} and an error ({error}); name another file"
        ) from error
    if path.suffix != ".jsonl":
        return lines
    texts: list[str] = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.extend(strings_in(json.loads(line)))
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"--decontaminate {str(path)!r}: each line must be valid JSON, got an error in line "
                f"{number}: {error}; correct that line"
            ) from error
    return texts


def strings_in(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, each in value.items():
            if not (name == "role" and each in _ROLES):
                yield from strings_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from strings_in(each)
