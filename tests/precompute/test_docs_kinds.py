"""The page on what is prepared: its examples run, and its table says what the code does."""

import importlib
import inspect
import re
import tomllib
from pathlib import Path

import pytest
from interwhen.precompute import Producer
from interwhen.precompute.producers.answers import answers
from interwhen.precompute.producers.prefixes import prefixes
from interwhen.precompute.producers.verifiers import verifiers

PAGE = (Path(__file__).parents[2] / "docs" / "precompute-kinds.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FACTORIES = {"answers": answers, "verifiers": verifiers, "prefixes": prefixes}


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_the_examples_run(number):
    exec(compile(EXAMPLES[number], "docs/precompute-kinds.md", "exec"), {"__name__": "example"})


def test_page_has_two_examples():
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_documented_defaults_match_the_code(kind):
    row = re.search(rf"^\| `{kind}` \| `{kind}\((.*?)\)` \|", PAGE, re.MULTILINE)
    shown = dict(each.split("=") for each in row[1].split(", "))
    there = {name: each.default for name, each in inspect.signature(FACTORIES[kind]).parameters.items()}
    assert set(shown) == set(there)
    assert FACTORIES[kind]().kind == kind
    for name, value in shown.items():
        assert value == "[...]" or eval(value) == there[name]


@pytest.mark.parametrize("kind", sorted(FACTORIES))
def test_each_kind_is_offered_by_name(kind):
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())
    target = project["project"]["entry-points"]["interwhen.producers"][kind]
    module, _, name = target.partition(":")
    assert getattr(importlib.import_module(module), name) is FACTORIES[kind]
    assert isinstance(FACTORIES[kind](), Producer)
