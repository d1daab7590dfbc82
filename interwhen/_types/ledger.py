"""Where every token and every second of a run went."""

from __future__ import annotations

import msgspec


class Ledger(msgspec.Struct, frozen=True, gc=False):
    """Every token of a run. ``kept + discarded`` is all that the main stream generated.

    Where the server counts, its own count holds: a chunk may stand for several tokens, and some tokens are no text.
    Elsewhere a chunk of text is a token.
    """

    kept: int = 0
    """Tokens of the model that stand in the returned trace."""
    discarded: int = 0
    """Tokens of the model that were cut, or that came after a cut had been decided."""
    late: int = 0
    """Of the discarded ones, those that came after the violation was found and before the stream closed."""
    fork_tokens: int = 0
    """Tokens that forks generated."""
    fork_prompt_tokens: int = 0
    """Prompt tokens of forks, as the server counted them (0 where it does not say)."""
    prompt_tokens: int = 0
    """Prompt tokens of all main requests, resumes included, as the server counted them. Servers count at the end of
    a stream, so a request that was cut short usually adds nothing here; its generated tokens are in ``discarded``
    and ``kept`` all the same."""
    cached_tokens: int = 0
    """Of all prompt tokens, those the server took from its prefix cache."""
    requests: int = 0
    """Requests of the main stream: the first one, resumes and reconnects."""
    forks: int = 0
    """Side inferences that were due; those that a fork's own parser answered are among them, and cost no token."""
    remedies: int = 0
    """Interrupts that led to a rewind or an insertion."""
    reconnects: int = 0
    """Streams that broke and were taken up again."""
    wasted_tokens: int = 0
    """Tokens that the server may have generated for nobody until the run ended, behind connections that were closed
    early: an estimate from the rate of each stream, for models opened with ``max_orphans``. 0 where the server is
    trusted to stop, or has acknowledged that it did."""
    inserted_chars: int = 0
    """Characters of the returned trace that we wrote (repairs and feedback)."""
    offline_tokens: int = 0
    """Tokens that were ever spent ahead of time on what this run used, and on what that was made from, in full."""
    offline_share: float = 0.0
    """The part of them that falls on this run: each item's tokens are shared by all runs that have used it so far."""

    @property
    def total_tokens(self) -> int:
        """Every token that was generated for this run: kept, discarded, forks and offline."""
        return self.kept + self.discarded + self.fork_tokens + self.offline_tokens


class Offline(msgspec.Struct, frozen=True, gc=False):
    """What a run used that was prepared before it began."""

    items: tuple[str, ...] = ()
    """The names of the items."""
    tokens: int = 0
    """As :attr:`Ledger.offline_tokens`."""
    share: float = 0.0
    """As :attr:`Ledger.offline_share`."""


class BlockedLoop(msgspec.Struct, frozen=True, gc=False):
    """Code that blocked the event loop: meanwhile no text could be read and no check could end."""

    what: str
    """``verifier 'x'``, ``extractor of 'y'`` (a monitor's parser), or ``other code`` on the same loop."""
    seconds: float
    """For how long; for verifiers with ``worker="async"`` and for other code, at least."""
    where: str = ""
    """The innermost functions (under Python 3.11: the task), with file and line, where somebody looked in time."""


class Timing(msgspec.Struct, frozen=True, gc=False):
    """Where the time of a run went, in seconds on the clock of the event loop."""

    total: float = 0.0
    first_token: float | None = None
    """From the start of the run to the first text of the model."""
    largest_gap: float = 0.0
    """The longest wait between two arrivals of text, within one request."""
    tail: float = 0.0
    """From the end of the (last) stream to the result: waiting for open checks."""
    paused: float = 0.0
    """From finding a violation to the first text after its remedy, summed."""
    checking: float = 0.0
    """Time spent in checks, summed over all of them; they run beside the stream."""
    close_latency: tuple[float, ...] = ()
    """For each interrupt, from the verdict to the closed stream."""
    blocked_loop: tuple[BlockedLoop, ...] = ()
    """Code that blocked the event loop for longer than 20 ms (``Workers(blocked_loop_after=...)``): the 16 longest, in
    order of time."""


# What was odd about the way to the model: nothing that went wrong on it is silent.


class SkippedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the stream that could not be read and was left out, because the model was opened to do so."""

    offset: int
    """Where it began, in bytes of the body of its response."""
    sample: str
    """Its first 200 bytes, escaped to ASCII."""
    why: str


class WireReport(msgspec.Struct, frozen=True):
    """What came over the wire and did not stop the run; all zero where nothing was odd."""

    skipped_events: int = 0
    """Events that were left out (``malformed="skip"``): text may be missing where they stood."""
    skipped: tuple[SkippedEvent, ...] = ()
    """The first of them."""
    replaced_events: int = 0
    """Events with invalid UTF-8, whose bad bytes were replaced by U+FFFD (``malformed="skip"``)."""
    bytes_after_end: int = 0
    """Bytes behind the end mark of a stream that had come by the end of the run; their content is not looked at."""
    slow_seconds: float = 0.0
    """For how long the model was waited for while it was slower than ``Timeouts.min_rate``."""
    slowest_rate: float | None = None
    """The lowest rate of those times, in tokens a second."""
