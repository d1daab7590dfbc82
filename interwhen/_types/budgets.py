"""Budgets: how much a run may spend."""

from __future__ import annotations

import msgspec

from interwhen._types.vetting import Amount, Count, vet


class Budgets(msgspec.Struct, frozen=True):
    """How much a run may spend. Raises :class:`~interwhen.UsageError` on wrong values.

    A run that needs more than a budget usually ends as ``abstained``; the field says what else may follow.
    """

    remedies: Count = 16
    """The largest number of remedies after which the model continues."""
    repeats: Count = 3
    """How often a monitor that interrupts may refute the same words at the same place. After one more refutation, the
    run does not converge, and this budget is spent. All tool calls that the monitor refuses with feedback count as the
    same words. With the remedy ``Auto``, the same words elsewhere in the answers may count, too; with ``Conclude``,
    refutations do not count."""
    discarded_tokens: Count = 8192
    """How many tokens of the model may be discarded in total. Cuts without a remedy count, too, but only remedies are
    refused for this budget."""
    prompt_tokens: Count | None = 1_000_000
    """How many prompt tokens the requests of the main stream may have together, with cached and estimated ones. Only
    remedies are refused for this budget. ``None``: no limit."""
    forks: Count = 256
    """The largest number of forks. Further forks are skipped, and ``Monitor.on_error`` decides what follows."""
    reconnects: Count = 3
    """How often the run reconnects after its stream broke or its request failed. A request after a remedy or a break
    has one more try, whatever this budget is. A further failure, or one that another try cannot mend, ends the run: as
    ``abstained`` if such a request failed and the reader has seen text, otherwise usually as ``failed``."""
    characters: Count = 4_000_000
    """If the trace is longer than this number of characters, the stream is closed at its next text, and counts as ended
    with ``finish_reason="length"``."""
    seconds: Amount | None = None
    """The wall time, in seconds from its start, after which the run ends; ``None``: no limit."""
    failures: Count | None = 5
    """After this many failures in a row (errors or timeouts), a verifier is suspended: most of its checks are skipped,
    and ``Monitor.on_error`` decides what follows. From time to time one check runs as a trial; a verdict ends the
    suspension. ``None``: no limit."""

    def __post_init__(self) -> None:
        vet(self)
