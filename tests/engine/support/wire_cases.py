"""Every fault of the wire, and how a whole supervised run that meets it must end."""

from dataclasses import dataclass

import interwhen
from interwhen import Budgets
from interwhen._types.errors import UnexpectedForm
from interwhen.models import (
    ChatModel,
    CompletionsModel,
    ContextOverflow,
    RateLimited,
    StreamProtocolError,
    UpstreamError,
)
from sums import apply, watch

STORY = ("1+1=2\n", "2+2=4\n", "3+3=6\n")
FIRST, WHOLE = STORY[0], "".join(STORY)
WRONG = "2+2=5\n"
SEPARATORS = "\u2028\u2029\x85\x0b\x0c\x1c\x1d\x1e"


@dataclass(frozen=True, kw_only=True)
class Case:
    """How a run ends that meets the fault once (or as often as the fault is known for)."""

    row: str
    happens: str
    status: str = "verified"
    text: str | None = WHOLE
    reason: str | None = "stop"
    error: type[Exception] | None = None
    posts: int = 1
    reconnects: int = 0
    seconds: float = 0.0
    """Of the virtual clock, to the result."""
    only_virtual: bool = False


def harmless(row, text=WHOLE, **options):
    return Case(row=row, happens="the text is whole", text=text, **options)


def resumed(row, happens="a typed error; the stream is resumed from the last whole token", **options):
    return Case(row=row, happens=happens, posts=2, reconnects=1, **options)


def failed(row, error, happens="the run fails with a typed error; no further request", text="", **options):
    return Case(row=row, happens=happens, status="failed", text=text, reason=None, error=error, **options)


def refused(row, error, happens, text, **options):
    return Case(row=row, happens=happens, status="abstained", text=text, reason=None, error=error, **options)


def cut_short(row, reason, happens, text=FIRST):
    return Case(row=row, happens=happens, status="unverified", text=text, reason=reason)


CASES = {
    "none": harmless("W13"),
    "malformed_json": resumed("W1"),
    "json_scalar": resumed("W2"),
    "json_shape": resumed("W2"),
    "utf8_invalid": resumed("W4"),
    "u2028": harmless("W5", FIRST + SEPARATORS + WHOLE[len(FIRST) :]),
    "u0085": harmless("W5", FIRST + "\x85" + WHOLE[len(FIRST) :]),
    "random_cuts": harmless("W3"),
    "crlf": harmless("W6"),
    "cr": harmless("W6"),
    "mixed_ends": harmless("W6"),
    "no_space": harmless("W7"),
    "comments": harmless("W8"),
    "multiline_data": harmless("W9"),
    "bom": harmless("W10"),
    "huge_chunk": resumed("W28"),
    "no_newline": resumed("W28"),
    "error_event": resumed("W11"),
    "error_event_400": failed("W11", UpstreamError, "a retry cannot help: the run fails with the text kept", FIRST),
    "no_choices": harmless("W12"),
    "usage_only": harmless("W12"),
    "usage_forever": resumed("W20", "counts are no content: the stream is closed and resumed", seconds=25.0),
    "unknown_shape": failed("W13", UnexpectedForm, "a typed error at the first chunk; it is not requested again"),
    "text_null": harmless("W13"),
    "chat_delta": harmless("W13"),
    "two_choices": failed("W14", UnexpectedForm, "a typed error instead of two texts in one; requested once", FIRST),
    "http_400": failed("W15", UpstreamError),
    "http_401": failed("W15", UpstreamError),
    "http_404": failed("W15", UpstreamError),
    "http_422": failed("W15", UpstreamError),
    "http_429": harmless("W15", posts=3, seconds=2.0, only_virtual=True),
    "http_429_long": failed("W15", RateLimited, "longer than the budget allows: the run fails at once"),
    "http_500": harmless("W15", posts=2),
    "http_503": harmless("W15", posts=2),
    "http_503_always": failed(
        "W15", UpstreamError, "the run fails when retries and reconnects are spent", posts=12, reconnects=3
    ),
    "http_400_ctx": failed("W16", ContextOverflow),
    "http_400_ctx_resumed": refused(
        "W16", ContextOverflow, "abstained, with the text that was shown", FIRST, posts=2, reconnects=1
    ),
    "http_307": harmless("W17", posts=2),
    "http_308": harmless("W17", posts=2),
    "http_307_circle": failed("W17", UpstreamError, posts=4),
    "http_307_away": failed("W17", UpstreamError, "prompt and key go to no other host: the run fails"),
    "html_200": failed("W17", UnexpectedForm, "a typed error that shows what came; it is not requested again"),
    "gzip": failed("W29", UnexpectedForm, "refused unread; it is not requested again"),
    "bad_gzip": failed("W29", UnexpectedForm, "refused unread; it is not requested again"),
    "rst_mid": resumed("W18"),
    "eof_mid": resumed("W18"),
    "eof_before": harmless("W18", posts=2),
    "bad_chunk_size": resumed("W29"),
    "stall": resumed("W19", "closed when the timer between tokens runs out, and resumed", seconds=25.0),
    "stall_headers": resumed("W19", "closed when the timer of the first token runs out; another try", seconds=50.0),
    "keepalive_only": resumed("W20", "comments are no content: the stream is closed and resumed", seconds=25.0),
    "slow_drip": harmless("W21", seconds=18.0, only_virtual=True),
    "byte_drip": harmless("W21"),
    "endless": cut_short("W22", "length", "ended by a cap of our own, and never verified", text=None),
    "ignore_cancel": Case(row="W23", happens="closed, repaired and resumed without waiting for the server", posts=2),
    "dup_done": harmless("W24"),
    "done_no_close": harmless("W25"),
    "no_done": cut_short("W26", "truncated", "reported as truncated, and never verified", WHOLE),
    "no_finish": cut_short("W26", "other", "reported, and never verified", WHOLE),
    "finish_length": cut_short("W27", "length", "part of the result, and never verified"),
    "finish_filter": cut_short("W27", "content_filter", "part of the result, and never verified"),
    "finish_abort": cut_short("W27", "other", "part of the result, and never verified"),
    "stall_violation": Case(row="W30", happens="the violation ends the read itself; repaired and resumed", posts=2),
    "violation_then_503": refused(
        "W31",
        UpstreamError,
        "abstained when the retries are spent; text, repair and trace are kept",
        FIRST + "2+2=4",
        posts=13,
        reconnects=3,
    ),
}
"""The random ones, ``mutated`` and ``cut_anywhere``, have tests of their own."""


def open_model(api, base_url, **options):
    if api == "completions":
        return CompletionsModel(base_url, "m", api_key="", **options)
    return ChatModel(base_url, "m", api_key="", resume="prefill", **options)


async def supervised(model, *monitors, **options):
    options = {"budgets": Budgets(characters=2000), **options}
    async with interwhen.run(model, "Q: ", monitors=monitors or [watch()], **options) as run:
        shown = apply([event async for event in run])
    return run, shown


def check(case, run, shown, posts, *, exact=True):
    result = run.result
    assert shown == result.text
    assert result.status == case.status, result
    if case.text is None:
        assert result.text.startswith(WHOLE)
    else:
        assert result.text == case.text
    assert result.finish_reason == case.reason
    assert run.error is None if case.error is None else type(run.error) is case.error
    counts = (result.ledger.reconnects, posts)
    assert counts == (case.reconnects, case.posts) if exact else counts >= (case.reconnects, case.posts)
    if case.status == "verified":
        assert result.certificate.matches(result.text)
        assert len(result.checks) == len(STORY)
    assert isinstance(run.error, StreamProtocolError | UpstreamError) or run.error is None
