"""What is precomputed: items, the key that says from what each one was made, and the proof that lets it be served.

An item is named by everything it was made from, never by where it is used. So an item that is there is right for its
inputs for ever, and the only question a reader has is whether those inputs are the ones that hold now.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NewType

import msgspec

from interwhen._types.verdicts import Scope

Digest = NewType("Digest", str)
"""A SHA-256 in hex."""
SlotId = NewType("SlotId", str)
"""All that is fixed in a key before anything is read: the digest of a key without its inputs."""
ItemId = NewType("ItemId", str)
"""``slot/inputs``: the digest of a whole key, with the slot's digest first."""

Kind = Literal["facts", "verifiers", "answers", "prefixes"]
"""Statements drawn from a context; prepared verifiers; answers to anticipated questions; warmed prefix caches."""

Basis = Literal["judged", "derived", "observed", "guess"]
"""Why a proposal may be believed. ``judged``: the monitors passed its text. ``derived``: code computed it from the
sources, no model took part. ``observed``: a counter of the server confirmed it. ``guess``: nobody has; it may guide
later steps of its own producer, is never served, and is no premise of anybody else's."""

BASES: dict[Kind, tuple[Basis, ...]] = {
    "facts": ("judged",),
    "verifiers": ("derived",),
    "answers": ("judged",),
    "prefixes": ("observed",),
}
"""On which basis an item of each kind may be served. Text of a model is served only when it was judged."""

Status = Literal["accepted", "guess", "rejected", "unknown", "nothing"]
"""How making an item ended. Only ``accepted`` is served and is a premise; the others are kept so that the same tokens
are not spent again on the same inputs."""


def digest(*parts: bytes | str) -> Digest:
    """Return the SHA-256 of *parts*, each with its length, so that moving a border changes it."""
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return Digest(found.hexdigest())


class Input(msgspec.Struct, frozen=True, order=True, gc=False):
    """One thing that was read to make an item, and what was in it."""

    kind: Literal["piece", "step"]
    name: str
    """The piece's name in its context, or the step's full name (``producer::step``)."""
    content: Digest
    """The piece's digest, or the content of the step's item (:attr:`Item.content`)."""


class ItemKey(msgspec.Struct, frozen=True, gc=False):
    """From what an item was made. Equal keys stand for the same item, in whichever context they come up."""

    kind: Kind
    producer: str
    version: str
    model: str
    tokenizer: str
    judges: Digest
    """The monitors, with their verifiers' versions, that judge this kind."""
    step: Digest
    """The step: its name, parameters, and what it may read."""
    inputs: tuple[Input, ...] = ()
    """What it did read, in sorted order."""

    @property
    def slot(self) -> SlotId:
        """What is known of the key before anything is read."""
        return SlotId(
            digest(self.kind, self.producer, self.version, self.model, self.tokenizer, self.judges, self.step)
        )

    @property
    def id(self) -> ItemId:
        """The item's name in every store."""
        return ItemId(f"{self.slot}/{digest(msgspec.msgpack.encode(self.inputs))}")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """What an item is for: a text that can be judged, and data that goes with it."""

    text: str = ""
    data: bytes = b""


class Proof(msgspec.Struct, frozen=True, gc=False):
    """Why an item was accepted: by whom, on which very text."""

    basis: Basis
    verifiers: tuple[tuple[str, str], ...] = ()
    """The names and versions of the verifiers whose checks passed."""
    verdict: Digest = Digest("")
    """The digest of the certificate's checks (``judged``), or of what was observed."""
    text_sha256: str = ""
    """As in the certificate: the text that was judged."""
    prompt_sha256: str = ""
    """As in the certificate: what the text was judged as a continuation of."""
    coverage: float = 0.0
    """The share of the text that claims rest on."""
    evidence: str = ""
    """A line for a person."""
    scope: Scope = "steps"
    """As in the certificate: whether a check that knows the task judged the answer itself."""


class Cost(msgspec.Struct, frozen=True, gc=False):
    """What was spent."""

    generated: int = 0
    """Tokens that the model generated, forks of monitors included."""
    prompt: int = 0
    """Prompt tokens, where the server counts them."""
    requests: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.generated + other.generated, self.prompt + other.prompt, self.requests + other.requests)


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One precomputed thing, or the record that making it came to nothing. Never changes once it is stored."""

    key: ItemKey
    status: Status
    payload: Payload = Payload()
    """Empty unless ``accepted`` or ``guess``."""
    premises: tuple[ItemId, ...] = ()
    """The items it was made from, for people and for ledgers: what makes it current is in its key."""
    proof: Proof | None = None
    """``None`` unless accepted."""
    cost: Cost = Cost()
    created: float = 0.0
    """When, in seconds since 1970 (UTC)."""
    step: str = ""
    """The step's full name, for people."""
    context: str = ""
    """The context it was made for. Others may use it, too."""
    why: str = ""
    """Why it is not accepted."""

    @property
    def id(self) -> ItemId:
        """The item's name: that of its key."""
        return self.key.id

    @property
    def content(self) -> Digest:
        """What those see who read it: steps made from equal contents are equal, however the contents came about."""
        return digest(self.status, self.payload.text, self.payload.data)

    @property
    def may_be_served(self) -> bool:
        """Whether it was accepted, on a basis that is enough for its kind, on this very text.

        An answer is served only if the answer itself was judged, not the steps on the way alone.
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
