"""Facts: statements that follow from a context, derived in several passes in advance, and verified or derived again."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

from interwhen._types.errors import ContextOverflow, UpstreamError, UsageError
from interwhen._types.models import WARM, Completion, Sampling
from interwhen._types.vetting import Amount, Positive, vetted
from interwhen.precompute._documents import pieces_of
from interwhen.precompute._items import Item, Kind, Payload
from interwhen.precompute._producer import (
    Accepted,
    Context,
    Nothing,
    Proposal,
    Rejected,
    Step,
    StepContext,
    vet_derivations,
)
from interwhen.precompute.producers._agreement import (
    PHRASINGS,
    ask_to_derive,
    blank_of,
    read_derived,
    select_agreed,
)
from interwhen.precompute.producers._grounding import lack_of
from interwhen.precompute.producers._statements import (
    Numbered,
    Statement,
    ask,
    ask_again,
    ask_for,
    ask_structured,
    numbered,
    plain,
    read_statements,
    read_structured,
)

__all__ = [
    "facts",
]


Link = Literal["none", "chain"]
"""``chain``: a piece builds on the facts of the piece before it; ``none``: pieces are independent."""
Grounding = Literal["text", "monitors"]
"""``text``: fixed rules compare a statement with the lines that it cites, and then the monitors judge it. ``monitors``:
only the monitors compare."""
_NUMBERS = re.compile(r"\d+")
_QUOTED = 120
_SHORTEST = 200
"""A shorter text, in characters, is not cut to fit into the context window."""
_REFUSALS = (400, 404, 415, 422, 501)
"""The statuses by which endpoints refuse a field of a request."""


class Notes(msgspec.Struct, frozen=True):
    """The result of one pass over one piece: the data of an item of kind ``facts``."""

    facts: tuple[Statement, ...]
    pays: bool
    """Whether the pass found enough facts for its tokens (``min_gain``). If not, no further pass follows."""
    doubtful: tuple[Statement, ...] = ()
    """Statements to derive again: their lines do not show them, and no monitor refuted them."""


class _FactParams(msgspec.Struct, frozen=True):
    """The parameters of one pass over one piece."""

    number: int
    """The number of the pass, from 1; 0 is the step that derives doubtful statements again."""
    limit: int
    min_gain: float
    max_tokens: int
    grounding: Grounding
    derivations: int = 0
    agreeing: int = 0
    structured: bool = False


class FactProducer:
    """Derives facts in several passes (consolidation). Each pass starts from a piece and the facts accepted so far.

    The model proposes statements with their premises, and each is judged as a continuation of these premises. The
    parameters are explained at :func:`facts`; :class:`~interwhen.UsageError` is raised for invalid ones.
    """

    name = "facts"
    version = "6"
    kind: Kind = "facts"

    @vetted("facts: ")
    def __init__(
        self,
        *,
        limit: Positive,
        min_gain: Amount,
        max_tokens: Positive,
        link: Link,
        grounding: Grounding,
        derivations: int,
        agreeing: int,
        structured: bool,
    ) -> None:
        vet_derivations("facts", derivations, agreeing)
        self._grounding = grounding
        self._derivations = derivations
        self._agreeing = agreeing if derivations else 0
        self._structured = structured
        self._limit = limit
        self._min_gain = min_gain
        self._max_tokens = max_tokens
        self._link = link

    def plan(self, context: Context) -> Iterable[Step]:
        """Plan one step for each pass over each piece of *context*; earlier passes are more urgent.

        A pass reads the facts of the earlier passes over its piece, and with ``link="chain"`` those of the piece before
        it. With derivations, another step for each piece derives its doubtful statements again.
        """
        passes = range(1, context.passes + 1)
        before: tuple[str, ...] = ()
        for piece in context.pieces:
            for number in passes:
                yield Step(
                    name=f"{piece.name}/{number}",
                    reads=(piece.name,),
                    premises=(*before, *(f"{piece.name}/{earlier}" for earlier in range(1, number))),
                    params=self._params(number),
                    urgency=-float(number),
                )
            if self._derivations:
                yield Step(
                    name=f"agreed/{piece.name}",
                    reads=(piece.name,),
                    premises=tuple(f"{piece.name}/{number}" for number in passes),
                    params=self._params(0),
                    urgency=-float(context.passes + 1),
                )
            if self._link == "chain":
                before = tuple(f"{piece.name}/{number}" for number in passes)

    def _params(self, number: int) -> bytes:
        """Return the encoded parameters of pass *number*; 0 is the step that derives doubtful statements again."""
        settings = (self._limit, self._min_gain, self._max_tokens, self._grounding, self._derivations, self._agreeing)
        return msgspec.json.encode(_FactParams(number, *settings, structured=self._structured))

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        """Do the pass over the piece that *step* names, and propose the statements that passed.

        If only doubtful statements were found, they are a guess. A step for doubtful statements derives these again
        instead. Raises :class:`ContextOverflow` if even a small part of the piece is too long.
        """
        params = msgspec.json.decode(step.params, type=_FactParams)
        if not params.number:
            return await _agree(step, context, params)
        if params.number > 1:
            last = context.premise(step.premises[-1])
            if last is None or not notes_of(last).pays:
                return Nothing("the previous pass found too few facts")
        known = [fact.said for item in context.premises() for fact in notes_of(item).facts]
        piece = step.reads[0]
        # The headings above a piece of a long document say what it is about.
        text = "\n".join(filter(None, (context.lead(piece), context.read(piece))))
        given = numbered(text, known)
        generated, proposed, reply = await _propose_fitting(context, text, known, params)
        if not proposed:
            return Nothing(f"no statement could be read in the reply of the model: {reply!r:.{_QUOTED}}")
        lacks = await _lacks(proposed[: params.limit], given, context, params.grounding)
        facts = [found for found, why in lacks.items() if not why]
        doubtful = await _doubtful(lacks, context) if params.derivations else ()
        if doubtful and not facts:
            notes = Notes((), pays=False, doubtful=doubtful)
            return Proposal(payload=Payload(data=msgspec.json.encode(notes)), basis="guess")
        if not facts:
            found, why = next(iter(lacks.items()))
            return Nothing(
                f"{len(lacks)} statements were proposed, and none was verified; {found.said!r:.{_QUOTED}}: {why}"
            )
        gain = 1000 * len(facts) / generated
        notes = Notes(tuple(facts), gain >= params.min_gain, doubtful)
        return Proposal(
            payload=Payload("\n".join(fact.said for fact in facts), msgspec.json.encode(notes)),
            prompt=_premises(facts),
        )


def facts(
    *,
    limit: int = 12,
    min_gain: float = 2.0,
    max_tokens: int = 600,
    link: Link = "none",
    grounding: Grounding = "text",
    derivations: int = 0,
    agreeing: int = 2,
    structured: bool = False,
) -> FactProducer:
    """Make the producer of facts: short statements that follow from the context, which it derives ahead of time.

    *limit* is the largest number of statements of a pass, and *max_tokens* limits its reply. Passes over a piece end
    after one with fewer than *min_gain* accepted facts per 1,000 generated tokens. With ``link="chain"`` a piece builds
    on the facts of the one before it.

    *grounding* selects how a statement is compared with the lines that it cites: by default by fixed rules, and then by
    the monitors. Choose ``monitors`` only if a monitor passes a statement only when it follows from the prompt; the
    monitor ``arithmetic`` does not ensure this.

    *derivations* tells how often the model derives the result of a statement again, in other words, if its lines do not
    show it and no monitor refuted it. If at least *agreeing* derivations give this result, the statement may be served
    under the heading "Derived twice, not checked".

    With *structured*, the model must reply with JSON that follows a schema, if the endpoint supports this. Raises
    :class:`~interwhen.UsageError` for invalid values.
    """
    return FactProducer(
        limit=limit,
        min_gain=min_gain,
        max_tokens=max_tokens,
        link=link,
        grounding=grounding,
        derivations=derivations,
        agreeing=agreeing,
        structured=structured,
    )


def pass_of(step: Step) -> int:
    """Return the number of the pass that *step* makes, from 1; 0 for a step that derives statements again."""
    return msgspec.json.decode(step.params, type=_FactParams).number


def notes_of(item: Item) -> Notes:
    """Return the decoded data of *item*, which a :class:`FactProducer` must have made."""
    return _notes(item.payload.data)


@lru_cache(maxsize=4096)
def _notes(data: bytes) -> Notes:
    # Cached: a reader waits while facts are chosen, and each question needs the same ones.
    return msgspec.json.decode(data, type=Notes)


async def _propose_fitting(
    context: StepContext, text: str, known: Sequence[str], params: _FactParams
) -> tuple[int, list[Statement], str]:
    """Ask the model for statements about *text* as :func:`_propose` does; about parts if *text* is too long.

    Raises :class:`ContextOverflow` if a part of fewer than 200 characters is too long.
    """
    try:
        return await _propose(context, numbered(text, known), params)
    except ContextOverflow:
        if len(text) < _SHORTEST:
            raise
        parts = pieces_of(text, size=3 * len(text) // 5, overlap=0)
    found = [await _propose_fitting(context, part.text, known, params) for part in parts]
    statements = dict.fromkeys(each for _, proposed, _ in found for each in proposed)
    return sum(spent for spent, _, _ in found), list(statements), found[-1][2]


async def _propose(context: StepContext, given: Numbered, params: _FactParams) -> tuple[int, list[Statement], str]:
    """Ask the model for statements about *given*, and usually once more if it replies without statements.

    If *params* requires JSON, JSON is requested first. Return the generated tokens of all requests, the statements, and
    the text of the last reply.
    """
    prompt = ask_for(given, params.limit)
    sampling = Sampling(max_tokens=params.max_tokens, temperature=0.0)
    spent = 0
    if params.structured and context.model.name not in _UNSTRUCTURED:
        made = await _propose_structured(context, given, params)
        if made is not None and made[1] is not None:
            return made[0], made[1], made[2]
        spent = 0 if made is None else made[0]
    reply = await ask(context, prompt, sampling)
    generated, proposed = spent + _tokens(reply), read_statements(reply.text, given)
    if not proposed and reply.text.strip():
        reply = await ask(context, ask_again(prompt, reply.text), sampling)
        generated, proposed = generated + _tokens(reply), read_statements(reply.text, given)
    return generated, proposed, reply.text


_UNSTRUCTURED: set[str] = set()
"""The models whose endpoints were shown to refuse a JSON schema, or not to keep to it, in this process."""


async def _propose_structured(
    context: StepContext, given: Numbered, params: _FactParams
) -> tuple[int, list[Statement] | None, str] | None:
    """Ask the model for statements about *given* in JSON; return the generated tokens, the statements, and the reply.

    The statements are ``None`` if the reply is not such JSON. The result is ``None`` if the endpoint refuses the
    schema, or the adapter accepts no chat.
    """
    prompt, wanted = ask_structured(given, params.limit)
    sampling = Sampling(max_tokens=params.max_tokens, temperature=0.0, extra=wanted)
    try:
        reply = await context.ask(prompt, sampling)
    except UsageError:  # an adapter that only continues texts refuses a chat
        return None
    except UpstreamError as error:
        if error.status not in _REFUSALS:
            raise
        _UNSTRUCTURED.add(context.model.name)
        return None
    proposed = read_structured(reply.text, given)
    if proposed is None and reply.finish_reason == "stop":
        _UNSTRUCTURED.add(context.model.name)
    return _tokens(reply), proposed, reply.text


async def _lacks(
    proposed: Sequence[Statement], given: Numbered, context: StepContext, grounding: Grounding
) -> dict[Statement, str]:
    """Return for each statement in *proposed* why its cited lines do not show it; an empty string if they do.

    With the grounding ``text``, a statement that fails may be replaced by one that cites more lines.
    """
    lacks: dict[Statement, str] = {}
    accepted: list[str] = []
    for found in proposed:
        tried, why = found, await _lack(found, given, context, grounding)
        if why and grounding == "text":
            numbers = set(_NUMBERS.findall(found.said))
            near = (line for line in (*given.source, *accepted) if numbers & {*_NUMBERS.findall(line)})
            wider = Statement(found.said, tuple(dict.fromkeys((*found.cited, *near))))
            if wider != found and not await _lack(wider, given, context, grounding):
                tried, why = wider, ""
        lacks[tried] = why
        if not why:
            accepted.append(tried.said)
    return lacks


async def _lack(found: Statement, given: Numbered, context: StepContext, grounding: Grounding) -> str:
    """Return why *found* is not shown to follow from the lines that it cites; an empty string if it is."""
    if grounding == "text" and (lack := lack_of(found.said, found.cited, given.source)):
        return lack
    judged = await context.judge(found.said, _premises([found]))
    return "" if isinstance(judged, Accepted) else judged.why


async def _doubtful(lacks: Mapping[Statement, str], context: StepContext) -> tuple[Statement, ...]:
    """Return the statements in *lacks* that are worth deriving again: with a number, not shown, and not refuted."""
    found = []
    for statement, why in lacks.items():
        if why and blank_of(statement.said) is not None:
            judged = await context.judge(statement.said, _premises([statement]))
            if not isinstance(judged, Rejected):
                found.append(statement)
    return tuple(found)


async def _agree(step: Step, context: StepContext, params: _FactParams) -> Proposal | Nothing:
    """Let the model derive the doubtful statements of the premises of *step* again, and propose those that agree."""
    source = numbered(context.read(step.reads[0]), ()).source
    notes = [notes_of(item) for item in context.premises()]
    known = {plain(fact.said) for each in notes for fact in each.facts}
    doubtful = {plain(one.said): one for each in notes for one in each.doubtful if plain(one.said) not in known}
    statements = list(doubtful.values())[: params.limit]
    blanks = [blank for one in statements if (blank := blank_of(one.said)) is not None]
    if not statements:
        return Nothing("no statement has to be derived again")
    derived = []
    for number in range(params.derivations):
        # The same words at the same temperature would give the same reply.
        warmth = 0.0 if number < PHRASINGS else WARM
        sampling = Sampling(max_tokens=params.max_tokens, temperature=warmth, seed=number)
        reply = await ask(context, ask_to_derive(source, blanks, number), sampling)
        derived.append(read_derived(reply.text))
    found = select_agreed(statements, blanks, derived, params.agreeing)
    if not found:
        return Nothing(f"{len(statements)} statements were derived again, and no result came out the same")
    agreed = tuple(statement for statement, _ in found)
    votes = ", ".join(f"{count} of {params.derivations}" for _, count in found)
    return Proposal(
        payload=Payload("\n".join(each.said for each in agreed), msgspec.json.encode(Notes(agreed, pays=False))),
        basis="agreed",
        evidence=f"derived again with the same result: {votes} times",
    )


def _premises(found: Sequence[Statement]) -> str:
    return "\n".join(dict.fromkeys(line for one in found for line in one.cited)) + "\n"


def _tokens(reply: Completion) -> int:
    counted = reply.usage.completion_tokens
    return max(counted if counted is not None else len(reply.text) // 4, 1)
