"""llama.cpp's slots on disk: what the server has read of a context outlives the server (``--slot-save-path``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import anyio
import msgspec

from interwhen._types.errors import StreamTimeout, UpstreamError, UsageError
from interwhen.models._transport import HttpRequest, Transport

_NAME = re.compile(r"[A-Za-z0-9._-]{1,120}")
_LONGEST = 1 << 16


class SlotFile(msgspec.Struct, frozen=True):
    """What the server says of a slot that it saved or restored."""

    id_slot: int
    filename: str = ""
    n_saved: int = 0
    """Tokens that were written."""
    n_restored: int = 0
    """Tokens that were read."""


class LlamaSlots:
    """Saves and restores the slots of the llama.cpp server at *root* (``http://localhost:8080``, without ``/v1``).

    Files lie where the server was told to put them, and are its own business: they fit only the weights and settings
    that wrote them, which the server checks. *seconds* bounds each call.
    """

    def __init__(
        self, root: str, transport: Transport, *, headers: Mapping[str, str] | None = None, seconds: float = 60.0
    ) -> None:
        self._root = root.rstrip("/").removesuffix("/v1")
        self._transport = transport
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._seconds = seconds

    async def save(self, slot: int, name: str) -> SlotFile:
        """Write *slot* to the file *name*. Raises :class:`~interwhen.models.UpstreamError` where it cannot."""
        return await self._do(slot, "save", name)

    async def restore(self, slot: int, name: str) -> SlotFile:
        """Read *slot* from the file *name*: a prompt that begins with what was saved is not read again."""
        return await self._do(slot, "restore", name)

    async def erase(self, slot: int) -> SlotFile:
        """Forget what *slot* has read."""
        return await self._do(slot, "erase", "")

    async def _do(self, slot: int, action: Literal["save", "restore", "erase"], name: str) -> SlotFile:
        if action != "erase" and not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} is no name for a slot's file: letters, digits, '.', '_' and '-', at most 120")
        body = msgspec.json.encode({"filename": name} if name else {})
        request = HttpRequest("POST", f"{self._root}/slots/{slot:d}?action={action}", self._headers, body)
        try:
            with anyio.fail_after(self._seconds):
                status, answer = await self._send(request)
        except TimeoutError as error:
            raise StreamTimeout("total", self._seconds) from error
        if status != 200:
            said = answer[:200].decode(errors="replace")
            hint = " (start it with --slot-save-path)" if status in (404, 501) else ""
            raise UpstreamError(f"the server did not {action} slot {slot}: {status}{hint}", status=status, body=said)
        try:
            return msgspec.json.decode(answer, type=SlotFile)
        except msgspec.DecodeError as error:
            raise UpstreamError(f"the server's answer to {action} of slot {slot} cannot be read: {error}") from error

    async def _send(self, request: HttpRequest) -> tuple[int, bytes]:
        response = await self._transport.send(request, connect_timeout=self._seconds)
        try:
            answer = b""
            while len(answer) < _LONGEST and (part := await response.receive()):
                answer += part
            return response.status, answer
        finally:
            await response.aclose()
