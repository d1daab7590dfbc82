"""Sleep-time compute: prepares items while the model is idle, judges them, and serves them while they are current.

Start with `Precomputer.add` (`_precomputer.py`). Producers (`producers/`) propose items, `_judge.py` judges them, and
`_store.py` keeps them. `_freshness.py` decides which items are current, `_served_items.py` which of them a run uses.
Why: docs/decisions/precompute.md.
"""

from typing import TYPE_CHECKING

from interwhen._types.errors import StoreConflict, StoreError, UnknownContext
from interwhen._types.extensions import Served
from interwhen._types.ledger import ContextUse
from interwhen.precompute._documents import pieces_of
from interwhen.precompute._gate import GateRule, Weights
from interwhen.precompute._items import (
    BASES,
    Basis,
    Cost,
    Digest,
    Input,
    Item,
    ItemId,
    ItemKey,
    Kind,
    Payload,
    Proof,
    SlotId,
    Status,
    digest,
)
from interwhen.precompute._judge import Judge
from interwhen.precompute._precomputer import ContextRef, ForegroundGate, IdleWork, Precomputer, Slice
from interwhen.precompute._producer import (
    Accepted,
    Context,
    ContextPiece,
    Judgement,
    Nothing,
    Producer,
    Proposal,
    Rejected,
    Step,
    StepContext,
    Undecided,
    installed_producers,
    load_producers,
)
from interwhen.precompute._savings import Savings
from interwhen.precompute._served_items import ServeReady, ServingPolicy
from interwhen.precompute._shelves import MemoryShelf, Shelf
from interwhen.precompute._store import Document, Quarantined, Store, open_store

__all__ = [
    "BASES",
    "Accepted",
    "Basis",
    "Context",
    "ContextPiece",
    "ContextRef",
    "ContextUse",
    "Cost",
    "Digest",
    "Document",
    "ForegroundGate",
    "GateRule",
    "IdleWork",
    "Input",
    "Item",
    "ItemId",
    "ItemKey",
    "Judge",
    "Judgement",
    "Kind",
    "MemoryShelf",
    "Nothing",
    "Payload",
    "Precomputer",
    "Producer",
    "Proof",
    "Proposal",
    "Quarantined",
    "Rejected",
    "Savings",
    "ServeReady",
    "Served",
    "ServingPolicy",
    "Shelf",
    "Slice",
    "SlotId",
    "Status",
    "Step",
    "StepContext",
    "Store",
    "StoreConflict",
    "StoreError",
    "Undecided",
    "UnknownContext",
    "Weights",
    "digest",
    "installed_producers",
    "load_producers",
    "open_store",
    "pieces_of",
]

_REMOVED_NAMES = {
    "Embedder": "Precomputer.passages ranks by words; rank Context.pieces by your own embeddings",
    "LlamaSlots": "POST /slots/0?action=save (or restore) to the llama.cpp server yourself, as its documentation says",
}

if not TYPE_CHECKING:  # a type checker would take every name for one of this module

    def __getattr__(name: str) -> object:
        if name in _REMOVED_NAMES:
            # Python replaces the message of an AttributeError in "from ... import".
            raise ImportError(f"{__name__}.{name} was removed: {_REMOVED_NAMES[name]}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
