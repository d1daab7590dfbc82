"""``interwhen precompute``: prepare contexts ahead of time, and see what came of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import anyio
from cyclopts import App, Parameter
from rich.table import Table
from rich.text import Text

from interwhen.cli import exits, flags
from interwhen.cli.escape import joined, visible
from interwhen.cli.precompute_worth import pass_table, worth_table
from interwhen.cli.viewers import stdout_console
from interwhen.errors import UsageError
from interwhen.precompute import Kind, Slice, Store, load_producers, open_store, reporting
from interwhen.precompute.accounts import read_records
from interwhen.precompute.precomputer import Precomputer
from interwhen.precompute.prepared import ContextRecord, Prepared, as_pieces, read_context, write_context
from interwhen.precompute.reporting import State, Summary, Worker, explain, last_worker, states

app = App(name="precompute", help="Prepare contexts while nobody waits, and see what came of it.")
PLACE = "interwhen-precompute.db"
_MODEL = flags.ModelFlags()
_SHOWN: tuple[State, ...] = ("accepted", "guess", "rejected", "unknown", "nothing", "due", "waiting")


@app.command
def add(
    name: str,
    files: tuple[Path, ...],
    /,
    *,
    store: str = PLACE,
    kind: Annotated[tuple[Kind, ...], Parameter(negative="")] = (),
    passes: int = 3,
) -> int:
    """Make files what there is under a name. One file is cut into its paragraphs; of several, each is a piece.

    Parameters
    ----------
    name
        The context's name. What was there under it is edited: only what the edit reaches is made anew.
    files
        Text files, in UTF-8.
    store
        A path (one SQLite file), or a URL that fsspec knows (extra "precompute").
    kind
        What is prepared: facts, verifiers, answers, prefixes. Default: all of them. May be given several times.
    passes
        How often facts are consolidated, at most.
    """
    if passes < 1:
        raise UsageError(f"--passes {passes}: at least one is needed")
    texts = {path.name: _text(path) for path in files}
    if not texts:
        raise UsageError("give at least one file")
    pieces = as_pieces(next(iter(texts.values())) if len(texts) == 1 else texts)
    found = open_store(store)
    record = ContextRecord(pieces, tuple(sorted(set(kind))) or tuple(sorted(get_args(Kind))), passes)
    generation = write_context(found, name, record)
    found.close()
    stdout_console().print(Text(f"{visible(name)}: {len(pieces)} pieces, generation {generation}"))
    return exits.OK


@app.command
def run(
    names: tuple[str, ...] = (),
    /,
    *,
    model: flags.ModelFlags = _MODEL,
    monitor: Annotated[tuple[str, ...], Parameter(name=("--monitor", "-m"), negative="")] = (),
    producer: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    store: str = PLACE,
    token_budget: int = 100_000,
    slices: int | None = None,
) -> int:
    """Do the work that is due, one step after the other, until none is or the budget is spent. May be ended any time.

    Parameters
    ----------
    names
        Contexts; default: all of them.
    monitor
        Who judges what the model says. Without one, no text of a model is ever accepted. May be given several times.
    producer
        Who proposes; default: all that are installed. May be given several times.
    store
        A path or a URL.
    token_budget
        The most tokens that are generated for one context, in all its generations and processes together.
    slices
        How many steps are done at most.
    """
    done = anyio.run(_work, names, model, monitor, producer, store, token_budget, slices)
    spent = sum(each.cost.generated for each in done)
    stdout_console().print(Text(f"{len(done)} steps, {spent} tokens"))
    return exits.FAILED if any(each.came_to in ("failed", "late") for each in done) else exits.OK


async def _work(
    names: tuple[str, ...],
    model: flags.ModelFlags,
    monitor: tuple[str, ...],
    producer: tuple[str, ...],
    store: str,
    token_budget: int,
    slices: int | None,
) -> list[Slice]:
    console = stdout_console()
    adapter = model.open()
    found = open_store(store)
    done: list[Slice] = []
    try:
        pre = Precomputer(found, adapter, monitor, producers=producer or None, token_budget=token_budget, debounce=0.0)
        for name in names or reporting.contexts_in(found):
            await pre.open(name)
            reporting.note_worker(found, name, _worker(pre))
        while slices is None or len(done) < slices:
            step = await pre.work(slices=1)
            if not step:
                break
            done.extend(step)
            [each] = step
            why = f"  {visible(each.why)}" if each.why else ""
            line = f"{each.came_to:<10} {each.cost.generated:>6} tokens  {visible(each.context)}  {visible(each.step)}"
            console.print(Text(line + why), soft_wrap=True)
    finally:
        found.close()
        await adapter.aclose()
    return done


@app.command
def status(name: str = "", /, *, store: str = PLACE) -> int:
    """Show what there is: steps by what came of them, what may be served, what it has cost, and what it saves.

    Parameters
    ----------
    name
        One context, step by step; default: all contexts, a line each.
    store
        A path or a URL.
    """
    console = stdout_console()
    found = open_store(store)
    try:
        if name:
            prepared = _prepared(found, name)
            console.print(_steps(prepared))
            for table in (pass_table(prepared), worth_table(prepared, read_records(found))):
                if table is not None:
                    console.print(table)
            return exits.OK
        names = reporting.contexts_in(found)
        if not names:
            console.print("no contexts: interwhen precompute add NAME FILE")
            return exits.OK
        console.print(_contexts([reporting.summary(_prepared(found, each)) for each in names]))
        if ruins := found.quarantined():
            console.print(Text(f"in quarantine: {len(ruins)}, the last one because {visible(ruins[-1].why)}"))
    finally:
        found.close()
    return exits.OK


@app.command
def why(name: str, step: str, /, *, store: str = PLACE) -> int:
    """Say why a step's item is served or not: what it was made from, whether that still is so, and who judged it.

    Parameters
    ----------
    name
        The context.
    step
        The step, as "interwhen precompute status NAME" shows it.
    store
        A path or a URL.
    """
    found = open_store(store)
    try:
        state, readings = explain(_prepared(found, name), step)
    finally:
        found.close()
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
                f"  {item.proof.basis}: {item.proof.evidence or 'no evidence noted'}{f' ({who})' if who else ''}"
            )
            lines.append(f"  claims rest on {item.proof.coverage:.0%} of the text")
        lines.append(f"  cost {item.cost.generated} tokens in {item.cost.requests} requests")
        lines.append(f"  id {item.id}")
        lines.extend(f"  > {line}" for line in item.payload.text.splitlines())
    stdout_console().print(Text("\n".join(visible(line) for line in lines)), soft_wrap=True)
    return exits.OK


@app.command
def evict(name: str, steps: tuple[str, ...] = (), /, *, store: str = PLACE, all_: bool = False) -> int:
    """Take items away, so that they are not served any more, by any process, and are made anew when work is done.

    Parameters
    ----------
    name
        The context.
    steps
        The steps whose items go.
    store
        A path or a URL.
    all_
        Take away those of all steps.
    """
    found = open_store(store)
    try:
        prepared = _prepared(found, name)
        if not steps and not all_:
            raise UsageError("say which steps, or --all")
        meant = [explain(prepared, step)[0] for step in steps] if steps else states(prepared)
        items = tuple(each.item.id for each in meant if each.item is not None)
        generation = reporting.evict(found, name, items)
    finally:
        found.close()
    stdout_console().print(Text(f"{len(items)} items taken away, generation {generation}"))
    return exits.OK


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read as text: {error}") from error


def _worker(pre: Precomputer) -> Worker:
    around = pre.surroundings
    return Worker(around.model, around.tokenizer, around.judges, tuple(each.name for each in pre.producers))


def _prepared(store: Store, name: str) -> Prepared:
    """Return a context as whoever worked on it last has it."""
    worker = last_worker(store, name)
    prepared = Prepared(name)
    generation, record = read_context(store, name)
    if record is None:
        raise UsageError(f"there is no context {name!r} in {store.place!r}: interwhen precompute add {name} FILE")
    if worker is None:
        prepared.generation = generation
        return prepared
    prepared.load(store, load_producers(worker.producers), worker.surroundings)
    return prepared


def _contexts(found: list[Summary]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for header in ("context", "generation", "pieces", "served", "tokens", "wasted", "steps"):
        table.add_column(header, justify="left" if header in ("context", "steps") else "right", overflow="fold")
    for each in found:
        spent = each.spending
        counts = (each.generation, each.pieces, each.served, spent.cost.generated, spent.discarded)
        steps = ", ".join(f"{each.counts[state]} {state}" for state in _SHOWN if each.counts.get(state))
        table.add_row(Text(joined(each.name), style="bold"), *map(str, counts), steps)
    return table


def _steps(prepared: Prepared) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for header in ("step", "state", "tokens", "what"):
        table.add_column(header, justify="right" if header == "tokens" else "left", overflow="fold")
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
