"""Groups of options that several commands share, and the values they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import msgspec
from cyclopts import Group, Parameter

from interwhen._types.budgets import Budgets
from interwhen._types.errors import UsageError
from interwhen._types.models import Model, Prompt, Sampling
from interwhen.journal import ModelReference
from interwhen.models._messages import as_message
from interwhen.registry import Api, load_model

_MODEL = Group("Model", sort_key=1)
_SAMPLING = Group("Sampling", sort_key=2)
_BUDGETS = Group("Budgets", sort_key=3, help="What the run may spend; running out ends it as abstained.")
_DEFAULTS = Budgets()

Seconds: TypeAlias = float


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class ModelFlags:
    """Which model is asked."""

    model: Annotated[str, Parameter(group=_MODEL)] = ""
    """An installed model ("local", "local:PATH.gguf"; default: local, the tiny model that comes with interwhen); with
    --base-url, the model's name there."""
    base_url: Annotated[str | None, Parameter(group=_MODEL)] = None
    """An OpenAI-compatible server, with its version: http://localhost:8000/v1. The key is OPENAI_API_KEY."""
    api: Annotated[Api | None, Parameter(group=_MODEL)] = None
    """The API of that server; default: chat for --chat, completions otherwise."""

    def open(self, prompt: Prompt = "") -> Model:
        """Return the model; its API follows from the kind of *prompt* where none was chosen."""
        if self.base_url is None:
            if self.api is not None:
                raise UsageError("--api goes with --base-url; an installed model knows its own")
            return load_model(self.model or "local")
        return load_model(self.base_url, name=self.model, api=self.api or default_api(prompt))

    @property
    def is_given(self) -> bool:
        """Whether any of them was chosen."""
        return bool(self.model or self.base_url or self.api)

    def reference(self, prompt: Prompt) -> ModelReference:
        """Return how the same model can be opened again, without any key or password."""
        if self.base_url is None:
            return ModelReference(self.model or "local")
        return ModelReference(without_login(self.base_url), self.model, self.api or default_api(prompt))


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class SamplingFlags:
    """How the model samples. What is left out is left to the server."""

    max_tokens: Annotated[int | None, Parameter(group=_SAMPLING)] = None
    """The most tokens of the trace, over all resumes."""
    temperature: Annotated[float | None, Parameter(group=_SAMPLING)] = None
    """0 is greedy."""
    top_p: Annotated[float | None, Parameter(group=_SAMPLING)] = None
    """Nucleus sampling: the probability mass that is sampled from."""
    seed: Annotated[int | None, Parameter(group=_SAMPLING)] = None
    """For the server's random numbers."""
    stop: Annotated[tuple[str, ...], Parameter(group=_SAMPLING, negative="")] = ()
    """A text that ends the generation. May be given several times."""

    def value(self) -> Sampling:
        """Return the sampling that these options mean."""
        return Sampling(
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            seed=self.seed,
            stop=self.stop,
        )


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class BudgetFlags:
    """What the run may spend."""

    max_remedies: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.remedies
    """Violations that are remedied."""
    max_repeats: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.repeats
    """How often the same words may be refuted at one place."""
    max_discarded: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.discarded_tokens
    """Tokens that may be cut, in all."""
    max_forks: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.forks
    """Side inferences."""
    max_reconnects: Annotated[int, Parameter(group=_BUDGETS)] = _DEFAULTS.reconnects
    """Broken streams that are taken up again."""
    max_seconds: Annotated[Seconds | None, Parameter(group=_BUDGETS)] = _DEFAULTS.seconds
    """Wall time."""

    def value(self) -> Budgets:
        """Return the budgets that these options mean."""
        return Budgets(
            remedies=self.max_remedies,
            repeats=self.max_repeats,
            discarded_tokens=self.max_discarded,
            forks=self.max_forks,
            reconnects=self.max_reconnects,
            seconds=self.max_seconds,
        )


def default_api(prompt: Prompt) -> Api:
    """Return the API that takes *prompt*."""
    return "completions" if isinstance(prompt, str) else "chat"


def without_login(url: str) -> str:
    """Return *url* without the user and password that may stand in it."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))


class _Conversation(msgspec.Struct, frozen=True):
    messages: list[dict[str, Any]]


def read_prompt(text: str | None, prompt_file: Path | None, chat: Path | None) -> Prompt:
    """Return the prompt from the one place where it was given.

    Raises :class:`UsageError` where it was given in none or several, or cannot be read.
    """
    given = [
        name
        for name, value in (("PROMPT", text), ("--prompt-file", prompt_file), ("--chat", chat))
        if value is not None
    ]
    if len(given) != 1:
        said = f"got {' and '.join(given)}" if given else "got none"
        raise UsageError(f"give the prompt as exactly one of PROMPT, --prompt-file and --chat; {said}")
    if text is not None:
        if not text:
            raise UsageError("PROMPT is empty: give the text to be continued")
        return text
    if prompt_file is not None:
        return _read(prompt_file)
    assert chat is not None
    data = _read(chat)
    try:
        if data.lstrip().startswith("["):
            return tuple(map(as_message, msgspec.json.decode(data, type=list[dict[str, Any]])))
        return tuple(map(as_message, msgspec.json.decode(data, type=_Conversation).messages))
    except msgspec.MsgspecError as error:
        raise UsageError(
            f'{str(chat)!r} is no chat ({error}); it holds [{{"role": "user", "content": "..."}}] as JSON'
        ) from error


def _read(path: Path) -> str:
    if str(path) == "-":
        import sys

        return sys.stdin.read()
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{str(path)!r} cannot be read: {error}") from error
