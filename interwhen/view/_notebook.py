"""Shows a run, a result or a replay in a notebook, as a sandboxed frame."""

from __future__ import annotations

import html
from pathlib import Path
from typing import Any

from interwhen._types.errors import InterwhenError
from interwhen._types.results import Result, Verified
from interwhen.journal import timeline
from interwhen.journal._compact_form import VERSION, MonitorData, RunData, add_result, row_of, to_json
from interwhen.journal._scribe import without_text
from interwhen.journal._timeline import CheckTimes, FrontierStep
from interwhen.view._page import render_page
from interwhen.view._verify import Units

_MOST_BYTES = 6_000_000
"""The largest data of a run in a notebook."""


def notebook_frame(shown: Any) -> str | None:
    """Return an HTML frame with the page of *shown*, a result or an object that has one.

    The page shows the timeline if the journal file of *shown* is readable, else the text, the checks and the totals of
    the result. The frame has no access to the notebook. Returns ``None`` if there is neither journal nor result, as
    before the end of a run, or if the data are too large.
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


def form_of_result(result: Result) -> RunData:
    # Without the journal, there is no text that was cut, no list of remedies, and no times of single checks or tokens.
    units = Units(result.text)
    verifiers = {check.monitor: (check.verifier, check.version) for check in result.checks}
    index = {name: number for number, name in enumerate(verifiers)}
    length = units.of(len(result.text))
    certificate = result.certificate if isinstance(result, Verified) else None
    checks = [
        CheckTimes(
            number=1,
            monitor=check.monitor,
            verifier=check.verifier,
            version=check.version,
            key=check.key,
            span=units.span(check.span),
            ordered=0.0,
            ended=0.0,
            outcome=check.outcome,
            settled=1,
        )
        for check in result.checks
    ]
    form = RunData(
        version=VERSION,
        path="run",
        model=certificate.model if certificate is not None else "",
        monitors=[MonitorData(name, *who) for name, who in verifiers.items()],
        end=max(1, round(result.timing.total * 1e6)),
        text=result.text,
        chars=[length] if length else [],
        gaps=[0] if length else [],
        frontier=[row_of(FrontierStep(0.0, length, number=1), index)] if certificate is not None else [],
        checks=[row_of(check, index) for check in checks],
    )
    certified = {(one.monitor, one.key, one.span) for one in certificate.checks} if certificate is not None else ()
    places = [at for at, one in enumerate(result.checks) if (one.monitor, one.key, one.span) in certified]
    add_result(form, without_text(result, units.span), places)
    return form
