"""Saves llama.cpp slots to disk, so that prefix caches survive a restart of the server (``--slot-save-path``)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

import anyio
import msgspec

from interwhen._types.errors import DECODE_ERRORS, StreamTimeout, UpstreamError, UsageError
from interwhen.models._transport import HttpRequest, Transport

_NAME = re.compile(r"[A-Za-z0-9._-]{1,120}")
_LONGEST = 1 << 16


class SlotFile(msgspec.Struct, frozen=True):
    """The server's reply to a request to save, restore or erase a slot."""

    id_slot: int
    """The number of the slot, from 0."""
    filename: str = ""
    """The name of the file; empty for an erased slot."""
    n_saved: int = 0
    """The number of tokens in the saved file."""
    n_restored: int = 0
    """The number of tokens that were loaded into the slot."""


class LlamaSlots:
    """Saves and restores the slots (prompt caches) of the llama.cpp server at the URL *root*.

    The server chooses the folder of the files. Restore a file only with the model and the settings with which it was
    saved. *transport* sends the requests, with *headers*. Each call may take *seconds* in all.
    """

    def __init__(
        self, root: str, transport: Transport, *, headers: Mapping[str, str] | None = None, seconds: float = 60.0
    ) -> None:
        self._root = root.rstrip("/").removesuffix("/v1")
        self._transport = transport
        self._headers = {"content-type": "application/json", **(headers or {})}
        self._seconds = seconds

    async def save(self, slot: int, name: str) -> SlotFile:
        """Let the server write *slot* to the file *name*.

        Raises :class:`UsageError` for an invalid name, and :class:`~interwhen.ModelError` if the server refuses, cannot
        be reached, or takes longer than *seconds*.
        """
        return await self._do(slot, "save", name)

    async def restore(self, slot: int, name: str) -> SlotFile:
        """Let the server read *slot* from the file *name*. Raises the same errors as :meth:`save`."""
        return await self._do(slot, "restore", name)

    async def erase(self, slot: int) -> SlotFile:
        """Let the server clear the cache of *slot*. Raises :class:`~interwhen.ModelError` as :meth:`save` does."""
        return await self._do(slot, "erase", "")

    async def _do(self, slot: int, action: Literal["save", "restore", "erase"], name: str) -> SlotFile:
        if action != "erase" and not _NAME.fullmatch(name):
            raise UsageError(
                "the file of a slot must be named by 1 to 120 letters, digits, '.', '_' and '-', got "
                f"{name!r:.150}; choose another name"
            )
        body = msgspec.json.encode({"filename": name} if name else {})
        request = HttpRequest("POST", f"{self._root}/slots/{slot:d}?action={action}", self._headers, body)
        try:
            with anyio.fail_after(self._seconds):
                status, answer = await self._send(request)
        except TimeoutError as error:
            raise StreamTimeout("total", self._seconds) from error
        if status != 200:
            said = answer[:200].decode(errors="replace")
            hint = "start it with --slot-save-path" if status in (404, 501) else "check its settings, slot and file"
            raise UpstreamError(
                (f"the server {self._root} must {action} slot {slot}, got status {status} and {said!r}; {hint}"),
                status=status,
                body=said,
            )
        try:
            return msgspec.json.decode(answer, type=SlotFile)
        except DECODE_ERRORS as error:
            raise UpstreamError(
                f"the server {self._root} must answer in llama.cpp's format when asked to {action} slot "
                f"{slot}, got {answer[:80]!r} ({error}); use a llama.cpp server"
            ) from error

    async def _send(self, request: HttpRequest) -> tuple[int, bytes]:
        response = await self._transport.send(request, connect_timeout=self._seconds)
        try:
            answer = b""
            while len(answer) < _LONGEST and (part := await response.receive()):
                answer += part
            return response.status, answer
        finally:
            await response.aclose()
