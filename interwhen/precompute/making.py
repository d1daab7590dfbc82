"""From a step to its item: the producer proposes, and what may be believed is decided here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, assert_never

from interwhen.errors import PluginError
from interwhen.precompute.currency import Surroundings
from interwhen.precompute.desk import WorkDesk
from interwhen.precompute.items import BASES, Cost, Item, Kind, Proof, digest
from interwhen.precompute.metering import Meter
from interwhen.precompute.producer import Accepted, Nothing, Planned, Proposal, Rejected, Undecided


async def make(
    planned: Planned, desk: WorkDesk, meter: Meter, surroundings: Surroundings, clock: Callable[[], float]
) -> Item:
    """Let the producer of *planned* do its slice of work; return the item, accepted or not.

    Raises what the producer raises, and :class:`~interwhen.errors.PluginError` for what is no proposal.
    """
    made = await planned.producer.make(planned.step, desk)
    decided = await _decided(planned, made, desk, meter.cost)
    return Item(
        key=surroundings.key(planned, tuple(desk.inputs)),
        premises=tuple(desk.premise_ids),
        cost=meter.cost,
        created=clock(),
        step=planned.name,
        context=desk.context.name,
        **decided,
    )


async def _decided(planned: Planned, made: object, desk: WorkDesk, spent: Cost) -> dict[str, Any]:
    """Return the item's status, and what goes with it."""
    producer = planned.producer
    match made:
        case Nothing(why):
            return {"status": "nothing", "why": why}
        case Proposal(basis="guess", payload=payload):
            return {"status": "guess", "payload": payload}
        case Proposal(basis=basis) if basis not in BASES[producer.kind]:
            raise PluginError(
                producer.name,
                f"it proposes {producer.kind} on the basis {basis!r}",
                f"what may be served is {' or '.join(BASES[producer.kind])}; a guess may guide later steps",
            )
        case Proposal(basis="derived") if spent.requests:
            raise PluginError(producer.name, "it calls 'derived' what a model took part in", "let it be judged")
        case Proposal(basis="judged"):
            return await _judged(made, desk, producer.kind)
        case Proposal():
            seen = digest(made.payload.text, made.payload.data, made.evidence)
            proof = Proof(basis=made.basis, verdict=seen, evidence=made.evidence)
            return {"status": "accepted", "payload": made.payload, "proof": proof}
        case _:
            raise PluginError(producer.name, f"make() returned {made!r:.200}", "return a Proposal or Nothing")


async def _judged(proposal: Proposal, desk: WorkDesk, kind: Kind) -> dict[str, Any]:
    judgement = await desk.judge(proposal.payload.text, proposal.prompt)
    match judgement:
        case Accepted(proof) if kind == "answers" and proof.scope != "answer":
            return {"status": "unknown", "why": "its steps were verified, and no check judged the answer itself"}
        case Accepted(proof):
            return {"status": "accepted", "payload": proposal.payload, "proof": proof}
        case Rejected(why):
            return {"status": "rejected", "why": why}
        case Undecided(why):
            return {"status": "unknown", "why": why}
        case _:
            assert_never(judgement)
