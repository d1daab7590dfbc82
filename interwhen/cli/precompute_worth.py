"""What precomputed items are worth, for ``interwhen precompute status``: the gate's books, and facts by pass."""

from __future__ import annotations

from collections.abc import Mapping

from rich.table import Table
from rich.text import Text

from interwhen.cli.escape import joined
from interwhen.precompute.accounts import worth
from interwhen.precompute.gate import Record, Rule
from interwhen.precompute.items import Item, ItemId
from interwhen.precompute.prepared import Prepared
from interwhen.precompute.producers.facts import notes_of

_RULE = Rule()


def worth_table(prepared: Prepared, records: Mapping[ItemId, Record]) -> Table | None:
    """Return what the gate knows of the items of a context; ``None`` where it knows nothing."""
    found = [(step, records[item.id]) for step, item in prepared.holding.items.items() if item.id in records]
    if not found:
        return None
    title = f"What they save a query, in offline tokens (a reader's token weighs {_RULE.weights.test:g}, and 1)"
    table = _table(title, "item", "stage", "used", "pairs", "saves", "t = 1", "pays after")
    for step, record in found:
        known = worth(record, _RULE)
        after = "unknown" if known.break_even is None else f"{known.break_even:,.1f} queries"
        counts = (f"{record.served} of {record.queries}", f"{len(record.pairs)}")
        savings = (f"{each.mean:,.0f} [{each.low:,.0f}, {each.high:,.0f}]" for each in (known.saving, known.plain))
        table.add_row(Text(joined(step)), record.stage, *counts, *savings, after)
    return table


def pass_table(prepared: Prepared) -> Table | None:
    """Return what each pass of consolidation brought; ``None`` where there was none."""
    passes: dict[int, list[Item]] = {}
    for item in prepared.holding.items.values():
        number = item.step.rpartition("/")[2]
        if item.key.producer == "facts" and number.isdecimal():
            passes.setdefault(int(number), []).append(item)
    if not passes:
        return None
    table = _table("Facts by pass", "pass", "facts", "tokens", "facts per 1,000 tokens")
    for at, items in sorted(passes.items()):
        facts = sum(len(notes_of(item).facts) for item in items if item.status == "accepted")
        tokens = sum(item.cost.generated for item in items)
        table.add_row(f"{at}", f"{facts}", f"{tokens:,}", f"{1000 * facts / tokens:.1f}" if tokens else "")
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="dim", pad_edge=False)
    table.add_column(first, overflow="fold")
    for header in others:
        table.add_column(header, justify="right", overflow="fold")
    return table
