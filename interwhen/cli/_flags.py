"""Groups of options that several commands share, and their values."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec
from cyclopts import Group, Parameter

from interwhen import Budgets, Sampling, UsageError
from interwhen._types.errors import DECODE_ERRORS
from interwhen._types.extensions import ContextOpener, Ready
from interwhen._types.models import Model
from interwhen._types.vetting import Count, require
from interwhen.journal import ModelReference
from interwhen.models import Prompt
from interwhen.models._messages import as_message
from interwhen.registry import CONTEXTS, Api, load, load_model

_MODEL = Group("Model", sort_key=1)
_SAMPLING = Group("Sampling", sort_key=2)
_BUDGETS = Group(
    "Budgets", sort_key=3, help="The budgets of the run; when one is used up, the run usually ends as abstained."
)
_CONTEXT = Group("Context", sort_key=4)
_DEFAULTS = Budgets()

Seconds: TypeAlias = float


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ModelFlags:
    """Options that select the model of a run."""

    model: Annotated[str, Parameter(group=_MODEL)] = ""
    """An installed model ("local", "local:PATH.gguf"; default: local, the tiny model that comes with interwhen); with
    --base-url, the model's name there."""
    base_url: Annotated[str | None, Parameter(group=_MODEL)] = None
    """An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY."""
    api: Annotated[Api | None, Parameter(group=_MODEL)] = None
    """The API of that server; default: chat for --chat, completions otherwise."""

    def open(self, prompt: Prompt = "") -> Model:
        """Open the selected model; the caller closes it.

        Without --api, the kind of *prompt* (text or chat) selects the API of a server.
        """
        if self.base_url is None:
            if self.api is not None:
                raise UsageError(
                    f"--api must be used with --base-url only, got {self.api!r} without it: leave it out "
                    "for an installed model"
                )
            return load_model(self.model or "local")
        return load_model(self.base_url, name=self.model, api=self.api or default_api(prompt))

    @property
    def is_given(self) -> bool:
        return bool(self.model or self.base_url or self.api)

    def arguments(self, prompt: Prompt) -> tuple[str, ...]:
        """Return these options as arguments, with their defaults and without a login, for a command to be shown."""
        named = self.reference(prompt)
        if named.name is None:
            return ("--model", named.spec)
        return ("--base-url", named.spec, "--model", named.name, "--api", str(named.api))

    def reference(self, prompt: Prompt) -> ModelReference:
        """Return a reference with which a journal names the model. Its URL has no user, password or query."""
        if self.base_url is None:
            return ModelReference(self.model or "local")
        return ModelReference(without_login(self.base_url), self.model, self.api or default_api(prompt))


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class SamplingFlags:
    """Options for how the model samples. The server uses its own defaults for options that are not given."""

    max_tokens: Annotated[int | None, Parameter(group=_SAMPLING)] = None
    """The most tokens of the trace, over all resumes."""
    temperature: Annotated[float | None, Parameter(group=_SAMPLING)] = None
    """0 is greedy."""
    top_p: Annotated[float | None, Parameter(group=_SAMPLING)] = None
    """Nucleus sampling: the probability mass that is sampled from."""
    seed: Annotated[int | None, Parameter(group=_SAMPLING)] = None
    """Seed of the server's random numbers."""
    stop: Annotated[tuple[str, ...], Parameter(group=_SAMPLING, negative="")] = ()
    """A text that ends the generation. May be given several times."""

    def value(self) -> Sampling:
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=self.stop,
        )


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class BudgetFlagsWithoutReconnects:
    """The budgets of a run without the one for reconnects, for a command that starts a broken run again itself."""

    max_remedies: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.remedies
    """The most violations that are remedied."""
    max_repeats: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.repeats
    """How often the same words may be refuted at one place."""
    max_discarded: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.discarded_tokens
    """The most tokens that are cut, in all."""
    max_prompt_tokens: Annotated[int | None, Parameter(group=_BUDGETS)] = _DEFAULTS.prompt_tokens
    """The most prompt tokens of all requests together."""
    max_forks: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.forks
    """The most side inferences."""
    max_seconds: Annotated[Seconds | None, Parameter(group=_BUDGETS)] = _DEFAULTS.seconds
    """The most seconds of the run."""

    def value(self) -> Budgets:
        return Budgets(
            remedies=self.max_remedies,
            repeats=self.max_repeats,
            discarded_tokens=self.max_discarded,
            prompt_tokens=self.max_prompt_tokens,
            forks=self.max_forks,
            seconds=self.max_seconds,
        )


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class BudgetFlags(BudgetFlagsWithoutReconnects):
    """The budgets of the run, with the one for reconnects."""

    max_reconnects: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.reconnects
    """The most broken streams that are resumed."""

    def value(self) -> Budgets:
        # Not super(): a dataclass with slots is a copy of its class, which super() without arguments does not know.
        return msgspec.structs.replace(BudgetFlagsWithoutReconnects.value(self), reconnects=self.max_reconnects)


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ContextFlags:
    """Options that select the prepared context of a run."""

    context: Annotated[str | None, Parameter(group=_CONTEXT)] = None
    """A context that "interwhen precompute" has prepared: its answer to this prompt is used."""
    store: Annotated[str | None, Parameter(group=_CONTEXT)] = None
    """The store of that context: a path or a URL; default: interwhen-precompute.db."""
    key_file: Annotated[Path | None, Parameter(group=_CONTEXT)] = None
    """A file with the key of the store; default: the key in INTERWHEN_STORE_KEY, if it is set."""
    passages: Annotated[int, Parameter(group=_CONTEXT)] = 0
    """If the prompt lacks the text of the context: at most so many characters of it, by relevance; default: none."""

    def open(self, model: Model) -> AbstractAsyncContextManager[Ready | None]:
        """Return a context manager that opens the prepared context; without --context, it yields ``None``."""
        if self.context is None:
            if self.store is not None or self.key_file is not None or self.passages:
                raise UsageError(
                    "--store, --key-file and --passages must be used with --context, and it is missing: name a "
                    "context, too"
                )
            return nullcontext()
        require("--passages", self.passages, Count)
        opener: ContextOpener = load(CONTEXTS, "store")
        return opener(self.context, model, store=self.store, key_file=self.key_file, passages=self.passages)


def default_api(prompt: Prompt) -> Api:
    return "completions" if isinstance(prompt, str) else "chat"


def without_login(url: str) -> str:
    """Return *url* without user, password and query."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


class _Conversation(msgspec.Struct, frozen=True):
    messages: list[dict[str, Any]]


def read_prompt(text: str | None, prompt_file: Path | None, chat: Path | None) -> Prompt:
    """Read the prompt from one of the three sources. The file ``-`` is stdin.

    *chat* is a JSON file: a list of messages, or an object with this list as ``messages``. Raises :class:`UsageError`
    if not exactly one of the three was given, or if the prompt cannot be read.
    """
    given = [
        name
        for name, value in (("PROMPT", text), ("--prompt-file", prompt_file), ("--chat", chat))
        if value is not None
    ]
    if len(given) != 1:
        said = f"got {' and '.join(given)}" if given else "got none"
        raise UsageError(
            f"the prompt must be given as exactly one of PROMPT, --prompt-file and --chat, {said}: use one of them"
        )
    if text is not None:
        if not text:
            raise UsageError(
                "PROMPT must have at least one character, got an empty text: give the text to be continued"
            )
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise UsageError(f"PROMPT must be UTF-8 text, got {text!r:.80} ({error}): correct it") from error
        return text
    if prompt_file is not None:
        return _read(prompt_file)
    assert chat is not None
    data = _read(chat)
    try:
        if data.lstrip().startswith("["):
            return tuple(map(as_message, msgspec.json.decode(data, type=list[dict[str, Any]])))
        return tuple(map(as_message, msgspec.json.decode(data, type=_Conversation).messages))
    except DECODE_ERRORS as error:
        raise UsageError(
            f'--chat must name a file with a chat as JSON, got {str(chat)!r} ({error}): write [{{"role": '
            '"user", "content": "..."}]'
        ) from error


def _read(path: Path) -> str:
    import sys

    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        text.encode()  # in the C locale, bytes of stdin that are not UTF-8 become lone surrogates
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"the file of the prompt must be readable UTF-8 text, got {str(path)!r} ({error}): name a readable file"
        ) from error
    return text
