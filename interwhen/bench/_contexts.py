"""``interwhen precompute measure contexts``: asks a real model about contexts, with and without work ahead of time.

The arms are ``bare`` (nothing is prepared), ``facts`` (verified facts), ``answers`` (prepared answers to exactly these
questions), ``prefixes`` (the context in the prefix cache of the server) and ``notes`` (notes of the same model, which
nothing has checked).
"""

from __future__ import annotations

import gzip
import random
import re
import secrets
import statistics
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal, get_args

import anyio
import msgspec
from cyclopts import Parameter

from interwhen import Message, Model, Sampling, UsageError, run
from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.vetting import Above, Positive, vetted
from interwhen.bench._experiment import command_of, say
from interwhen.bench._report import Report, Row, Table
from interwhen.bench._statistics import Estimate, estimate, mcnemar, paired
from interwhen.cli._progress import each as progress_of
from interwhen.models import Completion, ModelWrapper, Request, Stream, Timeouts, open_local
from interwhen.precompute import Kind, MemoryShelf, Precomputer, Producer, Store
from interwhen.precompute.producers.answers import answers, compose
from interwhen.precompute.producers.facts import facts
from interwhen.precompute.producers.prefixes import prefixes
from interwhen.registry import load_model
from interwhen.testing import Rate
from interwhen.toolkit.quantities import read_number

Arm = Literal["bare", "facts", "answers", "prefixes", "notes"]
HOW = (
    "Solve the problem in a few short sentences, one for each calculation, without headings or formulas in LaTeX. The "
    'last line must be "Answer: NUMBER".'
)
"""The end of the system prompt of each question, in all arms. It is meant to keep answers of small models short."""
NOTES = (
    "Questions about this text will follow. Write down in short lines what follows from the text and will help to "
    "answer them, with each calculation."
)
NOTES_HEADING = "Notes on the text:"
QUERIES = (1, 3, 10)
_ANSWER = re.compile(r"answer([^\n]*)", re.IGNORECASE)
_FACTS = 6
_DERIVATIONS = 2
_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class DatedQuestion(msgspec.Struct, frozen=True):
    """One line of the file: a question about a context, with the right number."""

    context: str
    question: str
    gold: str
    """The right answer, a number as text."""
    id: str = ""
    """Identifies the question. If it is empty, :func:`read_questions` sets it to ``line-3`` for the third line."""


class ContextRun(msgspec.Struct, frozen=True):
    """The result of one question in one arm: one line of the file of results."""

    id: str
    arm: Arm
    right: bool
    """Whether the answer is the right number."""
    tokens: int
    """The tokens that the model generated while a reader waited."""
    prompt_tokens: int
    """The prompt tokens of the run, with those of resumes and forks."""
    cached_tokens: int
    """Prompt tokens that the server had in its cache."""
    first_token: float | None
    """Seconds until the first text; ``None`` if no text came."""
    seconds: float
    """Seconds until the end of the run."""
    offline: int
    """The tokens that the model generated ahead of time for this context in this arm."""
    offline_seconds: float
    """Seconds that the preparation of this context took."""
    status: str
    """The label of the result, such as ``answer verified``."""
    items: int
    """The number of precomputed items that the run used, or of prefixes that were ready for it."""
    served: tuple[str, ...]
    """The prepared lines that could be served, for people to read."""
    text: str
    cold: bool = False
    """Whether the prompts began with a number of their own (``--cold``), so that no other arm could warm the cache."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """What was prepared for one context in one arm, and how many tokens and seconds that took."""

    tokens: int = 0
    seconds: float = 0.0
    served: tuple[str, ...] = ()
    """The prepared lines; prefixes have none."""
    precomputer: Precomputer | None = None
    """The precomputer with the items, for the arms ``facts``, ``answers`` and ``prefixes``."""
    notes: str = ""
    """The notes of the model, for the arm ``notes``."""
    prefixes: int = 0
    """The number of prefixes that the server's counters confirmed."""


@vetted("--")
async def contexts(
    *,
    data: Path,
    rows: Path | None = None,
    model: str = "local",
    base_url: str = "",
    threads: int | None = None,
    monitor: Annotated[tuple[str, ...], Parameter(negative="")] = ("arithmetic",),
    arm: Annotated[tuple[Arm, ...], Parameter(negative="")] = get_args(Arm),
    limit: Positive = 50,
    tokens: Positive = 320,
    cold: Annotated[bool, Parameter(negative="")] = False,
    seed: int = 0,
    minutes: Above | None = None,
) -> Report:
    """Ask questions about contexts with and without work ahead of time: tokens, first token, right answers, cost.

    For each context, the arms ask their questions one arm after another, greedily, under the same monitors: without
    --cold first bare, then the others in random order. Where an arm could prepare nothing, the result of bare is then
    repeated. Only with --cold can the times of the arms be compared, and the report has them.

    Parameters
    ----------
    data
        A file with one JSON object a line (gzip if it ends in .gz): {"context": ..., "question": ..., "gold": ...}.
        The right answer is a number.
    rows
        A file to which each result is added, one JSON object a line. Results that it has already are not measured
        again; with --cold, only those that were measured with --cold count.
    model
        An installed model ("local", "local:PATH.gguf"); with --base-url, the model's name there.
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    threads
        How many threads a local model uses.
    monitor
        The monitors of every run, which also judge the prepared facts and answers. May be given several times.
    arm
        The arms that are measured; the report has all arms in the file of rows. May be given several times.
    limit
        How many contexts are used. The seed selects them.
    tokens
        The largest number of tokens of one reply.
    cold
        Begin the prompts of each context and arm with a number of their own, so that the server has nothing of them in
        its cache from another arm. No result is repeated, and bare is not always the first.
    seed
        The seed that selects the contexts and the order of the arms.
    minutes
        Begin no further context after this many minutes.
    """
    asked = draw_contexts(read_questions(data), limit, seed)
    found = read_rows(rows)
    opened = _opened(model, base_url, threads)
    measuring = Measuring(opened, monitor, Sampling(max_tokens=tokens, temperature=0.0), cold=cold)
    rng, begun = random.Random(seed), time.monotonic()  # noqa: S311  (an order, not a secret)
    try:
        for number, (text, questions) in enumerate(progress_of(asked, "contexts", ticks=False)):
            if minutes is not None and time.monotonic() - begun > 60 * minutes:
                say(f"the time is over: {number} of {len(asked)} contexts are done")
                break
            # The arm bare comes first, because the others can repeat its results.
            for each in sorted(rng.sample(arm, len(arm)), key=lambda one: one != "bare" and not cold):
                due = [
                    one for one in questions if (one.id, each) not in found or (cold and not found[one.id, each].cold)
                ]
                plain = {one.id: found[one.id, "bare"] for one in due if (one.id, "bare") in found and not cold}
                for result in [one async for one in measuring.ask(text, due, each, plain)]:
                    found[result.id, each] = result
                    _append(rows, result)
    finally:
        with anyio.CancelScope(shield=True):
            await opened.aclose()
    return report_on(list(found.values()), opened.name)


def _opened(model: str, base_url: str, threads: int | None) -> Model:
    if base_url:
        return load_model(base_url, name=model, api="chat")
    kind, _, spec = model.partition(":")
    # On a busy machine, a local model may need minutes to read a prompt.
    patient = Timeouts(first_token=600.0, inter_token=300.0)
    return open_local(spec, threads=threads, api="chat", timeouts=patient) if kind == "local" else load_model(model)


# The file with the questions, and the file with the results.


def read_questions(path: Path) -> list[DatedQuestion]:
    """Return the questions in the file at *path*: JSON lines, perhaps compressed (``.gz``).

    A question without an id gets one from the number of its line, such as ``line-3``.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    found = []
    number = 0
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    one = msgspec.json.decode(line, type=DatedQuestion)
                    found.append(one if one.id else msgspec.structs.replace(one, id=f"line-{number}"))
    except (OSError, EOFError, zlib.error) as error:
        raise UsageError(f"--data must be a readable file, got {str(path)!r} ({error}); name another file") from error
    except DECODE_ERRORS as error:
        raise UsageError(
            f"each line of --data must be an object with context, question and gold, got an error in "
            f"line {number} ({error}); correct it"
        ) from error
    return found


def draw_contexts(found: Sequence[DatedQuestion], limit: int, seed: int) -> list[tuple[str, list[DatedQuestion]]]:
    """Return at most *limit* contexts with all their questions, in a random order by *seed*.

    A larger *limit* adds contexts at the end of the same order.
    """
    by_context: dict[str, list[DatedQuestion]] = {}
    for one in found:
        by_context.setdefault(one.context, []).append(one)
    drawn = list(by_context.items())
    random.Random(seed).shuffle(drawn)  # noqa: S311  (a draw, not a secret)
    return drawn[:limit]


def read_rows(path: Path | None) -> dict[tuple[str, Arm], ContextRun]:
    """Return the results in the file at *path*, by question id and arm; of several, the last one.

    Lines that cannot be read are ignored. ``None`` and a missing file have no results.
    """
    if path is None or not path.exists():
        return {}
    found: dict[tuple[str, Arm], ContextRun] = {}
    for line in path.read_bytes().splitlines():
        try:
            one = msgspec.json.decode(line, type=ContextRun)
        except DECODE_ERRORS:
            continue
        found[one.id, one.arm] = one
    return found


def _append(path: Path | None, result: ContextRun) -> None:
    if path is not None:
        # A kill may have cut off the last line, so a new line begins first.
        whole = not path.exists() or path.read_bytes()[-1:] in (b"", b"\n")
        with path.open("ab") as file:
            file.write((b"" if whole else b"\n") + msgspec.json.encode(result) + b"\n")


# One question in one arm.


class Instructed(ModelWrapper):
    """Wraps *model*: a request whose prompt is a plain text gets a system message, *start* followed by :data:`HOW`.

    The message comes before the text.
    """

    def __init__(self, model: Model, start: str = "") -> None:
        super().__init__(model)
        self._start = start

    async def stream(self, request: Request) -> Stream:
        """Open a stream of the wrapped model. If the prompt is a plain text, the system prompt is added first."""
        return await self._model.stream(_instructed(request, self._start))

    async def complete(self, request: Request) -> Completion:
        """Return the answer of the wrapped model. If the prompt is a plain text, the system prompt is added first."""
        return await self._model.complete(_instructed(request, self._start))


def _instructed(request: Request, start: str) -> Request:
    if not isinstance(request.prompt, str):
        return request
    return replace(request, prompt=(Message("system", start + HOW), Message("user", request.prompt)))


class Measuring:
    """Prepares contexts with *model*, and asks it the questions about them. *monitors* check every run.

    With *cold*, the prompts of each context and arm begin with a random number.
    """

    def __init__(self, model: Model, monitors: Sequence[str], sampling: Sampling, *, cold: bool = False) -> None:
        self._opened = model
        self._model = Instructed(model)
        self._monitors = tuple(monitors)
        self._sampling = sampling
        self._cold = cold

    async def ask(
        self, text: str, questions: Sequence[DatedQuestion], arm: Arm, plain: Mapping[str, ContextRun]
    ) -> AsyncIterator[ContextRun]:
        """Prepare the context *text* as *arm* requires. Then ask *questions*, and yield the result of each.

        Where nothing could be prepared, a result of the arm ``bare`` in *plain* is repeated.
        """
        if not questions:
            return
        if self._cold:
            # A seed would give the same numbers again, and a server that still runs would have them in its cache.
            self._model = Instructed(self._opened, f"Session {secrets.randbelow(9 * 10**8) + 10**8}. ")
        prepared = await self._prepare(text, questions, arm)
        for one in questions:
            if arm != "bare" and not prepared.served and not prepared.prefixes and one.id in plain:
                yield _repeated(plain[one.id], arm, prepared)
            else:
                yield await self._answer(text, one, arm, prepared)
        if prepared.precomputer is not None:
            await prepared.precomputer.aclose()

    async def _prepare(self, text: str, questions: Sequence[DatedQuestion], arm: Arm) -> Prepared:
        begun = time.monotonic()
        if arm == "bare":
            return Prepared()
        if arm == "notes":
            turns = (Message("user", f"{text}\n\n{NOTES}"),)
            reply = await self._model.complete(Request(turns, sampling=self._sampling))
            spent = reply.usage.completion_tokens or len(reply.text) // 4
            lines = tuple(reply.text.splitlines())
            return Prepared(spent, time.monotonic() - begun, lines, notes=reply.text)
        most = self._sampling.max_tokens or 0
        producers: dict[Arm, Producer] = {
            "facts": facts(limit=_FACTS, max_tokens=most),
            "answers": answers(
                questions=[one.question for one in questions], max_tokens=most, derivations=_DERIVATIONS, agreeing=1
            ),
            "prefixes": prefixes(),
        }
        kinds: tuple[Kind, ...] = (producers[arm].kind,)
        precomputer = Precomputer(
            Store(MemoryShelf()),
            self._model,
            self._monitors,
            producers=[producers[arm]],
            passes=1,
            debounce=0.0,
            step_seconds=3600.0,
        )
        ref = await precomputer.add("context", text, kinds=kinds)
        await precomputer.work()
        spent = precomputer.contexts["context"].spending.cost.generated
        ready = precomputer.ready(ref)
        lines = tuple(line for item in ready for line in item.payload.text.splitlines())
        warm = sum(item.key.kind == "prefixes" for item in ready)
        return Prepared(spent, time.monotonic() - begun, lines, precomputer, prefixes=warm)

    async def _answer(self, text: str, one: DatedQuestion, arm: Arm, prepared: Prepared) -> ContextRun:
        prompt = compose(text, one.question)
        if prepared.notes:
            prompt = f"{NOTES_HEADING}\n{prepared.notes}\n\n{prompt}"
        begun = time.monotonic()
        ref = None if prepared.precomputer is None else await prepared.precomputer.open("context")
        async with run(
            self._model, prompt, monitors=self._monitors, sampling=self._sampling, context=ref
        ) as supervised:
            result = await supervised.drain()
        ledger = result.ledger
        return ContextRun(
            id=one.id,
            arm=arm,
            right=is_right(result.text, one.gold),
            tokens=ledger.kept + ledger.discarded + ledger.fork_tokens,
            prompt_tokens=ledger.total_prompt_tokens,
            cached_tokens=ledger.cached_tokens,
            first_token=result.timing.first_token,
            seconds=time.monotonic() - begun,
            offline=prepared.tokens,
            offline_seconds=prepared.seconds,
            status=result.label,
            items=len(result.precomputed) + prepared.prefixes,
            served=prepared.served,
            text=result.text,
            cold=self._cold,
        )


def _repeated(bare: ContextRun, arm: Arm, prepared: Prepared) -> ContextRun:
    return msgspec.structs.replace(bare, arm=arm, offline=prepared.tokens, offline_seconds=prepared.seconds)


def is_right(text: str, gold: str) -> bool:
    """Return whether the answer in *text* is the number *gold*.

    The answer is the last number after the word "answer" in the last line with this word, or in the whole text if no
    line has it.
    """
    lines = _ANSWER.findall(text)
    numbers = _NUMBER.findall(lines[-1] if lines else text)
    right = read_number(gold)
    return bool(numbers) and right is not None and read_number(numbers[-1]) == right


# The report.


def report_on(found: Sequence[ContextRun], subject: str) -> Report:
    """Return the report on *found*. Each arm is compared with the arm ``bare``, on the questions that both have."""
    by_arm: dict[Arm, dict[str, ContextRun]] = {}
    for one in found:
        by_arm.setdefault(one.arm, {})[one.id] = one
    base = by_arm.get("bare", {})
    arms = [arm for arm in get_args(Arm) if arm in by_arm]
    timed = [(arm, _cold_pairs(base, by_arm[arm])) for arm in arms if arm != "bare"]
    tables = (
        Table("Answers", tuple(_arm_row(arm, list(by_arm[arm].values())) for arm in arms)),
        Table(
            "Pairs with the arm bare",
            tuple(_pair_row(arm, base, by_arm[arm]) for arm in arms if arm != "bare" and base.keys() & by_arm[arm]),
            "fixed, broken: only this arm is right, or only bare. The cost includes the tokens ahead of time; t is the "
            "weight of a token for which a reader waits. Below 1, the arm is cheaper than bare.",
        ),
        Table(
            "Times within pairs",
            tuple(_time_row(arm, pairs) for arm, pairs in timed if pairs),
            "Only of runs with --cold. more: the mean of the arm minus bare, in percent of bare.",
        ),
    )
    return Report(benchmark="contexts", subject=subject, tables=tuple(table for table in tables if table.rows))


def _arm_row(arm: Arm, found: Sequence[ContextRun]) -> Row:
    first = [1000 * one.first_token for one in found if one.first_token is not None]
    right = Rate.make(sum(one.right for one in found), len(found))
    rate = right.value or 0.0
    return {
        "arm": arm,
        "n": len(found),
        "right": Estimate(100 * rate, "%", 100 * right.low, 100 * right.high, len(found)),
        "tokens a query": estimate([one.tokens for one in found], of=statistics.fmean),
        "first token, ms": estimate(first) if first else None,
        "with an item": sum(one.items > 0 for one in found),
        "lines prepared": sum(len(one.served) for one in found),
        "tokens ahead of time": statistics.fmean(one.offline for one in found),
    }


def _pair_row(arm: Arm, base: Mapping[str, ContextRun], found: Mapping[str, ContextRun]) -> Row:
    pairs = [(base[name], one) for name, one in found.items() if name in base]
    fixed = sum(one.right and not bare.right for bare, one in pairs)
    broken = sum(bare.right and not one.right for bare, one in pairs)
    ratios: Callable[[Sequence[tuple[ContextRun, ContextRun]]], float] = lambda some: (  # noqa: E731
        sum(bare.tokens for bare, _ in some) / max(sum(one.tokens for _, one in some), 1)
    )
    row: Row = {
        "arm": arm,
        "pairs": len(pairs),
        "fixed": fixed,
        "broken": broken,
        "p": mcnemar(fixed, broken),
        "times fewer tokens": estimate(pairs, of=ratios),
    }
    usual, now = (statistics.fmean(pair[at].tokens for pair in pairs) for at in (0, 1))
    offline = statistics.fmean(one.offline for _, one in pairs)
    for weight in (10, 1):
        for queries in QUERIES:
            row[f"cost at {queries}, t = {weight}"] = (offline / queries + weight * now) / (weight * max(usual, 1e-9))
    return row


def _cold_pairs(base: Mapping[str, ContextRun], found: Mapping[str, ContextRun]) -> list[tuple[ContextRun, ContextRun]]:
    return [(base[name], one) for name, one in found.items() if name in base and one.cold and base[name].cold]


def _first_token(one: ContextRun) -> float:
    # A run without a text has no first token; then the reader waited for the whole run.
    return one.seconds if one.first_token is None else one.first_token


def _time_row(arm: Arm, pairs: Sequence[tuple[ContextRun, ContextRun]]) -> Row:
    first, usual_first = ([1000 * _first_token(pair[at]) for pair in pairs] for at in (1, 0))
    whole, usual = ([pair[at].seconds for pair in pairs] for at in (1, 0))
    return {
        "arm": arm,
        "pairs": len(pairs),
        "first token, bare, ms": estimate(usual_first),
        "first token, ms": estimate(first),
        "first token, more": paired(usual_first, first)[1],
        "answer, bare, s": estimate(usual),
        "answer, s": estimate(whole),
        "answer, more": paired(usual, whole)[1],
        "cached": statistics.fmean(one.cached_tokens / max(one.prompt_tokens, 1) for _, one in pairs),
    }


command = command_of(contexts)
