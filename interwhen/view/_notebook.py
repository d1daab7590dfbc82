"""Shows a run, a result or a replay in a notebook: the trace page in a sandboxed frame."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

import msgspec

from interwhen._types.errors import InterwhenError
from interwhen._types.results import Result, Verified
from interwhen.journal import timeline
from interwhen.journal._compact_form import VERSION, to_json
from interwhen.view._page import render_page
from interwhen.view._verify import Units, check_fields

_MOST_BYTES = 6_000_000
"""The largest data of a run, in bytes, that a page in a notebook shows."""


def notebook_frame(shown: Any) -> str | None:
    """Return an HTML frame with the page of *shown*, a result or an object that has one.

    If *shown* knows its journal file and the file is readable, the page shows the timeline. Without it, the page shows
    the text, the checks and the totals of the result. The frame has no access to the notebook. Returns ``None`` if
    there is neither, as before the end of a run, or if the data are too large for a notebook.
    """
    form = _form_of(shown)
    if form is None or len(form) > _MOST_BYTES:
        return None
    page = html.escape(render_page({"0": form}, [{"id": "0", "path": "run"}]), quote=True)
    style = "width:100%;height:680px;border:1px solid #8885;border-radius:6px"
    return f'<iframe sandbox="allow-scripts" style="{style}" title="The run" srcdoc="{page}"></iframe>'


def _form_of(shown: Any) -> bytes | None:
    journaled = getattr(shown, "journaled", None)
    result = shown if isinstance(shown, Result) else _result_of(shown)
    path = journaled.path if journaled is not None else ""
    # A result may come from a file of somebody else, and then names any path; that of a run is its own.
    if not path and result is not shown and result is not None and result.journal is not None:
        path = result.journal.path
    if path and Path(path).is_file():
        try:
            return timeline(path).compact
        except InterwhenError:
            pass  # the result alone can be shown
    try:
        return None if result is None else to_json(form_of_result(result))
    except (OverflowError, ValueError):
        return None  # times that are no finite numbers, from a file of somebody else


def _result_of(shown: Any) -> Result | None:
    try:
        result: Result | None = shown.result
    except InterwhenError:  # the run has not ended
        return None
    return result


def form_of_result(result: Result) -> dict[str, Any]:
    """Return the compact form of *result* without its journal: the JSON object that the page reads.

    It contains no text that was cut, no list of remedies, and no times of single checks or tokens.
    """
    units = Units(result.text)
    names = list(dict.fromkeys(check.monitor for check in result.checks))
    verifiers = {check.monitor: (check.verifier, check.version) for check in result.checks}
    end = max(1, round(result.timing.total * 1e6))
    length = units.of(len(result.text))
    form: dict[str, Any] = {
        "version": VERSION,
        "path": "run",
        "model": result.certificate.model if isinstance(result, Verified) else "",
        "monitors": [{"name": name, "verifier": verifiers[name][0], "version": verifiers[name][1]} for name in names],
        "end": end,
        "status": result.status,
        "label": result.label,
        "text": result.text,
        "tokens": {"chars": [length], "gaps": [0]} if length else {"chars": [], "gaps": []},
        "frontier": {"gaps": [0], "to": [length if isinstance(result, Verified) else 0], "numbers": [1]},
        "checks": [check_fields(check, names.index(check.monitor), units) for check in result.checks],
        "result": {
            "finish_reason": result.finish_reason,
            "ledger": msgspec.to_builtins(result.ledger),
            "timing": msgspec.to_builtins(result.timing),
            "reason": getattr(result, "reason", ""),
            "error": getattr(result, "error", ""),
            "unverified": [
                {"monitor": each.monitor, "why": each.why} for each in getattr(result, "unverified_reasons", ())
            ],
        },
    }
    if isinstance(result, Verified):
        certificate = result.certificate
        certified = {(one.monitor, one.key, one.span) for one in certificate.checks}
        form["certificate"] = {
            "text_sha256": certificate.text_sha256,
            "scope": certificate.scope,
            "coverage": certificate.coverage,
            "checks": [at for at, one in enumerate(result.checks) if (one.monitor, one.key, one.span) in certified],
        }
    return form
