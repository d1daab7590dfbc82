"""Models by what a caller has at hand: a plug-in's name, a base URL, or the model itself."""

from __future__ import annotations

from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from interwhen.errors import InterwhenError, PluginError, UsageError
from interwhen.models.base import Model
from interwhen.registry._plugins import MODELS, load

Api: TypeAlias = Literal["completions", "chat"]
"""Which API of an OpenAI-compatible server is used."""


def load_model(
    spec: str | Model, *, name: str | None = None, api: Api = "completions", api_key: str | None = None
) -> Model:
    """Return the model that *spec* describes; a model is returned as it is.

    *spec* is a plug-in's name with an optional text for it (``"local"``, ``"local:tiny"``), or the base URL
    of an OpenAI-compatible server (``"http://localhost:8000/v1"``) with the model's *name* there. Raises
    :class:`PluginError` on an unknown or broken plug-in, and :class:`UsageError` on a URL without a name.
    """
    if not isinstance(spec, str):
        return spec
    if urlsplit(spec).scheme in {"http", "https"} and "//" in spec:
        return _served(spec, name=name, api=api, api_key=api_key)
    plugin, _, text = spec.strip().partition(":")
    factory = load(MODELS, plugin)
    try:
        model = factory(text)
    except InterwhenError:
        raise
    except Exception as error:
        # A plug-in's factory may raise anything; it is named, and the original stays attached.
        raise PluginError(plugin, f"its factory raised {type(error).__name__}: {error} (with {text!r})") from error
    if not isinstance(model, Model):
        raise PluginError(plugin, f"its factory returned {model!r}, which is no Model")
    return model


def _served(base_url: str, *, name: str | None, api: Api, api_key: str | None) -> Model:
    if not name:
        raise UsageError(f"a server has several models: say the name of the one at {base_url!r}")
    if api == "chat":
        from interwhen.models.chat import ChatModel

        return ChatModel(base_url, name, api_key=api_key)
    from interwhen.models.completions import CompletionsModel

    return CompletionsModel(base_url, name, api_key=api_key)
