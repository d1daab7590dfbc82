"""What the signs and colours of the view mean."""

from __future__ import annotations

from rich.text import Text

from interwhen.cli.signs import AHEAD, FEEDBACK, GHOST, REPAIR, STYLES, Signs


def legend(signs: Signs) -> Text:
    """Return one line for each sign."""
    left, right = signs.quotes
    rows = (
        (f" {signs.passed} ", STYLES["passed"], "a verifier checked what this line claims, and it is right"),
        (f" {signs.open} ", AHEAD, "not checked yet, or being checked right now"),
        (f" {signs.violated} ", STYLES["violated"], "a verifier found a mistake"),
        (f" {signs.unproven} ", STYLES["unproven"], "a check came to no verdict"),
        (f"{signs.ghost[0]}25{signs.ghost[1]}", GHOST, "was written by the model and has been taken back"),
        (f"{left}24{right}", REPAIR, "was written by interwhen in its place"),
        (f"{left}Wait{right}", FEEDBACK, "was said to the model by interwhen"),
    )
    lines = (Text.assemble("  ", (f"{sign:<8}", style), meaning) for sign, style, meaning in rows)
    return Text("\n").join(lines)
