"""The promised names of interwhen, with their signatures: those in the ``__all__`` of a module without an underscore.

``python -m tests.architecture.public_api > tests/public_api.txt`` rewrites the list after an intended change.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = {"interwhen": ROOT / "interwhen"}


def facades() -> Iterator[str]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            if parts[-1] == "__init__":
                parts.pop()
            if not any(part.startswith("_") for part in parts) and promised(path):
                yield ".".join(parts)


def promised(path: Path) -> list[str]:
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__":
            return list(ast.literal_eval(node.value))
    return []


def signature(value: object) -> str:
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return ""
    try:
        text = str(inspect.signature(value))
    except (TypeError, ValueError):
        return ""
    # Addresses of default values, and the spelling of optional types, differ from run to run or version to version.
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    return re.sub(r"<class '([\w.]+)'>", r"\1", text)


def lines() -> Iterator[str]:
    for module in facades():
        loaded = importlib.import_module(module)
        for name in sorted(loaded.__all__):
            yield f"{module}.{name}{signature(getattr(loaded, name))}"


if __name__ == "__main__":
    print("\n".join(lines()))
