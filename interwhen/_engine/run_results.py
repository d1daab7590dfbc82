"""Builds the result of a run, logs it, and formats it as a line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

import msgspec

from interwhen._core.machine import WRITTEN_AS_TEXT
from interwhen._core.messages import RunSummary
from interwhen._engine.jobs import ForkMeter
from interwhen._types import __version__
from interwhen._types.ledger import BlockedLoop, Ledger, Offline, ResumeCost, Timing, WireReport
from interwhen._types.log import log_info, log_warning
from interwhen._types.models import Usage
from interwhen._types.results import (
    Abstained,
    Failed,
    Result,
    Unverified,
    Verified,
)
from interwhen._types.segments import quote


def _cost(request: int, first_token: float | None, usage: Usage | None) -> ResumeCost:
    usage = usage or Usage()
    return ResumeCost(request, usage.prompt_tokens, usage.cached_tokens, first_token)


def build_result(
    summary: RunSummary,
    *,
    model: str,
    requests: int,
    usages: Mapping[int, Usage],
    resumes: Sequence[tuple[int, float | None]],
    probe_tokens: int,
    unread: int,
    forks: ForkMeter,
    timing: Timing,
    blocked_loop: tuple[BlockedLoop, ...],
    starved: float,
    wire: WireReport,
    wasted: int,
    offline: Offline,
) -> Result:
    """Return the public result for *summary*.

    *usages* has the server's token counts by request number. *resumes* has the number of each request that continued
    text, and the seconds until its first text. *unread* is the number of tokens after the end of the run, in the same
    read.
    """
    common: dict[str, Any] = {
        name: getattr(summary, name)
        for name in ("text", "reasoning", "answer", "finish_reason", "checks", "violations", "insertions", "resume")
    }
    common["numbers"] = summary.numbers
    common["hidden_reasoning"] = summary.hidden_reasoning
    if summary.status in ("abstained", "failed"):
        common["upstream_status"] = summary.upstream_status
    common["ledger"] = Ledger(
        kept=summary.kept,
        discarded=summary.discarded + unread,
        late=summary.late + unread,
        fork_tokens=forks.tokens,
        fork_prompt_tokens=forks.prompt_tokens,
        prompt_tokens=sum(usage.prompt_tokens or 0 for usage in usages.values()),
        estimated_prompt_tokens=summary.estimated_prompt_tokens,
        cached_tokens=sum(usage.cached_tokens or 0 for usage in usages.values()) + forks.cached_tokens,
        reasoning_tokens=sum(usage.reasoning_tokens or 0 for usage in usages.values()),
        requests=requests,
        forks=summary.forks,
        remedies=summary.remedies,
        reconnects=summary.reconnects,
        wasted_tokens=wasted,
        inserted_chars=sum(len(insertion.span) for insertion in summary.insertions),
        offline_tokens=offline.tokens,
        offline_share=offline.share,
        probe_tokens=probe_tokens,
        resumes=tuple(_cost(number, seconds, usages.get(number)) for number, seconds in resumes),
    )
    common["precomputed"], common["context"] = offline.items, offline.context
    common["timing"] = msgspec.structs.replace(
        timing,
        checking=sum(record.seconds for record in summary.checks),
        blocked_loop=blocked_loop,
        starved=starved,
    )
    common["wire"] = wire
    match summary.status:
        case "verified":
            assert summary.certificate is not None
            assert not summary.unverified_reasons
            certificate = msgspec.structs.replace(summary.certificate, model=model, interwhen=__version__)
            return Verified(**common, certificate=certificate)
        case "unverified":
            return Unverified(**common, unverified_reasons=summary.unverified_reasons)
        case "abstained":
            return Abstained(**common, reason=summary.reason, unverified_reasons=summary.unverified_reasons)
        case "failed":
            return Failed(**common, error=summary.reason, unverified_reasons=summary.unverified_reasons)
        case _:
            assert_never(summary.status)


PARSER_HINT = "start the server with the tool call parser of the model, or pass no tools"


def log_result(result: Result) -> None:
    log_info(
        "run.finished",
        status=result.label,
        **({} if result.upstream_status is None else {"upstream_status": result.upstream_status}),
        characters=len(result.text),
        checks=len(result.checks),
        remedies=result.ledger.remedies,
        kept=result.ledger.kept,
        discarded=result.ledger.discarded,
        forks=result.ledger.forks,
        seconds=round(result.timing.total, 3),
        **({"starved": round(result.timing.starved, 3)} if result.timing.starved else {}),
    )
    reasons = result.unverified_reasons if isinstance(result, Unverified | Abstained | Failed) else ()
    misplaced = sum(reason.why.startswith(WRITTEN_AS_TEXT) for reason in reasons)
    if misplaced:
        log_warning("tool_call.written_as_text", calls=misplaced, hint=PARSER_HINT)


_SHOWN = 3


def result_line(result: Result) -> str:
    parts = [f"{len(result.checks)} checks"]
    violations = [
        f"{one.monitor}: {quote(one.why, 100)} ({one.remedy or ('not interrupted', 'no remedy')[one.interrupted]})"
        for one in result.violations[:_SHOWN]
    ]
    if len(result.violations) > _SHOWN:
        violations.append(f"{len(result.violations) - _SHOWN} more")
    reason = getattr(result, "reason", "") or getattr(result, "error", "")
    if not reason and isinstance(result, Unverified) and result.unverified_reasons:
        reason = result.unverified_reasons[0].why
    if violations:
        parts.append(f"{len(result.violations)} violations: {'; '.join(violations)}")
    if reason:
        parts.append(f"because {quote(reason, 100)}")
    parts.append(f"{result.ledger.total_tokens} tokens")
    return f"{result.label}, {', '.join(parts)}"
