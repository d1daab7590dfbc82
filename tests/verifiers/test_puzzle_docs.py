"""The pages on the puzzle verifiers run, and the package offers what they name."""

from __future__ import annotations

import importlib
import re
import tomllib
from pathlib import Path

import pytest
from interwhen import Monitor, load_monitor

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["countdown", "logic", "maze", "spatialmap"])
def test_the_example_of_the_documentation_runs(name):
    page = (ROOT / "docs" / "verifiers" / f"{name}.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    scope = {}
    exec(block, scope)
    assert isinstance(scope["monitor"], Monitor)


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("interwhen.verifiers", ("countdown", "game24", "logic", "maze", "spatialmap")),
        ("interwhen.traces", ("game24", "mazenav", "spatialmap")),
    ],
)
def test_entry_points_are_callable(group, names):
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][group]
    for name in names:
        module, _, attribute = offered[name].partition(":")
        assert callable(getattr(importlib.import_module(module), attribute))


@pytest.mark.parametrize(
    ("module", "name", "options"),
    [
        ("countdown", "countdown", {"target": 24, "use": "all", "dead_ends": False, "phase": "answer"}),
        ("countdown", "game24", {"dead_ends": False, "level": "flag"}),
        ("logic", "logic", {"phase": "reasoning", "level": "locate"}),
        ("maze", "maze", {"delivery": "gate"}),
        ("spatialmap", "spatialmap", {"delivery": "observe", "level": "explain"}),
    ],
)
def test_documented_options_load(module, name, options):
    factory = getattr(importlib.import_module(f"interwhen_verifiers.puzzles.{module}"), name)
    assert load_monitor(factory(**options)).name == name
