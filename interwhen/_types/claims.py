"""Claims: pieces of checkable state, tied to the trace."""

from __future__ import annotations

from dataclasses import dataclass

from interwhen._types.spans import Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A piece of checkable state that an extractor read from the trace.

    Subclass it with the fields that your verifier needs. Two claims with the same ``key`` and the same text must get
    the same verdict, wherever they stand: the verdict is computed once and reused.
    """

    key: str
    """Identifies the claim: everything that the verdict depends on, in a normal form."""
    span: Span | None
    """Where the claim stands in the trace. ``None``: the place is not known, and the claim never interrupts."""
