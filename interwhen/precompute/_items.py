"""Precomputed items, their keys (the inputs that each was made from) and the proof that allows serving them.

The name of an item is derived from its inputs, never from its use. So a stored item stays right for its inputs, and a
reader only has to know whether these inputs are the present ones.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NewType

import msgspec

from interwhen._types.verdicts import Scope

Digest = NewType("Digest", str)
"""A SHA-256 in hexadecimal."""
SlotId = NewType("SlotId", str)
"""The digest of a key without its inputs: the part that is known before anything is read."""
ItemId = NewType("ItemId", str)
"""``slot/inputs``: the digest of a whole key, beginning with that of the slot."""

Kind = Literal["facts", "verifiers", "answers", "prefixes"]
"""Statements drawn from a context; prepared verifiers; answers to anticipated questions; warmed prefix caches."""

Basis = Literal["judged", "derived", "observed", "guess"]
"""The reason to trust a proposal. ``judged``: the monitors passed its text. ``derived``: code computed it from the
sources, without a model. ``observed``: a counter of the server confirmed it. ``guess``: there is none; it may guide
later steps of its own producer, is never served, and is never a premise of another producer."""

BASES: dict[Kind, tuple[Basis, ...]] = {
    "facts": ("judged",),
    "verifiers": ("derived",),
    "answers": ("judged",),
    "prefixes": ("observed",),
}
"""The bases on which an item of each kind may be served. Text of a model is served only if it was judged."""

Status = Literal["accepted", "guess", "rejected", "unknown", "nothing"]
"""The outcome of making an item. Only ``accepted`` items are served and are premises. The others are kept so that the
same tokens are not spent again on the same inputs."""


def digest(*parts: bytes | str) -> Digest:
    """Return the SHA-256 of *parts*, each with its length, so that moving a boundary changes it."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return Digest(found.hexdigest())


class Input(msgspec.Struct, frozen=True, order=True, gc=False):
    """One input of an item, with its content."""

    kind: Literal["piece", "step"]
    name: str
    """The name of the piece in its context, or the full name of the step (``producer::step``)."""
    content: Digest
    """The digest of the piece, or the content of the item of the step (:attr:`Item.content`)."""


class ItemKey(msgspec.Struct, frozen=True, gc=False):
    """The inputs of an item. Equal keys mean the same item, in any context."""

    kind: Kind
    producer: str
    version: str
    model: str
    tokenizer: str
    judges: Digest
    """The digest of the monitors that judge this kind, with the versions of their verifiers."""
    step: Digest
    """The digest of the step: its name, its parameters, and what it may read."""
    inputs: tuple[Input, ...] = ()
    """The inputs that it read, sorted."""

    @property
    def slot(self) -> SlotId:
        """The part of the key that is known before anything is read."""
        return SlotId(
            digest(self.kind, self.producer, self.version, self.model, self.tokenizer, self.judges, self.step)
        )

    @property
    def id(self) -> ItemId:
        """The name of the item in every store."""
        return ItemId(f"{self.slot}/{digest(msgspec.msgpack.encode(self.inputs))}")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """The content of an item: a text that can be judged, and data."""

    text: str = ""
    data: bytes = b""


class Proof(msgspec.Struct, frozen=True, gc=False):
    """Why an item was accepted: the verifiers, and the hashes of the text that they judged."""

    basis: Basis
    verifiers: tuple[tuple[str, str], ...] = ()
    """The names and versions of the verifiers whose checks passed."""
    verdict: Digest = Digest("")
    """The digest of the checks in the certificate (``judged``), or of the observation."""
    text_sha256: str = ""
    """As in the certificate: the text that was judged."""
    prompt_sha256: str = ""
    """As in the certificate: the prompt that the text continues."""
    coverage: float = 0.0
    """The share of the text that checked claims cover."""
    evidence: str = ""
    """A line for a person."""
    scope: Scope = "steps"
    """As in the certificate: whether a check that knows the task judged the answer itself."""


class Cost(msgspec.Struct, frozen=True, gc=False):
    """The cost of work."""

    generated: int = 0
    """The generated tokens, including those for forks of monitors."""
    prompt: int = 0
    """The prompt tokens, if the server counts them."""
    requests: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.generated + other.generated, self.prompt + other.prompt, self.requests + other.requests)


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One precomputed item, or the record that making it failed. It never changes after it is stored."""

    key: ItemKey
    status: Status
    payload: Payload = Payload()
    """Empty unless ``accepted`` or ``guess``."""
    premises: tuple[ItemId, ...] = ()
    """The items that it was made from, for display and for ledgers. Its key decides whether it is current."""
    proof: Proof | None = None
    """``None`` unless it was accepted."""
    cost: Cost = Cost()
    created: float = 0.0
    """The time in seconds since 1970 (UTC)."""
    step: str = ""
    """The full name of the step, for display."""
    context: str = ""
    """The context that it was made for. Other contexts may use it, too."""
    why: str = ""
    """Why it is not accepted."""

    @property
    def id(self) -> ItemId:
        """The name of the item, from its key."""
        return self.key.id

    @property
    def content(self) -> Digest:
        """The digest of what a later step reads from it. Steps with equal inputs are equal."""
        return digest(self.status, self.payload.text, self.payload.data)

    @property
    def may_be_served(self) -> bool:
        """Whether it was accepted, on a sufficient basis for its kind, with this text.

        An answer is served only if a check judged the answer itself, not only the steps.
        """
        proof = self.proof
        if self.status != "accepted" or proof is None or proof.basis not in BASES[self.key.kind]:
            return False
        if self.key.kind == "answers" and proof.scope != "answer":
            return False
        return proof.basis != "judged" or (
            bool(proof.verifiers)
            and proof.text_sha256 == hashlib.sha256(self.payload.text.encode("utf-8", "surrogatepass")).hexdigest()
        )
