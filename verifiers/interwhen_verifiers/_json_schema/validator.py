"""Judges complete documents by the library ``jsonschema``.

The library matches patterns by :mod:`re`, which may take exponential time. Where this cannot be avoided, documents are
judged in a worker process.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from itertools import islice
from math import inf
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from interwhen import Pass, Unknown, UsageError, Verdict, Violation
from interwhen.toolkit import MissingExtraError

from interwhen_verifiers._json_schema.compiler import objects_in
from interwhen_verifiers._re2 import MOST_FROM_DATA, linear, problems_of

# The schemas that a schema refers to: fetched once, from allowed addresses only, never while judging a document.


try:
    import jsonschema
    import referencing
    from jsonschema.validators import SPECIFICATIONS, extend, validator_for
    from referencing.exceptions import NoSuchResource, Unresolvable
    from referencing.jsonschema import DRAFT202012
except ImportError as missing:
    raise MissingExtraError("interwhen_verifiers.json_schema", "jsonschema") from missing

Schemas: TypeAlias = Iterable[Any]
_SECONDS = 10.0
_LARGEST_SCHEMA = 1_000_000
"""The most bytes of a schema that is fetched."""
_MOST = 50
"""The most schemas that are fetched for one schema."""


def collected(schema: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    # Fetch all schemas that `schema` needs, except the standard ones of JSON Schema itself. `allowed` holds addresses,
    # and folders that end in `/`.
    schemas: dict[str, Any] = {}
    waiting = _addresses(schema, "", schemas)
    while waiting:
        address = waiting.pop()
        if address in schemas:
            continue
        _need_allowed(address, allowed)
        if len(schemas) == _MOST:
            raise UsageError(
                f"json_schema: the schema must refer to at most {_MOST} other schemas, got more; put them "
                "under its $defs"
            )
        schemas[address] = _fetched(address)
        waiting.extend(_addresses(schemas[address], address, schemas))
    return schemas


def registry_of(elsewhere: Mapping[str, Any]) -> Any:
    # The registry fetches nothing: a missing schema is an error of the check.
    resources = ((address, _resource(schema)) for address, schema in elsewhere.items())
    return referencing.Registry().with_resources(resources)


def _resource(schema: Any) -> Any:
    return referencing.Resource.from_contents(schema, default_specification=DRAFT202012)


def _addresses(schema: Any, base: str, known: Mapping[str, Any]) -> list[str]:
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
            data = answer.read(_LARGEST_SCHEMA + 1)
        if len(data) > _LARGEST_SCHEMA:
            raise UsageError(
                f"json_schema: the schema at {address!r:.200} must have at most {_LARGEST_SCHEMA:,} bytes, got "
                "more; take a smaller one"
            )
        return json.loads(data)
    except (OSError, urllib.error.URLError, http.client.HTTPException, ValueError, RecursionError) as error:
        raise UsageError(
            f"json_schema: the schema at {address!r:.200} could not be fetched, got "
            f"{type(error).__name__}: {error}; check the address, or put the schema under $defs"
        ) from error


_DEEPEST = 64
"""If the stack is too small for a document up to this depth, the schema is said to refer to itself."""
_LARGEST = 1_000_000
"""A longer document is not judged."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


class _DoubleKeyError(ValueError):
    pass


class Judge:
    """Judges documents by *schema* and the schemas that it refers to, which are fetched from the addresses *allowed*.

    Raises :class:`UsageError` if the schema or a pattern is not valid, or if a schema is not allowed or cannot be
    fetched.
    """

    def __init__(self, schema: Any, allowed: tuple[str, ...] = ()) -> None:
        try:
            self._prepare(schema, allowed)
        except RecursionError as error:
            raise _too_deep(schema) from error

    def _prepare(self, schema: Any, allowed: tuple[str, ...]) -> None:
        kind = validator_for(schema, default=jsonschema.Draft202012Validator)
        try:
            # No formats are checked: the format "regex" would compile patterns by re.
            kind.check_schema(schema, format_checker=jsonschema.FormatChecker(formats=()))
            self._text = json.dumps(schema, allow_nan=False)
        except jsonschema.SchemaError as error:
            raise UsageError(
                f"json_schema: schema must be a valid JSON Schema, got an error at {error.json_path}: "
                f"{error.message:.300}; correct it"
            ) from error
        except (TypeError, ValueError) as error:
            raise UsageError(
                f"json_schema: schema must have JSON values only, got {schema!r:.100}: {error}; correct it"
            ) from error
        elsewhere = collected(schema, allowed)
        patterns = set(_patterns_in([schema, *elsewhere.values()]))
        for pattern, problem in problems_of(patterns).items():
            raise UsageError(
                f"json_schema: each pattern must be a regular expression, got {pattern!r:.200}: {problem}; correct it"
            )
        self.apart = not all(map(linear, patterns)) or _looks_at_evaluated_names([schema, *elsewhere.values()])
        """Whether documents must be judged in a worker process."""
        self._text = json.dumps([schema, elsewhere])
        self._may_wait = not self.apart

    def __getstate__(self) -> tuple[str, bool]:
        return self._text, self.apart

    def __setstate__(self, state: tuple[str, bool]) -> None:
        # A judge is unpickled only in a worker process.
        self._text, self.apart = state
        self._may_wait = True

    def validate(self, document: str) -> Verdict:
        # A schema whose patterns may take exponential time is judged only in a worker process, which can be killed.
        return validate(document, _built(self._text)) if self._may_wait else Unknown(_APART)

    def matches(self, pattern: str, value: str) -> Verdict:
        if not self._may_wait:
            return Unknown(_APART)
        if _found(pattern, value):
            return Pass("the string matches its pattern")
        return Violation(why="this string does not match its pattern", witness=f"it must match {_clean(pattern)}")


_APART = "the schema holds a pattern that is matched in a worker process only"


@functools.lru_cache(maxsize=64)
def _built(text: str) -> Any:
    """Return the library's validator, with our functions for some keywords.

    *text* is a JSON array: the schema, and a map from addresses to the schemas that it refers to.
    """
    schema, elsewhere = json.loads(text)
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    ours = {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": _additional,
        "multipleOf": _multiple_of,
    }
    known = {word: function for word, function in ours.items() if word in kind.VALIDATORS}
    return extend(kind, known)(schema, registry=registry_of(elsewhere))


def _found(pattern: str, text: str) -> bool:
    compiled = linear(pattern)
    # Any other pattern gets here in a worker process only.
    return (re.search(pattern, text) if compiled is None else compiled.search(text)) is not None


def _pattern(validator: Any, pattern: str, instance: Any, _schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _found(pattern, instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _pattern_properties(validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    for pattern, inner in patterns.items():
        for name, value in instance.items():
            if _found(pattern, name):
                yield from validator.descend(value, inner, path=name, schema_path=pattern)


def _additional(validator: Any, wanted: Any, instance: Any, schema: Mapping[str, Any]) -> Iterator[Any]:
    if not validator.is_type(instance, "object"):
        return
    named, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    more = [name for name in instance if name not in named and not any(_found(each, name) for each in patterns)]
    if validator.is_type(wanted, "object"):
        for name in more:
            yield from validator.descend(instance[name], wanted, path=name)
    elif not wanted and more:
        yield jsonschema.ValidationError(f"no property may be named {', '.join(map(repr, more[:5]))}")


def _multiple_of(validator: Any, step: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    # As decimals: 19.99 is a multiple of 0.01, and the quotient of the two floats is no whole number.
    if validator.is_type(instance, "number") and Fraction(str(instance)) % Fraction(str(step)):
        yield jsonschema.ValidationError(f"{instance!r} is not a multiple of {step!r}")


def _patterns_in(schemas: Schemas) -> Iterator[str]:
    for part in objects_in(schemas):
        if isinstance(part.get("pattern"), str):
            yield part["pattern"]
        if isinstance(part.get("patternProperties"), Mapping):
            yield from map(str, part["patternProperties"])


def has_few_patterns(schema: Any) -> bool:
    return sum(1 for _ in islice(_patterns_in([schema]), MOST_FROM_DATA + 1)) <= MOST_FROM_DATA


def _looks_at_evaluated_names(schemas: Schemas) -> bool:
    parts = list(objects_in(schemas))
    return any("unevaluatedProperties" in part for part in parts) and any("patternProperties" in part for part in parts)


def validate(document: str, judge: Any) -> Verdict:
    if len(document) > _LARGEST:
        return Unknown(f"a document of more than {_LARGEST:,} characters is not judged")
    try:
        value = json.loads(document, object_pairs_hook=_once, parse_constant=_no_constant, parse_float=_float)
    except _DoubleKeyError as error:
        return Violation(why=f"the key '{error}' stands twice in one object")
    except RecursionError:
        return Unknown("the document is nested too deeply")
    except ValueError as error:
        if "digits" in str(error):
            return Unknown("a number is too long to be read")
        return Violation(why=f"invalid JSON: {_clean(str(error))}")
    try:
        wrong = _in_a_fresh_stack(lambda: _first_error(judge, value))
    except RecursionError:
        is_deep = _depth(value) > _DEEPEST
        return Unknown("the document is nested too deeply" if is_deep else "the schema refers to itself without end")
    except Exception as error:  # noqa: BLE001  (a schema may refer to what is not there: then nothing is known)
        return Unknown(f"the schema cannot be applied: {type(error).__name__}: {_clean(str(error))}")
    if wrong is None:
        return Pass("the whole document is valid by the schema")
    place = _clean(wrong.json_path)
    return Violation(
        why=f"the document breaks the schema at {place}: {wrong.validator}",
        witness=f"at {place}: {_clean(wrong.message)}",
    )


def _first_error(judge: Any, value: Any) -> Any:
    try:
        return min(judge.iter_errors(value), key=lambda error: len(error.absolute_path), default=None)
    except BaseException as error:
        # If the stack ends inside rpds, which jsonschema uses, rpds raises a BaseException of its own.
        if type(error).__name__ == "PanicException":
            raise RecursionError from error
        raise


def _in_a_fresh_stack(judge: Callable[[], Any]) -> Any:
    # The callers may have used up most of this thread's stack. `RecursionError` means that a new stack is not enough,
    # either.
    try:
        return judge()
    except RecursionError:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(judge).result()


def _depth(value: Any) -> int:
    level, depth = [value], 0
    while level := [part for part in level if isinstance(part, dict | list)]:
        level = [inner for part in level for inner in (part.values() if isinstance(part, dict) else part)]
        depth += 1
    return depth


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for key, value in pairs:
        if key in members:
            raise _DoubleKeyError(_clean(key)[:80])
        members[key] = value
    return members


def _float(text: str) -> float:
    value = float(text)
    if value in (inf, -inf):
        raise ValueError("a number has too many digits")
    return value


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not part of JSON")


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", text)[:300]


def read_schema(schema: Any) -> Any:
    if isinstance(schema, str):
        try:
            schema = json.loads(schema, object_pairs_hook=_once)
        except _DoubleKeyError as error:
            raise UsageError(
                f"json_schema: schema must have each key once in an object, got '{error}' twice; remove one"
            ) from error
        except (ValueError, RecursionError) as error:
            raise UsageError(
                f"json_schema: schema must be valid JSON where it is a text, got an error: {error}; "
                "correct it, or give the path of a file that ends in .json"
            ) from error
    if isinstance(schema, Mapping):
        try:
            return _plain(schema)
        except RecursionError as error:
            raise _too_deep(schema) from error
    if isinstance(schema, bool):
        return schema
    raise UsageError(f"json_schema: schema must be a mapping, a Boolean or JSON text, got {schema!r:.100}")


def _too_deep(schema: Any) -> UsageError:
    names = ", ".join(map(repr, list(schema)[:5])) if isinstance(schema, Mapping) else repr(schema)
    return UsageError(
        f"json_schema: schema must be a finite tree of moderate depth, got one with {names:.100} that contains itself "
        "or is nested too deeply; refer to a part of it by $ref"
    )


def _plain(value: Any) -> Any:
    # Copy a schema, so that later changes by the caller have no effect.
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
