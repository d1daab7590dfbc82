"""Tokens and times of a run, and what was odd about its connection."""

from __future__ import annotations

import msgspec


class Ledger(msgspec.Struct, frozen=True, gc=False):
    """Every token of a run. ``kept + discarded`` is all that the main stream generated.

    The server's own count is used where it gives one: a chunk may stand for several tokens, and some tokens have no
    text. Otherwise each chunk of text counts as one token.
    """

    kept: int = 0
    """Tokens of the model that are in the returned trace."""
    discarded: int = 0
    """Tokens of the model that were cut, or that came after the stream was closed for a cut."""
    late: int = 0
    """The part of the discarded tokens that came between the violation and the end of the closed stream."""
    fork_tokens: int = 0
    """Tokens that forks generated."""
    fork_prompt_tokens: int = 0
    """Prompt tokens of forks, as the server counted them (0 if it gives no count)."""
    prompt_tokens: int = 0
    """Prompt tokens of all main requests, including resumes, as the server counted them. Servers give the count at the
    end of a stream, so a request that was cut short usually adds nothing here. Its generated tokens are in
    ``discarded`` and ``kept``."""
    cached_tokens: int = 0
    """The part of all prompt tokens that the server took from its prefix cache."""
    requests: int = 0
    """Requests of the main stream: the first one, resumes and reconnects."""
    forks: int = 0
    """Side inferences that were due. If the fork's own parser answered, it cost no token and counts too."""
    remedies: int = 0
    """Violations that led to a rewind or an insertion."""
    reconnects: int = 0
    """Streams that broke and were continued."""
    wasted_tokens: int = 0
    """Tokens that the server may still have generated after we closed a connection, until the run ended: an estimate
    from the rate of each stream, for models opened with ``max_orphans``. 0 if the server is known to stop."""
    inserted_chars: int = 0
    """Characters of the returned trace that we wrote (repairs and feedback)."""
    offline_tokens: int = 0
    """All tokens that were spent in advance on the items that this run used, and on the items they were made from."""
    offline_share: float = 0.0
    """This run's part of them: each item's tokens are divided among all runs that have used it so far."""

    @property
    def total_tokens(self) -> int:
        """All tokens that were generated for this run: kept, discarded, forks and offline."""
        return self.kept + self.discarded + self.fork_tokens + self.offline_tokens


class Offline(msgspec.Struct, frozen=True, gc=False):
    """The prepared items that a run used."""

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
    """For how long. A lower bound for verifiers with ``worker="async"`` and for other code."""
    where: str = ""
    """The innermost functions (under Python 3.11: the task), with file and line, if they were seen in time."""


class Timing(msgspec.Struct, frozen=True, gc=False):
    """Times of a run, in seconds on the clock of the event loop."""

    total: float = 0.0
    first_token: float | None = None
    """From the start of the run to the first text of the model."""
    largest_gap: float = 0.0
    """The longest time between two arrivals of text within one request."""
    tail: float = 0.0
    """From the end of the (last) stream to the result: waiting for open checks."""
    paused: float = 0.0
    """From each violation to the first text after its remedy, summed."""
    checking: float = 0.0
    """The sum of the times of all checks. They run while the stream goes on."""
    close_latency: tuple[float, ...] = ()
    """For each interrupt, from the verdict to the closed stream."""
    blocked_loop: tuple[BlockedLoop, ...] = ()
    """Code that blocked the event loop for longer than 20 ms (``Workers(blocked_loop_after=...)``): the 16 longest, in
    order of time."""


# What was odd about the connection to the model: no fault on it is silent.


class SkippedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the stream that could not be read and was left out, as the model's options say."""

    offset: int
    """Where it began, in bytes of the body of its response."""
    sample: str
    """Its first 200 bytes, escaped to ASCII."""
    why: str


class WireReport(msgspec.Struct, frozen=True):
    """Oddities on the wire that did not stop the run; all zero if there were none."""

    skipped_events: int = 0
    """Events that were left out (``malformed="skip"``): text may be missing in their place."""
    skipped: tuple[SkippedEvent, ...] = ()
    """The first of them."""
    replaced_events: int = 0
    """Events with invalid UTF-8, whose bad bytes were replaced by U+FFFD (``malformed="skip"``)."""
    bytes_after_end: int = 0
    """Bytes after the end mark of a stream, up to the end of the run; they are not read."""
    slow_seconds: float = 0.0
    """For how long the model was slower than ``Timeouts.min_rate``."""
    slowest_rate: float | None = None
    """The lowest rate in these times, in tokens per second."""
