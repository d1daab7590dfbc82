"""Precomputed items, their keys (all inputs of an item) and the proof that allows serving them.

The id of an item is a hash of its key, which has its inputs. So an edit does not make a stored item wrong: it stays
valid for these inputs. Before it is served, it is checked that its inputs and settings have not changed.
"""

from __future__ import annotations

import hashlib
from typing import Literal, NewType

import msgspec

from interwhen._types.verdicts import Scope

Digest = NewType("Digest", str)
"""A SHA-256 in hexadecimal; empty for none."""
SlotId = NewType("SlotId", str)
"""The digest of a key without its inputs. It is known before the producer reads an input."""
ItemId = NewType("ItemId", str)
"""The id of an item: its slot, a slash, and the digest of its inputs."""

Kind = Literal["facts", "verifiers", "answers", "prefixes"]
"""``facts``: statements that follow from a context. ``verifiers``: results of the ``prepare`` of monitors. ``answers``:
answers to likely questions. ``prefixes``: records that a context was in the server's prefix cache."""

Basis = Literal["judged", "agreed", "derived", "observed", "guess"]
"""The reason to trust a proposal. ``judged``: the monitors passed its text. ``agreed``: the model derived it again by
other words; this is weaker than a check. ``derived``: code computed it from the sources, without a model. ``observed``:
a counter of the server confirmed it. ``guess``: there is no such reason. A guess is never served. Later steps of the
same producer may read it; other producers cannot."""

BASES: dict[Kind, tuple[Basis, ...]] = {
    "facts": ("judged", "agreed"),
    "verifiers": ("derived",),
    "answers": ("judged", "agreed"),
    "prefixes": ("observed",),
}
"""The bases on which an item of each kind may be served. The default policy never replies with a text on the basis
``agreed``: it is only put before the question, under a heading that says so."""

Status = Literal["accepted", "guess", "rejected", "unknown", "nothing"]
"""The outcome of making an item. Only ``accepted`` items are served. The other outcomes are stored too, so that no
tokens are spent again on the same inputs."""


def digest(*parts: bytes | str) -> Digest:
    """Return the SHA-256 of *parts* in hexadecimal.

    It includes the length of each part, so ("ab", "c") and ("a", "bc") differ.
    """
    found = hashlib.sha256()
    for part in parts:
        data = part.encode("utf-8", "surrogatepass") if isinstance(part, str) else part
        found.update(len(data).to_bytes(8, "big"))
        found.update(data)
    return Digest(found.hexdigest())


class Input(msgspec.Struct, frozen=True, order=True, gc=False):
    """One input of an item (a piece, or the item of a step), with the digest of the content that was read."""

    kind: Literal["piece", "step"]
    name: str
    """The name of the piece in its context, or the full name of the step (``producer::step``)."""
    content: Digest
    """The digest of the piece, or the content of the item of the step (:attr:`Item.content`)."""


class ItemKey(msgspec.Struct, frozen=True, gc=False):
    """Everything that an item depends on: its producer, the model, the monitors, the step and the inputs.

    Items with equal keys are the same item, in any context.
    """

    kind: Kind
    producer: str
    """The name of the producer."""
    version: str
    """The version of the producer."""
    model: str
    """The name of the adapter of the model, such as ``model@host``."""
    tokenizer: str
    """The name that the user gave the tokenizer; empty by default."""
    judges: Digest
    """The digest of the monitors with the versions of their verifiers; empty for a kind that monitors do not judge."""
    step: Digest
    """The digest of the step: its name, its parameters, and the names of the pieces and steps that it may read."""
    inputs: tuple[Input, ...] = ()
    """The inputs that the producer read, sorted."""

    @property
    def slot(self) -> SlotId:
        """The digest of the key without ``inputs``. It is known before the producer reads an input.

        All items of one step that were made with the same settings have the same slot.
        """
        return SlotId(
            digest(self.kind, self.producer, self.version, self.model, self.tokenizer, self.judges, self.step)
        )

    @property
    def id(self) -> ItemId:
        """The id of the item: its :attr:`slot` (the digest of all other fields), a slash, the digest of ``inputs``."""
        return ItemId(f"{self.slot}/{digest(msgspec.msgpack.encode(self.inputs))}")


class Payload(msgspec.Struct, frozen=True, gc=False):
    """The content of an item: a text that monitors can judge, and data in a format of the producer."""

    text: str = ""
    data: bytes = b""


class Proof(msgspec.Struct, frozen=True, gc=False):
    """Records why an item was accepted; on the basis ``judged``, with the verifiers and the hash of the text."""

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
    """The share of the text that checked claims cover."""
    evidence: str = ""
    """The reason in one line, for people to read."""
    scope: Scope = "steps"
    """As in the certificate: ``answer`` if a check that knows the task judged the answer itself, ``steps`` if not."""


class Cost(msgspec.Struct, frozen=True, gc=False):
    """The tokens and requests of some work. Two costs can be added with ``+``."""

    generated: int = 0
    """The generated tokens, including those for forks of monitors."""
    prompt: int = 0
    """The prompt tokens, if the server counts them; else 0."""
    requests: int = 0
    """The requests to the model, including forks."""

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.generated + other.generated, self.prompt + other.prompt, self.requests + other.requests)


class Item(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One precomputed item, or the record of why making it gave none. It never changes after it is stored."""

    key: ItemKey
    status: Status
    payload: Payload = Payload()
    """Empty unless ``accepted`` or ``guess``."""
    premises: tuple[ItemId, ...] = ()
    """The items that it was made from, for display and for ledgers. (The key decides whether the item is current.)"""
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
    """The reason why it was not accepted; empty if it was, or is a guess."""

    @property
    def id(self) -> ItemId:
        """The id of the item, made from its key."""
        return self.key.id

    @property
    def content(self) -> Digest:
        """The digest of the status, the text and the data, which are the parts that later steps may use.

        If an item is made again and this digest is the same as before, later steps stay current.
        """
        return digest(self.status, self.payload.text, self.payload.data)

    @property
    def may_be_served(self) -> bool:
        """Whether the item was accepted on a basis that suffices for its kind (:data:`BASES`).

        On the basis ``judged``, its proof must name a verifier and be for exactly this text, and for an answer, a check
        must have judged the answer itself, not only the steps.
        """
        proof = self.proof
        if self.status != "accepted" or proof is None or proof.basis not in BASES[self.key.kind]:
            return False
        if self.key.kind == "answers" and proof.basis == "judged" and proof.scope != "answer":
            return False
        return proof.basis != "judged" or (
            bool(proof.verifiers)
            and proof.text_sha256 == hashlib.sha256(self.payload.text.encode("utf-8", "surrogatepass")).hexdigest()
        )
