"""Budgets: how much a run may spend before it ends."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError

Count = Annotated[int, Meta(ge=0)]


class Budgets(msgspec.Struct, frozen=True):
    """How much a run may spend. When a budget is spent, the run ends as ``abstained``, unless a field says otherwise.

    Raises :class:`~interwhen.UsageError` on a negative value.
    """

    remedies: Count = 16
    """How many violations get a remedy."""
    repeats: Count = 2
    """How often the same words may be refuted at one place of the model's own text, whatever the remedy was, before the
    run counts as not converging. A sample with other words does not count."""
    discarded_tokens: Count = 8192
    """How many tokens may be cut in total."""
    forks: Count = 256
    """How many side inferences may run. Further ones are skipped, and their text stays unverified."""
    reconnects: Count = 3
    """How many broken streams are continued; the next one ends the run as ``failed``. After a stream that broke without
    text, the engine waits as the model's ``retries`` says."""
    characters: Count = 4_000_000
    """The longest trace, in characters. A stream that brings more ends with ``finish_reason="length"``: some servers
    never stop."""
    seconds: Annotated[float, Meta(ge=0)] | None = None
    """Wall time of the whole run, in seconds."""
    failures: Count | None = 5
    """How many checks of one verifier may fail in a row, by an error or a timeout. After that, its checks are skipped
    and their text stays unverified. Now and then one check runs as a trial; a verdict ends the suspension. ``None``: no
    limit."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"budget {name} must not be negative, got {value!r}")
