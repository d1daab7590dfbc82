"""Chooses the monitors and the strategy for a request.

They are those that the request names, else those of its model's rule, else the configured ones.
"""

from __future__ import annotations

import dataclasses
import functools
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, get_args

from interwhen._core.segmenter import compile_triggers
from interwhen._run.run import Workers
from interwhen._types.errors import PluginError, UsageError
from interwhen._types.extensions import WorkerPool
from interwhen._types.monitors import Reading
from interwhen.clients._audit import open_audit
from interwhen.clients._calls import Api, Settings, load_catalog
from interwhen.clients._demotion import Demotion
from interwhen.clients._named_context import NamedContext
from interwhen.gateway._config import Config, Detail, ModelRule
from interwhen.gateway._contexts import GatewayContexts, unknown_context
from interwhen.gateway._exchange import OURS
from interwhen.gateway._http_errors import HttpError
from interwhen.journal._directory import open_journals
from interwhen.registry import load_monitors, load_prompt_monitors, load_workers

FIELD = "interwhen"
"""The field for interwhen in request bodies and in chunks."""
_SUFFIX = "#"
_NONE = "none"
_OPTIONS = ("monitors", "strategy", "reading", "detail", "context")
_AT = "@"
"""Separates a strategy from the name of the model: ``best-of-n:n=4@qwen``."""
_EDITS = 2
"""A name with at most so many edits is taken for a misspelt strategy."""
_LONGEST = 100
"""How many characters of a name are compared."""


@dataclass(frozen=True, slots=True)
class MonitorChoice:
    """How one request is answered."""

    model: str
    """The model's name, without the strategy and the monitors that the client wrote into it."""
    body: dict[str, Any]
    """The body for the upstream, without the options for interwhen."""
    changed: bool
    """Whether ``body`` differs from the body that the client sent."""
    settings: Settings
    detail: Detail

    @property
    def names(self) -> str:
        # The names of the answer's monitors, with commas between, as the value of a header. A demoted monitor has
        # `(demoted)` after its name. Without monitors, the value is `none`.
        demotion = self.settings.demotion
        demoted = demotion.demoted if demotion is not None else ()
        names = (f"{m.name} (demoted)" if m.name in demoted else m.name for m in self.settings.monitors)
        return ", ".join(names) or _NONE

    @property
    def strategy(self) -> str:
        strategy = self.settings.strategy
        return "" if strategy is None else strategy.name


@dataclass(slots=True)
class _RequestOptions:
    """The options for interwhen that a client sent with one request.

    Those of type ``Any`` are not checked, and are ``None`` if the request does not set them.
    """

    monitors: Sequence[str] | None = None
    param: str = ""
    """The field or header that names the monitors, for error messages."""
    strategy: Any = None
    reading: Any = None
    detail: Any = None
    context: Any = None
    """The name of a prepared context."""


class MonitorChooser:
    """Loads the configured monitors and strategies, and chooses monitors and settings for each request."""

    # Raises `UsageError` if the configuration is invalid.

    def __init__(self, config: Config) -> None:
        self._config = config
        self.workers: WorkerPool = load_workers(config.workers or None) or Workers(
            threads=config.threads, processes=config.processes
        )
        """The owner of this object closes them."""
        demotion = config.demotion
        self.demotion = Demotion(above=demotion.above, calls=demotion.calls) if demotion.above else None
        contexts = config.contexts
        patterns = (*contexts.names, *(name for tenant in contexts.tenants for name in tenant.names))
        self.contexts = GatewayContexts(contexts) if patterns else None
        if contexts.default and not (self.contexts and self.contexts.allows(contexts.default, "")):
            raise UsageError(
                f"contexts.default must match a pattern of contexts.names ({', '.join(contexts.names) or 'none'}), got "
                f"{contexts.default!r:.100}: add it to names"
            )
        watching = [monitor for entry in config.monitors for monitor in load_monitors(entry)]
        offered = [monitor for entry in config.offers for monitor in load_monitors(entry)]
        self.monitors = {monitor.name: monitor for monitor in (*watching, *offered)}
        """The monitors that a rule or a request may name."""
        compile_triggers(tuple(self.monitors.values()))
        if len(self.monitors) < len(watching) + len(offered):
            twice = Counter(monitor.name for monitor in (*watching, *offered)).most_common(1)[0][0]
            raise UsageError(
                f"the names of monitors and offers must differ, got {twice!r:.100} twice: rename one with "
                "label=... in its options"
            )
        self.prompt_monitors = load_prompt_monitors(config.prompt_monitors)
        self.usual = tuple(watching)
        """The monitors of calls where neither a rule nor the request names any."""
        for rule in config.models:
            fnmatchcase("", rule.match)  # compiles the pattern now, and not while streams are read
            for name in rule.monitors or ():
                if name not in self.monitors:
                    raise UsageError(f"in the rule for models {rule.match!r:.100}, {self._unknown(name)}")
        self._settings = functools.lru_cache(maxsize=256)(self._make_settings)
        # One object for each strategy, since some learn from all calls.
        specs = {_NONE, config.strategy, *config.strategies, *(rule.strategy or "" for rule in config.models)} - {""}
        self._strategies = {spec: None if spec == _NONE else load_catalog().load(spec) for spec in specs}
        self._strategy_names = functools.cache(self._find_names)

    def names_near_strategy(self, model: object) -> bool:
        # Return whether `model`, as in a request, is like `STRATEGY@MODEL` with a strategy that no client may name. So
        # is a strategy with at most two edits: the client has misspelt it, unless an upstream has such a model.
        name = model.partition(_SUFFIX)[0] if isinstance(model, str) else ""
        head, at, rest = name.partition(_AT)
        if not at or not rest or head in self._strategies:
            return False
        name = head[:_LONGEST].partition(":")[0]
        return any(_is_near(name, known, _EDITS) for known in self._strategy_names())

    def choose(
        self,
        fields: dict[str, Any],
        headers: Mapping[str, str],
        *,
        key: str = "",
        api: Api | None = None,
        has_model: bool = False,
    ) -> MonitorChoice:
        """Return the monitors and settings for the request with the body *fields* and the *headers*.

        *key*, the gateway's key in the request, decides which contexts it may use. *api* is needed to recognise the
        text of a context. *has_model*: an upstream lists the model, so its name is not a misspelt strategy. Raises
        :class:`HttpError` if the request asks for something unknown or not allowed.
        """
        model = fields.get("model") or ""
        if not isinstance(model, str):
            raise HttpError(
                400,
                "invalid_type",
                f"model must be a string, got a JSON value of type {type(model).__name__}: correct the request",
                param="model",
            )
        if not has_model and self.names_near_strategy(model):
            raise self._not_offered(model.partition(_AT)[0])
        named_model, suffix, named = model.partition(_SUFFIX)
        # What is read later takes precedence: the name of the model, then the headers, then the field.
        asked = _RequestOptions()
        asked.strategy, bare = self._split(named_model)
        if suffix:
            asked.monitors, asked.param = _names(named), "model"
        _take_headers(asked, headers)
        _take_field(asked, fields.get(FIELD))
        rule = next((n for n, rule in enumerate(self._config.models) if fnmatchcase(bare, rule.match)), None)
        settings, detail = self._chosen(asked, rule)
        changed = bare != model or FIELD in fields
        body = {name: value for name, value in fields.items() if name != FIELD} if changed else fields
        if bare != model:
            body["model"] = bare
        if self.contexts is not None or asked.context not in (None, _NONE, ""):
            context = self._context(asked.context, body, key, api)
            settings = settings if context is None else dataclasses.replace(settings, context=context)
        return MonitorChoice(bare, body, changed, settings, detail)

    def _context(self, asked: object, body: Mapping[str, Any], key: str, api: Api | None) -> NamedContext | None:
        # Raises `HttpError` if `asked` is no text, or if a client with `key` may not use the context.
        if not isinstance(asked, str | None):
            raise HttpError(
                400, "invalid_type", f"context must be a text, got {asked!r:.100}: write a name", param="context"
            )
        contexts = self.contexts
        if asked == _NONE:
            return None
        if asked:
            if contexts is None or not contexts.allows(asked, key):
                raise unknown_context(asked)
            return contexts.named(asked)
        if contexts is None:
            return None
        recognized = contexts.recognize(api, body, key) if api is not None else ""
        name = recognized or self._config.contexts.default
        return contexts.named(name) if name else None

    def _chosen(self, asked: _RequestOptions, number: int | None) -> tuple[Settings, Detail]:
        rule = ModelRule(match="*") if number is None else self._config.models[number]
        usual = tuple(monitor.name for monitor in self.usual) if rule.monitors is None else rule.monitors
        names = usual if asked.monitors is None else asked.monitors
        for name in names:
            if name not in self.monitors:
                raise HttpError(400, "unknown_monitor", self._unknown(name), param=asked.param)
        usual_strategy = self._config.strategy if rule.strategy is None else rule.strategy
        if self._config.locked:
            if asked.reading is not None or asked.detail is not None:
                raise HttpError(
                    403,
                    "locked",
                    f"a request to this locked gateway must not change reading or detail, and {FIELD} does: "
                    "leave them out",
                    param=FIELD,
                )
            names = (*usual, *names)
        chosen = tuple(name for name in self.monitors if name in names)
        reading: Reading = _one_of("reading", asked.reading, get_args(Reading)) or rule.reading or self._config.reading
        detail: Detail = _one_of("detail", asked.detail, get_args(Detail)) or rule.detail or self._config.detail
        usual_strategy = usual_strategy or _NONE
        strategy = usual_strategy if asked.strategy is None else asked.strategy or _NONE
        allowed = (usual_strategy, *self._config.strategies, *(() if self._config.locked else (_NONE,)))
        if strategy not in allowed:
            raise self._not_offered(strategy)
        return self._settings(rule, chosen, reading, strategy), detail

    def close(self) -> None:
        # Close the store of contexts. This blocks, so do not call it on the event loop.
        if self.contexts is not None:
            self.contexts.close()

    def _split(self, model: str) -> tuple[str | None, str]:
        head, at, rest = model.partition(_AT)
        if not at or not rest:
            return None, model
        return (head, rest) if head in self._strategies else (None, model)

    def _not_offered(self, asked: object) -> HttpError:
        offered = ", ".join(self._config.strategies) or _NONE
        return HttpError(
            403 if self._config.locked else 400,
            "locked" if self._config.locked else "unknown_strategy",
            f"the strategy must be one that this gateway offers ({offered}), got {asked!r:.100}: choose one of these, "
            "leave it out, or let the operator offer it (the setting strategies)",
            param="strategy",
        )

    def _find_names(self) -> frozenset[str]:
        try:
            return load_catalog().names()
        except PluginError:  # the annex with the strategies is not installed
            return frozenset()

    def _make_settings(self, rule: ModelRule, names: tuple[str, ...], reading: Reading, strategy: str) -> Settings:
        config = self._config
        return Settings(
            monitors=tuple(self.monitors[name] for name in names),
            prompt_monitors=self.prompt_monitors,
            reading=reading,
            resume=rule.resume or config.resume,
            probe=rule.probe or config.probe,
            budgets=config.budgets,
            starts_in=rule.starts_in or config.starts_in,
            min_coverage=config.min_coverage,
            abstention=config.abstention,
            tools=config.tools,
            workers=self.workers,
            demotion=self.demotion,
            audit=open_audit(config.audit),
            journal=open_journals(config.journal),
            strategy=self._strategies[strategy],
            strategy_tokens=config.strategy_tokens,
            strategy_samples=config.strategy_samples,
        )

    def _unknown(self, name: str) -> str:
        return f"a monitor must be one of this gateway ({', '.join(self.monitors) or 'none'}), got {name!r:.100}"


def _is_near(one: str, other: str, edits: int) -> bool:
    if not one or not other:
        return len(one) + len(other) <= edits
    if one[0] == other[0]:
        return _is_near(one[1:], other[1:], edits)
    ways = (one[1:], other[1:]), (one[1:], other), (one, other[1:])
    return edits > 0 and any(_is_near(*way, edits - 1) for way in ways)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    return [name for name in names if name and name != _NONE]


def _take_headers(asked: _RequestOptions, headers: Mapping[str, str]) -> None:
    ours = OURS.decode()
    if (named := headers.get(f"{ours}monitors")) is not None:
        asked.monitors, asked.param = _names(named), "X-Interwhen-Monitors"
    asked.strategy = headers.get(f"{ours}strategy", asked.strategy)
    asked.context = headers.get(f"{ours}context")
    asked.reading = headers.get(f"{ours}reading")
    asked.detail = headers.get(f"{ours}detail")


def _take_field(asked: _RequestOptions, said: object) -> None:
    if said is None or said is True:
        return
    if said is False:
        said = {"monitors": [], "strategy": _NONE, "context": _NONE}
    if not isinstance(said, Mapping):
        raise HttpError(
            400,
            "invalid_type",
            f"{FIELD} must be an object such as {{'monitors': ['arithmetic']}}, got {said!r:.100}",
            param=FIELD,
        )
    for name in said:
        if name not in _OPTIONS:
            raise HttpError(
                400,
                "unknown_option",
                f"the options of {FIELD} must be among {', '.join(_OPTIONS)}, got {name!r:.100}: correct or remove it",
                param=FIELD,
            )
    named = said.get("monitors")
    if isinstance(named, str):
        named = _names(named)
    if named is not None:
        if not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
            raise HttpError(
                400,
                "invalid_type",
                f"{FIELD}.monitors must be a list of names, got {named!r:.100}",
                param=f"{FIELD}.monitors",
            )
        asked.monitors, asked.param = named, f"{FIELD}.monitors"
    # JSON has a null for what a header says by "none".
    asked.strategy = said.get("strategy", asked.strategy) if said.get("strategy", _NONE) else _NONE
    asked.context = said.get("context", asked.context) if said.get("context", _NONE) else _NONE
    asked.reading = said.get("reading", asked.reading)
    asked.detail = said.get("detail", asked.detail)


def _one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    if value is not None and value not in allowed:
        raise HttpError(
            400, "invalid_value", f"{name} must be one of {', '.join(allowed)}, got {value!r:.100}", param=name
        )
    return value
