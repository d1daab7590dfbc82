"""From the core's outline to the public result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from interwhen._core.messages import Outline
from interwhen._engine.forks import ForkMeter
from interwhen._log import log_info, log_warning
from interwhen._version import __version__
from interwhen.ledger import Held, Ledger, Offline, Timing
from interwhen.models.base import Usage
from interwhen.results import Abstained, Failed, Result, Unverified, Verified
from interwhen.wire_report import WireReport


def build_result(
    outline: Outline,
    *,
    model: str,
    requests: int,
    usages: Sequence[Usage],
    unread: int,
    forks: ForkMeter,
    timing: Timing,
    held: tuple[Held, ...],
    wire: WireReport,
    wasted: int,
    offline: Offline,
) -> Result:
    """Return the result that *outline* says, with ledger, timing, and what the streams noticed.

    *unread* tokens came after its end, *wasted* ones may have been generated for nobody, and *offline* ones before.
    """
    common: dict[str, Any] = {
        name: getattr(outline, name)
        for name in ("text", "reasoning", "answer", "finish_reason", "checks", "violations", "insertions", "resume")
    }
    common["ledger"] = Ledger(
        kept=outline.kept,
        discarded=outline.discarded + unread,
        late=outline.late + unread,
        fork_tokens=forks.tokens,
        fork_prompt_tokens=forks.prompt_tokens,
        prompt_tokens=sum(usage.prompt_tokens or 0 for usage in usages),
        cached_tokens=sum(usage.cached_tokens or 0 for usage in usages) + forks.cached_tokens,
        requests=requests,
        forks=outline.forks,
        remedies=outline.remedies,
        reconnects=outline.reconnects,
        wasted_tokens=wasted,
        inserted_chars=sum(len(insertion.span) for insertion in outline.insertions),
        offline_tokens=offline.tokens,
        offline_share=offline.share,
    )
    common["precomputed"] = offline.items
    common["timing"] = msgspec.structs.replace(
        timing, checking=sum(record.seconds for record in outline.checks), held=held
    )
    common["wire"] = wire
    match outline.status:
        case "verified":
            assert outline.certificate is not None
            assert not outline.doubts
            certificate = msgspec.structs.replace(outline.certificate, model=model, interwhen=__version__)
            return Verified(**common, certificate=certificate)
        case "unverified":
            return Unverified(**common, doubts=outline.doubts)
        case "abstained":
            return Abstained(**common, reason=outline.reason, doubts=outline.doubts)
        case "failed":
            return Failed(**common, error=outline.reason, doubts=outline.doubts)
        case _:
            assert_never(outline.status)


def log_suspended(verifier: str, failures: int) -> None:
    """Log that a verifier is asked no more, because it failed *failures* times in a row, or that it is again."""
    if failures:
        log_warning("verifier.suspended", verifier=verifier, failures=failures)
    else:
        log_info("verifier.restored", verifier=verifier)


def log_result(result: Result) -> None:
    """Log how a run ended, in numbers only: the content of a trace is never logged."""
    log_info(
        "run.finished",
        status=result.label,
        characters=len(result.text),
        checks=len(result.checks),
        remedies=result.ledger.remedies,
        kept=result.ledger.kept,
        discarded=result.ledger.discarded,
        forks=result.ledger.forks,
        seconds=round(result.timing.total, 3),
    )
