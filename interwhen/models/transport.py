"""The way to a server: one small Protocol, so that the HTTP library is a choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long to wait, in seconds; ``None`` waits for ever.

    ``connect`` and ``first_token`` (here: until the response headers) bound the opening of a stream. While a stream
    is read, whoever reads it enforces ``first_token``, ``inter_token`` and ``total``, by closing the stream: a timer
    per read would cost more than the read.

    ``idle`` ends nothing: once the model is silent for so long within a line, its monitors look at what there is of it.

    ``min_rate`` (tokens a second) is an alarm and not a timer: a run that waits for a slower model says so in its log
    and in ``result.wire``.
    """

    connect: float | None = 10.0
    first_token: float | None = 120.0
    inter_token: float | None = 60.0
    total: float | None = None
    min_rate: float | None = 1.0
    idle: float | None = 2.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it goes out. Its ``headers`` may hold a key, so they are not in its repr.

    With an ``alias``, errors name that instead of the URL.
    """

    method: Literal["GET", "POST", "DELETE"]
    url: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes = field(default=b"", repr=False)
    alias: str = ""

    @property
    def name(self) -> str:
        """What errors call the place it goes to."""
        return self.alias or self.url


class HttpResponse(Protocol):
    """An answer whose head has come, and whose body is read as the bytes arrive.

    It may have a plain method ``settle()``, which closes it if it is whole and was read, and tells whether it did.
    """

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers, their names in lower case."""
        ...

    async def receive(self) -> bytes:
        """Wait for bytes of the body; empty at its end.

        Raises :class:`~interwhen.errors.ConnectError` where the connection broke, and
        :class:`~interwhen.errors.StreamClosed` at once where another task calls :meth:`aclose` meanwhile. No timer
        runs; cancelling the waiting task closes the connection.
        """
        ...

    async def aclose(self) -> None:
        """Close: a body that was read to its end gives its connection back, any other closes it.

        Any task may call it, at any time, twice; it does not wait for the server.
        """
        ...


class Transport(Protocol):
    """Sends requests over connections that it keeps."""

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request* and return the response once its head has come.

        Raises :class:`~interwhen.errors.ConnectError` (``stale`` where it was a kept connection that broke before
        anything of an answer had come), and :class:`~interwhen.errors.StreamTimeout` where no connection came about
        in *connect_timeout* seconds. Redirects are not followed.
        """
        ...

    async def aclose(self) -> None:
        """Close every connection."""
        ...
