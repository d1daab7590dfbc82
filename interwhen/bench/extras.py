"""What a benchmark needs besides interwhen, looked for before anything is measured."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from interwhen.errors import MissingExtraError

_MODULES = {"fast": ("httptools",), "gateway": ("starlette", "uvicorn"), "openai": ("openai",)}


def require(command: str, *extras: str) -> None:
    """Raise one :class:`MissingExtraError` that names all of *extras* that are not installed."""
    missing = [extra for extra in extras if any(find_spec(module) is None for module in _MODULES[extra])]
    if missing:
        raise MissingExtraError(command, ",".join(sorted(missing)))


def loop_options(command: str, *, uvloop: bool) -> dict[str, Any]:
    """Return the options for :func:`anyio.run`. Raises :class:`MissingExtraError` where *uvloop* is not installed."""
    if uvloop and find_spec("uvloop") is None:
        raise MissingExtraError(command, "fast", "pip install 'interwhen[fast]', or give it --no-uvloop")
    return {"use_uvloop": True} if uvloop else {}
