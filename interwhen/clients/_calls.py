"""Requests of the OpenAI APIs, and the settings for supervising them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar, cast

import msgspec
from msgspec import Meta

from interwhen._core.segmenter import compile_triggers
from interwhen._engine.callbacks import EventCallback, ResultCallback, vet_callback
from interwhen._engine.run import Run, RunOptions, is_off
from interwhen._types.budgets import Budgets
from interwhen._types.errors import UsageError
from interwhen._types.extensions import Ready, WorkerPool
from interwhen._types.models import Message, Model, Prompt, Sampling
from interwhen._types.monitors import Delivery, Monitor, Reading
from interwhen._types.prompts import PromptMonitor
from interwhen._types.remedies import FeedbackTemplate
from interwhen._types.segments import Phase
from interwhen._types.strategies import CallStrategy, StrategyCatalog
from interwhen._types.vetting import Positive, Share, require, require_known, vet
from interwhen.clients._audit import AuditFile, open_audit
from interwhen.clients._demotion import Demotion
from interwhen.clients._named_context import NamedContext, read_context
from interwhen.journal._directory import JournalDirectory, open_journals
from interwhen.journal._settings import CallJournal
from interwhen.models._endpoint_support import ResumeProbe
from interwhen.models._messages import read_messages
from interwhen.registry import STRATEGY_CATALOGS, MonitorSpec, load, load_monitors, load_prompt_monitors

Api = Literal["chat", "completions", "responses"]

PATHS: Mapping[str, Api] = {"chat/completions": "chat", "completions": "completions", "responses": "responses"}
"""By request path, relative to the version (``/v1/``)."""

_LIMITS: Mapping[Api, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
}
_OFF = "to make this call unsupervised, pass interwhen={'monitors': []}"


class Unsupported(UsageError):
    """Raised for a request that cannot be supervised. The request is refused, so that it does not pass unchecked."""


@dataclass(frozen=True, slots=True)
class ApiCall:
    api: Api
    body: Mapping[str, Any] = field(repr=False)
    """For the server, without the field ``interwhen``."""
    streams: bool
    wants_usage: bool
    """Whether the caller asked for a chunk with token counts."""
    limit: str | None
    """The field of the body that limits the generated tokens; ``None`` if no such field has an integer."""

    @property
    def model(self) -> str:
        return str(self.body.get("model") or "")

    @property
    def sampling(self) -> Sampling:
        limit, seed = self.body[self.limit] if self.limit else None, self.body.get("seed")
        greedy = 0.0 if self.body.get("temperature") == 0 else None
        # The run reads from these fields which tools were offered. The body has them anyway.
        extra = {name: value for name, value in self.body.items() if name in ("tools", "functions")}
        # The body goes to the server as it is, so the server refuses invalid values. Here they are left out.
        return Sampling(
            max_tokens=limit if limit is None or limit >= 0 else None,
            seed=seed if type(seed) is int else None,
            temperature=greedy,
            extra=extra,
            counts_own_text=True,
        )

    @property
    def prompt(self) -> Prompt:
        # Retrieved documents (chat API) become a tool message before the others, and `instructions` (Responses API) a
        # system message. A prompt in another form becomes its JSON.
        if self.api == "completions":
            prompt = self.body.get("prompt")
            if isinstance(prompt, list) and len(prompt) == 1:
                prompt = prompt[0]
            return prompt if isinstance(prompt, str) else _json(prompt)
        if self.api == "chat":
            messages = read_messages(self.body.get("messages"))
            return (*self._documents, *messages) if messages else _json(self.body.get("messages"))
        said = self.body.get("instructions")
        first = (Message("system", said),) if isinstance(said, str) and said else ()
        return (*first, *read_messages(self.body.get("input"))) or _json(self.body.get("input"))

    @property
    def _documents(self) -> tuple[Message, ...]:
        given = self.body.get("documents")
        return (Message("tool", _json(given), name="documents"),) if given else ()

    @property
    def is_structured(self) -> bool:
        # Feedback in the text would make a JSON answer invalid.
        text = self.body.get("text")
        wanted = text.get("format") if isinstance(text, Mapping) else self.body.get("response_format")
        return isinstance(wanted, Mapping) and wanted.get("type") not in (None, "text")

    @property
    def tools(self) -> tuple[Mapping[str, Any], ...]:
        offered = [tool.get(tool.get("type", "function"), tool) for tool in self.body.get("tools") or ()]
        offered += list(self.body.get("functions") or ())
        return tuple(tool for tool in offered if isinstance(tool, Mapping) and isinstance(tool.get("name"), str))


def read_call(api: Api, body: Mapping[str, Any]) -> ApiCall:
    _refuse(api, body)
    options = body.get("stream_options")
    limit = next((name for name in _LIMITS[api] if isinstance(body.get(name), int)), None)
    return ApiCall(
        api=api,
        body={name: value for name, value in body.items() if name != "interwhen"},
        streams=bool(body.get("stream")),
        wants_usage=isinstance(options, Mapping) and bool(options.get("include_usage")),
        limit=limit,
    )


def _refuse(api: Api, body: Mapping[str, Any]) -> None:
    for name in ("n", "best_of"):
        if body.get(name) not in (None, 1):
            raise Unsupported(
                f"{name} must be 1 in a supervised call, got {body[name]!r:.80}: make several calls; {_OFF}"
            )
    if "audio" in (body.get("modalities") or ()):
        raise Unsupported(
            f"modalities must not have audio in a supervised call, got {body['modalities']!r:.80}: leave it out; {_OFF}"
        )
    if api == "completions":
        prompt = body.get("prompt")
        if not isinstance(prompt, str) and not (
            isinstance(prompt, list) and len(prompt) == 1 and isinstance(prompt[0], str)
        ):
            raise Unsupported(
                f"prompt must be one string in a supervised call, got {prompt!r:.80}: make a call for each "
                f"prompt; {_OFF}"
            )
        if body.get("echo") or body.get("suffix"):
            given = " and ".join(name for name in ("echo", "suffix") if body.get(name))
            raise Unsupported(
                "echo and suffix must be left out of a supervised call, because corrections continue the prompt, "
                f"got {given}: leave it out; {_OFF}"
            )
    agents = body.get("multi_agent")
    if api == "responses" and isinstance(agents, Mapping) and agents.get("enabled"):
        raise Unsupported(
            f"multi_agent must not be enabled in a supervised call, got {agents!r:.80}: leave it out; {_OFF}"
        )
    if api == "responses" and body.get("background"):
        raise Unsupported(
            "background must be False in a supervised call, because such a response is not streamed, got "
            f"{body['background']!r:.80}: leave it out; {_OFF}"
        )


def _json(value: object) -> str:
    return msgspec.json.encode(value, enc_hook=str, order="deterministic").decode()


# The settings of supervision for a client or a gateway. A single call may override them.

_Override = Annotated[Mapping[Any, Any], Meta(description="a mapping such as {'reading': 'gate'}, or False")]

StructT = TypeVar("StructT", bound=msgspec.Struct)

Resuming = Literal["auto", "tokens", "prefill", "turn"]
"""How a request continues a chat from kept text.

``tokens``: from token ids. ``prefill``: in an unfinished message of the assistant. ``turn``: in a new message.
``auto``: as the server's model list (``GET /models``) suggests."""

ABSTENTION = "This answer was stopped, because a part of it could not be verified."

_AS: Mapping[Reading, Mapping[Delivery, Delivery]] = {
    "live": {},
    "gate": {"interrupt": "gate", "final": "gate"},
    "final": {"interrupt": "final", "gate": "final"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a call is supervised. Raises :class:`UsageError` on invalid values of most fields."""

    monitors: tuple[Monitor, ...] = ()
    """A call passes through unsupervised if it has no monitors (also none of the prompt), no strategy and no
    context."""
    prompt_monitors: tuple[PromptMonitor, ...] = ()
    """They read the prompt of each call before it is sent; a refusal raises :class:`PromptRefused`."""
    reading: Reading = "live"
    """When the reader gets text."""
    resume: Resuming = "auto"
    probe: ResumeProbe = "auto"
    """Whether the endpoint may be probed to find out how it continues kept text."""
    budgets: Budgets = field(default_factory=lambda: Budgets(reconnects=0))
    """By default, a broken stream is not reconnected, as without supervision."""
    feedback: FeedbackTemplate | None = None
    """``None`` for the default words."""
    starts_in: Phase = "answer"
    min_coverage: Share = 0.0
    """The share of the text that passed claims must cover; with less, the result is not verified."""
    correction: str = "Correction: "
    """The words before a correction, if the reader has already seen the text that it replaces."""
    abstention: str = ABSTENTION
    """The sentence at the end of an answer that supervision has ended. Empty: none. Answers in JSON, and those of calls
    with tools, never have one."""
    tools: bool = True
    """Whether to check that each tool call names a tool of the request and, for functions, has valid JSON arguments."""
    workers: WorkerPool | None = None
    """For the checks of all calls; without one, each call has its own ``threads`` and ``processes``."""
    threads: Positive = 8
    processes: Positive = 2
    strategy: CallStrategy | None = None
    """Answers the calls with several requests, or with other remedies."""
    strategy_tokens: Positive = 16_384
    """For one call, in all of its samples and forks."""
    strategy_samples: Positive = 8
    """For one call. Forks, and requests that continue a text, do not count."""
    context: Ready | NamedContext | None = None
    """A stored answer to a call's question, or passages before it."""
    audit: AuditFile | None = None
    on_result: ResultCallback | None = None
    """Called with the :class:`SupervisedCall` when a call has ended: in a thread, with the context of the call. If it
    raises, this is only logged."""
    on_event: EventCallback | None = None
    """Called with each event, except those for text, and the id of the call, in the same way as ``on_result``."""
    journal: JournalDirectory | None = None
    demotion: Demotion | None = None

    def __post_init__(self) -> None:
        vet(self, "the setting ")
        for label, function in (("on_result", self.on_result), ("on_event", self.on_event)):
            if function is not None:
                vet_callback(f"the setting {label}", function)

    def changed(self, override: object) -> Settings:
        """Return these settings, changed by *override*.

        *override* is a mapping from fields to new values, ``None`` or ``True`` for no change, or ``False`` for an
        unsupervised call.
        """
        if override is None or override is True:
            return self
        if override is False:
            return dataclasses.replace(self, monitors=(), prompt_monitors=(), strategy=None, context=None)
        require("the argument interwhen of a call", override, _Override)
        return dataclasses.replace(self, **_known(cast("Mapping[str, Any]", override), self.context))

    @property
    def is_active(self) -> bool:
        """If not, a call passes through unchanged."""
        return bool(self.monitors or self.prompt_monitors) or self.strategy is not None or self.context is not None

    def deliveries(self, *, structured: bool = False) -> tuple[Monitor, ...]:
        """Return the monitors, each with the delivery that ``reading`` requires. Demoted monitors only observe.

        If the answer is JSON (*structured*), ``gate`` replaces ``live``, because a correction would break the JSON.
        """
        change = _AS["gate" if structured and self.reading == "live" else self.reading]
        monitors = self.monitors if self.demotion is None else self.demotion.applied(self.monitors)
        return tuple(
            dataclasses.replace(monitor, delivery=change[monitor.delivery]) if monitor.delivery in change else monitor
            for monitor in monitors
        )


def run_of_call(
    model: Model,
    call: ApiCall,
    settings: Settings,
    monitors: tuple[Monitor, ...],
    journal: CallJournal | None,
    context: Ready | None,
    *,
    sampling: Sampling,
    budgets: Budgets,
) -> Run:
    # The run has no listeners: a call may need several runs, and is observed as a whole.
    options = RunOptions(
        monitors=() if is_off() else monitors,
        sampling=sampling,
        budgets=budgets,
        feedback=settings.feedback,
        starts_in=settings.starts_in,
        min_coverage=settings.min_coverage,
        workers=settings.workers,
        threads=settings.threads,
        processes=settings.processes,
        journal=journal if journal is None or journal.monitors else dataclasses.replace(journal, monitors=monitors),
        context=context,
    )
    made = Run(model, call.prompt, options)
    made.delivers_at_end = not call.streams
    return made


def make_settings(monitors: Iterable[MonitorSpec], options: Mapping[str, Any]) -> Settings:
    """Make settings of *monitors* and the other fields of :class:`Settings`; names and mappings are converted."""
    settings = Settings(**_known({"monitors": monitors, **options}))
    compile_triggers(settings.monitors)
    return settings


def _known(options: Mapping[str, Any], context: Ready | NamedContext | None = None) -> dict[str, Any]:
    settings = dict(options)
    require_known("the options of interwhen", settings, [item.name for item in dataclasses.fields(Settings)])
    if "monitors" in settings:
        settings["monitors"] = load_monitors(settings["monitors"])
    if "prompt_monitors" in settings:
        settings["prompt_monitors"] = load_prompt_monitors(settings["prompt_monitors"])
    if isinstance(settings.get("budgets"), Mapping):
        settings["budgets"] = _made("budgets", Budgets, {"reconnects": 0, **settings["budgets"]})
    if isinstance(settings.get("feedback"), Mapping):
        settings["feedback"] = _made("feedback", FeedbackTemplate, settings["feedback"])
    if "audit" in settings:
        settings["audit"] = open_audit(settings["audit"])
    if "journal" in settings:
        settings["journal"] = open_journals(settings["journal"])
    if "context" in settings:
        source = context.source if isinstance(context, NamedContext) else None
        settings["context"] = read_context(settings["context"], source)
    if isinstance(settings.get("strategy"), str):
        settings["strategy"] = load_catalog().load(settings["strategy"])
    return settings


def load_catalog() -> StrategyCatalog:
    return cast("StrategyCatalog", load(STRATEGY_CATALOGS, "catalog")())


def _made(option: str, kind: type[StructT], fields: Mapping[str, Any]) -> StructT:
    require_known(f"the options of {option}", fields, kind.__struct_fields__)
    try:
        return msgspec.convert(dict(fields), kind)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{option} must have valid values, got {dict(fields)!r:.200}: {error}; correct this field"
        ) from error
