"""The pages of the small verifiers name every option, with its default, and the specs on them load."""

import inspect
import re
from pathlib import Path

import pytest
from interwhen import load_monitor

from interwhen_verifiers.critic import critic
from interwhen_verifiers.regex import regex
from interwhen_verifiers.terms import terms

PAGES = Path(__file__).parents[2] / "docs" / "verifiers"


def page(name):
    return (PAGES / f"{name}.md").read_text()


@pytest.mark.parametrize("factory", [critic, regex, terms])
def test_each_option_is_on_its_page(factory):
    rows = dict(re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? \|", page(factory.__name__), re.MULTILINE))
    options = inspect.signature(factory).parameters
    assert list(rows) == list(options)
    shown = {True: "true", False: "false", "": "none", inspect.Parameter.empty: "needed", 60.0: "60"}
    for name, option in options.items():
        assert rows[name] == shown.get(option.default, option.default)


@pytest.mark.parametrize("name", ["critic", "regex", "terms"])
def test_the_specs_load(name):
    specs = re.findall(r"--monitor (?:'([^']+)'|(\w+))", page(name))
    assert len(specs) == 2
    for quoted, bare in specs:
        assert load_monitor(quoted or bare).name == name
