"""How a run ended: status, reasons, violations, certificate, tokens and time."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from interwhen._types.ledger import Timing
from interwhen._types.results import (
    Abstained,
    Certificate,
    Failed,
    Result,
    Unverified,
    UnverifiedReason,
    Verified,
    ViolationRecord,
)
from interwhen._types.verdicts import Scope
from interwhen.cli._text import STYLES, Signs, one_line

_REASONS = 12
"""How many reasons and violations are listed; there may be one for each line."""

_MEANING: dict[Scope, str] = {
    "answer": "a check that knows the task judged the answer itself, and all others passed",
    "steps": "every required check passed on this very text; none of them knows whether the answer is right",
}


def summary(result: Result, signs: Signs) -> RenderableType:
    """Return everything about *result* but its text."""
    parts: list[RenderableType] = []
    if isinstance(result, Verified):
        parts.append(_certificate(result.certificate))
    elif result.unverified_reasons:
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
        case Unverified():
            sign, style, why = signs.unproven, STYLES["unproven"], "something in it was not shown to be right"
        case Abstained(reason=reason):
            sign, style, why = signs.violated, STYLES["violated"], f"no answer is given: {one_line(reason)}"
        case Failed(error=error):
            sign, style, why = signs.violated, STYLES["violated"], one_line(error, 400)
    text = Text.assemble((f"\n {sign} {result.label}", f"bold {style}"), f"  {why}")
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
    table = _table("monitor", "where", "not shown because")
    for reason in unverified_reasons[:_REASONS]:
        where = "everywhere" if reason.span is None else f"{reason.span.start}-{reason.span.end}"
        table.add_row(_cell(reason.monitor or "the run"), where, _cell(reason.why))
    return _rest(table, len(unverified_reasons))


def _violations(violations: tuple[ViolationRecord, ...]) -> Table:
    table = _table("violation", "found by", "why", "remedy", "written instead")
    for found in violations[:_REASONS]:
        remedy = found.remedy or ("none" if found.interrupted else "observed")
        why = _cell(found.witness or found.why)
        table.add_row(_cell(found.quote), _cell(found.monitor), why, remedy, _cell(found.inserted.strip()))
    return _rest(table, len(violations))


def _numbers(result: Result) -> Table:
    both = Table.grid(padding=(0, 4))
    both.add_row(_ledger(result), _timing(result.timing))
    return both


def _ledger(result: Result) -> Table:
    ledger = result.ledger
    rows = (
        ("tokens kept", ledger.kept),
        ("tokens discarded", ledger.discarded),
        ("tokens of forks", ledger.fork_tokens),
        ("tokens offline", ledger.offline_tokens),
        ("prompt tokens", ledger.prompt_tokens + ledger.fork_prompt_tokens),
        ("  of them cached", ledger.cached_tokens),
        ("requests", ledger.requests),
        ("remedies", ledger.remedies),
        ("characters we wrote", ledger.inserted_chars),
        ("checks on the text", len(result.checks)),
    )
    return _pairs("ledger", [(name, str(value)) for name, value in rows])


def _timing(timing: Timing) -> Table:
    first = "none" if timing.first_token is None else _seconds(timing.first_token)
    closing = max(timing.close_latency, default=None)
    rows = [
        ("total", _seconds(timing.total)),
        ("first token", first),
        ("largest gap", _seconds(timing.largest_gap)),
        ("tail (waiting for checks)", _seconds(timing.tail)),
        ("paused for remedies", _seconds(timing.paused)),
        ("in checks, beside", _seconds(timing.checking)),
        ("slowest close", "none" if closing is None else _seconds(closing)),
    ]
    return _pairs("timing", rows)


def _seconds(value: float) -> str:
    return f"{value * 1000:.1f} ms" if value < 1 else f"{value:.2f} s"


def _pairs(title: str, rows: list[tuple[str, str]]) -> Table:
    table = _table(title, "")
    table.columns[1].justify = "right"
    for name, value in rows:
        table.add_row(name, value)
    return table


def _table(*headers: str) -> Table:
    table = Table(*headers, box=None, header_style="dim", pad_edge=False, padding=(0, 2, 0, 0))
    for column in table.columns:
        column.overflow = "fold"
    return table


def _cell(text: str) -> Text:
    return Text(one_line(text, 100))


def _rest(table: Table, count: int) -> Table:
    if count > _REASONS:
        table.add_row(Text(f"… {count - _REASONS} more"))
    return table
