"""Where to spend the next token: how often a task is tried, and when it is given up."""

from interwhen.allocation.adaptive import AdaptiveAllocator, Classify, by_length
from interwhen.allocation.allowance import Allocator, Allowance
from interwhen.allocation.beliefs import Beliefs
from interwhen.allocation.odds import (
    Action,
    Ladder,
    Odds,
    Price,
    Step,
    expected_chance,
    expected_tokens,
    find_price,
    mean_tokens,
    schedule,
)

__all__ = [
    "Action",
    "AdaptiveAllocator",
    "Allocator",
    "Allowance",
    "Beliefs",
    "Classify",
    "Ladder",
    "Odds",
    "Price",
    "Step",
    "by_length",
    "expected_chance",
    "expected_tokens",
    "find_price",
    "mean_tokens",
    "schedule",
]
