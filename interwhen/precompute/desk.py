"""The desk of one step: what it may read, ask and have judged; and the list of what it did read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import anyio
import msgspec

from interwhen.errors import UsageError
from interwhen.models.base import Completion, Model, Prompt, Request, Sampling, Usage
from interwhen.precompute.currency import full_name
from interwhen.precompute.items import Digest, Input, Item, ItemId, digest
from interwhen.precompute.judging import Judge
from interwhen.precompute.metering import Meter, MeteredModel
from interwhen.precompute.producer import Context, Judgement, Planned
from interwhen.results import Result

_CLOSE_SECONDS = 5.0


class WorkDesk:
    """The :class:`~interwhen.precompute.Desk` of *planned*, while *settled* is what holds."""

    def __init__(
        self,
        planned: Planned,
        context: Context,
        settled: Mapping[str, Item],
        *,
        model: Model,
        meter: Meter,
        judge: Judge,
        step_tokens: int,
    ) -> None:
        self.context = replace(context, pieces=())
        self.model: Model = MeteredModel(model, meter)
        self._planned = planned
        self._pieces = {piece.name: piece for piece in context.pieces}
        self._settled = settled
        self._judge = judge
        self._step_tokens = step_tokens
        self._judged: dict[Digest, Judgement] = {}
        self.inputs: set[Input] = set()
        self.premise_ids: list[ItemId] = []

    def read(self, piece: str) -> str:
        """Return a piece's text. Raises :class:`UsageError` for one that the step does not say it reads."""
        if piece not in self._planned.step.reads:
            raise UsageError(f"step {self._planned.name!r} may not read {piece!r}: name it in Step(reads=...)")
        found = self._pieces[piece]
        self.inputs.add(Input("piece", piece, found.sha256))
        return found.text

    def premise(self, step: str) -> Item | None:
        """Return a step's accepted item. Raises :class:`UsageError` for one that is no premise of this step."""
        name = full_name(self._planned.producer.name, step)
        if name not in self._planned.premises:
            raise UsageError(f"step {self._planned.name!r} may not use {step!r}: name it in Step(premises=...)")
        item = self._settled[name]
        self.inputs.add(Input("step", name, item.content))
        if item.id not in self.premise_ids:
            self.premise_ids.append(item.id)
        own_guess = item.status == "guess" and item.key.producer == self._planned.producer.name
        return item if item.may_be_served or own_guess else None

    def premises(self) -> tuple[Item, ...]:
        """Return the items of all premises that have one."""
        found = (self.premise(name) for name in self._planned.premises)
        return tuple(item for item in found if item is not None)

    async def ask(self, prompt: Prompt, sampling: Sampling | None = None) -> Completion:
        """Ask the model, by a stream: whatever is called off has been counted up to there."""
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
        """Let the model answer under the monitors: a slip costs its repair, and not the whole answer."""
        wanted = sampling or Sampling(temperature=0.0)
        if wanted.max_tokens is None:
            wanted = replace(wanted, max_tokens=self._step_tokens)
        return await self._judge.supervise(self.model, prompt, wanted)

    async def judge(self, text: str, prompt: Prompt = "") -> Judgement:
        """Let the monitors judge *text*, once."""
        asked = digest(text, prompt if isinstance(prompt, str) else msgspec.json.encode(prompt))
        if asked not in self._judged:
            self._judged[asked] = await self._judge.judge(text, prompt, forks=self.model)
        return self._judged[asked]
