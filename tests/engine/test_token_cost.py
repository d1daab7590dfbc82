"""What a token costs, in counted instructions: no more than before, and nothing for monitors that do not look."""

import sys

from tests.engine.token_cost import per_token

MOST = 345
"""For CPython 3.11. Another version has other instructions, so its numbers differ."""


def test_a_plain_token_costs_no_more_than_before_and_the_same_with_monitors() -> None:
    bare, watched = (per_token(many, lines=False) for many in (0, 3))
    assert abs(bare - watched) < 2
    if sys.version_info[:2] == (3, 11):
        assert bare <= MOST


def test_a_line_costs_its_monitors() -> None:
    assert per_token(1, lines=True) > per_token(0, lines=True) + 20
