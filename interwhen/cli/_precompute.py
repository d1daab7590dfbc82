"""``interwhen precompute``: prepare contexts ahead of time, and show the results."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, get_args

import anyio
from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from interwhen._run.run import run as start
from interwhen._types.errors import UsageError
from interwhen._types.vetting import Positive, vetted
from interwhen.cli import _exits, _flags
from interwhen.cli._progress import ProgressLine
from interwhen.cli._supervise import closing, run_to_end, show_run
from interwhen.cli._text import as_json, joined, stdout_console, visible
from interwhen.cli._view import viewer_for
from interwhen.precompute import Kind, Store, _contexts
from interwhen.precompute._access import PLACE, is_missing, open_context, open_place, read_text
from interwhen.precompute._contexts import (
    NOTHING,
    ContextRecord,
    PreparedContext,
    State,
    Summary,
    WorkerSettings,
    explain,
    last_worker,
    read_context,
    states,
    write_context,
)
from interwhen.precompute._documents import OVERLAP, PIECE, pieces_of
from interwhen.precompute._gate import GateRecord, GateRule
from interwhen.precompute._items import ItemId
from interwhen.precompute._precomputer import Precomputer, Slice
from interwhen.precompute._producer import ContextPiece, load_producers
from interwhen.precompute._questions import read_questions, with_questions
from interwhen.precompute._savings import read_records, worth
from interwhen.precompute._usage import note_questions
from interwhen.precompute.producers.answers import compose
from interwhen.registry import load_monitors

# The table of ``interwhen precompute status`` with the savings of items.

_RULE = GateRule()


def worth_table(prepared: PreparedContext, records: Mapping[ItemId, GateRecord]) -> Table | None:
    """Make a table of what each current item with a record saves; return ``None`` without such an item."""
    recorded = [(step, records[item.id]) for step, item in prepared.current.items.items() if item.id in records]
    if not recorded:
        return None
    title = (
        f"Savings per query (a token that a reader waits for weighs {_RULE.prices.waiting:g} offline tokens, or t = 1)"
    )
    table = _table(title, "item", "stage", "used", "pairs", "tokens", "share", "t = 1", "pays after")
    for step, record in recorded:
        known = worth(record, _RULE)
        after = "unknown" if known.break_even is None else f"{known.break_even:,.1f} queries"
        counts = (f"{record.served} of {record.queries}", f"{len(record.pairs)}")
        shares = (f"{each.mean:.0%} [{each.low:.0%}, {each.high:.0%}]" for each in (known.share, known.plain))
        table.add_row(Text(joined(step)), record.stage, *counts, f"{known.saving:,.0f}", *shares, after)
    return table


_WORDS = ("context", "item", "state", "step", "steps", "what")
"""The columns that do not hold numbers."""


def _table(title: str | None, *headers: str) -> Table:
    table = Table(title=title, title_justify="left", box=None, header_style="dim", pad_edge=False)
    for header in headers:
        table.add_column(header, justify="left" if header in _WORDS else "right", overflow="fold")
    return table


app = App(name="precompute", help="Prepare contexts ahead of time, and show the results.")
_measure = App(name="measure", help="Measure on your endpoint what work ahead of time saves.")
app.command(_measure)
_measure.command(
    "interwhen.bench._prefixes:command",
    name="prefixes",
    help="Measure what a prefix cache that was warmed ahead of time saves at the first token.",
)
_MODEL, _SAMPLING = _flags.ModelFlags(), _flags.SamplingFlags()
_NO_CONTEXTS = "no contexts: interwhen precompute add NAME FILE"
_SHOWN: tuple[State, ...] = ("accepted", "guess", "rejected", "unknown", "nothing", "due", "waiting")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class StoreFlags:
    """Command-line options that say where the store of precomputed items is, and with which key it is sealed."""

    store: str = PLACE
    """A path (one SQLite file), or a URL that fsspec knows (extra "precompute")."""
    key_file: Path | None = None
    """A file with the key that seals each entry of the store; default: the key in INTERWHEN_STORE_KEY, if it is set."""

    def open(self, *, creates: bool = False) -> Store:
        return open_place(self.store, self.key_file, creates=creates)


_STORE = StoreFlags()


@app.command
@vetted("--")
def add(
    name: str,
    files: tuple[Path, ...],
    /,
    *,
    place: StoreFlags = _STORE,
    kind: Annotated[tuple[Kind, ...], Parameter(negative="")] = (),
    size: int = PIECE,
) -> int:
    """Store files as a context. A long file is cut into pieces; of several files, each short one is a piece.

    Parameters
    ----------
    name
        The name of the context. If it exists, it is edited: only items that depend on the changes are made again.
    files
        Text files, in UTF-8. No two files may have the same name without their folders: it names their pieces.
    kind
        The kinds to prepare: verifiers, answers, prefixes. Default: all. May be given several times.
    size
        The most characters of a piece of a long file, at least 16. Choose less for a model with a small context window.
    """
    bare = [path.name for path in files]
    if twice := next((each for each in bare if bare.count(each) > 1), ""):
        raise UsageError(f"each file of a context must have its own name, got {twice!r} twice; rename one")
    texts = {path.name: read_text(path) for path in files}
    if not texts:
        raise UsageError("a context needs at least one file, got none; name the files after the context")
    pieces = _cut(next(iter(texts.values())), size) if len(texts) == 1 else tuple(_of_files(texts, size))
    record = ContextRecord.of(pieces, kind or get_args(Kind))
    with contextlib.closing(place.open(creates=True)) as store:
        generation = write_context(store, name, record)
    stdout_console().print(Text(f"{visible(name)}: {len(pieces)} pieces, generation {generation}"))
    return _exits.OK


@app.command
@vetted("--")
def run(
    names: tuple[str, ...] = (),
    /,
    *,
    model: _flags.ModelFlags = _MODEL,
    monitor: Annotated[tuple[str, ...], Parameter(name=("--monitor", "-m"), negative="")] = (),
    producer: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    questions: Annotated[tuple[Path, ...], Parameter(negative="")] = (),
    place: StoreFlags = _STORE,
    token_budget: int = 100_000,
    slices: Positive | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Do the due work, step by step, until there is none or the budget is spent. It can be stopped at any time.

    Parameters
    ----------
    names
        The contexts; default: all.
    monitor
        The monitors that judge the text of the model. Without one, no text counts as checked. May be given several
        times.
    producer
        The producers that propose items, such as answers:anticipate=4; default: all installed ones. May be given
        several times.
    questions
        A file with questions to answer in advance: one a line, or JSON lines with the field "question", or a journal
        of a run, whose question counts; or a folder of journals, such as that of a gateway. May be given several
        times.
    token_budget
        How many generated tokens one context may cost in all its generations. Processes that work on it at the same
        time can exceed this.
    slices
        The largest number of steps.
    json
        Write a line of JSON for each step, and nothing else on stdout.
    """
    asked = [question for path in questions for question in read_questions(path)]
    producers = with_questions(producer, asked)
    with ProgressLine("steps", slices) as progress:

        def told(step: Slice) -> None:
            progress.clear()
            _print_step(step, json=json)
            progress.advance()

        done = anyio.run(_work, names, model, monitor, producers, place, token_budget, slices, asked, told)
    spent = sum(each.cost.generated for each in done)
    if not json:
        stdout_console().print(Text(f"{len(done)} steps, {spent} tokens"))
    return _exits.FAILED if any(each.outcome in ("failed", "late") for each in done) else _exits.OK


def _cut(text: str, size: int) -> tuple[ContextPiece, ...]:
    return pieces_of(text, size=size, overlap=max(0, min(OVERLAP, size // 2)))


def _of_files(texts: Mapping[str, str], size: int) -> Iterator[ContextPiece]:
    for name, text in texts.items():
        if len(text) <= size:
            yield ContextPiece(name, text)
        else:
            for piece in _cut(text, size):
                yield ContextPiece(f"{name}/{piece.name}", piece.text, piece.lead)


def _print_step(step: Slice, *, json: bool) -> None:
    console = stdout_console()
    if json:
        row = {
            "context": step.context,
            "step": step.step,
            "outcome": step.outcome,
            "tokens": step.cost.generated,
            "why": step.why,
        }
        console.file.write(as_json(row) + "\n")
        return
    why = f"  {visible(step.why)}" if step.why else ""
    line = f"{step.outcome:<10} {step.cost.generated:>6} tokens  {visible(step.context)}  {visible(step.step)}"
    console.print(Text(line + why), soft_wrap=True)


async def _work(
    names: tuple[str, ...],
    model: _flags.ModelFlags,
    monitor: tuple[str, ...],
    producer: Sequence[Mapping[str, Any]],
    place: StoreFlags,
    token_budget: int,
    slices: int | None,
    asked: Sequence[str],
    told: Callable[[Slice], None],
) -> list[Slice]:
    adapter = model.open()
    store = place.open()
    done: list[Slice] = []
    try:
        pre = Precomputer(store, adapter, monitor, producers=producer, token_budget=token_budget, debounce=0.0)
        for name in names or _contexts.contexts_in(store):
            note_questions(store, name, asked, is_log=True)
            await pre.open(name)
            _contexts.note_worker(store, name, _worker(pre, producer))
        while slices is None or len(done) < slices:
            step = await pre.work(slices=1)
            if not step:
                break
            done.extend(step)
            told(step[0])
    finally:
        store.close()
        await adapter.aclose()
    return done


@app.command
@vetted("--")
def ask(
    name: str,
    question: str,
    /,
    *,
    model: _flags.ModelFlags = _MODEL,
    monitor: Annotated[tuple[str, ...], Parameter(name=("--monitor", "-m"), negative="")] = (),
    place: StoreFlags = _STORE,
    sampling: _flags.SamplingFlags = _SAMPLING,
    passages: Positive | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
    plain: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Ask a question about a context, with what was prepared for it. The summary lists the items that were used.

    Exit codes: 0 answer or steps verified, 3 unverified, 4 abstained, 5 failed, 2 wrong usage, 130 interrupted.

    Parameters
    ----------
    name
        The context. Its text and the question are the prompt. Of a text that is long for the context window of the
        model, only the passages are used that belong to the question.
    question
        The question. A stored answer is used only for exactly this question.
    monitor
        A monitor of the run, as in "interwhen run". May be given several times.
    passages
        The most characters of the text that are put before the question. If the text is longer, only the passages are
        used that belong to the question. Default: half of the context window, at three characters a token.
    json
        Write each event as one line of JSON, the last one with the result, and nothing else on stdout.
    plain
        Append lines instead of redrawing a picture. Always so if stdout is not a terminal.
    """
    if not question.strip():
        raise UsageError(f"the question must not be blank, got {question!r}; write it after the name of the context")
    monitors = load_monitors(monitor)
    sampled = sampling.value()
    adapter = model.open("")

    async def main() -> int:
        async with closing(adapter), open_context(name, adapter, store=place.store, key_file=place.key_file) as ref:
            text = await ref.precomputer.text_for(ref, question, room=passages)
            run = start(adapter, compose(text, question), monitors=monitors, sampling=sampled, context=ref)
            result = await show_run(run, viewer_for(stdout_console(), json=json, plain=plain))
        return _exits.BY_STATUS[result.status]

    return run_to_end(main)


@app.command
def status(name: str = "", /, *, place: StoreFlags = _STORE) -> int:
    """Show contexts and their steps: outcomes, what may be served, costs and savings.

    Parameters
    ----------
    name
        One context, with its steps; default: all contexts, a line each.
    """
    console = stdout_console()
    if not name and place.store == PLACE and is_missing(PLACE):
        console.print(_NO_CONTEXTS)
        return _exits.OK
    with contextlib.closing(place.open()) as store:
        if name:
            prepared = _prepared(store, name)
            shown = (_steps(prepared), worth_table(prepared, read_records(store)))
            console.print(*(table for table in shown if table is not None))
            return _exits.OK
        names = _contexts.contexts_in(store)
        summaries = [_contexts.summary(_prepared(store, each)) for each in names]
        console.print(_named_contexts(summaries) if names else _NO_CONTEXTS)
        if ruins := store.quarantined():
            console.print(Text(f"in quarantine: {len(ruins)}, the last one because {visible(ruins[-1].why)}"))
    return _exits.OK


@app.command
def why(name: str, step: str, /, *, place: StoreFlags = _STORE) -> int:
    """Explain why the item of a step is served or not: its inputs, whether they are unchanged, and its verifiers.

    Parameters
    ----------
    name
        The context.
    step
        The name of the step, as "interwhen precompute status NAME" shows it.
    """
    with contextlib.closing(place.open()) as store:
        state, readings = explain(_prepared(store, name), step)
    lines = [f"{state.step}: {state.state}"]
    item = state.item
    if item is not None:
        served = item.may_be_served and state.state == "accepted"
        lines.append("it may be served" if served else f"it is not served{f': {item.why}' if item.why else ''}")
        lines.extend(
            f"  read {each.kind} {each.name!r}: {'as it was' if each.is_same else 'CHANGED'}" for each in readings
        )
        if item.proof is not None:
            who = ", ".join(f"{verifier} {version}" for verifier, version in item.proof.verifiers)
            lines.append(
                f"  {item.proof.basis}: {item.proof.evidence or 'no evidence recorded'}{f' ({who})' if who else ''}"
            )
            lines.append(f"  claims cover {item.proof.coverage:.0%} of the text")
        lines.append(f"  cost {item.cost.generated} tokens in {item.cost.requests} requests")
        lines.append(f"  id {item.id}")
        lines.extend(f"  > {line}" for line in item.payload.text.splitlines())
    stdout_console().print(Text("\n".join(visible(line) for line in lines)), soft_wrap=True)
    return _exits.OK


@app.command
def evict(name: str, steps: tuple[str, ...] = (), /, *, place: StoreFlags = _STORE, all_: bool = False) -> int:
    """Delete items, so that the next work makes them again. Running processes soon stop serving them.

    The number of deleted items is printed. An unknown context or step is an error, and nothing is deleted.

    Parameters
    ----------
    name
        The context.
    steps
        The steps of which the items are deleted. Without --all, there must be at least one.
    all_
        Delete the items of all steps. It has no effect if steps are named.
    """
    with contextlib.closing(place.open()) as store:
        prepared = _prepared(store, name)
        if not steps and not all_:
            raise UsageError("there must be at least one step to evict, got none; name steps, or give --all")
        meant = [explain(prepared, step)[0] for step in steps] if steps else states(prepared)
        items = tuple(each.item.id for each in meant if each.item is not None)
        generation = _contexts.evict(store, name, items)
    stdout_console().print(Text(f"{len(items)} items deleted, generation {generation}"))
    return _exits.OK


def _worker(pre: Precomputer, specs: Sequence[Mapping[str, Any]]) -> WorkerSettings:
    around = pre.key_settings
    names = tuple(each.name for each in pre.producers)
    options = {str(spec["name"]): {key: value for key, value in spec.items() if key != "name"} for spec in specs}
    return WorkerSettings(around.model, around.tokenizer, around.judges, names, options)


def _prepared(store: Store, name: str) -> PreparedContext:
    # Without a last worker, no producer is known, so the context has no plan.
    worker = last_worker(store, name) or WorkerSettings("", "", NOTHING, ())
    prepared = PreparedContext(name)
    if read_context(store, name)[1] is None:
        raise UsageError(
            f"context {name!r} must be in the store {store.place!r}, and it is not; add it: interwhen "
            f"precompute add {name} FILE"
        )
    prepared.load(store, load_producers(worker.specs), worker.key_settings)
    return prepared


def _named_contexts(summaries: list[Summary]) -> Table:
    table = _table(None, "context", "generation", "pieces", "served", "tokens", "wasted", "steps")
    for each in summaries:
        spent = each.spending
        counts = (each.generation, each.pieces, each.served, spent.cost.generated, spent.discarded)
        steps = ", ".join(f"{each.counts[state]} {state}" for state in _SHOWN if each.counts.get(state))
        table.add_row(Text(joined(each.name), style="bold"), *map(str, counts), steps)
    return table


def _steps(prepared: PreparedContext) -> Table:
    table = _table(None, "step", "state", "tokens", "what")
    for each in states(prepared):
        item = each.item
        what = "" if item is None else item.payload.text or item.why
        table.add_row(
            Text(joined(each.step)),
            each.state,
            "" if item is None else str(item.cost.generated),
            Text(joined(what[:200])),
        )
    return table
