"""Makes the item of a step: the producer proposes it, and this module decides whether it is accepted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, assert_never

import anyio
import anyio.lowlevel

from interwhen._types.errors import ContextOverflow, PluginError, UsageError
from interwhen._types.models import Completion, Model, Prompt, Request, Sampling, Usage
from interwhen._types.results import Result
from interwhen.models._metered import MeteredModel
from interwhen.precompute._drafts import DraftedModel, Drafts
from interwhen.precompute._freshness import KeySettings, full_name, is_judged
from interwhen.precompute._items import BASES, Cost, Input, Item, ItemId, Proof, digest
from interwhen.precompute._judge import Judge
from interwhen.precompute._producer import (
    Accepted,
    Context,
    ContextPiece,
    Judgement,
    Nothing,
    PlannedStep,
    Proposal,
    Rejected,
    Undecided,
)

# The context of one step: it gives the step its inputs and the model, and records the inputs that the step reads.

_CLOSE_SECONDS = 5.0
_TOO_LONG = "the prompt must fit into the context window of the model: cut the context into smaller pieces"


class StepWork:
    """What the producer of the step *planned* may use; implements :class:`~interwhen.precompute.StepContext`.

    *step_tokens* limits a request that sets no limit, and *drafts* has the text of interrupted requests, which is
    continued only for answers.
    """

    def __init__(
        self,
        planned: PlannedStep,
        context: Context,
        settled: Mapping[str, Item],
        *,
        model: MeteredModel,
        judge: Judge,
        step_tokens: int,
        drafts: Drafts | None = None,
    ) -> None:
        self.context = replace(context, pieces=())
        # A prefix is prepared by the request itself, so its requests are always sent, and not answered from drafts.
        self.drafted = DraftedModel(model, drafts) if drafts is not None and is_judged(planned.producer.kind) else None
        self.model: Model = self.drafted or model
        self._metered = model
        self._planned = planned
        self._pieces = {piece.name: piece for piece in context.pieces}
        self._settled = settled
        self._judge = judge
        self._step_tokens = step_tokens
        self.inputs: set[Input] = set()
        self.premise_ids: list[ItemId] = []

    @property
    def cost(self) -> Cost:
        used = self._metered
        return Cost(used.spent + used.wasted, used.prompt_tokens + used.fork_prompt_tokens, used.requests + used.forks)

    def read(self, piece: str) -> str:
        return self._piece(piece).text

    def lead(self, piece: str) -> str:
        return self._piece(piece).lead

    def _piece(self, piece: str) -> ContextPiece:
        if piece not in self._planned.step.reads:
            raise UsageError(
                f"step {self._planned.name!r} may read only the pieces that it declares, got {piece!r}; "
                "name it in Step(reads=...)"
            )
        context_piece = self._pieces[piece]
        self.inputs.add(Input("piece", piece, context_piece.sha256))
        return context_piece

    def premise(self, step: str) -> Item | None:
        name = full_name(self._planned.producer.name, step)
        if name not in self._planned.premises:
            raise UsageError(
                f"step {self._planned.name!r} may use only the premises that it declares, got {step!r}; "
                "name it in Step(premises=...)"
            )
        item = self._settled[name]
        self.inputs.add(Input("step", name, item.content))
        if item.id not in self.premise_ids:
            self.premise_ids.append(item.id)
        own_guess = item.status == "guess" and item.key.producer == self._planned.producer.name
        return item if item.may_be_served or own_guess else None

    @property
    def reused(self) -> int:
        return 0 if self.drafted is None else self.drafted.reused

    async def ask(self, prompt: Prompt, sampling: Sampling | None = None) -> Completion:
        # A limit or the server may have cut the answer. Raises `ModelError` if the model fails, the prompt is too long,
        # or the token budget is spent.
        wanted = sampling or Sampling(temperature=0.0)
        if wanted.max_tokens is None:
            wanted = replace(wanted, max_tokens=self._step_tokens)
        stream = await self.model.stream(Request(prompt, sampling=wanted))
        texts: list[str] = []
        reason = None
        usage = Usage()
        try:
            while chunks := await stream.receive():
                for chunk in chunks:
                    texts.append(chunk.text)
                    reason = chunk.finish_reason or reason
                    usage = chunk.usage or usage
        finally:
            with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
                await stream.aclose()
        return Completion("".join(texts), reason or "truncated", usage)

    async def work_out(self, prompt: Prompt, sampling: Sampling | None = None) -> Result:
        # If the prompt is too long, this raises `ContextOverflow` in a producer of the kind `answers`; in one of
        # another kind, the result is a `Failed`.
        wanted = sampling or Sampling(temperature=0.0)
        if wanted.max_tokens is None:
            wanted = replace(wanted, max_tokens=self._step_tokens)
        result = await self._judge.supervise(self.model, prompt, wanted)
        if result.status == "failed" and self.drafted is not None and self.drafted.overflow is not None:
            overflow, self.drafted.overflow = self.drafted.overflow, None  # the producer may try a shorter prompt
            raise overflow
        return result

    async def judge(self, proposal: Proposal) -> Judgement:
        return await self._judge.judge(proposal.payload.text, proposal.prompt, forks=self.model)


async def make(planned: PlannedStep, work: StepWork, key_settings: KeySettings, clock: Callable[[], float]) -> Item:
    # Other exceptions of the producer than `ContextOverflow` are passed on. An invalid result raises `PluginError`.
    try:
        made: object = await planned.producer.make(planned.step, work)
    except ContextOverflow as error:
        # This is stored: the same prompt would be refused again at each try.
        made = Nothing(f"{_TOO_LONG} ({error})")
    decided = await _decided(planned, made, work, work.cost)
    return Item(
        key=key_settings.key(planned, tuple(work.inputs)),
        premises=tuple(work.premise_ids),
        cost=work.cost + Cost(work.reused),
        created=clock(),
        step=planned.name,
        context=work.context.name,
        **decided,
    )


async def _decided(planned: PlannedStep, made: object, work: StepWork, spent: Cost) -> dict[str, Any]:
    producer, needed = planned.producer, BASES[planned.producer.kind]
    match made:
        case Nothing(why):
            return {"status": "nothing", "why": why}
        case Proposal(basis="guess", payload=payload):
            return {"status": "guess", "payload": payload}
        case Proposal(basis=basis) if basis != needed:
            raise PluginError(
                producer.name,
                f"the basis of a proposal of kind {producer.kind!r} must be {needed}, got {basis!r}",
                f"use {needed!r}, or 'guess' for an item that only guides later steps",
            )
        case Proposal(basis="derived") if spent.requests:
            raise PluginError(
                producer.name,
                f"an item on the basis 'derived' must be made without a model, got {spent.requests} requests to one",
                "use the kind 'answers', whose text monitors judge",
            )
        case Proposal(basis="judged"):
            return await _judged(made, work)
        case Proposal():
            seen = digest(made.payload.text, made.payload.data, made.evidence)
            proof = Proof(basis=made.basis, verdict=seen, evidence=made.evidence)
            return {"status": "accepted", "payload": made.payload, "proof": proof}
        case _:
            raise PluginError(
                producer.name, f"make() must return a Proposal or Nothing, got {made!r:.200}", "correct the producer"
            )


async def _judged(proposal: Proposal, work: StepWork) -> dict[str, Any]:
    judgement = await work.judge(proposal)
    match judgement:
        case Accepted(proof) if proof.scope != "answer":
            return {"status": "unknown", "why": "its steps were verified, and no check judged the answer itself"}
        case Accepted(proof):
            return {"status": "accepted", "payload": proposal.payload, "proof": proof}
        case Rejected(why):
            return {"status": "rejected", "why": why}
        case Undecided(why):
            return {"status": "unknown", "why": why}
        case _:
            assert_never(judgement)
