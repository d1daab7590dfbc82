"""Telling a server to stop a generation, where closing the connection is not enough."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin
from uuid import uuid4

import msgspec

from interwhen.models.exchange import exchange
from interwhen.models.transport import HttpRequest, Timeouts, Transport

_TIMEOUTS = Timeouts(connect=1.0, first_token=1.0, inter_token=None, total=2.0)


@dataclass(frozen=True, slots=True)
class Abort:
    """A call that ends a generation: the request carries an id in *field*, and so does a POST to *path*.

    The defaults are SGLang's. *path* is joined to the base URL as a link on a page would be.
    """

    path: str = "/abort_request"
    field: str = "rid"

    def mark(self, body: dict[str, Any]) -> str:
        """Put a new id into the *body* of a request, unless the caller has, and return it."""
        return str(body.setdefault(self.field, uuid4().hex))

    async def send(self, transport: Transport, base_url: str, headers: dict[str, str], name: str) -> None:
        """Tell the server to stop the request *name*; raises :class:`~interwhen.errors.ModelError`."""
        body = msgspec.json.encode({self.field: name})
        url = urljoin(base_url + "/", self.path)
        headers = {**headers, "content-type": "application/json"}
        await exchange(transport, HttpRequest("POST", url, headers, body), _TIMEOUTS)
