"""Budgets: how much a run may spend."""

from __future__ import annotations

import math
from typing import Annotated

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError

Count = Annotated[int, Meta(ge=0)]
_OPTIONAL = ("prompt_tokens", "seconds", "failures")
"""The budgets that may be ``None``."""


class Budgets(msgspec.Struct, frozen=True):
    """How much a run may spend. When a budget is spent, the run ends as ``abstained``, unless a field says otherwise.

    If ``remedies``, ``repeats`` or ``discarded_tokens`` is spent, the remedy ``Auto(end="unverified")`` leaves the
    refuted text in place instead (in a monitor that does not hold text back). If a budget forbids the remedy
    ``Conclude``, the reasoning continues. Raises :class:`~interwhen.UsageError` on a negative value, and on a value of
    another type.
    """

    remedies: Count = 16
    """The largest number of remedies after which the model continues."""
    repeats: Count = 3
    """How often a monitor may refute the same words at the same position in the model's text. After one more refutation
    the run ends: it does not converge. This holds for every remedy but ``Conclude``. A new sample with other words does
    not count."""
    discarded_tokens: Count = 8192
    """How many tokens of the model may be discarded in total. Only remedies are refused for this budget: other cuts,
    such as those at the end of a run with gates, count but are not refused."""
    prompt_tokens: Count | None = 1_000_000
    """How many prompt tokens all requests of the main stream may have together. The request after a
    remedy sends the prompt and the kept text again. Cached tokens count, and so do estimates
    (``Ledger.estimated_prompt_tokens``). Only remedies are refused for this budget, not the first request and
    reconnects. ``None``: no limit."""
    forks: Count = 256
    """The largest number of forks. Further forks are skipped, and their segments stay unproven: ``Monitor.on_error``
    decides whether the run continues."""
    reconnects: Count = 3
    """How often the run reconnects after its stream broke or its request failed. A further failure, before the model
    has finished, ends the run as ``failed``; an error that another try cannot mend does so at once. If the stream had
    sent no text (and no timeout broke it), or the server asks for it, the run first waits, as the model's ``retries``
    say."""
    characters: Count = 4_000_000
    """If the trace is longer than this number of characters, the stream is closed at its next text, and counts as ended
    with ``finish_reason="length"``, because some servers never stop."""
    seconds: Annotated[float, Meta(ge=0)] | None = None
    """The wall time, in seconds from its start, after which the run ends; ``None``: no limit."""
    failures: Count | None = 5
    """After this many failures in a row (errors or timeouts), a verifier is suspended: its checks are skipped, and
    their text stays unproven, as after an error (``Monitor.on_error``). From time to time one check runs as a trial; if
    it returns a verdict, the suspension ends. ``None``: no limit."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            is_float = name == "seconds" and type(value) is float and not math.isnan(value)
            if not is_float and type(value) is not int:
                kind = "number" if name == "seconds" else "whole number"
                raise UsageError(f"Budgets: {name} must be a {kind}, got {value!r}; give 0 or more")
            if value < 0:
                raise UsageError(f"Budgets: {name} must not be negative, got {value!r}; give 0 or more")
