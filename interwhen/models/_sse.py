"""Parses server-sent events (WHATWG) from bytes, without I/O. Only CR, LF and CRLF end a line.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

from __future__ import annotations

import re
from typing import TypeAlias

from interwhen._types.errors import StreamProtocolError

SseEvent: TypeAlias = tuple[bytes, int]
"""The data of one event, and the byte offset of its first ``data`` line in the body."""

END_MARK = b"data: [DONE]\n\n"
"""The event that ends a stream of the OpenAI-compatible APIs."""
DEFAULT_LIMIT = 1 << 20
"""The largest size of one event, in bytes."""

_BOM = b"\xef\xbb\xbf"
_LF, _CR, _COLON, _SPACE = 10, 13, 58, 32
_LINE_END = re.compile(rb"[\r\n]")


class SseDecoder:
    """Leaves out comments, and events without a ``data`` line."""

    # An event of more than `limit` bytes raises `StreamProtocolError`. Its size is that of its data lines, with one
    # byte between two lines.

    __slots__ = (
        "_at",
        "_bom_passed",
        "_buffer",
        "_clean",
        "_event_at",
        "_failure",
        "_limit",
        "_lines",
        "_scanned",
        "_size",
        "_skip_lf",
    )

    def __init__(self, *, limit: int = DEFAULT_LIMIT) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._at = 0  # offset in the body of the first byte in the buffer
        self._scanned = 0  # length of the start of the buffer that has no line end
        self._lines: list[bytes] = []  # data lines of the unfinished event
        self._size = 0  # their bytes
        self._event_at = 0
        self._skip_lf = False  # the last line ended with CR: a following LF belongs to it
        self._failure: StreamProtocolError | None = None
        self._bom_passed = False  # a BOM is allowed at the start only
        self._clean = True  # at the start of an event, with an empty buffer

    @property
    def offset(self) -> int:
        # The number of bytes that `feed` has received. It is not exact after an error.
        return self._at + len(self._buffer)

    @property
    def unfinished(self) -> int:
        return self._size + len(self._buffer)

    def feed(self, data: bytes) -> list[SseEvent]:
        # Raises `StreamProtocolError` if an event is too large. If complete events came before it in `data`, they are
        # returned, and the next call raises. After that, each call raises.
        # `_CR in data` with an int is seven times as fast as with bytes of length one.
        if not self._clean or data[:5] != b"data:" or _CR in data:
            return self._feed_slowly(data, [])
        # The usual read is exactly one event, `data: {...}\n\n`.
        at, size, end = self._at, len(data), data.find(b"\n")
        if end == size - 2 <= self._limit and data[-1] == _LF:
            self._at = at + size
            return [(data[6:end] if data[5] == _SPACE else data[5:end], at)]
        return self._feed_several(data)

    def _feed_several(self, data: bytes) -> list[SseEvent]:
        events: list[SseEvent] = []
        start, limit = 0, self._limit
        while data[start : start + 5] == b"data:":
            end = data.find(b"\n", start)
            if end < 0 or data[end + 1 : end + 2] != b"\n" or end - start > limit:
                break
            skip = 6 if data[start + 5] == _SPACE else 5
            events.append((data[start + skip : end], self._at + start))
            start = end + 2
        self._at += start
        if start < len(data):
            self._feed_slowly(data[start:], events)
        return events

    def _feed_slowly(self, data: bytes, events: list[SseEvent]) -> list[SseEvent]:
        self._clean = False
        if self._failure is None:
            self._buffer += data
            if self._at == 0 and not self._bom_passed and not self._skip_bom():
                return events
            try:
                while (line := self._next_line()) is not None:
                    self._take_line(line, events)
                if self._buffer and self._size + len(self._buffer) > self._limit:
                    raise self._too_large(self._event_at if self._lines else self._at, bytes(self._buffer[:200]))
            except StreamProtocolError as exc:
                self._failure = exc
                self._buffer.clear()
            else:
                self._clean = not (self._buffer or self._lines or self._skip_lf)
        if self._failure is not None and not events:
            raise self._failure
        return events

    def _skip_bom(self) -> bool:
        # False: too few bytes have arrived to recognise a byte order mark.
        head = bytes(self._buffer[:3])
        if len(head) < 3 and _BOM.startswith(head):
            return False
        self._bom_passed = True
        if head == _BOM:
            self._drop(3)
        return True

    def _drop(self, size: int) -> None:
        del self._buffer[:size]
        self._at += size
        self._scanned = 0

    def _next_line(self) -> tuple[bytes, int] | None:
        # Without its line end, and with its offset in the body; `None` if no whole line has arrived.
        buffer = self._buffer
        if self._skip_lf and buffer:
            self._skip_lf = False
            if buffer[0] == _LF:
                self._drop(1)
        end = _line_end(buffer, self._scanned)
        if end < 0:
            self._scanned = len(buffer)
            return None
        line, at = bytes(buffer[:end]), self._at
        self._skip_lf = buffer[end] == _CR
        self._drop(end + 1)
        return line, at

    def _take_line(self, placed_line: tuple[bytes, int], events: list[SseEvent]) -> None:
        line, at = placed_line
        if not line:
            if self._lines:
                events.append((b"\n".join(self._lines), self._event_at))
                self._lines = []
                self._size = 0
            return
        if self._size + len(line) > self._limit:
            raise self._too_large(self._event_at if self._lines else at, line)
        # `event`, `id`, `retry`, comments and unknown fields are not used.
        field, colon, value = line.partition(b":")
        if field != b"data":
            return
        if colon and value[:1] == b" ":
            value = value[1:]
        if not self._lines:
            self._event_at = at
        self._lines.append(value)
        self._size += len(line) + 1

    def _too_large(self, offset: int, sample: bytes) -> StreamProtocolError:
        return StreamProtocolError(
            f"an event must have at most {self._limit} bytes, got a larger one",
            offset=offset,
            sample=sample,
            hint="check that base_url is that of an OpenAI-compatible API",
        )


def _line_end(buffer: bytearray, start: int) -> int:
    # In one pass: in a body without CR, find(CR) would read the whole rest of the buffer for every line.
    match = _LINE_END.search(buffer, start)
    return -1 if match is None else match.start()
