"""The page about testing: its examples run, its table is that of the code."""

import re
from pathlib import Path

import pytest
from interwhen.testing.server import FAULTS

PAGE = (Path(__file__).parents[2] / "docs" / "testing.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("code", EXAMPLES)
def test_the_examples_run(code):
    exec(compile(code, "docs/testing.md", "exec"), {"__name__": "example"})


def test_every_fault_is_listed_and_no_other():
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", PAGE, re.MULTILINE))
    assert rows == {name: fault.says for name, fault in FAULTS.items()}
