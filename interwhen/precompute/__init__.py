"""Work that is done before anybody asks: prepared while the model is idle, verified, and served only while it holds."""

from interwhen.contexts import Served
from interwhen.errors import OutOfTokens, StoreConflict, StoreError
from interwhen.precompute.accounts import Accounts
from interwhen.precompute.gate import Rule, Weights
from interwhen.precompute.installed import installed_producers, load_producers
from interwhen.precompute.items import (
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
from interwhen.precompute.judging import Judge
from interwhen.precompute.precomputer import ContextRef, Precomputer
from interwhen.precompute.prepared import pieces_of
from interwhen.precompute.producer import (
    Accepted,
    Context,
    Desk,
    Judgement,
    Nothing,
    Piece,
    Producer,
    Proposal,
    Rejected,
    Step,
    Undecided,
)
from interwhen.precompute.reciting import RecitingModel
from interwhen.precompute.serving import ServeReady
from interwhen.precompute.shelves import MemoryShelf, Shelf
from interwhen.precompute.sleeping import Idle, Slice
from interwhen.precompute.store import Document, Quarantined, Store, open_store
from interwhen.precompute.turnstile import Turnstile
from interwhen.precompute.using import Serving

__all__ = [
    "BASES",
    "Accepted",
    "Accounts",
    "Basis",
    "Context",
    "ContextRef",
    "Cost",
    "Desk",
    "Digest",
    "Document",
    "Idle",
    "Input",
    "Item",
    "ItemId",
    "ItemKey",
    "Judge",
    "Judgement",
    "Kind",
    "MemoryShelf",
    "Nothing",
    "OutOfTokens",
    "Payload",
    "Piece",
    "Precomputer",
    "Producer",
    "Proof",
    "Proposal",
    "Quarantined",
    "RecitingModel",
    "Rejected",
    "Rule",
    "ServeReady",
    "Served",
    "Serving",
    "Shelf",
    "Slice",
    "SlotId",
    "Status",
    "Step",
    "Store",
    "StoreConflict",
    "StoreError",
    "Turnstile",
    "Undecided",
    "Weights",
    "digest",
    "installed_producers",
    "load_producers",
    "open_store",
    "pieces_of",
]
