"""``interwhen bench penalty``: what verifiers cost a reader when nothing is wrong."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import anyio
import msgspec
from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from interwhen._types.errors import UsageError
from interwhen.bench._console import check_outputs, show_tables
from interwhen.bench._extras import loop_options
from interwhen.bench._local import PROBLEMS
from interwhen.bench._overhead import TransportName
from interwhen.bench._penalty import Axis, Plan, Setup, Sweep, run_sweep
from interwhen.bench._penalty_page import draw, draw_sweep, page_of, sweep_page_of, sweep_table, tables
from interwhen.bench._penalty_report import Penalty, parse_share
from interwhen.bench._penalty_runs import RECORDED, Endpoint, Local, Replayed, Source, Waiting, record_streams
from interwhen.registry import Api, load_monitors

_ENOUGH = 0.8
"""The share of the pairs that must count before ``--fail-above`` lets a run pass."""


def penalty(
    *,
    model: str = "",
    base_url: Annotated[str, Parameter(alias="--url")] = "",
    api: Api = "chat",
    replay: Path = RECORDED,
    speed: float = 1.0,
    transport: TransportName = "httpx2",
    prompt: Annotated[tuple[str, ...], Parameter(negative="")] = (),
    tokens: int | None = None,
    temperature: float = 0.0,
    monitor: Annotated[tuple[str, ...], Parameter(alias="-m", negative="")] = (),
    monitors: int = 5,
    verifier_ms: float = 100.0,
    waiting: Waiting = "async",
    poll_chars: int | None = None,
    forks: bool = False,
    pairs: int = 20,
    concurrency: int = 1,
    control: bool = False,
    leave_one_out: bool = False,
    seed: int = 0,
    uvloop: bool = False,
    sweep: Axis | None = None,
    values: str = "",
    json: Path | None = None,
    plot: Path | None = None,
    page: Path | None = None,
    fail_above: str | None = None,
    record: Path | None = None,
) -> int:
    """Measure what verifiers add to a stream in which nothing is wrong: bare and supervised runs, as pairs.

    By default a recorded stream is sent again by a process of its own, each token at the time it came, and five
    monitors watch it whose verifiers take 100 ms for each of their checks. The runs of a pair get the same request and
    seed, one after the other in random order. Only pairs in which no violation interrupted count as correct runs; the
    others are listed.

    Exit codes: 0, or 1 where the total is above --fail-above, or fewer than 80 % of the pairs were correct runs.

    Parameters
    ----------
    model
        "local" or "local:PATH.gguf"; with --base-url, the model's name there. Default: the replay.
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    api
        The API of that server.
    replay
        A file of recorded streams to be sent again, as --record writes it.
    speed
        How many times as fast the recorded streams are sent.
    transport
        The HTTP library that reads the replay.
    prompt
        What that server is asked, in turn. May be given several times. Default: small problems.
    tokens
        The length of a run: of the replay, by default all of it; of the local model, 400; of a server, at most 1000.
    temperature
        Of that server.
    monitor
        Who watches: NAME or NAME:OPTION=VALUE,OPTION=VALUE. May be given several times. Default: --monitors.
    monitors
        How many monitors of the benchmark's own watch, each of which passes all it sees.
    verifier_ms
        How long each check of these takes.
    waiting
        Whether they wait as tasks or in threads.
    poll_chars
        Let them look at every stretch of so many characters instead of at sentences, lines and paragraphs.
    forks
        Let each of them ask the model in a fork at each segment. The recorded stream answers at once, with nothing.
    pairs
        How many pairs, after one that warms up.
    concurrency
        How many streams run at once in each arm.
    control
        Also run the bare arm twice: what differs then is noise.
    leave_one_out
        Also run without each monitor in turn, to see what that saves.
    seed
        Of the order of the runs, and of the requests.
    uvloop
        Run on uvloop (extra ``fast``).
    sweep
        Change one thing at a time, and measure at each value.
    values
        The values of the sweep, with commas between.
    json
        Write the report there; "-" for standard output instead of tables.
    plot
        Draw the report there, as PNG (extra ``plots``).
    page
        Write the report there as a page that needs no other file.
    fail_above
        Exit with 1 if the upper end of the interval of the total is above so much, for example 1%.
    record
        Record one stream of each prompt there, for --replay, and measure nothing.
    """
    most = None if fail_above is None else parse_share(fail_above)
    if sweep is not None and (fail_above is not None or record is not None):
        raise UsageError("--sweep goes with neither --fail-above nor --record")
    if replay != RECORDED and (model or base_url):
        raise UsageError("--replay goes with neither --model nor --base-url: a replay is a model of its own")
    check_outputs(json=json, plot=plot, page=page, record=record)
    console = Console(stderr=True)
    source = _source(
        model, base_url, api, replay, speed, transport, prompt, tokens, temperature, slots=concurrency * (1 + 2 * forks)
    )
    plan = Plan(
        pairs=pairs,
        concurrency=concurrency,
        control=control,
        leave_one_out=leave_one_out,
        seed=seed,
        say=lambda line: console.print(line, style="dim", highlight=False, markup=False),
    )
    setup = Setup(
        source=source,
        plan=plan,
        chosen=load_monitors(monitor) if monitor else (),
        monitors=monitors,
        verifier_seconds=verifier_ms / 1e3,
        waiting=waiting,
        poll_chars=poll_chars,
        forks=forks,
    )
    options = loop_options("interwhen bench penalty", uvloop=uvloop)
    if record is not None:
        if record.exists():  # recordings of two models do not mix
            raise UsageError(f"--record {str(record)!r} is there already: name a new file")
        count = anyio.run(record_streams, source, record, seed, backend_options=options)
        console.print(f"{count} streams recorded in {record}", highlight=False, markup=False)
        return 0
    if sweep is not None:
        swept = anyio.run(run_sweep, setup, sweep, _values(values), backend_options=options)
        _show_sweep(swept, json, plot, page)
        return 0
    report = anyio.run(setup.measure, backend_options=options)
    _show(report, json, plot, page)
    if most is None:
        return 0
    if report.correct < _ENOUGH * report.pairs:
        console.print(f"only {report.correct} of {report.pairs} pairs were correct runs: too few to pass --fail-above")
        return 1
    return int(report.difference("total").percent.high > most)


def _source(
    model: str,
    base_url: str,
    api: Api,
    replay: Path,
    speed: float,
    transport: TransportName,
    prompts: tuple[str, ...],
    tokens: int | None,
    temperature: float,
    *,
    slots: int,
) -> Source:
    if base_url:
        return Endpoint(base_url, model, api, tokens or 1000, prompts or PROBLEMS, temperature)
    if not model:
        return Replayed(replay, speed, tokens, transport)
    kind, _, spec = model.partition(":")
    if kind != "local":
        raise UsageError(f"--model {model!r}: say 'local' or 'local:PATH.gguf', or where it is with --base-url")
    return Local(spec, tokens or 400, slots)


def _values(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"--values {text!r}: whole numbers with commas between, such as 1,2,4") from error


def _show(report: Penalty, json: Path | None, plot: Path | None, page: Path | None) -> None:
    _write(report, json, tables(report))
    if plot is not None:
        draw(report, plot)
    if page is not None:
        page.write_text(page_of(report), encoding="utf-8")


def _show_sweep(report: Sweep, json: Path | None, plot: Path | None, page: Path | None) -> None:
    _write(report, json, [sweep_table(report)])
    if plot is not None:
        draw_sweep(report, plot)
    if page is not None:
        page.write_text(sweep_page_of(report), encoding="utf-8")


def _write(report: Penalty | Sweep, json: Path | None, shown: Sequence[Table]) -> None:
    if json is not None and str(json) == "-":
        sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        return
    show_tables(*shown)
    if json is not None:
        json.write_bytes(msgspec.json.encode(report) + b"\n")
