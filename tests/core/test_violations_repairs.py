"""A repair is not written where the number or the name continues after the wrong part."""

import pytest
from interwhen import Span
from interwhen._core.violations import cuts_short


@pytest.mark.parametrize(
    ("text", "part", "short"),
    [
        ("= 49,\\!896", "49", True),
        ("= 49,896", "49", True),
        ("= 49.5", "49", True),
        ("= 49{,}896", "49", True),
        ("= 49\u2009896", "49", True),
        ("= 49\\, 896", "49", False),
        ("= 49 896", "49", True),
        ("= 490", "49", True),
        ("= 49, 50", "49", False),
        ("= 49. So", "49", False),
        ("= 49", "49", False),
        ("= 49$.", "49", False),
        ("= 49 apples", "49", False),
        ("= 49cm", "49", False),
        ("is left-handed", "left", True),
        ("is lefty", "left", True),
        ("is left2", "left", True),
        ("is left, so", "left", False),
        ("is left - or", "left", False),
        ("(8) x", "(8)", False),
    ],
)
def test_a_repair_may_not_truncate_numbers_or_names(text, part, short):
    at = text.index(part)
    assert cuts_short(text, Span(at, at + len(part))) is short


def test_hyphens_extend_words_only_before_a_letter():
    assert cuts_short("well-known", Span(0, 4))
    assert not cuts_short("well- known", Span(0, 4))
    assert not cuts_short("well-1a", Span(0, 4))
