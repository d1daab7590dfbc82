"""Answers to likely questions, generated and verified in advance."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import lru_cache

import anyio.to_thread
import msgspec

from interwhen._types.errors import ContextOverflow, ModelError, UsageError
from interwhen._types.models import Completion, Message, Sampling
from interwhen._types.results import Abstained, Failed, Result
from interwhen._types.segments import has_template_token, is_hidden
from interwhen._types.vetting import Count, Positive, require, vetted
from interwhen.precompute._items import Digest, Item, Kind, Payload, digest
from interwhen.precompute._producer import Context, ContextPiece, Nothing, Proposal, Step, StepContext
from interwhen.precompute._retrieval import BUDGET, PassageIndex, characters_in, passage_of, within
from interwhen.precompute._usage import LONGEST_QUESTION

__all__ = ["answers"]


_ANTICIPATE = (
    "Write the {count} questions that a reader of the text is most likely to ask, one a line, most likely first, and "
    "nothing else."
)
_LEAD = re.compile(r"\s{0,8}(?:[-*] |\d{1,3}[.)] )?")
_TAGS = re.compile(r"</?think>")
_MARKS = re.compile(r"<[|\uff5c]?/?[\w \u2581]{1,40}[|\uff5c]?>")
"""Tags, and what looks like a token of a chat template."""
_LEAST_ROOM = 200
_START = 160
"""The characters of each piece of a long document from which questions are anticipated."""


class Anticipated(msgspec.Struct, frozen=True):
    """*predictability* is the estimated probability that a reader asks the question (0 to 1)."""

    question: str
    predictability: float


class Answered(msgspec.Struct, frozen=True):
    """The data of an item of kind ``answers``."""

    question: str
    predictability: float
    asked: tuple[Digest, ...]
    """The keys of the prompts that get this answer (see :func:`asked`)."""
    reasoning: int = 0
    """The number of characters of reasoning at the start of the text."""


class _AnswerParams(msgspec.Struct, frozen=True):
    max_tokens: int
    question: str = ""
    rank: int = -1
    """The index of a question that the model anticipates; -1 for a given question."""
    count: int = 0


class AnswerProducer:
    """Prepares answers to given, noted and anticipated questions."""

    # An answer is accepted if the monitors passed each line, and a monitor that knows the task judged the answer itself
    # (scope `answer`). The parameters are explained at `answers`; `UsageError` is raised for invalid ones.

    name = "answers"
    version = "2"
    kind: Kind = "answers"

    @vetted("answers: ")
    def __init__(
        self,
        *,
        questions: Sequence[str],
        anticipate: Count,
        max_tokens: Positive,
        seen: Count = 0,
    ) -> None:
        require("answers: questions", questions, Sequence[str], "put a single text in a list")
        self._seen = seen
        self._questions = rank(questions)
        self._anticipate = anticipate
        self._max_tokens = max_tokens

    def plan(self, context: Context) -> Iterable[Step]:
        pieces = tuple(piece.name for piece in context.pieces)
        known = {asked(one.question) for one in self._questions}
        seen = [one for one in rank(context.questions) if asked(one.question) not in known]
        for one in (*self._questions, *seen[: self._seen]):
            yield Step(
                name=asked(one.question)[:16],
                reads=pieces,
                params=msgspec.json.encode(_AnswerParams(self._max_tokens, one.question)),
                urgency=one.predictability,
            )
        if not self._anticipate:
            return
        count = _AnswerParams(self._max_tokens, count=self._anticipate)
        yield Step(name="anticipated", reads=pieces, params=msgspec.json.encode(count))
        for number in range(self._anticipate):
            yield Step(
                name=f"anticipated/{number}",
                reads=pieces,
                premises=("anticipated",),
                params=msgspec.json.encode(_AnswerParams(self._max_tokens, rank=number)),
            )

    async def make(self, step: Step, context: StepContext) -> Proposal | Nothing:
        # Raises `ModelError` if the model fails, or if even a short part of the text exceeds its context window.
        params = msgspec.json.decode(step.params, type=_AnswerParams)
        pieces = [ContextPiece(name, context.read(name), context.lead(name)) for name in step.reads]
        text = "\n".join(piece.text for piece in pieces)
        room = characters_in((await context.model.capabilities()).context_tokens, text)
        if params.count:
            return await _shrinking(room, lambda room: _anticipate(_outline(pieces, room), params, context))
        # The probability is not part of the key: otherwise a growing log would make all answers again.
        wanted = Anticipated(params.question, step.urgency)
        if params.rank >= 0:
            listed = context.premise("anticipated")
            guesses = msgspec.json.decode(listed.payload.data, type=list[Anticipated]) if listed is not None else []
            if params.rank >= len(guesses):
                return Nothing("the model anticipated fewer questions")
            wanted = guesses[params.rank]

        async def answer(room: int) -> Proposal | Nothing:
            return await _answer(await _text_for(wanted.question, pieces, room), wanted, params, context)

        return await _shrinking(room, answer)


async def _shrinking(room: int, attempt: Callable[[int], Awaitable[Proposal | Nothing]]) -> Proposal | Nothing:
    # `room` is only an estimate of how much of the text fits into the context window, so try again with half.
    while True:
        try:
            return await attempt(room)
        except ContextOverflow:
            if room < _LEAST_ROOM:
                raise
            room //= 2


def answers(
    *, questions: Sequence[str] = (), anticipate: int = 0, max_tokens: int = 800, seen: int = 0
) -> AnswerProducer:
    """Make the producer of answers to questions that readers probably ask.

    *questions* may be a log of real questions: each is answered once, the most frequent first. *anticipate* is the
    number of further questions that the model guesses. *seen* is the number of further questions that are taken from
    those which were noted about the context, the most frequent first. *max_tokens* limits each answer. Raises
    :class:`~interwhen.UsageError` for numbers out of range, and if *questions* is a single text.
    """
    return AnswerProducer(questions=questions, anticipate=anticipate, max_tokens=max_tokens, seen=seen)


def rank(log: Sequence[str]) -> list[Anticipated]:
    first: dict[Digest, str] = {}
    for question in log:
        first.setdefault(asked(question), question)
    counts = Counter(map(asked, log))
    total = len(log) + len(first) + 1
    return [Anticipated(first[key], (count + 1) / total) for key, count in counts.most_common()]


def compose(text: str, question: str) -> str:
    return f"{text}\n{question}\n"


def asked(prompt: str) -> Digest:
    # Differences in white space and in the Unicode form of equal characters are ignored; case and punctuation are not.
    return digest(" ".join(unicodedata.normalize("NFC", prompt).split()))


def answer_of(item: Item) -> Answered:
    return _answered(item.payload.data)


@lru_cache(maxsize=4096)
def _answered(data: bytes) -> Answered:
    return msgspec.json.decode(data, type=Answered)


async def _text_for(question: str, pieces: Sequence[ContextPiece], room: int) -> str:
    text = "\n".join(piece.text for piece in pieces)
    if len(text) <= room:
        return text
    ranked = await anyio.to_thread.run_sync(lambda: PassageIndex(pieces).ranked(question))
    return "\n".join(map(passage_of, within(ranked, budget=min(BUDGET, room)))) or text[:room]


def _outline(pieces: Sequence[ContextPiece], room: int) -> str:
    text = "\n".join(piece.text for piece in pieces)
    if len(text) <= room:
        return text
    shown = pieces[:: -(-len(pieces) * _START // room)]
    return "\n".join(piece.text[:_START] for piece in shown)[:room]


async def _anticipate(text: str, params: _AnswerParams, context: StepContext) -> Proposal | Nothing:
    sampling = Sampling(max_tokens=params.max_tokens, temperature=0.0)
    turns = (Message("system", _ANTICIPATE.format(count=params.count)), Message("user", text))
    reply = await _ask(context, turns, sampling)
    lines = [_LEAD.sub("", line, count=1).strip() for line in reply.text.splitlines()]
    questions = list(
        dict.fromkeys(line for line in lines if line and len(line) <= LONGEST_QUESTION and _is_plain_text(line))
    )
    if not questions:
        return Nothing("the model anticipated no question")
    # The model only ranks the questions. 1/2, 1/3, 1/4, … is a guess at their probabilities.
    guesses = [Anticipated(question, 1 / (at + 2)) for at, question in enumerate(questions[: params.count])]
    return Proposal(payload=Payload("\n".join(questions[: params.count]), msgspec.json.encode(guesses)), basis="guess")


async def _answer(text: str, wanted: Anticipated, params: _AnswerParams, context: StepContext) -> Proposal | Nothing:
    prompt, max_tokens = compose(text, wanted.question), params.max_tokens
    result = await context.work_out(prompt, Sampling(max_tokens=max_tokens, temperature=0.0))
    match result:
        case Failed(error=error):
            raise ModelError(error)
        case Abstained(reason=reason):
            return Nothing(f"the run gave up: {reason}")
        case _ if result.finish_reason != "stop":
            return Nothing(f"the answer did not end within {max_tokens} tokens ({result.finish_reason})")
    # The tags around the reasoning are not judged, and not part of the stored text.
    reasoning, answer = _untagged(result)
    asked_as = (asked(wanted.question), asked(prompt))
    kept = Answered(wanted.question, wanted.predictability, asked_as, len(reasoning))
    return Proposal(payload=Payload(reasoning + answer, msgspec.json.encode(kept)), prompt=prompt)


async def _ask(context: StepContext, prompt: tuple[Message, ...], sampling: Sampling) -> Completion:
    try:
        return await context.ask(prompt, sampling)
    except UsageError:
        # An adapter that only continues texts refuses a chat before any request: it gets the messages as one text.
        return await context.ask("".join(f"{turn.content}\n\n" for turn in prompt), sampling)


def _is_plain_text(text: str) -> bool:
    return not _MARKS.search(text) and not has_template_token(text) and not any(map(is_hidden, text))


def _untagged(result: Result) -> tuple[str, str]:
    reasoning = _TAGS.sub("", result.reasoning).strip()
    return f"{reasoning}\n" if reasoning else "", _TAGS.sub("", result.answer).strip()
