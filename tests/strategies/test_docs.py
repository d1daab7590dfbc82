"""The page about strategies: its code runs, and its tables are those of the code."""

import re
from pathlib import Path

from interwhen.strategies._catalog import SHIPPED

PAGE = (Path(__file__).parents[2] / "docs" / "strategies.md").read_text()


def test_the_examples_run():
    names = {}
    for code in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(compile(code, "docs/strategies.md", "exec"), names)


def test_every_strategy_is_listed_and_no_other():
    rows = re.findall(r"^\| `([\w-]+)` \|", PAGE.partition("## What is the same")[0], re.MULTILINE)
    assert rows == list(SHIPPED)
