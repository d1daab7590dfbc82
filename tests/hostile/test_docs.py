"""The page says what is so."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "hostile-text.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("code", re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL))
def test_the_examples_run(code):
    exec(code, {})


def test_the_page_states_the_number_of_tried_families():
    from corpus import FAMILIES

    assert len(FAMILIES) == 16
    assert "sixteen families" in PAGE
