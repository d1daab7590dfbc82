"""Ways to say how things stand in a row: left to right, by age, by price, by rank."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from interwhen_verifiers._logic.wording import ORDINAL


@dataclass(frozen=True, slots=True)
class Axis:
    """The words for one kind of order, as patterns. Places are counted from its low end."""

    name: str
    low: str
    """It stands nearer to the low end than."""
    high: str
    from_low: str
    """The place at, or so far from, the low end; its ordinal is the group that the place is named by."""
    from_high: str
    ends: tuple[str, str]
    """What the two ends are called in "from … to …"."""


def _compared(name: str, low: tuple[str, str], high: tuple[str, str]) -> Axis:
    """Make an axis from the comparatives and superlatives for its ends."""
    return Axis(
        name,
        rf"(?:{low[0]}) than",
        rf"(?:{high[0]}) than",
        rf"(?:the )?(?:(?P<low>{ORDINAL})[ -])?(?:{low[1]})",
        rf"(?:the )?(?:(?P<high>{ORDINAL})[ -])?(?:{high[1]})",
        (low[1], high[1]),
    )


AXES: Final = (
    Axis(
        "side",
        r"(?:directly |somewhere )?(?:to|on) the left of",
        r"(?:directly |somewhere )?(?:to|on) the right of",
        rf"(?:the |in the )?(?:leftmost|(?P<low>{ORDINAL}) (?:\w{{1,12}} )?from the left)",
        rf"(?:the |in the )?(?:rightmost|(?P<high>{ORDINAL}) (?:\w{{1,12}} )?from the right)",
        ("left|leftmost", "right|rightmost"),
    ),
    _compared("age", ("older", "oldest"), ("newer|younger", "newest|youngest")),
    _compared(
        "price",
        ("cheaper|less expensive", "cheapest|least expensive"),
        ("more expensive|costlier", "most expensive|costliest"),
    ),
    _compared("height", ("shorter", "shortest"), ("taller", "tallest")),
    _compared("weight", ("lighter", "lightest"), ("heavier", "heaviest")),
    _compared("speed", ("slower", "slowest"), ("faster", "fastest")),
    _compared("size", ("smaller", "smallest"), ("larger|bigger", "largest|biggest")),
    Axis(
        "rank",
        r"(?:above|ahead of|before)",
        r"(?:below|behind|after)",
        rf"(?:in )?(?P<low>{ORDINAL})(?: place)?(?![ -](?:to|from|in|on|of)\b)",
        rf"(?:in )?(?:(?P<high>{ORDINAL})[ -](?:to|from)[ -])?(?:the )?last(?: place)?",
        ("first|top", "last|bottom"),
    ),
)
