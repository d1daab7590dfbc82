"""The release rule: what the end of a due check means for the text or the call that was checked.

One table and one pure function. The same table stands in docs/release.md, and a test compares the two.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias

from interwhen.failing import Ending, OnError, Retry
from interwhen.monitors import Delivery
from interwhen.verdicts import Judged, Outcome, Pass, Unknown, Violation

Kind = Literal["pass", "unknown", "failure", "violation"]
"""How a check ended. ``failure``: it raised, timed out, lost its worker, was cancelled or skipped, or its extractor or
``prepare`` failed, so that there is no verdict."""
Way = Literal["gating", "live", "observe"]
"""How a monitor delivers: it holds text back until its checks ended, it shows text at once, or it changes nothing."""
Fate = Literal["released", "shown", "held", "retracted"]
"""``released``: a gate lets it through. ``shown``: it has been shown already, and stays. ``held``: it is never shown.
``retracted``: it has been shown, and is taken back."""


class Rule(NamedTuple):
    """What follows: ``fate``, unless the monitor's *option* has *value*: then ``otherwise``."""

    fate: Fate
    option: Literal["unproven", "on_error"] | None = None
    value: Ending | None = None
    otherwise: Fate | None = None


Table: TypeAlias = Mapping[tuple[Kind, Way], Rule]

TABLE: Table = {
    ("pass", "gating"): Rule("released"),
    ("pass", "live"): Rule("shown"),
    ("pass", "observe"): Rule("shown"),
    ("unknown", "gating"): Rule("released", "unproven", "closed", "held"),
    ("unknown", "live"): Rule("shown", "unproven", "closed", "retracted"),
    ("unknown", "observe"): Rule("shown"),
    # A gate that opens when its verifier breaks is no gate: whoever can break the verifier decides what passes.
    ("failure", "gating"): Rule("held", "on_error", "open", "released"),
    ("failure", "live"): Rule("shown", "on_error", "closed", "retracted"),
    ("failure", "observe"): Rule("shown"),
    ("violation", "gating"): Rule("held"),
    ("violation", "live"): Rule("retracted"),
    ("violation", "observe"): Rule("shown"),
}
"""The release rule. Where text is ``held`` or ``retracted`` for a violation, the remedy follows; for anything else, the
run ends as ``abstained``."""

_WAYS: Mapping[Delivery, Way] = {
    "observe": "observe",
    "interrupt": "live",
    "gate": "gating",
    "gate_tools": "gating",
    "final": "gating",
}

_KINDS: Mapping[type, Kind] = {Pass: "pass", Unknown: "unknown", Violation: "violation"}


def kind_of(outcome: Outcome) -> Kind:
    """Return how a check with *outcome* ended. What is no verdict has not been one, whatever it is called."""
    return _KINDS.get(type(outcome.verdict), "failure") if isinstance(outcome, Judged) else "failure"


def way_of(delivery: Delivery) -> Way:
    """Return how a monitor with *delivery* treats its text."""
    return _WAYS[delivery]


def gates(delivery: Delivery) -> bool:
    """Tell whether *delivery* holds something back: text, calls or the answer."""
    return _WAYS[delivery] == "gating"


def fate_of(kind: Kind, way: Way, *, unproven: Ending = "open", on_error: OnError = None) -> Fate:
    """Return what becomes of text of which a check ended as *kind*, under the options of its monitor."""
    rule = TABLE[kind, way]
    if rule.option is None or rule.otherwise is None:
        return rule.fate
    value = unproven if rule.option == "unproven" else _at_last(unproven, on_error)
    return rule.otherwise if value == rule.value else rule.fate


def _at_last(unproven: Ending, on_error: OnError) -> Ending | None:
    """Return what a failure means once it is not tried again; ``None``: as the delivery says.

    A monitor that is closed to what its verifier cannot tell is closed to a verifier that fails, too.
    """
    policy = on_error.then if isinstance(on_error, Retry) else on_error
    return policy or ("closed" if unproven == "closed" else None)
