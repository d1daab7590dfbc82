"""Sleep-time compute: prepares items while the model is idle, judges them, and serves them while they are current.

Start with `Precomputer.add` (`_precomputer.py`). Producers (`producers/`) propose items, `_judge.py` judges them, and
`_store.py` keeps them. `_freshness.py` decides which items are current, `_served_items.py` which of them a run uses.
Why: docs/decisions/precompute.md.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen._types.errors import StoreError
from interwhen.precompute._documents import pieces_of
from interwhen.precompute._gate import GateRule, TokenPrices
from interwhen.precompute._items import Kind, Payload
from interwhen.precompute._precomputer import Precomputer
from interwhen.precompute._producer import Context, Nothing, Producer, Proposal, Step, StepContext
from interwhen.precompute._savings import Savings
from interwhen.precompute._shelves import MemoryShelf
from interwhen.precompute._store import Store, open_store

__all__ = [
    "Context",
    "GateRule",
    "Kind",
    "MemoryShelf",
    "Nothing",
    "Payload",
    "Precomputer",
    "Producer",
    "Proposal",
    "Savings",
    "Step",
    "StepContext",
    "Store",
    "StoreError",
    "TokenPrices",
    "open_store",
    "pieces_of",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
