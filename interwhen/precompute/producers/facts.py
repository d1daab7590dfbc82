"""Facts: what follows from a context, worked out pass by pass before anybody asks, each statement verified."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal, get_args

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.models import Completion, Sampling
from interwhen.precompute._items import Item, Kind, Payload
from interwhen.precompute._producer import Accepted, Context, Nothing, Proposal, Step, StepContext
from interwhen.precompute.producers._statements import Statement, ask, ask_for, numbered, read_statements

__all__ = [
    "facts",
]


Link = Literal["none", "chain"]
"""Whether a piece builds on the facts of others: not at all, or on those of the piece before it."""


class Fact(msgspec.Struct, frozen=True):
    """An accepted statement."""

    said: str
    cited: tuple[str, ...]
    """The lines of the text, and the earlier facts, from which it follows."""


class Notes(msgspec.Struct, frozen=True):
    """What one pass over one piece found: the data of an item of kind ``facts``."""

    facts: tuple[Fact, ...]
    pays: bool
    """Whether the pass found enough, for its tokens, that another one is worth while."""


class _FactParams(msgspec.Struct, frozen=True):
    number: int
    limit: int
    min_gain: float
    max_tokens: int


class FactProducer:
    """Multi-pass consolidation: each pass proposes statements from a piece and the facts accepted so far.

    Each statement must cite its premises, and goes before the monitors as a continuation of these alone. What they do
    not pass (refuted or not understood) is dropped, and no later pass sees it.
    """

    name = "facts"
    version = "1"
    kind: Kind = "facts"

    def __init__(self, *, limit: int, min_gain: float, max_tokens: int, link: Link) -> None:
        if limit < 1 or max_tokens < 1 or not min_gain >= 0:
            raise UsageError(f"facts: limit={limit!r}, max_tokens={max_tokens!r} and min_gain={min_gain!r}: too small")
        if link not in get_args(Link):
            raise UsageError(f"facts: link={link!r}, choose one of {', '.join(get_args(Link))}")
        self._limit = limit
        self._min_gain = min_gain
        self._max_tokens = max_tokens
        self._link = link

    def plan(self, context: Context) -> Iterable[Step]:
        """Want one item for each pass over each piece; a pass reads those before it."""
        passes = range(1, context.passes + 1)
        before: tuple[str, ...] = ()
        for piece in context.pieces:
            for number in passes:
                params = _FactParams(number, self._limit, self._min_gain, self._max_tokens)
                yield Step(
                    name=f"{piece.name}/{number}",
                    reads=(piece.name,),
                    premises=(*before, *(f"{piece.name}/{earlier}" for earlier in range(1, number))),
                    params=msgspec.json.encode(params),
                    urgency=-float(number),
                )
            if self._link == "chain":
                before = tuple(f"{piece.name}/{number}" for number in passes)

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        """Do one pass over one piece."""
        params = msgspec.json.decode(step.params, type=_FactParams)
        if params.number > 1:
            last = context.premise(step.premises[-1])
            if last is None or not notes_of(last).pays:
                return Nothing("the pass before it found too little to go on")
        known = [fact.said for item in context.premises() for fact in notes_of(item).facts]
        given = numbered(context.read(step.reads[0]), known)
        reply = await ask(
            context, *ask_for(given, params.limit), Sampling(max_tokens=params.max_tokens, temperature=0.0)
        )
        proposed = read_statements(reply.text, given)[: params.limit]
        facts = [found for found in proposed if await _is_shown(found, context)]
        if not facts:
            return Nothing(f"{len(proposed)} statements were proposed, and none of them was shown to hold")
        gain = 1000 * len(facts) / _tokens(reply)
        notes = Notes(tuple(Fact(fact.said, fact.cited) for fact in facts), gain >= params.min_gain)
        return Proposal(
            payload=Payload("\n".join(fact.said for fact in facts), msgspec.json.encode(notes)),
            prompt=_premises(facts),
        )


def facts(*, limit: int = 12, min_gain: float = 2.0, max_tokens: int = 600, link: Link = "none") -> FactProducer:
    """Make the producer.

    *limit* is the most statements of a pass and *max_tokens* its longest reply. Passes over a piece stop with one that
    yields fewer than *min_gain* accepted facts for 1,000 generated tokens. With ``link="chain"`` a piece builds on the
    facts of the one before it, so that a text too long for the model's window is worked through piece by piece.
    """
    return FactProducer(limit=limit, min_gain=min_gain, max_tokens=max_tokens, link=link)


def notes_of(item: Item) -> Notes:
    """Return what an item of this producer holds."""
    return _notes(item.payload.data)


@lru_cache(maxsize=4096)
def _notes(data: bytes) -> Notes:
    # A reader waits while facts are chosen, and the same ones are looked at for each question.
    return msgspec.json.decode(data, type=Notes)


async def _is_shown(found: Statement, context: StepContext) -> bool:
    return isinstance(await context.judge(found.said, _premises([found])), Accepted)


def _premises(found: Sequence[Statement]) -> str:
    return "\n".join(dict.fromkeys(line for one in found for line in one.cited)) + "\n"


def _tokens(reply: Completion) -> int:
    counted = reply.usage.completion_tokens
    return max(counted if counted is not None else len(reply.text) // 4, 1)
