"""What a benchmark needs besides interwhen, looked for before anything is measured."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from interwhen._types.errors import MissingExtraError

_EXTRAS = {"httptools": "fast", "uvloop": "fast", "starlette": "gateway", "uvicorn": "gateway", "openai": "openai"}


def require(command: str, *modules: str) -> None:
    """Raise one :class:`MissingExtraError` that names the extras of all *modules* that are not installed."""
    missing = {_EXTRAS[module] for module in modules if find_spec(module) is None}
    if missing:
        raise MissingExtraError(command, ",".join(sorted(missing)))


def loop_options(command: str, *, uvloop: bool) -> dict[str, Any]:
    """Return the options for :func:`anyio.run`. Raises :class:`MissingExtraError` where *uvloop* is not installed."""
    if uvloop and find_spec("uvloop") is None:
        raise MissingExtraError(command, "fast", "pip install 'interwhen[fast]', or give it --no-uvloop")
    return {"use_uvloop": True} if uvloop else {}
