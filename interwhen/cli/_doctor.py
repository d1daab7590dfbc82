"""``interwhen doctor``: what an endpoint can do, and what that means for interwhen."""

from __future__ import annotations

from typing import Annotated

import anyio
import anyio.to_thread
from cyclopts import Parameter
from rich.console import Console
from rich.text import Text

from interwhen import UsageError
from interwhen._types.errors import without_user
from interwhen.cli import _exits
from interwhen.cli._text import STYLES, LineKind, as_json, one_line, signs_for, stdout_console, table
from interwhen.models import probe
from interwhen.models._probe import Diagnosis, Mark

_KINDS: dict[Mark, LineKind] = {"ok": "passed", "no": "violated", "unknown": "unproven"}


def doctor(
    *,
    base_url: str | None = None,
    model: str = "",
    json: Annotated[bool, Parameter(negative="")] = False,
) -> int:
    """Probe what an endpoint can do, and show what that means for interwhen.

    Exit codes: 0 usable, 5 not usable, 2 wrong usage.

    Parameters
    ----------
    base_url
        An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY.
    model
        The model's name there; without --base-url, a local model, "local" (the default) or "local:PATH.gguf".
    json
        Print the findings as one JSON object.
    """
    if base_url is not None:
        if not model:
            raise UsageError(
                "--model must be given with --base-url, got none: name one of the models at "
                f"{without_user(base_url)!r:.200}"
            )
        diagnosis = anyio.run(_of_server, base_url, model)
    else:
        diagnosis = anyio.run(_of_local, model or "local")
    console = stdout_console()
    if json:
        print(as_json(diagnosis))
    else:
        _show(console, diagnosis)
    return _exits.OK if diagnosis.usable else _exits.FAILED


async def _of_server(base_url: str, model: str) -> Diagnosis:
    import os

    return await probe(base_url, model, api_key=os.environ.get("OPENAI_API_KEY"))


async def _of_local(model: str) -> Diagnosis:
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
        return await probe(f"{server.url}/v1", spec or TINY, api_key=server.api_key)
    finally:
        await server.stop()


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
