"""An OpenAI-compatible server that puts verifiers between clients in any language and their model server.

`_app.py` handles each request, as the table in `_routes.py` decides. `_answers.py` answers supervised calls,
`_relay.py` passes the others on. `_gateway.py` has the state that all requests share, `_config.py` the settings. Start
with `ApiApp` in `_app.py`. Why: docs/decisions/gateway.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from interwhen.gateway._app import make_app
    from interwhen.gateway._config import Config, schema
    from interwhen.gateway._gateway import Gateway

__all__ = ["Config", "Gateway", "make_app", "schema"]

# The command `serve` lives in this package, and must say which extra is missing where starlette is not installed.
_LAZY = {"Config": "_config", "Gateway": "_gateway", "make_app": "_app", "schema": "_config"}


def __getattr__(name: str) -> object:
    home = _LAZY.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{home}"), name)
