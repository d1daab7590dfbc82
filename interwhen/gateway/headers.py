"""Which headers go on to an upstream, and which come back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from interwhen.gateway.problems import Headers

OURS = b"x-interwhen-"
"""What the names of our own headers begin with."""

_HOP_BY_HOP = frozenset(
    (b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization", b"proxy-connection", b"te",
     b"trailer", b"transfer-encoding", b"upgrade")
)  # fmt: skip
_NOT_SENT = _HOP_BY_HOP | {b"host", b"content-length", b"expect", b"accept-encoding", b"cookie", b"origin", b"referer"}
_NOT_RETURNED = frozenset(name.decode() for name in _HOP_BY_HOP) | {"content-length", "date", "server", "set-cookie"}
_OF_THE_BODY = frozenset(("content-type", "content-encoding", "cache-control"))


def sent(headers: Iterable[tuple[bytes, bytes]], *, without: str = "") -> dict[str, str]:
    """Return what goes on of a request's *headers*, its keys included, but for the one that is called *without*."""
    found: dict[str, str] = {}
    named = ""
    for raw, value in headers:
        if raw in _NOT_SENT or raw.startswith(OURS):
            if raw == b"connection":
                named = f"{named},{value.decode('latin-1')}"
            continue
        name = raw.decode("latin-1")
        if name != without:
            text = value.decode("latin-1")
            found[name] = f"{found[name]}, {text}" if name in found else text
    for name in _named(named):
        found.pop(name, None)
    # What is supervised must be read, and the rest is not worth decoding and encoding anew.
    found["accept-encoding"] = "identity"
    return found


def returned(headers: Mapping[str, str], *, new_body: bool) -> Headers:
    """Return what comes back of an upstream's *headers*; *new_body*: those about its body do not fit any more."""
    left_out = _NOT_RETURNED | _OF_THE_BODY if new_body else _NOT_RETURNED
    if "connection" in headers:
        left_out = left_out | _named(headers["connection"])
    return [
        (name.encode("latin-1"), value.encode("latin-1"))
        for name, value in headers.items()
        if name not in left_out and not name.encode("latin-1").startswith(OURS)
    ]


def _named(connection: str) -> frozenset[str]:
    """Return the headers that *connection*, the value of that header, makes hop-by-hop (RFC 9110, 7.6.1)."""
    return frozenset(name.strip().lower() for name in connection.split(","))
