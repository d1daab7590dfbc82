"""Budgets: how much a run may spend before it gives up."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError

Count = Annotated[int, Meta(ge=0)]


class Budgets(msgspec.Struct, frozen=True):
    """What a run may spend. Running out is never a pass: the run ends as ``abstained``, unless a field says otherwise.

    Raises :class:`~interwhen.UsageError` on a negative value.
    """

    remedies: Count = 16
    """Interrupts that are remedied."""
    repeats: Count = 2
    """How often the same words may be refuted at one place of the model's own text, whatever was done about them,
    before the run counts as not converging. Samples that differ are no repetition."""
    discarded_tokens: Count = 8192
    """Tokens that may be cut, in all."""
    forks: Count = 256
    """Side inferences; further ones are skipped, which leaves their text unverified."""
    reconnects: Count = 3
    """Broken streams that are taken up again; the next one ends the run as ``failed``. Those that break without having
    brought text are spaced by the waits of the model's ``retries``."""
    characters: Count = 4_000_000
    """Characters of the standing trace. A stream that brings more is ended as one that ran into its length limit
    (``finish_reason="length"``), for servers that know no end."""
    seconds: Annotated[float, Meta(ge=0)] | None = None
    """Wall time of the whole run."""
    failures: Count | None = 5
    """Checks of one verifier that may fail in a row (by an error or a timeout). Its further checks are skipped, which
    leaves their text unverified, but for a trial now and then; a trial that comes to a verdict ends that. ``None``:
    no limit."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if value is not None and value < 0:
                raise UsageError(f"budget {name}={value!r} is negative")
