"""Fetches the schemas that a schema refers to: once, from allowed addresses only, never while judging a document."""

from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from interwhen import UsageError
from interwhen.toolkit import MissingExtraError

try:
    import referencing
    from jsonschema.validators import SPECIFICATIONS
    from referencing.exceptions import NoSuchResource, Unresolvable
    from referencing.jsonschema import DRAFT202012
except ImportError as missing:
    raise MissingExtraError("interwhen_verifiers.json_schema", "jsonschema") from missing

Schemas: TypeAlias = Iterable[Any]
_SECONDS = 10.0
_LARGEST = 1_000_000
"""The most bytes of a schema that is fetched."""
_MOST = 50
"""The most schemas that are fetched for one schema."""


def collected(schema: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Fetch all schemas that *schema* refers to, directly or through others, and return them by address.

    Raises :class:`UsageError` where an address is not in *allowed*, or its schema cannot be fetched.
    """
    found: dict[str, Any] = {}
    waiting = _addresses(schema, "", found)
    while waiting:
        address = waiting.pop()
        if address in found:
            continue
        _need_allowed(address, allowed)
        if len(found) == _MOST:
            raise UsageError(
                f"json_schema: the schema must refer to at most {_MOST} other schemas, got more; put them "
                "under its $defs"
            )
        found[address] = _fetched(address)
        waiting.extend(_addresses(found[address], address, found))
    return found


def registry_of(elsewhere: Mapping[str, Any]) -> Any:
    """Return a registry of the schemas *elsewhere*. It fetches nothing: a missing schema is an error of the check."""
    resources = ((address, _resource(schema)) for address, schema in elsewhere.items())
    return referencing.Registry().with_resources(resources)


def _resource(schema: Any) -> Any:
    return referencing.Resource.from_contents(schema, default_specification=DRAFT202012)


def _addresses(schema: Any, base: str, known: Mapping[str, Any]) -> list[str]:
    """Return the addresses that *schema*, itself at the address *base*, refers to and that are not in *known*."""
    absent: list[str] = []

    def retrieve(address: str) -> Any:
        absent.append(address)
        raise NoSuchResource(ref=address)  # type: ignore[call-arg]

    resource = _resource(schema)
    here = registry_of(known).with_resource(base, resource)
    registry = SPECIFICATIONS.combine(
        here,
        referencing.Registry(retrieve=retrieve),  # type: ignore[call-arg]
    ).crawl()
    waiting = [(resource, registry.resolver(base).in_subresource(resource))]
    while waiting:
        part, resolver = waiting.pop()
        if isinstance(part.contents, Mapping):
            for word in ("$ref", "$dynamicRef", "$recursiveRef"):
                reference = part.contents.get(word)
                if isinstance(reference, str):
                    # A reference to a missing part of a known schema shows when a document is judged.
                    with contextlib.suppress(Unresolvable):
                        resolver.lookup(reference)
        waiting.extend((inner, resolver.in_subresource(inner)) for inner in part.subresources())
    return absent


def _need_allowed(address: str, allowed: tuple[str, ...]) -> None:
    fits = any(address == each or (each.endswith("/") and address.startswith(each)) for each in allowed)
    parts = urlsplit(address)
    if fits and parts.scheme in ("http", "https") and ".." not in parts.path and "\\" not in address:
        return
    raise UsageError(
        "json_schema: each schema that is referred to must be in the schema or allowed, got "
        f"{address!r:.200}; put it under $defs, or allow it by remote=({address!r:.200},)"
    )


class _Straight(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it might lead to an address that is not allowed."""

    def redirect_request(self, *_arguments: Any, **_options: Any) -> None:
        """Refuse the redirect."""


def _fetched(address: str) -> Any:
    try:
        with urllib.request.build_opener(_Straight).open(address, timeout=_SECONDS) as answer:
            data = answer.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise UsageError(
                f"json_schema: the schema at {address!r:.200} must have at most {_LARGEST:,} bytes, got "
                "more; take a smaller one"
            )
        return json.loads(data)
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise UsageError(
            f"json_schema: the schema at {address!r:.200} could not be fetched, got "
            f"{type(error).__name__}: {error}; check the address, or put the schema under $defs"
        ) from error
