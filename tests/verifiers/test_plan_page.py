"""The page of ``plan`` is true."""

import inspect
import re
from pathlib import Path

from interwhen import load_monitor

from interwhen_verifiers.puzzles.plan import plan

PAGE = Path(__file__).parents[2] / "docs" / "verifiers" / "plan.md"


def test_page_lists_each_option_and_loadable_specs():
    rows = dict(
        re.findall(r"^\| `(\w+)` \| `?([^|`]*?)`? \|", PAGE.read_text().partition("## Numbers")[0], re.MULTILINE)
    )
    options = inspect.signature(plan).parameters
    assert rows == {name: option.default or "none" for name, option in options.items()}
    specs = re.findall(r"--monitor '?([\w:=]+)", PAGE.read_text())
    assert len(specs) == 2
    for spec in specs:
        assert load_monitor(spec).name in {"plan", "plan_steps"}
