"""A configuration from where it may stand: flags before the environment, before ``interwhen.toml``, before defaults."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import msgspec

from interwhen._log import log_warning
from interwhen._switch import means_off
from interwhen.errors import UsageError
from interwhen.gateway.config import Config

FILE = "interwhen.toml"
"""Read from the working directory, unless another one is named."""
PREFIX = "INTERWHEN_"


def load_config(
    flags: Mapping[str, Any], *, path: Path | None = None, environment: Mapping[str, str] | None = None
) -> Config:
    """Return the configuration. *flags* are fields of :class:`Config`, and fields of its tables as ``table.field``.

    Raises :class:`UsageError` that names the place of what is wrong.
    """
    environment = os.environ if environment is None else environment
    path = path or _named(environment)
    fields: dict[str, Any] = {}
    if path is not None:
        fields = _read(path)
        _vet(fields, str(path))
    _merge(fields, _from_environment(environment))
    _merge(fields, flags)
    return _vet(fields, "the configuration")


def variables() -> Iterator[tuple[str, str]]:
    """Yield the environment variables that are read, and the fields they set."""
    for field in msgspec.structs.fields(Config):
        inside = _bare(field.type)
        if not (isinstance(inside, type) and issubclass(inside, msgspec.Struct)):
            yield f"{PREFIX}{field.name.upper()}", field.name
            continue
        for inner in msgspec.structs.fields(inside):
            yield f"{PREFIX}{field.name}_{inner.name}".upper(), f"{field.name}.{inner.name}"


def _bare(annotation: Any) -> Any:
    """Return the type inside an ``Annotated``: up to Python 3.12 msgspec takes one for its struct, from 3.13 on not."""
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _named(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get(f"{PREFIX}CONFIG"):
        return Path(named)
    return Path(FILE) if Path(FILE).is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{str(path)!r} is no TOML: {error}") from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = dict(variables())
    found: dict[str, Any] = {}
    for name, text in environment.items():
        if name in known:
            found[known[name]] = _value(name, known[name], text)
        elif name.startswith(PREFIX) and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            log_warning("config.variable_ignored", name=name, meant=close[0])
    return found


def _value(name: str, field: str, text: str) -> Any:
    """Read the *text* of a variable: JSON, or words for a list, or as it is."""
    if text[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError as error:
            raise UsageError(f"{name} begins like JSON and is none ({error})") from error
    if field in ("upstreams", "monitors", "offers", "origins", "keys", "models"):
        return text.split()
    if field == "off":
        return means_off(text)  # in an emergency, any word will do
    return text


def _merge(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        table, dot, inner = name.partition(".")
        if dot:
            fields[table] = {**fields.get(table, {}), inner: value}
        else:
            fields[name] = value


def _vet(fields: Mapping[str, Any], place: str) -> Config:
    _vet_names(fields, place)
    try:
        return msgspec.convert(fields, Config, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}: {error}") from error


def _vet_names(fields: Mapping[str, Any], place: str) -> None:
    known = [field.name for field in msgspec.structs.fields(Config)]
    for name in fields:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            meant = f"did you mean {close[0]!r}? " if close else ""
            raise UsageError(f"{place} has {name!r}, which is no setting; {meant}settings: {', '.join(known)}")
