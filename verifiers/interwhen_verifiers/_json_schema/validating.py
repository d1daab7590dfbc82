"""The whole document, judged by the library ``jsonschema``."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from interwhen import Pass, Unknown, UsageError, Verdict, Violation
from interwhen.errors import MissingExtraError

try:
    import jsonschema
    from jsonschema.validators import validator_for
except ImportError as missing:
    raise MissingExtraError("interwhen_verifiers.json_schema", "jsonschema") from missing

_LARGEST = 1_000_000
"""A longer document is not judged."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]")


class _DoubleKeyError(ValueError):
    pass


def validator(schema: Any) -> Any:
    """Return the validator of *schema*. Raises :class:`UsageError` where it is none."""
    kind = validator_for(schema, default=jsonschema.Draft202012Validator)
    try:
        kind.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise UsageError(f"json_schema: this is no valid schema: {error.message:.300}") from error
    return kind(schema)


def validate(document: str, judge: Any) -> Verdict:
    """Judge a whole *document*."""
    if len(document) > _LARGEST:
        return Unknown(f"a document of more than {_LARGEST:,} characters is not judged")
    try:
        value = json.loads(document, object_pairs_hook=_once, parse_constant=_no_constant)
    except _DoubleKeyError as error:
        return Violation(why=f"the key '{error}' stands twice in one object")
    except RecursionError:
        return Unknown("the document is nested too deeply")
    except ValueError as error:
        if "digits" in str(error):
            return Unknown("a number is too long to be read")
        return Violation(why=f"this is no JSON: {_clean(str(error))}")
    try:
        wrong = min(judge.iter_errors(value), key=lambda error: len(error.absolute_path), default=None)
    except RecursionError:
        return Unknown("the document is nested too deeply")
    except Exception as error:  # noqa: BLE001  (a schema may refer to what is not there: then nothing is known)
        return Unknown(f"the schema cannot be applied: {type(error).__name__}: {_clean(str(error))}")
    if wrong is None:
        return Pass("the whole document is valid by the schema")
    place = _clean(wrong.json_path)
    return Violation(
        why=f"the document breaks the schema at {place}: {wrong.validator}",
        witness=f"at {place}: {_clean(wrong.message)}",
    )


def matches(pattern: str, value: str) -> Verdict:
    """Judge a string in a document by the *pattern* of its schema, as the library does."""
    try:
        found = re.search(pattern, value)
    except (re.error, RecursionError, OverflowError):
        return Pass("the pattern is none that is understood here; the whole document is judged at its end")
    if found is not None:
        return Pass("the string matches its pattern")
    return Violation(why="this string does not match its pattern", witness=f"it must match {_clean(pattern)}")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DoubleKeyError(_clean(key)[:80])
        found[key] = value
    return found


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON")


def _clean(text: str) -> str:
    return _CONTROL.sub(" ", text)[:300]


def read_schema(schema: Any) -> Any:
    """Return a schema given as a mapping, a Boolean or JSON text. Raises :class:`UsageError`."""
    if isinstance(schema, str):
        try:
            schema = json.loads(schema)
        except ValueError as error:
            raise UsageError(f"json_schema: the schema is no JSON: {error}") from error
    if isinstance(schema, Mapping):
        return _plain(schema)
    if isinstance(schema, bool):
        return schema
    raise UsageError(f"json_schema: {schema!r:.100} is no schema")


def _plain(value: Any) -> Any:
    """Copy a schema, so that nobody changes it while it is used."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value
