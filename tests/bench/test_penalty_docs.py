"""The page about the penalty names options that there are, and the rows that are printed."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from interwhen.bench._penalty_cli import penalty
from interwhen.bench._penalty_page import LABELS

PAGE = (Path(__file__).parents[2] / "docs" / "penalty.md").read_text(encoding="utf-8")


def test_every_option_of_the_page_is_there():
    there = {f"--{name.replace('_', '-')}" for name in inspect.signature(penalty).parameters}
    named = set(re.findall(r"--[a-z]+(?:-[a-z]+)*", PAGE))
    assert named <= there
    assert len(named) > 15


def test_every_row_of_the_table_is_explained():
    told = re.sub(r"[^a-z0-9 ]", " ", PAGE.lower())
    for label in LABELS.values():
        assert all(word in told for word in re.findall(r"\w+", label))
