"""Work that is done before anybody asks: prepared while the model is idle, verified, and served only while it holds.

`Precomputer` (`_precomputer.py`) is the hook; a producer proposes (`producers/`), a judge verifies (`_judge.py`), the
store keeps (`_store.py`, on a shelf), `_freshness.py` decides what still holds, `_serving.py` puts it to use, and
`_gate.py` drops what does not pay. Start with `Precomputer.add`. Why: docs/decisions/0029-work-while-nobody-waits.md.
"""

from interwhen._types.errors import StoreConflict, StoreError
from interwhen._types.extensions import Served
from interwhen.precompute._contexts import pieces_of
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
from interwhen.precompute._serving import ServeReady, ServingPolicy
from interwhen.precompute._shelves import MemoryShelf, Shelf
from interwhen.precompute._slots import LlamaSlots
from interwhen.precompute._store import Document, Quarantined, Store, open_store

__all__ = [
    "BASES",
    "Accepted",
    "Basis",
    "Context",
    "ContextPiece",
    "ContextRef",
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
    "LlamaSlots",
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
    "Weights",
    "digest",
    "installed_producers",
    "load_producers",
    "open_store",
    "pieces_of",
]
