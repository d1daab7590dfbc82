"""The routes below ``/v1``: the kind of answer of each, and whether the gateway supervises, passes or refuses it."""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

from interwhen.clients._calls import PATHS, Api

Method = Literal["GET", "POST", "DELETE"]

Kind = Literal["supervised", "plain", "managed", "stored", "generated", "unknown"]
"""The kind of answer of a route:

``supervised``: text of a model that monitors can read. ``plain``: no text of a model: lists, numbers, tokens.
``managed``: files and jobs, and deletions; no text of a model. ``stored``: text that a model wrote earlier; a monitor
may have cut it. ``generated``: text, speech or pictures of a model that no monitor reads. ``unknown``: any other route,
which may answer with text of a model.
"""

Mode = Literal["open", "passing", "locked"]
"""How the gateway was started: with neither flag, with ``--pass-unsupervised``, or with ``--locked``."""

Decision = Literal["supervise", "pass", "pass unsupervised", "refuse"]
"""``pass unsupervised``: pass it on and count it, because its answer may hold text that no monitor has read."""

DECISIONS: Final[dict[Kind, dict[Mode, Decision]]] = {
    "supervised": {"open": "supervise", "passing": "supervise", "locked": "supervise"},
    "plain": {"open": "pass", "passing": "pass", "locked": "pass"},
    "managed": {"open": "pass", "passing": "pass", "locked": "refuse"},
    "stored": {"open": "refuse", "passing": "pass unsupervised", "locked": "refuse"},
    "generated": {"open": "refuse", "passing": "pass unsupervised", "locked": "refuse"},
    "unknown": {"open": "refuse", "passing": "pass unsupervised", "locked": "refuse"},
}

ROUTES: Final[dict[Kind, dict[Method, tuple[str, ...]]]] = {
    "supervised": {"POST": tuple(PATHS)},
    "plain": {
        "GET": ("models", "models/{path}", "health"),
        "POST": (
            "embeddings",
            "moderations",
            "rerank",
            "reranking",
            "score",
            "classify",
            "pooling",
            "tokenize",
            "detokenize",
            "responses/input_tokens",
            "messages/count_tokens",
            "chat/completions/input_tokens",
            "chat/completions/render",
            "completions/render",
        ),
    },
    "managed": {
        "GET": (
            "files",
            "files/{id}",
            "batches",
            "batches/{id}",
            "uploads/{id}",
            "fine_tuning/jobs",
            "fine_tuning/jobs/{id}",
        ),
        "POST": (
            "files",
            "uploads",
            "uploads/{id}/parts",
            "uploads/{id}/complete",
            "uploads/{id}/cancel",
            "batches/{id}/cancel",
        ),
        "DELETE": ("chat/completions/{id}", "responses/{id}", "files/{id}", "models/{path}", "stream/{id}"),
    },
    "stored": {
        "GET": (
            "chat/completions",
            "chat/completions/{id}",
            "chat/completions/{id}/messages",
            "responses/{id}",
            "responses/{id}/input_items",
            "stream/{id}",
            "streams",
            "files/{id}/content",
            "conversations/{id}",
            "conversations/{id}/items",
            "conversations/{id}/items/{id}",
            "threads/{id}/messages",
            "threads/{id}/messages/{id}",
        ),
        "POST": ("chat/completions/{id}", "responses/{id}/cancel"),
    },
    "generated": {
        "POST": (
            "messages",
            "messages/batches",
            "chat/completions/batch",
            "chat/completions/control",
            "chat/completions/derender",
            "completions/derender",
            "responses/compact",
            "batches",
            "audio/speech",
            "audio/transcriptions",
            "audio/translations",
            "images/generations",
            "images/edits",
            "images/variations",
            "videos",
            "threads/{id}/runs",
            "threads/runs",
        ),
        "GET": ("realtime",),
    },
}
"""Known routes of the OpenAI API and of servers that speak it. ``{id}``: one segment; ``{path}``: at least one.

Literal routes take precedence over routes with a placeholder."""

_SEGMENT = r"(?!\.\.?(?:/|$))[\w.:@~+-]+"
_PLACES = {"{id}": _SEGMENT, "{path}": f"{_SEGMENT}(?:/{_SEGMENT})*"}
"""What a placeholder matches: characters that mean the same escaped or not, but not the segments ``.`` and ``..``."""


class RouteMatch(NamedTuple):
    """The route that a request matches."""

    kind: Kind
    path: str
    """The path for the upstream, in the spelling that was matched. For an unknown route: as the client sent it."""
    api: Api | None = None
    """``None`` for a call that is not supervised."""


def _tables() -> tuple[dict[tuple[str, str], Kind], dict[str, list[tuple[re.Pattern[str], Kind]]]]:
    literal: dict[tuple[str, str], Kind] = {}
    patterns: dict[str, list[tuple[re.Pattern[str], Kind]]] = {}
    for kind, methods in ROUTES.items():
        for method, paths in methods.items():
            for path in paths:
                if "{" not in path:
                    literal[method, path] = kind
                    continue
                spelled = "".join(_PLACES.get(part, part) for part in re.split(r"(\{\w+\})", path))
                patterns.setdefault(method, []).append((re.compile(spelled, re.IGNORECASE | re.ASCII), kind))
    return literal, patterns


_LITERAL, _PATTERNS = _tables()


def route_of(method: str, raw: str, decoded: str) -> RouteMatch:
    """Return the route of a request; its kind is ``unknown`` if it is in no table.

    *raw* is the path below ``/v1/`` as the client sent it, and *decoded* the same path without escapes. Case, escapes
    and a slash at the end make no difference.
    """
    method = "GET" if method == "HEAD" else method
    path = decoded.rstrip("/")
    spelled = path.lower()
    kind = _LITERAL.get((method, spelled))
    if kind is not None:
        return RouteMatch(kind, spelled, PATHS[spelled] if kind == "supervised" else None)
    for pattern, pattern_kind in _PATTERNS.get(method, ()):
        if pattern.fullmatch(path):
            return RouteMatch(pattern_kind, path)
    return RouteMatch("unknown", raw)


def mode_of(*, locked: bool, passing: bool) -> Mode:
    # Return the mode of a gateway. `locked` and `passing` are its settings `locked` and `pass_unsupervised`.
    return "locked" if locked else "passing" if passing else "open"
