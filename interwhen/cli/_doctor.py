"""``interwhen doctor``: what an endpoint can do, and what that means for interwhen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, NamedTuple

import anyio
import anyio.to_thread
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from interwhen import UsageError
from interwhen._types.errors import without_user
from interwhen.cli import _exits
from interwhen.cli._progress import ProgressLine
from interwhen.cli._text import STYLES, LineKind, as_json, one_line, signs_for, stdout_console, table
from interwhen.models import probe
from interwhen.models._contract import ContractMark, ContractReport, check_contract
from interwhen.models._probe import Diagnosis, Mark
from interwhen.models._recorded_http import HttpRecording, RecordingTransport, save_recording

_KINDS: dict[Mark, LineKind] = {"ok": "passed", "no": "violated", "unknown": "unproven"}
_CONTRACT_KINDS: dict[ContractMark, LineKind] = {
    "holds": "passed",
    "broken": "violated",
    "absent": "unproven",
    "unknown": "unproven",
}


def doctor(
    *,
    base_url: str | None = None,
    model: str = "",
    contract: Annotated[bool, Parameter(negative="")] = False,
    record: Path | None = None,
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Probe what an endpoint can do, and show what that means for interwhen.

    Exit codes: 0 usable, 1 a line of the contract is broken, 5 not usable, 2 wrong usage.

    Parameters
    ----------
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    model
        The model's name there; without --base-url, a local model, "local" (the default) or "local:PATH.gguf".
    contract
        Check line by line what interwhen relies on: streams, reasoning, every way to resume, tool calls, errors.
    record
        With --contract: a file for all requests and answers, without keys. FILE.gz is compressed.
    json
        Print the findings as one JSON object.
    """
    if base_url is not None and not model:
        raise UsageError(
            "--model must be given with --base-url, got none: "
            f"name one of the models at {without_user(base_url)!r:.200}"
        )
    if record is not None and not contract:
        raise UsageError("--record must be used with --contract, got it alone: add --contract")
    if contract:
        return _contract(base_url, model or "local", record, json=json)
    with ProgressLine("probing the endpoint"):
        diagnosis = anyio.run(_diagnosis, base_url, model or "local")
    console = stdout_console()
    if json:
        print(as_json(diagnosis))
    else:
        _show(console, diagnosis)
    return _exits.OK if diagnosis.usable else _exits.FAILED


def _contract(base_url: str | None, model: str, record: Path | None, *, json: bool) -> int:
    with ProgressLine("checking the contract"):
        report = anyio.run(_checked, base_url, model, record)
    console = stdout_console()
    if json:
        print(as_json(report))
    else:
        _show_contract(console, report)
    if not report.is_usable:
        return _exits.FAILED
    return _exits.OK if report.is_kept else _exits.BROKEN


class _Endpoint(NamedTuple):
    base_url: str
    model: str
    api_key: str | None


@asynccontextmanager
async def _endpoint(base_url: str | None, model: str) -> AsyncIterator[_Endpoint]:
    """Yield the server at *base_url*. Without *base_url*, start a server for the local *model* and yield it."""
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


async def _diagnosis(base_url: str | None, model: str) -> Diagnosis:
    async with _endpoint(base_url, model) as endpoint:
        return await probe(endpoint.base_url, endpoint.model, api_key=endpoint.api_key)


async def _checked(base_url: str | None, model: str, record: Path | None) -> ContractReport:
    """Check the contract of an endpoint. Write all requests and responses to the file *record*, if it is given."""
    from interwhen.models._httpx2_transport import Httpx2Transport

    async with _endpoint(base_url, model) as endpoint:
        transport = RecordingTransport(Httpx2Transport())
        try:
            report = await check_contract(
                endpoint.base_url, endpoint.model, api_key=endpoint.api_key, transport=transport
            )
        finally:
            await transport.aclose()
    if record is not None:
        recording = HttpRecording(report.server, endpoint.model, transport.exchanges())
        await anyio.to_thread.run_sync(save_recording, recording, record)
    return report


def _show(console: Console, diagnosis: Diagnosis) -> None:
    signs = signs_for(console.encoding)
    console.print(Text.assemble((one_line(diagnosis.model), "bold"), f" at {one_line(diagnosis.base_url)}\n"))
    rows = table("", "asked", "found", "so")
    rows.columns[0].no_wrap = rows.columns[1].no_wrap = True
    for finding in diagnosis.findings:
        kind = _KINDS[finding.mark]
        mark = Text(f"{signs.of(kind)} {finding.mark}", style=STYLES[kind])
        meaning = Text(one_line(finding.meaning), style="dim")
        rows.add_row(mark, Text(finding.name), Text(one_line(finding.detail)), meaning)
    console.print(rows)


def _show_contract(console: Console, report: ContractReport) -> None:
    signs = signs_for(console.encoding)
    title = Text.assemble(
        (one_line(report.model), "bold"), f" at {one_line(report.base_url)}: {one_line(report.server)}\n"
    )
    console.print(title)
    rows = table("", "line", "observed", "interwhen relies on")
    rows.columns[0].no_wrap = rows.columns[1].no_wrap = True
    for line in report.lines:
        kind = _CONTRACT_KINDS[line.mark]
        mark = Text(f"{signs.of(kind)} {line.mark}", style=STYLES[kind])
        rows.add_row(mark, Text(line.name), Text(one_line(line.evidence)), Text(line.promise, style="dim"))
    console.print(rows)
    counts = {mark: sum(line.mark == mark for line in report.lines) for mark in _CONTRACT_KINDS}
    console.print("\n" + ", ".join(f"{count} {mark}" for mark, count in counts.items()))
