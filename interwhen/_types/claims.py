"""Claims: statements in the trace that can be checked."""

from __future__ import annotations

from dataclasses import dataclass

from interwhen._types.spans import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A statement that an extractor found in the trace and that a verifier can check.

    Subclass it, and add the fields that your verifier needs. Two claims with the same ``key`` and the same text must
    get the same verdict at every position in the trace, because interwhen computes the verdict once and reuses it.
    """

    key: str
    """Identifies the claim. It must contain, in a normal form, everything that the verdict depends on."""
    span: Span | None
    """The position of the claim in the trace. ``None``: the position is not known, and the claim never interrupts."""
    premises: tuple[Span, ...] = ()
    """The positions of the earlier text that the claim rests on. If the claim is in the answer and is refuted, the
    remedy :class:`~interwhen.Auto` may cut the trace back to them. They do not affect the verdict."""
