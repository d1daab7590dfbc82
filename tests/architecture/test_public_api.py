"""What is promised is listed, and nothing else can be imported without an underscore on its path."""

import ast
import difflib
import importlib
import types
from pathlib import Path

import pytest
from tests.architecture.public_api import ROOT, facades, file_of, lines, promised

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

LIST = ROOT / "tests" / "public_api.txt"


MOST_NAMES = 280


def test_promised_names_are_few():
    names = [f"{module}.{name}" for module in facades() for name in promised(file_of(module))]
    assert len(names) <= MOST_NAMES


def test_each_object_is_promised_once():
    facades_of: dict[int, list[str]] = {}
    for module in facades():
        loaded = importlib.import_module(module)
        for name in loaded.__all__:
            if isinstance(value := getattr(loaded, name), type | types.FunctionType):
                facades_of.setdefault(id(value), []).append(f"{module}.{name}")
    assert [names for names in facades_of.values() if names[1:]] == []


def test_public_api_list_matches_the_code():
    listed = LIST.read_text(encoding="utf-8").splitlines()
    changes = [line for line in difflib.ndiff(listed, list(lines())) if line[0] in "+-"]
    assert changes == [], "after an intended change: python -m tests.architecture.public_api > tests/public_api.txt"


def test_list_shows_what_a_rename_would_break():
    shown = set(lines())
    assert "async interwhen.Run.drain() -> Result" in shown
    assert "interwhen.Budgets.remedies: Count = 16" in shown
    assert "interwhen.results.Ledger.requests: int = 0" in shown
    (run,) = (line for line in shown if line.startswith("interwhen.run("))
    assert "min_coverage: float" in run


def test_modules_outside_facades_are_private():
    public = set(facades())
    for path in sorted((ROOT / "interwhen").rglob("*.py")):
        parts = ["interwhen", *path.relative_to(ROOT / "interwhen").with_suffix("").parts]
        if parts[-1] == "__init__":
            parts.pop()
        if any(part.startswith("_") for part in parts) or ".".join(parts) in public:
            continue
        body = [node for node in ast.parse(path.read_text(encoding="utf-8")).body if not isinstance(node, ast.Expr)]
        assert not body, f"{path} can be imported, and promises nothing: give it an __all__ or an underscore"


def _uses(path: Path, names):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "interwhen":
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "interwhen":
                    yield alias.name, []
        elif isinstance(node, ast.Attribute) and (module := ast.unparse(node.value)) in names:
            yield module, [node.attr]


@pytest.mark.parametrize("folder", ["verifiers", "examples", "interwhen_pytest", "tests/typed_api.py"])
def test_shipped_verifiers_and_examples_use_public_api(folder):
    names = {module: set(promised(file_of(module))) for module in facades()}
    for path in sorted((ROOT / folder).rglob("*.py")) or [ROOT / folder]:
        for module, imported in _uses(path, names):
            assert module in names, f"{path} imports {module}, which is private"
            for name in imported:
                is_module = any(each == f"{module}.{name}" or each.startswith(f"{module}.{name}.") for each in names)
                assert name in names[module] or is_module, f"{path} imports {module}.{name}, which is not promised"
