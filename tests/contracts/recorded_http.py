"""Records the HTTP exchanges with a server in a file, and plays such a file back without the server.

`python -m tests.contracts.record` writes recordings. A recording has no headers of requests.
"""

from __future__ import annotations

import gzip
import zlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio.lowlevel
import msgspec
from interwhen import UsageError
from interwhen.models import ConnectError, StreamClosed
from interwhen.models._transport import HttpRequest, HttpResponse, Transport

FORMAT = 1
_COMPARED = (
    "messages",
    "prompt",
    "tokens",
    "tools",
    "tool_choice",
    "stream",
    "stop",
    "max_tokens",
    "logprobs",
    "return_token_ids",
)
"""The fields of a request body that decide which recorded answer belongs to it."""


class RecordedExchange(msgspec.Struct, frozen=True, omit_defaults=True):
    """One recorded HTTP request, and its answer or error."""

    method: str
    path: str
    """The path of the URL, with its query."""
    body: Any = None
    """The JSON of the request; ``None`` if it has no body, as a GET request."""
    status: int = 200
    """The HTTP status of the answer; 0 if none arrived."""
    content_type: str = ""
    """The header ``content-type`` of the answer; empty if it has none."""
    answer: str = ""
    """The body of the answer."""
    is_cut: bool = False
    """Whether the answer was not read to its end: the client closed it, or the connection broke."""
    error: str = ""
    """The error of the connection; empty if an answer arrived."""


class HttpRecording(msgspec.Struct, frozen=True, omit_defaults=True):
    """The recorded exchanges (requests and answers) with one server, in order."""

    server: str
    """The name and the version of the server."""
    model: str
    exchanges: tuple[RecordedExchange, ...] = ()
    format: int = FORMAT
    """The version of the file format."""


def save_recording(recording: HttpRecording, path: Path) -> None:
    """Write *recording* to *path*: a line about the server, then one line for each exchange.

    An existing file is replaced. If the name of *path* ends with `.gz`, the file is compressed. Raises :class:`OSError`
    if it cannot be written.
    """
    head = msgspec.structs.replace(recording, exchanges=())
    lines = [head, *recording.exchanges]
    data = b"".join(msgspec.json.encode(line) + b"\n" for line in lines)
    # Without a time in the file, equal recordings are equal files.
    path.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def load_recording(path: Path) -> HttpRecording:
    """Read the file at *path*, and return its recording.

    Raises :class:`~interwhen.UsageError` if it is not a recording of this format, and :class:`OSError` if it cannot be
    read.
    """
    data = path.read_bytes()
    try:
        first, *others = (gzip.decompress(data) if path.suffix == ".gz" else data).splitlines()
        head = msgspec.json.decode(first, type=HttpRecording)
        exchanges = tuple(msgspec.json.decode(line, type=RecordedExchange) for line in others)
    except (OSError, EOFError, zlib.error, ValueError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{path} must be a recording of a server, got an invalid file ({error}): record again"
        ) from error
    if head.format != FORMAT:
        raise UsageError(f"{path} must have format {FORMAT}, got {head.format}: record again")
    return msgspec.structs.replace(head, exchanges=exchanges)


# Recording.


class RecordingTransport:
    """A `Transport` that sends requests with *transport* and records the exchanges."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._responses: list[_RecordedResponse | RecordedExchange] = []

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> HttpResponse:
        """Send *request*, and record its answer while it is read, or the connection error of sending it.

        A stale :class:`~interwhen.models.ConnectError` is not recorded, because the caller sends the request again.
        Errors of other classes are not recorded.
        """
        try:
            response = await self._transport.send(request, connect_timeout=connect_timeout)
        except ConnectError as error:
            if error.stale:
                raise  # the request is sent again; when a server closes idle connections, depends on the time
            self._responses.append(msgspec.structs.replace(_asked(request), status=0, error=str(error)))
            raise
        recorded = _RecordedResponse(response, _asked(request))
        self._responses.append(recorded)
        return recorded

    async def aclose(self) -> None:
        """Close the connections of the wrapped transport."""
        await self._transport.aclose()

    def exchanges(self) -> tuple[RecordedExchange, ...]:
        """Return the recorded exchanges so far, in the order in which they were answered or failed."""
        return tuple(each if isinstance(each, RecordedExchange) else each.exchange() for each in self._responses)


def _asked(request: HttpRequest) -> RecordedExchange:
    return RecordedExchange(
        request.method, _path_of(request.url), msgspec.json.decode(request.body) if request.body else None
    )


def _path_of(url: str) -> str:
    parts = urlsplit(url)
    return parts.path + (f"?{parts.query}" if parts.query else "")


class _RecordedResponse:
    """A response whose body is recorded while it is read."""

    def __init__(self, response: HttpResponse, asked: RecordedExchange) -> None:
        self._response = response
        self._asked = asked
        self._body = bytearray()
        self._is_whole = False

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    async def receive(self) -> bytes:
        data = await self._response.receive()
        self._body += data
        self._is_whole = self._is_whole or not data
        return data

    async def aclose(self) -> None:
        await self._response.aclose()

    def exchange(self) -> RecordedExchange:
        text = self._body.decode(errors="replace")
        # After the end mark, a reader may close the response without another read.
        cut = (
            not self._is_whole
            and "data: [DONE]" not in text
            and self.headers.get("content-length") != str(len(self._body))
        )
        kind = self.headers.get("content-type", "")
        return msgspec.structs.replace(self._asked, status=self.status, content_type=kind, answer=text, is_cut=cut)


# Playing back.


class NotRecordedError(ConnectError):
    """Raised if a recording has no answer to a request."""

    retryable = False


class PlaybackTransport:
    """A `Transport` that answers requests from *exchanges*, without a network.

    Equal requests get the recorded answers in order; the last answer is repeated. Requests are equal if their methods,
    paths and the fields ``_COMPARED`` of their bodies are equal.
    """

    def __init__(self, exchanges: Iterable[RecordedExchange]) -> None:
        self._answers: dict[_Key, list[RecordedExchange]] = defaultdict(list)
        self.requests: list[RecordedExchange] = []
        """The requests so far."""
        for exchange in exchanges:
            self._answers[_key(exchange)].append(exchange)

    async def send(self, request: HttpRequest, *, connect_timeout: float | None) -> PlaybackResponse:
        """Add *request* to ``requests``, and return the recorded answer to it. *connect_timeout* is ignored.

        Raises :class:`NotRecordedError` if there is none, and :class:`~interwhen.models.ConnectError` if the recorded
        request failed.
        """
        await anyio.lowlevel.checkpoint()
        asked = _asked(request)
        self.requests.append(asked)
        answers = self._answers.get(_key(asked))
        if not answers:
            raise NotRecordedError(
                f"the recording must have an answer to {asked.method} {asked.path}, and has none "
                f"(body: {str(asked.body)[:200]!r}); record the server again"
            )
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if answer.error:
            raise ConnectError(answer.error)
        return PlaybackResponse(answer)

    async def aclose(self) -> None:
        """Do nothing, because there is no connection."""


class PlaybackResponse:
    """A recorded answer to one request. Each :meth:`receive` returns one of its events."""

    def __init__(self, exchange: RecordedExchange) -> None:
        self.status = exchange.status
        self.headers: Mapping[str, str] = {"content-type": exchange.content_type}
        self._reads = [part for part in exchange.answer.encode().split(b"\n\n") if part]
        self._reads[:-1] = [part + b"\n\n" for part in self._reads[:-1]]
        if self._reads and exchange.answer.endswith("\n\n"):
            self._reads[-1] += b"\n\n"
        self._is_cut = exchange.is_cut
        self._is_closed = False

    async def receive(self) -> bytes:
        """Return the next event of the answer; empty at the end.

        Raises ``ConnectError`` where the recorded answer broke off, and ``StreamClosed`` after :meth:`aclose`.
        """
        await anyio.lowlevel.checkpoint()
        if self._is_closed:
            raise StreamClosed
        if self._reads:
            return self._reads.pop(0)
        if self._is_cut:
            raise ConnectError(
                "the answer must be read whole, and the recorded one was closed here: send the request again"
            )
        return b""

    async def aclose(self) -> None:
        """Close the response. A later :meth:`receive` raises ``StreamClosed``."""
        self._is_closed = True


class _Key(NamedTuple):
    method: str
    path: str
    body: str


def _key(exchange: RecordedExchange) -> _Key:
    body = exchange.body if isinstance(exchange.body, dict) else {}
    compared = {name: body[name] for name in _COMPARED if body.get(name)}
    return _Key(exchange.method, exchange.path, msgspec.json.encode(compared, order="sorted").decode())
