"""Chooses the monitors for a request: those that it names, else those of its model's rule, else the configured ones."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, get_args

from interwhen._run import Workers
from interwhen._types.errors import UsageError
from interwhen._types.extensions import Allocator, RemedyLearner
from interwhen.clients import Reading, Settings
from interwhen.clients._demotion import Demotion
from interwhen.gateway._config import Config, Detail, ModelRule
from interwhen.gateway._exchange import OURS
from interwhen.gateway._http_errors import HttpError
from interwhen.registry import ALLOCATORS, LEARNERS, load, load_monitors

FIELD = "interwhen"
"""The field for interwhen in request bodies and in chunks."""
_SUFFIX = "#"
_NONE = "none"
_OPTIONS = ("monitors", "reading", "detail")


@dataclass(frozen=True, slots=True)
class MonitorChoice:
    """The monitors and settings for one request."""

    model: str
    """The model's name, without the monitors that the client appended."""
    body: dict[str, Any]
    """The body for the upstream, without the options for interwhen."""
    changed: bool
    """Whether ``body`` differs from the body that the client sent."""
    settings: Settings
    """How the call is supervised; a call without monitors passes through."""
    detail: Detail

    @property
    def names(self) -> str:
        """The names of the monitors, for a header."""
        demotion = self.settings.demotion
        demoted = demotion.demoted if demotion is not None else ()
        names = (f"{m.name} (demoted)" if m.name in demoted else m.name for m in self.settings.monitors)
        return ", ".join(names) or _NONE


@dataclass(slots=True)
class _RequestOptions:
    """The options for interwhen in one request."""

    monitors: Sequence[str] | None = None
    param: str = ""
    reading: Any = None
    detail: Any = None


class MonitorChooser:
    """Loads the configured monitors, and chooses among them. Raises :class:`UsageError` on an invalid configuration."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self.workers = Workers(threads=config.threads, processes=config.processes)
        """The workers for the checks of all calls. The owner of this object closes them."""
        told = config.allocator
        self.allocator: Allocator | None = (
            load(ALLOCATORS, "adaptive")(budget=told.tokens, window=told.window, hopeless=told.hopeless)
            if told.tokens
            else None
        )
        """Learns from the calls of all clients. It stores only counts, and no text."""
        learned = config.remedies
        self.learner: RemedyLearner | None = (
            load(LEARNERS, "beliefs")(learned.store or None, explore=learned.explore, seed=learned.seed)
            if learned.learn
            else None
        )
        """Learns from the calls of all clients. It stores only counts, and no text."""
        demotion = config.demotion
        self.demotion = Demotion(above=demotion.above, calls=demotion.calls) if demotion.above else None
        """Counts the calls of all clients."""
        watching = [monitor for entry in config.monitors for monitor in load_monitors(entry)]
        offered = [monitor for entry in config.offers for monitor in load_monitors(entry)]
        self.monitors = {monitor.name: monitor for monitor in (*watching, *offered)}
        """The monitors that a rule or a request may name."""
        if len(self.monitors) < len(watching) + len(offered):
            raise UsageError("two monitors or offers have the same name: rename one with label=... in its options")
        self.usual = tuple(watching)
        """The default monitors, for calls where neither a rule nor the request names monitors."""
        for rule in config.models:
            for name in rule.monitors or ():
                if name not in self.monitors:
                    raise UsageError(f"the rule for models {rule.match!r}: {self._unknown(name)}")
        self._settings = functools.lru_cache(maxsize=256)(self._make_settings)

    def choose(self, fields: dict[str, Any], headers: Mapping[str, str]) -> MonitorChoice:
        """Return the monitors and settings for the request with the body *fields*. Raises :class:`HttpError`."""
        model = fields.get("model") or ""
        if not isinstance(model, str):
            raise HttpError(400, "invalid_type", f"model must be a string, got {type(model).__name__}", param="model")
        bare, suffix, named = model.partition(_SUFFIX)
        asked = _RequestOptions()
        if suffix:
            asked.monitors, asked.param = _names(named), "model"
        _take_headers(asked, headers)
        _take_field(asked, fields.get(FIELD))
        rule = next((n for n, rule in enumerate(self._config.models) if fnmatchcase(bare, rule.match)), None)
        settings, detail = self._chosen(asked, rule)
        changed = bool(suffix) or FIELD in fields
        body = {name: value for name, value in fields.items() if name != FIELD} if changed else fields
        if suffix:
            body["model"] = bare
        return MonitorChoice(bare, body, changed, settings, detail)

    def _chosen(self, asked: _RequestOptions, number: int | None) -> tuple[Settings, Detail]:
        rule = ModelRule(match="*") if number is None else self._config.models[number]
        usual = tuple(monitor.name for monitor in self.usual) if rule.monitors is None else rule.monitors
        names = usual if asked.monitors is None else asked.monitors
        for name in names:
            if name not in self.monitors:
                raise HttpError(400, "unknown_monitor", self._unknown(name), param=asked.param)
        if self._config.locked:
            if asked.reading is not None or asked.detail is not None:
                raise HttpError(
                    403,
                    "locked",
                    "this gateway is locked: a request may add monitors, and change nothing else",
                    param=FIELD,
                )
            names = (*usual, *names)
        chosen = tuple(name for name in self.monitors if name in names)
        reading: Reading = _one_of("reading", asked.reading, get_args(Reading)) or rule.reading or self._config.reading
        detail: Detail = _one_of("detail", asked.detail, get_args(Detail)) or rule.detail or self._config.detail
        return self._settings(rule, chosen, reading), detail

    def close(self) -> None:
        """Wait until what was learned is written. Call it at the end, and not on the event loop."""
        close = getattr(self.learner, "close", None)
        if close is not None:
            close()

    def _make_settings(self, rule: ModelRule, names: tuple[str, ...], reading: Reading) -> Settings:
        config = self._config
        return Settings(
            monitors=tuple(self.monitors[name] for name in names),
            reading=reading,
            resume=rule.resume or config.resume,
            budgets=config.budgets,
            starts_in=rule.starts_in or config.starts_in,
            min_coverage=config.min_coverage,
            tools=config.tools,
            workers=self.workers,
            allocator=self.allocator,
            learner=self.learner,
            demotion=self.demotion,
        )

    def _unknown(self, name: str) -> str:
        return f"unknown monitor {name!r:.100}; this gateway has: {', '.join(self.monitors) or 'none'}"


def _names(text: str) -> list[str]:
    found = [name.strip() for name in text.split(",")]
    return [name for name in found if name and name != _NONE]


def _take_headers(asked: _RequestOptions, headers: Mapping[str, str]) -> None:
    ours = OURS.decode()
    if (named := headers.get(f"{ours}monitors")) is not None:
        asked.monitors, asked.param = _names(named), "X-Interwhen-Monitors"
    asked.reading = headers.get(f"{ours}reading")
    asked.detail = headers.get(f"{ours}detail")


def _take_field(asked: _RequestOptions, said: object) -> None:
    if said is None or said is True:
        return
    if said is False:
        said = {"monitors": []}
    if not isinstance(said, Mapping):
        raise HttpError(
            400, "invalid_type", f"{FIELD} must be an object such as {{'monitors': ['arithmetic']}}", param=FIELD
        )
    for name in said:
        if name not in _OPTIONS:
            raise HttpError(
                400,
                "unknown_option",
                f"{FIELD} has no option {name!r:.100}; options: {', '.join(_OPTIONS)}",
                param=FIELD,
            )
    named = said.get("monitors")
    if isinstance(named, str):
        named = _names(named)
    if named is not None:
        if not (isinstance(named, list) and all(isinstance(name, str) for name in named)):
            raise HttpError(
                400, "invalid_type", f"monitors must be a list of names, got {named!r:.100}", param=f"{FIELD}.monitors"
            )
        asked.monitors, asked.param = named, f"{FIELD}.monitors"
    asked.reading = said.get("reading", asked.reading)
    asked.detail = said.get("detail", asked.detail)


def _one_of(name: str, value: Any, allowed: Iterable[Any]) -> Any:
    if value is not None and value not in allowed:
        raise HttpError(400, "invalid_value", f"{name}={value!r:.100}, choose one of {', '.join(allowed)}", param=name)
    return value
