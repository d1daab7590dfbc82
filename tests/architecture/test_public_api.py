"""What is promised is listed, and nothing else can be imported without an underscore on its path."""

import ast
import sys
from pathlib import Path

import interwhen
import pytest
from tests.architecture.public_api import ROOT, facades, lines, promised

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

LIST = ROOT / "tests" / "public_api.txt"


def test_the_facade_is_small():
    # 97 names to run and to judge, and those with which a user asks afterwards what was caught.
    assert len(interwhen.__all__) <= 105
    assert interwhen.__all__ == sorted(interwhen.__all__, key=interwhen.__all__.index)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="signatures are written differently by other versions")
def test_public_api_list_matches_the_code():
    found = list(lines())
    listed = LIST.read_text(encoding="utf-8").splitlines()
    added, removed = sorted(set(found) - set(listed)), sorted(set(listed) - set(found))
    assert not added, f"promised, but not listed (python -m tests.architecture.public_api > {LIST}): {added}"
    assert not removed, f"listed, but not promised any more: {removed}"


def test_each_promised_name_exists():
    listed = {line.partition("(")[0] for line in LIST.read_text(encoding="utf-8").splitlines()}
    assert {line.partition("(")[0] for line in lines()} == listed


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


def _imports(path: Path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").split(".")[0] == "interwhen":
            yield node.module, [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "interwhen":
                    yield alias.name, []


@pytest.mark.parametrize("folder", ["verifiers", "examples", "interwhen_pytest"])
def test_shipped_verifiers_and_examples_use_public_api(folder):
    names = {module: set(promised(_file(module))) for module in facades()}
    for path in sorted((ROOT / folder).rglob("*.py")):
        for module, imported in _imports(path):
            assert module in names, f"{path} imports {module}, which is private"
            for name in imported:
                is_module = f"{module}.{name}" in names
                assert name in names[module] or is_module, f"{path} imports {module}.{name}, which is not promised"


def _file(module: str) -> Path:
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
