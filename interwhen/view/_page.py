"""The one-file page: the bundled script and style, a strict policy, and the data."""

from __future__ import annotations

import html
from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import NamedTuple

from interwhen.journal._compact_form import to_json

_ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_UNSAFE = str.maketrans(_ESCAPES)


class _Bundle(NamedTuple):
    """The bundled HTML page, split at the place for the data, and hashes of its script and style."""

    # A hash is written as a source in a content security policy.

    before: str
    after: str
    script: str
    style: str


@cache
def _bundle() -> _Bundle:
    before, _, after = files("interwhen.view").joinpath("_page.html").read_text("utf-8").partition("@DATA@")
    style = before.partition("<style>")[2].partition("</style>")[0]
    script = after.partition('<script type="module">')[2].rpartition("</script>")[0]
    return _Bundle(before, after, _hash(script), _hash(style))


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def policy(*, connect: bool) -> str:
    # Only the bundled script and style may run; their hashes identify them.
    bundle = _bundle()
    rules = {
        "default-src": "'none'",
        "script-src": bundle.script,
        "style-src": bundle.style,
        "img-src": "data:",
        "connect-src": "'self'" if connect else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def render_page(
    runs: Mapping[str, bytes],
    rows: Sequence[object] = (),
    *,
    title: str = "interwhen view",
    config: Mapping[str, object] | None = None,
) -> str:
    """Return the page as HTML with its script and style.

    *runs* maps the id of a run to its data, as JSON in the compact form. *rows* are the rows of the list of runs, such
    as :class:`RunRow`. With ``{"mode": "served"}`` as *config*, the page may send requests to the server that it comes
    from.
    """
    bundle = _bundle()
    settings = {"mode": "file", **(config or {})}
    blocks = [_block("config", to_json(settings)), _block("runs", to_json(rows))]
    blocks += [_block(f"run-{name}", data) for name, data in runs.items()]
    csp = html.escape(policy(connect=settings["mode"] == "served"), quote=True)
    head = bundle.before.replace("@CSP@", csp).replace("@TITLE@", html.escape(title))
    return head + "\n".join(blocks) + bundle.after


def _block(name: str, data: bytes) -> str:
    return f'<script type="application/json" id="{html.escape(name)}">{data.decode().translate(_UNSAFE)}</script>'
