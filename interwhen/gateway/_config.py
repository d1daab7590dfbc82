"""What a gateway is told: one record, whose JSON Schema is published."""

from __future__ import annotations

import difflib
import hmac
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Meta

from interwhen._engine.run import means_off
from interwhen._log import log_warning
from interwhen._types.budgets import Budgets, Count
from interwhen._types.errors import UsageError
from interwhen._types.segments import Phase
from interwhen.clients import Reading
from interwhen.gateway._http_errors import Problem

Telling = Literal["off", "brief", "full"]
"""What a client is told beside the chunks, in their field ``interwhen``."""

MonitorEntry: TypeAlias = str | dict[str, Any]
"""``"arithmetic:delivery=gate"`` or ``{"name": "arithmetic", "delivery": "gate"}``."""

Positive = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
SHORTEST_KEY = 8
"""Characters that a key of the gateway has at least."""


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One OpenAI-compatible server behind the gateway."""

    url: Annotated[str, Meta(description="Its address with the version, such as http://localhost:8000/v1.")]
    models: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of the model names that go to it; the first upstream that fits wins."),
    ] = ("*",)
    key_env: Annotated[
        str, Meta(description="The environment variable with the key for requests that bring none for this server.")
    ] = ""


class ModelRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls to some models are supervised; what is left out is as for all others."""

    match: Annotated[str, Meta(description="A pattern of model names; the first rule that fits wins.")]
    monitors: Annotated[
        tuple[str, ...] | None, Meta(description="Names of monitors or offers of this configuration; empty: none.")
    ] = None
    reading: Reading | None = None
    tell: Telling | None = None
    starts_in: Annotated[
        Phase | None, Meta(description="'reasoning' where the chat template has opened the reasoning already.")
    ] = None
    resume: Annotated[
        Literal["auto", "tokens", "prefill", "turn"] | None, Meta(description="How a chat goes on from kept text.")
    ] = None


class Limits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one gateway process takes on."""

    head_bytes: Annotated[
        Positive, Meta(description="The largest request line with its headers; a larger one is refused with 431.")
    ] = 64 << 10
    head_seconds: Annotated[
        Seconds, Meta(description="How long a request's head may take to come; then it is refused with 408.")
    ] = 30.0
    body_bytes: Annotated[Positive, Meta(description="The largest request body; a larger one is refused with 413.")] = (
        16 << 20
    )
    body_values: Annotated[
        Positive, Meta(description="JSON values that a request body may have; one with more is refused with 413.")
    ] = 100_000
    bytes_in_flight: Annotated[
        Positive,
        Meta(description="Bytes that the bodies of all requests in reading or service may have; beyond: 429."),
    ] = 256 << 20
    body_seconds: Annotated[
        Seconds, Meta(description="How long a body may take to come; then it is refused with 408.")
    ] = 30.0
    concurrent: Annotated[Positive, Meta(description="Calls that are served at once.")] = 1000
    waiting: Annotated[Count, Meta(description="Calls that may wait for their turn; more are refused with 429.")] = 200
    wait_seconds: Annotated[
        Seconds, Meta(description="How long a call waits for its turn; then it is refused with 503.")
    ] = 10.0
    write_seconds: Annotated[
        Seconds, Meta(description="How long a client may take nothing; then its call is ended.")
    ] = 60.0
    ready_seconds: Annotated[
        float, Meta(ge=0, description="After SIGTERM: how long calls are still taken while /readyz says no.")
    ] = 0.0
    drain_seconds: Annotated[
        float, Meta(ge=0, description="After SIGTERM: how long calls may go on; then they are ended with an error.")
    ] = 30.0


class CallBudgets(Budgets, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one call may spend. A broken stream is not taken up again unless this says so."""

    reconnects: Count = 0


class AllocatorConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much each call may spend on being put right, by what that is worth; learnt from the calls before."""

    tokens: Annotated[
        Count, Meta(description="The mean of generated tokens a call that is aimed at; 0: no allocator.")
    ] = 0
    window: Annotated[Positive, Meta(description="Calls within which overspending is made up.")] = 100
    hopeless: Annotated[
        float, Meta(ge=0, le=1, description="The chance below which a further correction is never made.")
    ] = 0.01


class DemotionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a monitor that refutes much more than it should is made to observe only, visibly."""

    above: Annotated[
        float, Meta(ge=0, lt=1, description="The share of its last calls in which it may refute something; 0: any.")
    ] = 0.0
    calls: Annotated[Positive, Meta(description="How many calls that share is of.")] = 100


class Patience(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long an upstream is waited for, in seconds; null waits for ever."""

    connect: Seconds | None = 10.0
    first_token: Seconds | None = 300.0
    inter_token: Seconds | None = 120.0


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of a gateway."""

    upstreams: Annotated[
        tuple[UpstreamConfig | str, ...], Meta(description="The servers behind it: a URL, PATTERN=URL, or a table.")
    ] = ()
    monitors: Annotated[
        tuple[MonitorEntry, ...],
        Meta(description="What watches every call, unless a rule or the request says otherwise."),
    ] = ()
    offers: Annotated[
        tuple[MonitorEntry, ...], Meta(description="Monitors that a rule or a request may name, besides those.")
    ] = ()
    locked: Annotated[bool, Meta(description="Whether requests may only add monitors, and change nothing else.")] = (
        False
    )
    pass_unsupervised: Annotated[
        bool,
        Meta(description="Whether routes that no monitor sees are passed on and counted; they are refused otherwise."),
    ] = False
    off: Annotated[
        bool,
        Meta(
            description="The kill switch: every call passes unsupervised, and is counted. SIGUSR1 and SIGUSR2 set it."
        ),
    ] = False
    models: Annotated[tuple[ModelRule, ...], Meta(description="Rules for some models.")] = ()
    reading: Annotated[
        Reading,
        Meta(
            description="live: text as it comes, with retractions; gate: only text whose checks passed; "
            "final: the answer once it is whole."
        ),
    ] = "live"
    tell: Annotated[Telling, Meta(description="What chunks say in their field 'interwhen'.")] = "brief"
    starts_in: Phase = "answer"
    min_coverage: Annotated[
        float,
        Meta(ge=0, le=1, description="The share of an answer that checked claims must cover, or it is unverified."),
    ] = 0.0
    resume: Literal["auto", "tokens", "prefill", "turn"] = "auto"
    tools: Annotated[
        bool, Meta(description="Whether tool calls must be whole, valid JSON, and to a tool that was offered.")
    ] = True
    allocator: Annotated[
        AllocatorConfig, Meta(description="Spends the budget where a token is thought to help most.")
    ] = AllocatorConfig()
    demotion: Annotated[
        DemotionConfig, Meta(description="Makes a monitor observe only that refutes much more than it should.")
    ] = DemotionConfig()
    budgets: Annotated[CallBudgets, Meta(description="What one call may spend.")] = CallBudgets()

    host: Annotated[str, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port to listen on; 0 takes a free one.")] = 8400
    origins: Annotated[
        tuple[str, ...], Meta(description="Web pages that may call, as origins; none may otherwise.")
    ] = ()
    keys: Annotated[
        tuple[Annotated[str, Meta(min_length=SHORTEST_KEY)], ...],
        Meta(description="Keys of which a client must bring one; none: anybody may call."),
    ] = ()
    keys_file: Annotated[str, Meta(description="A file with more such keys, one a line.")] = ""
    transport: Annotated[
        Literal["auto", "fast", "httpx2"],
        Meta(description="What speaks to the upstreams; auto is fast where httptools is installed."),
    ] = "auto"
    threads: Annotated[Positive, Meta(description="Threads for the checks of all calls.")] = 32
    processes: Annotated[Positive, Meta(description="Worker processes for the checks of all calls.")] = 2
    limits: Limits = Limits()
    patience: Patience = Patience()


def schema() -> dict[str, Any]:
    """Return the JSON Schema of ``interwhen.toml``."""
    found = msgspec.json.schema(Config)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "interwhen.toml",
        **found,
    }


# A configuration from where it may stand: flags before the environment, before ``interwhen.toml``, before defaults.

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


# The gateway's own keys: who may call it.

HEADER = "x-interwhen-key"
"""Brings our key where ``Authorization`` brings the upstream's."""

_WRONG = (
    "this gateway wants a key of its own: as 'Authorization: Bearer KEY', "
    "or as 'X-Interwhen-Key: KEY' beside the upstream's"
)


class Keys:
    """Compares keys in a time that tells nothing about them."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def admit(self, headers: Mapping[str, str]) -> str:
        """Return the name of the header that brought one of our keys; empty where none is wanted.

        Raises :class:`Problem` where none of them is right.
        """
        if not self._keys:
            return ""
        if self._is_ours(headers.get(HEADER, "")):
            return HEADER
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self._is_ours(key.strip()):
            return "authorization"
        raise Problem(401, "invalid_api_key", _WRONG)

    def _is_ours(self, key: str) -> bool:
        given = key.encode("utf-8", "surrogateescape")
        found = False
        for known in self._keys:  # all of them, whichever is right
            found |= hmac.compare_digest(given, known)
        return found


def load_keys(config: Config) -> Keys:
    """Return the keys of *config*. Raises :class:`UsageError` where their file cannot be read, or has no good ones."""
    keys = list(config.keys)
    if config.keys_file:
        try:
            lines = Path(config.keys_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"keys_file={config.keys_file!r} cannot be read: {error}") from error
        found = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        found = [(number, key) for number, key in found if key and not key.startswith("#")]
        if not found:
            raise UsageError(f"keys_file={config.keys_file!r} holds no key; write one a line")
        for number, key in found:
            if len(key) < SHORTEST_KEY:
                raise UsageError(
                    f"keys_file={config.keys_file!r}, line {number}: a key has {SHORTEST_KEY} characters or more"
                )
        keys += [key for _, key in found]
    return Keys(keys)
