"""``interwhen doctor``: what an endpoint can do, what that means for interwhen, and the state of the journals."""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Annotated, NamedTuple

import anyio
import anyio.to_thread
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

import interwhen
from interwhen import UsageError
from interwhen._types.errors import JournalError, ModelError, without_user
from interwhen._types.extensions import OnProgress
from interwhen.cli import _exits
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import STYLES, LineKind, as_json, one_line, signs_for, stdout_console, table
from interwhen.journal._directory import JournalSettings
from interwhen.models._questions import Diagnosis, Mark, ProbeFinding, check_contract, probe

_KINDS: dict[Mark, LineKind] = {
    "ok": "passed",
    "no": "violated",
    "holds": "passed",
    "broken": "violated",
    "absent": "unproven",
    "unknown": "unproven",
}
_DOCTOR = ("asked", "found", "so")
_CONTRACT = ("line", "observed", "interwhen relies on")
_LOOKED_INTO = 200
"""How many journals are read, the newest first."""
_STILL_WRITTEN = 60.0
"""A journal that was changed within these seconds may belong to a running call, so it needs no end."""
_LITTLE_DISK = 64 << 20
"""With fewer free bytes, the disk counts as full."""
_DROPPED = re.compile(r'^interwhen_journals\{what="dropped"\} ([0-9.e+]+)$', re.MULTILINE)


def doctor(
    *,
    base_url: str | None = None,
    model: str = "",
    contract: Annotated[bool, Parameter(negative="")] = False,
    journals: Path | None = None,
    sandbox: Annotated[bool, Parameter(negative="")] = False,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Probe what an endpoint can do, and show what that means for interwhen; or examine the journals or the sandboxes.

    Exit codes: 0 usable, 1 a line of the contract is broken, 2 wrong usage, 5 the endpoint or the directory of journals
    is not usable, or a sandbox does not keep all guarantees.

    Parameters
    ----------
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    model
        The model's name there; without --base-url, a local model, "local" (the default) or "local:PATH.gguf".
    contract
        Check line by line what interwhen relies on: streams, reasoning, every way to resume, tool calls, errors.
    journals
        Examine this directory of journals and no endpoint. With --base-url, also ask the gateway there how many
        journals it lost. Without this option and --contract, the directory in interwhen.toml, if any, is examined after
        the endpoint.
    sandbox
        List what each sandbox for untrusted code guarantees on this machine, and by which mechanisms; ask no endpoint.
    json
        Print the findings as one JSON object; with --sandbox, as one JSON array.
    """
    if sandbox:
        from interwhen.cli._sandbox import show_guarantees

        return show_guarantees(json=json)
    if journals is not None:
        if contract or model:
            raise UsageError("--journals must be used without --contract and --model, got both: use two commands")
        return _report(_journal_diagnosis(journals, base_url), json=json)
    if base_url is not None and not model:
        raise UsageError(
            "--model must be given with --base-url, got none: "
            f"name one of the models at {without_user(base_url)!r:.200}"
        )
    if contract:
        return _contract(base_url, model or "local", json=json)
    with ProgressLine("questions to the endpoint:") as progress:
        diagnosis = anyio.run(_diagnosis, base_url, model or "local", progress.of)
    settings = _configured()
    if settings is not None and settings.path:
        more = examine_journals(settings)
        diagnosis = Diagnosis(diagnosis.base_url, diagnosis.model, (*diagnosis.findings, *more))
    return _report(diagnosis, json=json)


def _report(diagnosis: Diagnosis, *, json: bool) -> int:
    if json:
        print(as_json(diagnosis))
    else:
        _show(stdout_console(), diagnosis, _DOCTOR)
    marks = {finding.name: finding.mark for finding in diagnosis.findings}
    is_usable = diagnosis.usable or "reachable" not in marks
    return _exits.OK if is_usable and marks.get("journal directory") != "no" else _exits.FAILED


def _contract(base_url: str | None, model: str, *, json: bool) -> int:
    with ProgressLine("lines of the contract:") as progress:
        report = anyio.run(partial(_diagnosis, contract=True), base_url, model, progress.of)
    if json:
        lines = [
            {"name": line.name, "mark": line.mark, "evidence": line.detail, "promise": line.meaning}
            for line in report.findings
        ]
        print(as_json({"base_url": report.base_url, "model": report.model, "server": report.server, "lines": lines}))
    else:
        console = stdout_console()
        _show(console, report, _CONTRACT)
        marks = [line.mark for line in report.findings]
        counts = [f"{marks.count(mark)} {mark}" for mark in ("holds", "broken", "absent", "unknown")]
        console.print("\n" + ", ".join(counts))
    if not report.usable:
        return _exits.FAILED
    return _exits.OK if report.is_kept else _exits.BROKEN


def _configured() -> JournalSettings | None:
    """Return the settings of journals; ``None`` if they cannot be read or the gateway is not installed."""
    try:
        from interwhen.gateway._config import load_config
    except ImportError:
        return None
    try:
        return load_config({}).journal
    except UsageError:  # `interwhen serve` shows the error
        return None


def _journal_diagnosis(folder: Path, base_url: str | None) -> Diagnosis:
    configured = _configured()
    is_same = configured is not None and bool(configured.path) and Path(configured.path).absolute() == folder.absolute()
    settings = configured if configured is not None and is_same else JournalSettings(path=str(folder))
    findings = examine_journals(settings)
    if base_url is not None:
        findings = (*findings, _lost(base_url))
    return Diagnosis(base_url or "", f"journals in {folder}", findings)


def examine_journals(settings: JournalSettings) -> tuple[ProbeFinding, ...]:
    """Examine the journal directory of *settings*; a temporary file is created there.

    At most the newest 200 journals are read. If the directory is missing, this is the only finding.
    """
    folder = Path(settings.path)
    access = _access(folder)
    if access.mark == "no" and not folder.is_dir():
        return (access,)
    files = []
    for path in folder.glob("*.journal"):
        try:
            files.append((path.stat().st_mtime, path.stat().st_size, path))
        except OSError:  # deleted in the meantime
            continue
    files.sort(reverse=True)
    size = sum(one for _, one, _ in files)
    free = shutil.disk_usage(folder).free
    days = (time.time() - files[-1][0]) / 86_400 if files else 0.0
    return (
        access,
        ProbeFinding(
            "journals",
            "ok",
            f"{len(files)} runs, {_size(size)} of at most {_size(settings.max_bytes)}, the oldest {days:.1f} days old",
            f"the oldest are deleted above {_size(settings.max_bytes)}, and after {settings.max_days:g} days",
        ),
        _ends(files[:_LOOKED_INTO]),
        ProbeFinding(
            "free disk",
            "ok" if free >= _LITTLE_DISK else "no",
            _size(free),
            "journals can be written" if free >= _LITTLE_DISK else "journals will be lost: free some space",
        ),
    )


def _access(folder: Path) -> ProbeFinding:
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
            file.flush()
    except OSError as error:
        meaning = "no journal can be written: correct the path, its mode or the disk; no call is lost"
        return ProbeFinding("journal directory", "no", f"{folder}: {error.strerror or error}", meaning)
    return ProbeFinding("journal directory", "ok", f"{folder} is writable", "each call gets a file there")


def _ends(files: list[tuple[float, int, Path]]) -> ProbeFinding:
    unfinished, damaged, now = 0, 0, time.time()
    for changed, _, path in files:
        if now - changed < _STILL_WRITTEN:
            continue
        try:
            journaled = interwhen.journal.read_journal(path)
        except JournalError:
            damaged += 1
            continue
        damaged += bool(journaled.left_out)
        unfinished += journaled.result is None and journaled.call is None
    wrong = unfinished + damaged
    return ProbeFinding(
        "complete",
        "no" if wrong else "ok",
        f"of the newest {len(files)}: {unfinished} without an end, {damaged} damaged",
        "their process was killed, or the disk took no more: they can be read up to there" if wrong else "",
    )


def _lost(base_url: str) -> ProbeFinding:
    """Ask the gateway for its count of lost journals. Without a count, the finding is ``unknown``."""
    import httpx2

    url = base_url.rstrip("/").removesuffix("/v1") + "/metrics"
    try:
        answer = httpx2.get(url, timeout=5.0)
        match = _DROPPED.search(answer.text) if answer.is_success else None
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        return ProbeFinding("lost journals", "unknown", f"{url}: {type(error).__name__}", "name a running gateway")
    if match is None:
        return ProbeFinding("lost journals", "unknown", f"{url} has no interwhen_journals", "name a running gateway")
    count = int(float(match[1]))
    meaning = "the disk did not take them; the log has journal.failed with the reason" if count else ""
    return ProbeFinding("lost journals", "no" if count else "ok", f"{count} since the gateway began", meaning)


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


class _Endpoint(NamedTuple):
    base_url: str
    model: str
    api_key: str | None


@asynccontextmanager
async def _endpoint(base_url: str | None, model: str) -> AsyncIterator[_Endpoint]:
    """Yield the server at *base_url*; without it, start a server for the local *model*, and stop it at the end."""
    if base_url is not None:
        import os

        yield _Endpoint(base_url, model, os.environ.get("OPENAI_API_KEY"))
        return
    from interwhen.models._local import default_context
    from interwhen.models._local_server import LocalServer, ServerOptions
    from interwhen.models._local_weights import TINY, find_weights, parse_weights

    kind, _, spec = model.partition(":")
    if kind != "local":
        raise UsageError(
            f"--model must be 'local' or 'local:PATH.gguf' without --base-url, got {model!r:.80}: "
            "name a server with --base-url"
        )
    weights = parse_weights(spec)
    path = await anyio.to_thread.run_sync(find_weights, weights)
    server = await LocalServer.start(path, ServerOptions(default_context(weights)))
    try:
        yield _Endpoint(f"{server.url}/v1", spec or TINY, server.api_key)
    finally:
        await server.stop()


async def _diagnosis(base_url: str | None, model: str, on_progress: OnProgress, *, contract: bool = False) -> Diagnosis:
    ask = check_contract if contract else probe
    async with _endpoint(base_url, model) as endpoint:
        diagnosis = await ask(endpoint.base_url, endpoint.model, api_key=endpoint.api_key, on_progress=on_progress)
    if base_url is not None or contract:
        return diagnosis
    return Diagnosis(
        diagnosis.base_url, diagnosis.model, (*diagnosis.findings, await _saved_prefixes(model.partition(":")[2]))
    )


async def _saved_prefixes(spec: str) -> ProbeFinding:
    """Measure, on another server for the local model *spec*, from which length on restoring a prefix is faster."""
    from interwhen.models._local import open_local

    with tempfile.TemporaryDirectory(prefix="interwhen-doctor-") as shelf:
        async with open_local(spec, shelf=shelf) as model:
            try:
                rates = await model.measure_prefix_rates()
            except ModelError as error:
                return ProbeFinding("saved prefixes", "unknown", str(error), "saved states are always restored")
    assert rates is not None  # no slot of a new server is busy
    moved = "at once" if math.isinf(rates.restored) else f"{rates.restored / 1e6:.0f} MB/s"
    detail = f"{rates.prefill:.0f} tokens/s read, {moved} restored"
    if rates.break_even is None:
        return ProbeFinding("saved prefixes", "no", detail, "reading a prefix again is faster at every length")
    return ProbeFinding("saved prefixes", "ok", detail, f"restoring is faster from {rates.break_even:.0f} tokens on")


def _show(console: Console, diagnosis: Diagnosis, heads: tuple[str, str, str]) -> None:
    signs = signs_for(console.encoding)
    where = f" at {one_line(diagnosis.base_url)}" if diagnosis.base_url else ""
    server = f": {one_line(diagnosis.server)}" if diagnosis.server else ""
    console.print(Text.assemble((one_line(diagnosis.model), "bold"), f"{where}{server}\n"))
    rows = table("", *heads)
    rows.columns[0].no_wrap = rows.columns[1].no_wrap = True
    for finding in diagnosis.findings:
        kind = _KINDS[finding.mark]
        mark = Text(f"{signs.of(kind)} {finding.mark}", style=STYLES[kind])
        meaning = Text(one_line(finding.meaning), style="dim")
        rows.add_row(mark, Text(finding.name), Text(one_line(finding.detail)), meaning)
    console.print(rows)
