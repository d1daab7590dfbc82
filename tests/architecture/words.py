"""Lists words that STYLE.md replaces by plain ones, and class names that occur twice: ``python -m tests.architecture.words``."""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDERS = (
    "interwhen",
    "interwhen_launcher",
    "interwhen_pytest",
    "verifiers",
    "tests",
    "tools",
    "examples",
    "docs",
    ".ci",
)

WORDS = (
    r"[Nn]obody",
    r"[Ww]hoever",
    r"anew",
    r"(?:is|are|was|were) told",
    r"takes? note",
    r"took note",
    r"call(?:s|ed|ing)? off",
    r"what stands",
    r"for all we know",
    r"by (?:its|their|his) (?:own )?word",
    r"of its own accord",
    r"is no (?:Model|Monitor|JSON|number|verifier|English)",
    r"can be checked in less than",
    r"in the reader's way",
    r"(?:go|goes|going|gone|went) on",
)
DIALECT = re.compile(r"\b(?:" + "|".join(WORDS) + r")\b")
# Problems and traces are quoted as people and models wrote them; this file lists the words, and another one finds them
# in texts of users.
QUOTED = re.compile(
    r"(?:^|/)(?:records|data|corpus|corpora|policies)/|test_\w*corpus|architecture/words\.py$|/_grounding\.py$|CHANGELOG\.md$"
)


def texts() -> Iterator[tuple[str, str]]:
    """Yield name and text of each source file and page."""
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in {".py", ".md"}]
    for path in sorted([*files, *ROOT.glob("*.md")]):
        name = str(path.relative_to(ROOT))
        if not QUOTED.search(name) and ".venv" not in path.parts:
            yield name, path.read_text(encoding="utf-8")


def dialect() -> Iterator[tuple[str, int, str]]:
    """Yield file, line number and line of each use of a listed word."""
    for name, text in texts():
        for number, line in enumerate(text.splitlines(), 1):
            if DIALECT.search(line):
                yield name, number, line.strip()


def repeated_classes() -> dict[str, list[str]]:
    """Return the class names that occur more than once in the framework, with their files."""
    found = defaultdict(list)
    for path in sorted((ROOT / "interwhen").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(str(path.relative_to(ROOT)))
    return {name: files for name, files in found.items() if len(files) > 1}


if __name__ == "__main__":
    hits = list(dialect())
    for name, number, line in hits:
        sys.stdout.write(f"{name}:{number}: {line[:150]}\n")
    twice = repeated_classes()
    for name, files in twice.items():
        sys.stdout.write(f"class {name}: {', '.join(files)}\n")
    sys.stdout.write(f"{len(hits)} uses of listed words; {len(twice)} class names used more than once\n")
