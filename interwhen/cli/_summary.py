"""The summary of a run, for a terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interwhen import Abstained, Failed, Result, Unverified, Verified
from interwhen._types.results import Certificate, UnverifiedReason, ViolationRecord
from interwhen._types.verdicts import Scope
from interwhen.cli._text import STYLES, Signs, one_line, table

_REASONS = 12
"""How many reasons and violations are listed; there can be one for each line."""

_MEANING: dict[Scope, str] = {
    "answer": "a check that knows the task judged the answer, and every required check passed",
    "steps": "every required check passed on this text; none of them judged the answer",
}
_ANSWERED = "; the text has refuted reasoning, with feedback after it"


def summary(result: Result, signs: Signs) -> RenderableType:
    parts: list[RenderableType] = []
    if isinstance(result, Verified):
        parts.append(_certificate(result.certificate))
    parts += [Text(f"   {one_line(each.monitor)}: {each}") for each in result.numbers if not each.unchecked]
    if not isinstance(result, Verified) and result.unverified_reasons:
        parts.append(_unverified_reasons(result.unverified_reasons))
    if result.violations:
        parts.append(_violations(result.violations))
    parts.append(_numbers(result))
    below = (part if isinstance(part, Text) else Padding(part, (1, 0, 0, 3), expand=False) for part in parts)
    return Group(_verdict(result, signs), *below)


def _verdict(result: Result, signs: Signs) -> Text:
    match result:
        case Verified(certificate=certificate):
            sign, style, why = signs.passed, STYLES["passed"], _MEANING[certificate.scope]
            why += _ANSWERED if certificate.refuted else ""
        case Unverified():
            sign, style, why = signs.unproven, STYLES["unproven"], "a part of it could not be verified"
        case Abstained(reason=reason):
            sign, style, why = signs.violated, STYLES["violated"], f"no answer is given: {one_line(reason)}"
        case Failed(error=error):
            sign, style, why = signs.violated, STYLES["violated"], one_line(error, 400)
    text = Text.assemble((f"\n {sign} {result.label}", f"bold {style}"), f"  {why}")
    if isinstance(result, Verified) and result.hidden_reasoning:
        text.append("\n   the reasoning of the model was not sent, so no check has seen it", style=STYLES["unproven"])
    if result.finish_reason not in {"stop", None}:
        text.append(f"\n   the model stopped because of: {result.finish_reason}", style=STYLES["unproven"])
    return text


def _certificate(certificate: Certificate) -> Text:
    return Text.assemble(
        ("   certificate ", "dim"),
        f"sha256 {certificate.text_sha256[:12]}  {len(certificate.checks)} checks  "
        f"{certificate.coverage:.0%} of the text rests on checked claims",
    )


def _unverified_reasons(unverified_reasons: tuple[UnverifiedReason, ...]) -> Table:
    rows = table("monitor", "where", "not verified because")
    for reason in unverified_reasons[:_REASONS]:
        where = "everywhere" if reason.span is None else f"{reason.span.start}-{reason.span.end}"
        rows.add_row(_cell(reason.monitor or "the run"), where, _cell(reason.why))
    return _rest(rows, len(unverified_reasons))


def _violations(violations: tuple[ViolationRecord, ...]) -> Table:
    rows = table("violation", "found by", "why", "remedy", "written instead")
    for violation in violations[:_REASONS]:
        remedy = violation.remedy or ("none" if violation.interrupted else "observed")
        why = _cell(violation.witness or violation.why)
        rows.add_row(_cell(violation.quote), _cell(violation.monitor), why, remedy, _cell(violation.inserted.strip()))
    return _rest(rows, len(violations))


def _numbers(result: Result) -> Table:
    ledger, timing = result.ledger, result.timing
    rows: list[tuple[str, object]] = [
        ("tokens kept", ledger.kept),
        ("tokens discarded", ledger.discarded),
        ("tokens of forks", ledger.fork_tokens),
        ("tokens ahead of time", ledger.offline_tokens),
        *([("prepared items used", len(result.precomputed))] if result.precomputed else []),
        ("prompt tokens", ledger.prompt_tokens + ledger.fork_prompt_tokens),
        ("  of them cached", ledger.cached_tokens),
        ("prompt tokens without a count, estimated", ledger.estimated_prompt_tokens),
        ("requests", ledger.requests),
        ("remedies", ledger.remedies),
        ("characters inserted", ledger.inserted_chars),
        ("checks on the text", len(result.checks)),
    ]
    first = "none" if timing.first_token is None else _seconds(timing.first_token)
    closing = max(timing.close_latency, default=None)
    times = [
        ("total", _seconds(timing.total)),
        ("first token", first),
        ("largest gap", _seconds(timing.largest_gap)),
        ("tail (waiting for checks)", _seconds(timing.tail)),
        ("paused for remedies", _seconds(timing.paused)),
        ("in checks, in parallel", _seconds(timing.checking)),
        ("slowest close", "none" if closing is None else _seconds(closing)),
    ]
    if ledger.resumes:
        counted = [cost for cost in ledger.resumes if cost.cached_share is not None]
        total = sum(cost.prompt_tokens or 0 for cost in counted)
        again = sum(cost.uncached_tokens or 0 for cost in counted)
        rows.append(("resumes", len(ledger.resumes)))
        rows.append(("  tokens read again", f"{again} of {total}" if counted else "not counted"))
        waits = [cost.first_token for cost in ledger.resumes if cost.first_token is not None]
        times.append(("slowest resume", _seconds(max(waits)) if waits else "none"))
    if ledger.reasoning_tokens:
        rows.insert(2, ("tokens of reasoning", ledger.reasoning_tokens))
    both = Table.grid(padding=(0, 4))
    both.add_row(_pairs("ledger", [(name, str(value)) for name, value in rows]), _pairs("timing", times))
    return both


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _pairs(title: str, rows: list[tuple[str, str]]) -> Table:
    listed = table(title, "")
    listed.columns[1].justify = "right"
    for name, value in rows:
        listed.add_row(name, value)
    return listed


def _cell(text: str) -> Text:
    return Text(one_line(text, 100))


def _rest(table: Table, count: int) -> Table:
    if count > _REASONS:
        table.add_row(Text(f"… {count - _REASONS} more"))
    return table
