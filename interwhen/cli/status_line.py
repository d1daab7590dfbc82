"""The one line that says how a run is going."""

from __future__ import annotations

from rich.text import Text

from interwhen.cli.signs import REPAIR, STYLES, Signs
from interwhen.cli.view_state import Mood, ViewState

_MOODS: dict[Mood, str] = {
    "starting": "starting the model",
    "streaming": "streaming",
    "remedying": "remedying",
    "reconnecting": "reconnecting",
    "settling": "waiting for checks",
    "finished": "finished",
}


def status_line(state: ViewState, seconds: float, signs: Signs) -> Text:
    """Return how *state* stands *seconds* after the start."""
    rate = state.tokens / seconds if seconds > 0 else 0.0
    line = Text.assemble(
        (f" {_MOODS[state.mood]}", "bold"),
        f"  {state.tokens} tokens  {rate:.0f}/s  {seconds:.1f} s",
        (f"  {signs.bar}  ", "dim"),
        (f"{signs.open} {len(state.checking)} open", STYLES["open"] if state.checking else "dim"),
        "  ",
        (f"{signs.passed} {state.passed} passed", STYLES["passed"] if state.passed else "dim"),
    )
    for sign, count, word, style in (
        (signs.unproven, state.unproven, "unproven", STYLES["unproven"]),
        (signs.violated, len(state.violations), "violations", STYLES["violated"]),
        (signs.wrote, state.remedies, "remedied", REPAIR),
    ):
        if count:
            line.append("  ").append(f"{sign} {count} {word}", style=style)
    line.no_wrap, line.overflow = True, "ellipsis"
    return line
