"""Budgets: how much a run may spend before it ends."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError

Count = Annotated[int, Meta(ge=0)]


class Budgets(msgspec.Struct, frozen=True):
    """How much a run may spend. When a budget is spent, the run ends as ``abstained``, unless a field says otherwise.

    With the remedy ``Auto(end="unverified")``, the refuted text stays instead, if ``remedies``, ``repeats`` or
    ``discarded_tokens`` is spent; with ``Conclude``, the reasoning continues. Raises :class:`~interwhen.UsageError` on
    a negative value.
    """

    remedies: Count = 16
    """The largest number of remedies."""
    repeats: Count = 3
    """How often a monitor may refute the same words at the same position in the model's text. After one more refutation
    the run ends: it does not converge. The kind of remedy does not matter. A new sample with other words does not
    count."""
    discarded_tokens: Count = 8192
    """How many tokens of the model may be cut from the trace in total."""
    prompt_tokens: Count | None = 1_000_000
    """How many prompt tokens all requests of the main stream may have together. Each remedy sends the prompt and the
    kept text again. Cached tokens count, and so do estimates (``Ledger.estimated_prompt_tokens``). ``None``: no limit.
    """
    forks: Count = 256
    """The largest number of forks. Further forks are skipped, and their segments stay unverified."""
    reconnects: Count = 3
    """How often the run reconnects after its stream broke. The next break ends the run as ``failed``. If the broken
    stream had sent no text, the engine first waits; the model's ``retries`` sets the pause."""
    characters: Count = 4_000_000
    """The longest trace, in characters. The engine closes a stream that sends more, with ``finish_reason="length"``,
    because some servers never stop."""
    seconds: Annotated[float, Meta(ge=0)] | None = None
    """The longest wall time of the whole run, in seconds; ``None``: no limit."""
    failures: Count | None = 5
    """After this many failures in a row (errors or timeouts), a verifier is suspended: its checks are skipped, and
    their text stays unverified. From time to time one check runs as a trial; if it returns a verdict, the suspension
    ends. ``None``: no limit."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"Budgets: {name} must not be negative, got {value!r}; give 0 or more")
