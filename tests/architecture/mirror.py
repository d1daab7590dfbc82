"""The modules of the framework, who imports whom, and which test belongs to which module.

``python -m tests.architecture.mirror`` prints the modules without a test of their name.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).parents[1]
ROOT = TESTS.parent
FOLDERS = {
    "interwhen": ROOT / "interwhen",
    "interwhen_verifiers": ROOT / "verifiers" / "interwhen_verifiers",
    "interwhen_pytest": ROOT / "interwhen_pytest",
    "interwhen_launcher": ROOT / "interwhen_launcher",
}
DISTRIBUTIONS = {"interwhen_verifiers": "verifiers", "interwhen_pytest": "testing", "interwhen_launcher": "cli"}
"""The folder below ``tests`` for each import package that is not ``interwhen``."""


class Module(NamedTuple):
    """A module, by its import name."""

    name: str
    path: Path

    @property
    def is_package(self) -> bool:
        return self.path.name == "__init__.py"

    @property
    def leaf(self) -> str:
        return self.name.rpartition(".")[2].strip("_")

    @property
    def folders(self) -> tuple[str, ...]:
        first, *rest = self.name.split(".")[:-1] or [self.name]
        named = (DISTRIBUTIONS[first],) if first in DISTRIBUTIONS else ()
        return (*named, *(part.strip("_") for part in rest))


@functools.cache
def modules() -> dict[str, Module]:
    by_name = {}
    for name, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [name, *path.relative_to(folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                del parts[-1]
            # A template of a project for users holds modules that are no part of ours.
            if all(part.isidentifier() for part in parts) and not any("scaffold" in part for part in parts[1:]):
                by_name[".".join(parts)] = Module(".".join(parts), path)
    return by_name


def imported(path: Path, name: str = "") -> set[str]:
    return _imported(path, name)


@functools.cache
def _imported(path: Path, name: str) -> set[str]:
    known, imports = modules(), set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            imports |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return {each for each in imports if each in known and each != name}


@functools.cache
def importers() -> dict[str, set[str]]:
    by_module: dict[str, set[str]] = {name: set() for name in modules()}
    for name, module in modules().items():
        for other in _imported(module.path, name):
            by_module[other].add(name)
    return by_module


@functools.cache
def tests() -> tuple[Path, ...]:
    return tuple(sorted(TESTS.rglob("test_*.py")))


def named_tests(module: Module) -> list[Path]:
    # `interwhen/journal/_files.py` has `test_files.py` and `test_files_*.py` in `tests/journal`. The folder of a
    # private package may stand in the name: `test_logic_brackets.py` is of `puzzles/_logic/brackets.py`. A command
    # `_idle_cli.py` stands beside its module `_idle.py`, and they have one test.
    leaf, folders = module.leaf, module.folders
    names = {leaf, leaf.removesuffix("_cli")}
    if folders:
        names.add(f"{folders[-1]}_{leaf}")
    return [
        path
        for path in tests()
        if (set(path.parent.relative_to(TESTS).parts) or {""}) & set(folders or ("",))
        and any(path.stem == f"test_{name}" or path.stem.startswith(f"test_{name}_") for name in names)
    ]


if __name__ == "__main__":
    for each in modules().values():
        if not each.is_package and not named_tests(each):
            print(each.name, "<-", *sorted(importers()[each.name]))
