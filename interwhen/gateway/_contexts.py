"""The prepared contexts of a gateway: which clients may use which, and which one the text of a request contains."""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from interwhen._types.errors import StoreError
from interwhen._types.log import log_warning
from interwhen.clients._calls import Api, ApiCall
from interwhen.clients._named_context import NamedContext, open_source
from interwhen.gateway._config import ContextsConfig
from interwhen.gateway._http_errors import HttpError


def unknown_context(name: str) -> HttpError:
    # Return the error for a context `name` that does not exist, or that the client may not use. Both get the same
    # error, so that a client cannot find out which contexts exist.
    return HttpError(
        400,
        "unknown_context",
        f"context must be one that this gateway serves to this client, got {name!r:.100}: correct the name, or ask the "
        "operator to add it to contexts.names",
        param="context",
    )


class GatewayContexts:
    """The prepared contexts that *config* allows. A store that cannot be read now is only logged."""

    # Raises `UsageError` if the store or its key file does not exist, or if the store has no context with the name of
    # the default.

    def __init__(self, config: ContextsConfig) -> None:
        self._config = config
        self._tenants = [(os.environ.get(each.key_env, "").encode(), each.names) for each in config.tenants]
        self._all = (*config.names, *(name for _, names in self._tenants for name in names))
        key_file = Path(config.key_file) if config.key_file else None
        self._source = open_source(config.store or None, key_file, config.passages)
        try:
            self._source.load(self._all)
        except StoreError as error:
            log_warning("contexts.unreadable", why=str(error))
        if config.default:
            self._source.open(config.default)

    def allows(self, name: str, key: str) -> bool:
        # Every client may use the names that match a pattern in `contexts.names`. A client with the key of a tenant may
        # also use the names of that tenant.
        return any(fnmatchcase(name, pattern) for pattern in self._patterns(key))

    def named(self, name: str) -> NamedContext:
        return NamedContext(name, self._source)

    def recognize(self, api: Api, body: Mapping[str, Any], key: str) -> str:
        # Only contexts that a client with `key` may use are found, and none without the setting `recognize`.
        least = self._config.recognize
        patterns = self._patterns(key)
        if not least or not patterns:
            return ""
        try:
            prompt = ApiCall(api, body, streams=False, wants_usage=False, limit=None).prompt
        except (TypeError, AttributeError, KeyError):
            return ""  # the form of the request is judged later
        return self._source.recognize(prompt, patterns, least=least)

    def close(self) -> None:
        self._source.close()

    def _patterns(self, key: str) -> tuple[str, ...]:
        given, patterns = key.encode("utf-8", "surrogateescape"), self._config.names
        for own, names in self._tenants:
            if hmac.compare_digest(given, own):
                patterns = (*patterns, *names)
        return patterns
