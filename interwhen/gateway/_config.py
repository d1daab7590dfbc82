"""The configuration of a gateway: its fields, where it is read from, and the keys that its clients must send."""

from __future__ import annotations

import difflib
import hmac
import inspect
import os
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, get_args, get_origin

import msgspec
from msgspec import Meta

from interwhen._engine.run import means_off
from interwhen._types.budgets import Budgets
from interwhen._types.errors import DECODE_ERRORS, UsageError
from interwhen._types.log import log_warning
from interwhen._types.monitors import Reading
from interwhen._types.segments import Phase
from interwhen._types.vetting import Above as Seconds
from interwhen._types.vetting import Count, Positive, require_known
from interwhen.clients._audit import AuditSettings
from interwhen.clients._calls import ABSTENTION
from interwhen.gateway._http_errors import HttpError
from interwhen.journal._directory import JournalSettings

Detail = Literal["off", "brief", "full"]
"""The level of detail of the field ``interwhen`` in chunks and answers."""

MonitorEntry: TypeAlias = str | dict[str, Any]
"""A monitor and its options: ``"arithmetic:delivery=gate"`` or ``{"name": "arithmetic", "delivery": "gate"}``."""

SHORTEST_KEY = 8


class UpstreamConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One OpenAI-compatible upstream server."""

    url: Annotated[str, Meta(description="Its address with the version, such as http://localhost:8000/v1.")]
    models: Annotated[
        tuple[str, ...],
        Meta(description="Patterns of the model names that go to it; the first upstream that matches wins."),
    ] = ("*",)
    key_env: Annotated[
        str, Meta(description="The environment variable with the key for requests that have none for this server.")
    ] = ""


class ModelRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How calls to some models are supervised. For a field that is left out, the setting of the gateway applies."""

    match: Annotated[str, Meta(description="A pattern of model names; the first rule that matches wins.")]
    monitors: Annotated[
        tuple[str, ...] | None,
        Meta(description="Names of monitors or offers of this configuration; an empty list for none."),
    ] = None
    reading: Annotated[Reading | None, Meta(description="What clients see of an answer: live, gate or final.")] = None
    detail: Annotated[Detail | None, Meta(description="How much the field 'interwhen' of chunks and answers says.")] = (
        None
    )
    strategy: Annotated[
        str | None, Meta(description="The strategy of calls to these models; 'none' for one request per call.")
    ] = None
    starts_in: Annotated[
        Phase | None, Meta(description="'reasoning' if the chat template has opened the reasoning.")
    ] = None
    resume: Annotated[
        Literal["auto", "tokens", "prefill", "turn"] | None,
        Meta(description="How a chat is continued from kept text."),
    ] = None
    probe: Annotated[
        Literal["auto", "always", "never"] | None,
        Meta(description="Whether the server may be probed to find out how it continues kept text."),
    ] = None


class GatewayLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The limits of one gateway process."""

    head_bytes: Annotated[
        Positive, Meta(description="The largest request line with its headers; a larger one is refused with 431.")
    ] = 64 << 10
    head_seconds: Annotated[
        Seconds,
        Meta(description="How long the head of a request may take to arrive; then the request is refused with 408."),
    ] = 30.0
    body_bytes: Annotated[Positive, Meta(description="The largest request body; a larger one is refused with 413.")] = (
        16 << 20
    )
    body_values: Annotated[
        Positive, Meta(description="The most JSON values in a request body; one with more is refused with 413.")
    ] = 100_000
    bytes_in_flight: Annotated[
        Positive,
        Meta(description="The most bytes in the bodies of all requests in flight; more are refused with 429."),
    ] = 256 << 20
    body_seconds: Annotated[
        Seconds, Meta(description="How long a body may take to arrive; then the request is refused with 408.")
    ] = 30.0
    concurrent: Annotated[Positive, Meta(description="The most calls that are served at one time.")] = 1000
    waiting: Annotated[Count, Meta(description="The most calls that wait for a slot; more are refused with 429.")] = 200
    wait_seconds: Annotated[
        Seconds, Meta(description="How long a call waits for a slot; then it is refused with 503.")
    ] = 10.0
    write_seconds: Annotated[
        Seconds, Meta(description="How long a client may read nothing; then its call is ended.")
    ] = 60.0
    ready_seconds: Annotated[
        float, Meta(ge=0, description="How long new calls are accepted after SIGTERM, while /readyz says no.")
    ] = 0.0
    drain_seconds: Annotated[
        float,
        Meta(ge=0, description="How long running calls may continue after SIGTERM; then they are ended with an error."),
    ] = 30.0


class CallBudgets(Budgets, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The budgets of one call. A broken stream is not reconnected by default."""

    reconnects: Count = 0


class DemotionConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When a monitor is demoted to observing, because it finds violations in too many calls."""

    above: Annotated[
        float,
        Meta(
            ge=0,
            lt=1,
            description="The share of its last calls in which a monitor may refute something; 0: no demotion.",
        ),
    ] = 0.0
    calls: Annotated[Positive, Meta(description="The number of calls that the share is computed from.")] = 100


class UiConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the web page below ``/ui``, which shows recorded runs."""

    enabled: Annotated[
        bool, Meta(description="Whether there is a page; it shows the journals of [journal] unless others are named.")
    ] = False

    journals: Annotated[
        tuple[str, ...], Meta(description="The folders with the journals to show; naming some enables the page.")
    ] = ()
    key: Annotated[
        str,
        Meta(
            description="The page's own key, which must not be a client's; without one, only this machine may ask. A "
            "browser asks for it as a password, with any user name."
        ),
    ] = ""


class TenantContexts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which further prepared contexts the clients with one of the gateway's keys may use."""

    key_env: Annotated[str, Meta(description="The environment variable with the key, which also lets its clients in.")]
    names: Annotated[tuple[str, ...], Meta(description="Patterns of the names that these clients may use.")]


class ContextsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which prepared contexts calls may use. Without names and tenants, they may use none."""

    store: Annotated[
        str, Meta(description="The store of the contexts: a path or a URL; empty: interwhen-precompute.db.")
    ] = ""
    key_file: Annotated[
        str, Meta(description="A file with the key of the store; empty: the key in INTERWHEN_STORE_KEY, if it is set.")
    ] = ""
    names: Annotated[
        tuple[str, ...], Meta(description="Patterns of the names that every client may use, such as 'handbook' or '*'.")
    ] = ()
    tenants: Annotated[
        tuple[TenantContexts, ...], Meta(description="Further names, for the clients with certain keys only.")
    ] = ()
    default: Annotated[
        str, Meta(description="The context of calls that name none; empty: they have none. It must match names.")
    ] = ""
    passages: Annotated[
        Count,
        Meta(
            description="The most characters of a context's own text, by relevance, for a call whose prompt lacks the "
            "text; 0: none."
        ),
    ] = 0
    recognize: Annotated[
        Count,
        Meta(
            description="The least number of characters of a context that is recognised if a call has its whole text "
            "as a system prompt or at the start of a user's message; 0: none is."
        ),
    ] = 0


class Patience(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long the gateway waits for an upstream, in seconds; null: without limit.

    ``connect``: until the connection is open. ``first_token``: until the head of the answer, and until its first text
    (a supervised call begins to count again at the head). ``inter_token``: between two texts.
    """

    connect: Seconds | None = 10.0
    first_token: Seconds | None = 300.0
    inter_token: Seconds | None = 120.0


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The configuration of a gateway. Each field is a setting of ``interwhen.toml``.

    Pass it to :func:`~interwhen.gateway.make_app`, which raises :class:`~interwhen.UsageError` for wrong values.
    """

    upstreams: Annotated[
        tuple[UpstreamConfig | str, ...], Meta(description="The upstream servers: a URL, PATTERN=URL, or a table.")
    ] = ()
    monitors: Annotated[
        tuple[MonitorEntry, ...],
        Meta(description="The monitors of every call, unless a rule or the request names others."),
    ] = ()
    offers: Annotated[
        tuple[MonitorEntry, ...], Meta(description="Further monitors that a rule or a request may name.")
    ] = ()
    prompt_monitors: Annotated[
        tuple[MonitorEntry, ...],
        Meta(description="The monitors that read the prompt of every call before it is sent; no request changes them."),
    ] = ()
    locked: Annotated[
        bool,
        Meta(
            description="Whether requests may only add monitors and name what `strategies` and `contexts` allow, and "
            "change nothing else."
        ),
    ] = False
    pass_unsupervised: Annotated[
        bool,
        Meta(description="Whether routes that no monitor reads pass and are counted; they are refused otherwise."),
    ] = False
    off: Annotated[
        bool,
        Meta(
            description="The kill switch: calls pass unsupervised and are counted. SIGUSR1 sets it, SIGUSR2 clears it."
        ),
    ] = False
    models: Annotated[tuple[ModelRule, ...], Meta(description="Rules for some models.")] = ()
    reading: Annotated[
        Reading,
        Meta(
            description="live: text as it comes, with retractions; gate: only text whose checks passed; "
            "final: the answer once it is complete."
        ),
    ] = "live"
    detail: Annotated[Detail, Meta(description="How much the field 'interwhen' of chunks and answers says.")] = "brief"
    strategy: Annotated[
        str,
        Meta(description="The strategy of every call, such as best-of-n:n=4, unless a rule or the request names one."),
    ] = ""
    strategies: Annotated[
        tuple[str, ...],
        Meta(
            description="The strategies that requests may name, with exactly these options. While the gateway is "
            "locked, this holds for 'none', too."
        ),
    ] = ()
    strategy_tokens: Annotated[
        Positive, Meta(description="The most tokens that a strategy may generate for one call, in samples and forks.")
    ] = 16_384
    strategy_samples: Annotated[
        Positive,
        Meta(
            description="The most texts that a strategy may begin for one call. Forks, and requests that continue a "
            "text, do not count."
        ),
    ] = 8
    starts_in: Annotated[
        Phase, Meta(description="'reasoning' if the chat templates of the models have opened the reasoning.")
    ] = "answer"
    min_coverage: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="The share of an answer that passed claims must cover; with less, it is not verified.",
        ),
    ] = 0.0
    resume: Annotated[
        Literal["auto", "tokens", "prefill", "turn"],
        Meta(
            description="How a chat is continued from kept text: from token ids, in an unfinished assistant message "
            "(prefill), or in a new message (turn); 'auto': as the server's model list suggests."
        ),
    ] = "auto"
    probe: Annotated[
        Literal["auto", "always", "never"],
        Meta(
            description="Whether a server may be probed to find out how it continues kept text. 'auto' sends a probe "
            "that generates tokens only to vLLM, SGLang and llama.cpp; 'always' also to hosted servers, which bill it."
        ),
    ] = "auto"
    abstention: Annotated[
        str,
        Meta(
            description="The sentence at the end of an answer that supervision has ended; empty for none. Answers in "
            "JSON, and those of calls with tools, never have one."
        ),
    ] = ABSTENTION
    tools: Annotated[
        bool, Meta(description="Whether tool calls must be complete, valid JSON, and to a tool that was offered.")
    ] = True
    audit: Annotated[AuditSettings, Meta(description="The audit file, which gets one record per call to a model.")] = (
        AuditSettings()
    )
    journal: Annotated[
        JournalSettings, Meta(description="The directory of journals, which gets a file per supervised call.")
    ] = JournalSettings()
    demotion: Annotated[DemotionConfig, Meta(description="Demotes a monitor that refutes too much to observing.")] = (
        DemotionConfig()
    )
    contexts: Annotated[ContextsConfig, Meta(description="The contexts prepared ahead of time that calls may use.")] = (
        ContextsConfig()
    )
    budgets: Annotated[CallBudgets, Meta(description="The budgets of one call.")] = CallBudgets()
    ui: Annotated[UiConfig, Meta(description="The page of recorded runs below /ui.")] = UiConfig()

    host: Annotated[str, Meta(description="The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535, description="The port to listen on; 0 takes a free one.")] = 8400
    origins: Annotated[
        tuple[str, ...], Meta(description="Origins of the web pages that may call; none by default.")
    ] = ()
    keys: Annotated[
        tuple[Annotated[str, Meta(min_length=SHORTEST_KEY)], ...],
        Meta(description="The gateway's keys: a client must send one of them. Without keys, every client may call."),
    ] = ()
    keys_file: Annotated[str, Meta(description="A file with more keys, one per line.")] = ""
    transport: Annotated[
        Literal["auto", "fast", "httpx2"],
        Meta(description="The HTTP client for upstreams; auto means fast if httptools is installed."),
    ] = "auto"
    threads: Annotated[Positive, Meta(description="Threads for the checks of all calls.")] = 32
    processes: Annotated[Positive, Meta(description="Worker processes for the checks of all calls.")] = 2
    workers: Annotated[
        str,
        Meta(
            description="Another pool for the checks, by its name and options, such as `ray` or `ray:actors=8` "
            "(docs/ray.md). It replaces `threads` and `processes`."
        ),
    ] = ""
    limits: Annotated[GatewayLimits, Meta(description="The limits of the gateway process.")] = GatewayLimits()
    patience: Annotated[Patience, Meta(description="How long the gateway waits for an upstream.")] = Patience()


def schema() -> dict[str, Any]:
    config_schema = msgspec.json.schema(Config)
    for one in config_schema["$defs"].values():
        if "description" in one:  # the docstring of a class: Python before 3.13 leaves its indentation in it
            one["description"] = inspect.cleandoc(one["description"])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "interwhen.toml",
        **config_schema,
    }


# Reads a configuration. The precedence is: flags, environment variables, ``interwhen.toml``, defaults.

FILE = "interwhen.toml"
"""The file in the working directory that is read if no other is named."""
PREFIX = "INTERWHEN_"


def load_config(
    flags: Mapping[str, Any], *, path: Path | None = None, environment: Mapping[str, str] | None = None
) -> Config:
    """Return the configuration. *flags* win over the variables of the *environment*, and these over the file *path*.

    *flags* maps names of fields of :class:`Config` to values; ``table.field`` is a field of a table. The default of
    *path* is the file that the variable ``INTERWHEN_CONFIG`` names, else ``interwhen.toml`` if it exists. Raises
    :class:`UsageError` if the file cannot be read, and on an unknown field or an invalid value.
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
    for field in msgspec.structs.fields(Config):
        inside = _bare(field.type)
        if not (isinstance(inside, type) and issubclass(inside, msgspec.Struct)):
            yield f"{PREFIX}{field.name.upper()}", field.name
            continue
        for inner in msgspec.structs.fields(inside):
            yield f"{PREFIX}{field.name}_{inner.name}".upper(), f"{field.name}.{inner.name}"


def _bare(annotation: Any) -> Any:
    # msgspec removes ``Annotated`` itself up to Python 3.12, but not from 3.13 on.
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _named(environment: Mapping[str, str]) -> Path | None:
    if named := environment.get(f"{PREFIX}CONFIG"):
        return Path(named)
    return Path(FILE) if Path(FILE).is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"the configuration file {str(path)!r} must be readable UTF-8 text, and is not ({error}): "
            "correct the path or the file"
        ) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"the configuration file {str(path)!r} must be valid TOML, and is not: {error}; correct this place"
        ) from error


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    known = dict(variables())
    settings: dict[str, Any] = {}
    for name, text in environment.items():
        if name in known:
            settings[known[name]] = _value(name, known[name], text)
        elif name.startswith(PREFIX) and (close := difflib.get_close_matches(name, known, n=1, cutoff=0.85)):
            log_warning("config.variable_ignored", name=name, meant=close[0])
    return settings


_LISTS = frozenset(
    ("upstreams", "monitors", "offers", "strategies", "origins", "keys", "models", "contexts.names", "ui.journals")
)
"""The settings whose variables hold words, separated by white space."""


def _value(name: str, field: str, text: str) -> Any:
    if text[:1] in ("[", "{"):
        try:
            return msgspec.json.decode(text)
        except DECODE_ERRORS as error:
            raise UsageError(
                f"the value of {name} begins like JSON, so it must be valid JSON, and is not ({error}): correct it"
            ) from error
    if field in _LISTS:
        return text.split()
    if field == "off":
        return means_off(text)  # in an emergency, any word must work
    return text


def _merge(fields: dict[str, Any], more: Mapping[str, Any]) -> None:
    for name, value in more.items():
        table, dot, inner = name.partition(".")
        if dot:
            fields[table] = {**fields.get(table, {}), inner: value}
        else:
            fields[name] = value


def _vet(fields: Mapping[str, Any], place: str) -> Config:
    require_known(f"the settings in {place}", fields, Config.__struct_fields__)
    try:
        return msgspec.convert(fields, Config, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"the settings in {place} must be valid, and one is not: {error}; correct this setting"
        ) from error


HEADER = "x-interwhen-key"
"""The header for the gateway's key, if ``Authorization`` holds the key of the upstream."""

_WRONG = (
    "a request to this gateway must have one of its keys, and has none that is valid: send "
    "'Authorization: Bearer KEY', or 'X-Interwhen-Key: KEY' beside the upstream's key"
)


class Keys:
    """The keys of the gateway; false if there are none. A client's key is compared with them in constant time."""

    def __init__(self, keys: Iterable[str]) -> None:
        self._keys = tuple(key.encode() for key in keys)

    def __bool__(self) -> bool:
        return bool(self._keys)

    def key_in(self, headers: Mapping[str, str], header: str) -> str:
        # `admit` gives `header`.
        value = headers.get(header, "") if header else ""
        return value if header != "authorization" else value.partition(" ")[2].strip()

    def admit(self, headers: Mapping[str, str]) -> str:
        # Check the key of a request. Return the name of the header that has it; empty if no key is needed.
        if not self._keys:
            return ""
        if self.holds(headers.get(HEADER, "")):
            return HEADER
        kind, _, key = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and self.holds(key.strip()):
            return "authorization"
        raise HttpError(401, "invalid_api_key", _WRONG)

    def holds(self, key: str) -> bool:
        given = key.encode("utf-8", "surrogateescape")
        is_known = False
        for known in self._keys:  # compare with all, so that the time does not depend on the match
            is_known |= hmac.compare_digest(given, known)
        return is_known


def load_keys(config: Config) -> Keys:
    # In the file, empty lines and lines that begin with `#` are ignored. Raises `UsageError` if the key file cannot be
    # read or has no key, if a key in it or in a variable is too short, or if a header cannot hold a key.
    keys = list(config.keys)
    if config.keys_file:
        try:
            lines = Path(config.keys_file).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"keys_file must be a readable UTF-8 file, got {config.keys_file!r} ({error}): correct the "
                "path or its permissions"
            ) from error
        numbered = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        numbered = [(number, key) for number, key in numbered if key and not key.startswith("#")]
        if not numbered:
            raise UsageError(
                f"keys_file must hold at least one key, got {config.keys_file!r} without any: write one key per line"
            )
        for number, key in numbered:
            if len(key) < SHORTEST_KEY:
                raise UsageError(
                    f"keys_file={config.keys_file!r}, line {number}: a key must have at least "
                    f"{SHORTEST_KEY} characters, got {len(key)}: write a longer one"
                )
        keys += [key for _, key in numbered]
    for tenant in config.contexts.tenants:
        key = os.environ.get(tenant.key_env, "")
        if len(key) < SHORTEST_KEY:
            raise UsageError(
                f"the environment variable {tenant.key_env!r} must hold the key of a tenant of contexts, with at least "
                f"{SHORTEST_KEY} characters, got {len(key)}: set it, or correct key_env"
            )
        keys.append(key)
    if not all(key.isascii() and key.isprintable() and key == key.strip() for key in keys):
        raise UsageError(
            "each key of the gateway must have printable ASCII characters only, and no space at an end, got one that "
            "has others, which a header cannot hold: write another key"
        )
    return Keys(keys)
