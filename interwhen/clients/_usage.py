"""The token counts of a call: the sum over all of its requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from interwhen._types.ledger import Ledger
from interwhen.models._chunks import count_of

Counts = dict[str, Any]


class UsageNames(NamedTuple):
    """The names that one API gives to the token counts in ``usage``."""

    prompt: str
    completion: str


CHAT = UsageNames("prompt_tokens", "completion_tokens")
RESPONSES = UsageNames("input_tokens", "output_tokens")


def usage_of_call(counted: Iterable[Mapping[str, Any]], ledger: Ledger, names: UsageNames) -> Counts:
    # `counted` is what the server counted. The ledger also has the requests without such counts: streams that were cut,
    # and forks.
    counts: Counts = {}
    for usage in counted:
        _add(counts, usage)
    generated = ledger.kept + ledger.discarded + ledger.fork_tokens
    tokens = {names.prompt: ledger.total_prompt_tokens, names.completion: generated}
    total = count_of(counts.get("total_tokens"))
    # The total of some servers includes more than these two, such as thoughts that are counted nowhere else.
    more = 0 if total is None else total - sum(count_of(counts.get(name)) or 0 for name in tokens)
    counts |= tokens
    counts["total_tokens"] = sum(tokens.values()) + max(more, 0)
    details = counts.get(f"{names.prompt}_details")
    details = details if isinstance(details, dict) else {}
    if ledger.cached_tokens:
        details["cached_tokens"] = ledger.cached_tokens
    if ledger.estimated_prompt_tokens:
        details["estimated_tokens"] = ledger.estimated_prompt_tokens
    if details:
        counts[f"{names.prompt}_details"] = details
    return counts


def _add(counts: Counts, more: Mapping[str, Any]) -> None:
    # Of other values, the last one counts.
    for name, value in more.items():
        known = counts.get(name)
        if isinstance(value, Mapping):
            inner = counts[name] = known if isinstance(known, dict) else {}
            _add(inner, value)
        elif _is_number(value) and _is_number(known):
            counts[name] = known + value
        elif value is not None or known is None:
            counts[name] = value


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
