"""Precomputed items, their keys and the proof that allows serving them.

The id of an item is a hash of its key, which has its inputs. So an item stays valid for its inputs after an edit.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NewType

import msgspec

from interwhen._types.verdicts import Scope

Digest = NewType("Digest", str)
"""A SHA-256 in hexadecimal; empty for none."""
SlotId = NewType("SlotId", str)
"""Identifies an item whatever its inputs contain: the digest of its :class:`ItemKey` without the inputs."""
ItemId = NewType("ItemId", str)
"""The id of an item: its slot, a slash, and the digest of its inputs."""

Kind = Literal["verifiers", "answers", "prefixes"]
"""``verifiers``: results of the ``prepare`` of monitors. ``answers``: answers to likely questions. ``prefixes``:
records that a context was in the server's prefix cache."""

Basis = Literal["judged", "derived", "observed", "guess"]
"""The reason to trust a proposal. ``judged``: the monitors passed its text. ``derived``: code computed it from the
sources. ``observed``: a counter of the server confirmed it. ``guess``: there is no such reason, and it is not
served."""

BASES: dict[Kind, Basis] = {"verifiers": "derived", "answers": "judged", "prefixes": "observed"}
"""The basis on which an item of each kind may be served."""

Status = Literal["accepted", "guess", "rejected", "unknown", "nothing"]
"""The outcome of making an item. Only ``accepted`` items are served."""


def digest(*parts: bytes | str) -> Digest:
    """Hash *parts* with their lengths: ("ab", "c") and ("a", "bc") differ."""
    hasher = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        hasher.update(len(data).to_bytes(8, "big"))
        hasher.update(data)
    return Digest(hasher.hexdigest())


class Input(msgspec.Struct, frozen=True, order=True, gc=False):
    """A piece, or the item of a step, with the digest of the content that was read."""

    kind: Literal["piece", "step"]
    name: str
    """The name of the piece in its context, or the full name of the step (``producer::step``)."""
    content: Digest
    """The digest of the piece, or the content of the item of the step (:attr:`Item.content`)."""


class ItemKey(msgspec.Struct, frozen=True, gc=False):
    """What an item depends on. Equal keys mean the same item, in any context."""

    kind: Kind
    producer: str
    version: str
    model: str
    """The name of the adapter of the model, such as ``model@host``."""
    tokenizer: str
    """The name that the user gave the tokenizer; empty by default."""
    judges: Digest
    """The digest of the monitors with the versions of their verifiers; empty for a kind that monitors do not judge."""
    step: Digest
    """The digest of the name and the parameters of the step, and of the pieces and steps that it may read."""
    inputs: tuple[Input, ...] = ()
    """The inputs that the producer read, sorted."""

    @property
    def slot(self) -> SlotId:
        return SlotId(
            digest(self.kind, self.producer, self.version, self.model, self.tokenizer, self.judges, self.step)
        )

    @property
    def id(self) -> ItemId:
        return ItemId(f"{self.slot}/{digest(msgspec.msgpack.encode(self.inputs))}")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """The content of an item: a text that monitors can judge, and data in a format of the producer."""

    text: str = ""
    data: bytes = b""


class Proof(msgspec.Struct, frozen=True, gc=False):
    """The reason why an item was accepted."""

    basis: Basis
    verifiers: tuple[tuple[str, str], ...] = ()
    """The names and versions of the verifiers whose checks passed; empty unless ``judged``."""
    verdict: Digest = Digest("")
    """The digest of the checks in the certificate (``judged``), or else of the content and the evidence."""
    text_sha256: str = ""
    """The SHA-256 of the text that was judged, as in the certificate."""
    prompt_sha256: str = ""
    """The SHA-256 of the prompt that the text continues, as in the certificate."""
    coverage: float = 0.0
    """The share of the text that passed claims cover; 0 unless ``judged``."""
    evidence: str = ""
    """The reason in one line, for people to read."""
    scope: Scope = "steps"
    """As in the certificate: ``answer`` if a check that knows the task judged the answer itself, ``steps`` if not."""


class Cost(msgspec.Struct, frozen=True, gc=False):
    """The tokens and requests of some work."""

    generated: int = 0
    """The generated tokens, including those for forks of monitors."""
    prompt: int = 0
    """Prompt tokens that the server counted."""
    requests: int = 0
    """The requests to the model, including forks."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.generated + other.generated, self.prompt + other.prompt, self.requests + other.requests)


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One precomputed item, or the record of why making it gave none."""

    key: ItemKey
    status: Status
    payload: Payload = Payload()
    """Empty unless ``accepted`` or ``guess``."""
    premises: tuple[ItemId, ...] = ()
    """The items that it was made from, for display and for ledgers."""
    proof: Proof | None = None
    """``None`` unless it was accepted."""
    cost: Cost = Cost()
    created: float = 0.0
    """In seconds since 1970 (UTC)."""
    step: str = ""
    """The full name of the step, for display."""
    context: str = ""
    """The context that it was made for. Other contexts may use it, too."""
    why: str = ""
    """Why it was not accepted; empty for an accepted item and for a guess."""

    @property
    def id(self) -> ItemId:
        return self.key.id

    @property
    def content(self) -> Digest:
        return digest(self.status, self.payload.text, self.payload.data)

    @property
    def may_be_served(self) -> bool:
        """Whether the item was accepted on the basis that its kind needs (:data:`BASES`)."""
        proof = self.proof
        if self.status != "accepted" or proof is None or proof.basis != BASES[self.key.kind]:
            return False
        return proof.basis != "judged" or (
            proof.scope == "answer"
            and bool(proof.verifiers)
            and proof.text_sha256 == hashlib.sha256(self.payload.text.encode("utf-8", "surrogatepass")).hexdigest()
        )
