"""`wrap`, for clients of the `openai` package."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, TypeVar

from interwhen._types.errors import MissingExtraError, UsageError
from interwhen.clients._calls import make_settings
from interwhen.clients._named_context import vet_context
from interwhen.registry import MonitorSpec

ClientT = TypeVar("ClientT")


def wrap(client: ClientT, monitors: Iterable[MonitorSpec] = (), **options: Any) -> ClientT:
    """Return a copy of *client*, an ``openai.OpenAI`` or ``AsyncOpenAI``, whose calls *monitors* supervise.

    The new client has the methods and types of *client*, and shares its connections (except that the supervised calls
    of an ``OpenAI`` with the SDK's default HTTP client have their own). It supervises the calls of
    ``chat.completions``, ``completions`` and ``responses`` (``create``, ``stream``, ``parse``), including those of
    ``client.beta``. All other calls pass through. *options* are the fields of `Settings`; a
    single call overrides them with ``interwhen={...}``. Chunks and responses of supervised calls carry
    :class:`~interwhen.clients.SupervisionInfo` as ``.interwhen``.

    Raises :class:`~interwhen.UsageError` for an invalid client, invalid options, a context that does not exist, or a
    version of ``openai`` that is not supported, and :class:`~interwhen.toolkit.MissingExtraError` if the package
    ``openai`` is missing.
    """
    settings = make_settings(monitors, options)
    vet_context(settings.context)
    try:
        from interwhen.clients._openai_client import wrapped
    except ImportError as error:
        if find_spec("openai") is None:
            raise MissingExtraError("interwhen.wrap", "openai") from error
        # Supervision uses private parts of the SDK, which has no public hook between a call and its chunks.
        raise UsageError(
            f"the package openai must have a supported version, got {_installed()} ({error}): "
            "install a supported one with: pip install --upgrade 'interwhen[openai]'"
        ) from error
    made = wrapped(client, settings)
    if made is None:
        raise UsageError(
            f"the client must be an openai.OpenAI or openai.AsyncOpenAI, got a {type(client).__name__}: "
            "create one of them"
        )
    return made  # type: ignore[no-any-return]


def _installed() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("openai")
    except PackageNotFoundError:
        return "unknown version"
