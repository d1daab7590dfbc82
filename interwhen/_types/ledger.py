"""Records about a run: its tokens, its times, and the irregularities of its connection."""

from __future__ import annotations

from typing import Literal

import msgspec


class ResumeCost(msgspec.Struct, frozen=True, gc=False):
    """The cost of one request that continued kept text, after a cut or a reconnect."""

    request: int
    """The number of the request of the main stream. The first request, which does not continue text, has number 1."""
    prompt_tokens: int | None = None
    """The tokens of the prompt with the kept text, as the server counted them. ``None``: no count arrived."""
    cached_tokens: int | None = None
    """The part of ``prompt_tokens`` that the server took from its prefix cache; ``None`` as for ``prompt_tokens``."""
    first_token: float | None = None
    """The time from the request to its first text, in seconds; ``None``: no text came."""

    @property
    def uncached_tokens(self) -> int | None:
        """The tokens of the prompt that the server had to read again; ``None`` if a count is not known."""
        if self.prompt_tokens is None or self.cached_tokens is None:
            return None
        return max(self.prompt_tokens - self.cached_tokens, 0)

    @property
    def cached_share(self) -> float | None:
        """``cached_tokens`` divided by ``prompt_tokens``; ``None`` if a count is not known or the prompt is empty."""
        if not self.prompt_tokens or self.cached_tokens is None:
            return None
        return min(self.cached_tokens / self.prompt_tokens, 1.0)


class Ledger(msgspec.Struct, frozen=True, gc=False):
    """Counts the tokens of a run or of a call with a strategy, as far as they are known.

    Generated tokens are counted by the server's ``usage`` if it sends one. If not, the count is an estimate: usually
    one token for each chunk of text. ``kept + discarded`` is the total of the main streams.
    """

    kept: int = 0
    """Tokens of the model that are in the returned trace."""
    discarded: int = 0
    """Generated tokens that are not in the returned trace; with a strategy, those of other samples, too."""
    late: int = 0
    """The part of ``discarded`` that was received or counted after the run had decided to close the stream or end."""
    fork_tokens: int = 0
    """Tokens that forks generated, as the server counted them (0 if it gives no count)."""
    fork_prompt_tokens: int = 0
    """Prompt tokens of forks, as the server counted them (0 if it gives no count)."""
    prompt_tokens: int = 0
    """Prompt tokens of the main requests, including resumes: the server's count, or the number of token ids that were
    sent. Most interrupted requests have no count."""
    estimated_prompt_tokens: int = 0
    """An estimate of the prompt tokens of the main requests without a count."""
    cached_tokens: int = 0
    """Prompt tokens that the server took from its prefix cache, of main requests and forks."""
    reasoning_tokens: int = 0
    """Tokens of reasoning, as the server counted them. Most servers count them as generated tokens, too."""
    requests: int = 0
    """Requests of the main stream: the first one, resumes and reconnects. A run counts those that the server
    accepted."""
    forks: int = 0
    """Forks that the run ordered, also if the parser ``Fork.local`` then found the claims."""
    remedies: int = 0
    """Remedies after which the run continued."""
    reconnects: int = 0
    """How often the run tried again after its stream broke or its request failed."""
    wasted_tokens: int = 0
    """An estimate of the tokens that the server generated after we closed a connection, for models opened with
    ``max_orphans``. With a strategy, also tokens that arrived beyond its budget."""
    inserted_chars: int = 0
    """Characters of the returned trace that we wrote, such as repairs and feedback."""
    offline_tokens: int = 0
    """All tokens that were spent in advance on the items that this run used, and on the items they were made from."""
    offline_share: float = 0.0
    """This run's share of ``offline_tokens``. The tokens of each item are divided by the number of runs that have used
    the item so far."""

    probe_tokens: int = 0
    """Tokens, prompts included, of the probe that found out how the endpoint continues kept text. 0 if there was no
    probe, or if it generated no token."""
    resumes: tuple[ResumeCost, ...] = ()
    """The cost of each request that continued kept text, in order."""

    @property
    def total_tokens(self) -> int:
        """The sum of the kept, discarded, fork and offline tokens."""
        return self.kept + self.discarded + self.fork_tokens + self.offline_tokens

    @property
    def total_prompt_tokens(self) -> int:
        """The sum of the prompt tokens: counted ones, estimated ones, and those of forks."""
        return self.prompt_tokens + self.estimated_prompt_tokens + self.fork_prompt_tokens


ContextPart = Literal["answer", "facts", "passages", "none", "unavailable"]
"""What a run used of a prepared context. ``answer``: a stored answer. ``facts``: prepared text before the question,
which a serving policy of your own put there. ``passages``: only pieces of the text before the question. ``none``:
nothing fitted the question. ``unavailable``: the context could not be read, or is not current."""


class ContextUse(msgspec.Struct, frozen=True, gc=False):
    """The prepared context of a run, and what the run used of it."""

    name: str
    used: ContextPart
    why: str = ""
    """Why nothing was used; empty if something was."""


class Offline(msgspec.Struct, frozen=True, gc=False):
    """The prepared items that a run used."""

    items: tuple[str, ...] = ()
    tokens: int = 0
    """See :attr:`Ledger.offline_tokens`."""
    share: float = 0.0
    """See :attr:`Ledger.offline_share`."""
    context: ContextUse | None = None
    """``None``: the run had none, or the context did not say."""


class BlockedLoop(msgspec.Struct, frozen=True, gc=False):
    """Code that blocked the event loop, so that no text could be read during that time."""

    what: str
    """``verifier 'x'``, ``extractor of 'y'`` (a monitor's parser), or ``other code`` on the same loop."""
    seconds: float
    """The blocked time, in seconds: measured for inline checks and extractors, and estimated for other code."""
    where: str = ""
    """The innermost functions, with file and line, as far as they are known; may be empty."""


class Timing(msgspec.Struct, frozen=True, gc=False):
    """The times of a run (``result.timing``), in seconds on the clock of the event loop."""

    total: float = 0.0
    """The time from the start of the run to the result."""
    first_token: float | None = None
    """The time from the start of the run to the first text of the model; ``None``: no text came."""
    largest_gap: float = 0.0
    """The longest time between two arrivals of text within one request, without the time in which the reader of the
    run was busy."""
    tail: float = 0.0
    """The time from the end of the last stream to the result, spent waiting for open checks; 0 if that stream broke or
    was interrupted."""
    paused: float = 0.0
    """The time from each close of the stream by the run (most often for a violation) to the next text, summed."""
    checking: float = 0.0
    """The sum of the times of the checks on the returned trace. Checks run in parallel with the stream."""
    close_latency: tuple[float, ...] = ()
    """For each stream that the run closed (most often for a violation), the time from that decision to the closed
    stream."""
    blocked_loop: tuple[BlockedLoop, ...] = ()
    """Code that blocked the event loop for longer than ``Workers(blocked_loop_after=...)``: at most 16 cases, the
    longest."""
    starved: float = 0.0
    """For how long, as far as was measured, the machine did not run this process although it had work: other processes
    had the CPUs, or a CPU quota was used up. The deadlines of checks do not count this time, up to three times their
    length. 0 without ``Workers(blocked_loop_after=...)``."""
    cluster_away: str = ""
    """Why checks ran on this machine, although their place was on a cluster (``workers="ray"``); empty: none did."""


# Irregularities of the connection to the model: each one is reported.


class SkippedEvent(msgspec.Struct, frozen=True, gc=False):
    """An event of the stream that could not be parsed and was skipped (model option ``malformed="skip"``)."""

    offset: int
    """The start of the event, in bytes from the start of the response body."""
    sample: str
    """The first 200 bytes of the event, escaped to ASCII."""
    why: str


class WireReport(msgspec.Struct, frozen=True):
    """Irregularities of the connection that did not stop the run. All fields have their defaults if there were none."""

    skipped_events: int = 0
    """The text of these events is missing in the trace."""
    skipped: tuple[SkippedEvent, ...] = ()
    """The first skipped events, at most 16."""
    replaced_events: int = 0
    """The number of events with invalid UTF-8, whose bad bytes were replaced by U+FFFD (``malformed="skip"``)."""
    bytes_after_end: int = 0
    """The number of bytes that arrived after the end mark of a stream. They are ignored."""
    slow_seconds: float = 0.0
    """The time, in seconds, in which the model was slower than ``Timeouts.min_rate``."""
    slowest_rate: float | None = None
    """The lowest rate measured in that time, in tokens per second."""
