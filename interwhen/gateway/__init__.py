"""An OpenAI-compatible server that puts verifiers between clients in any language and their model server.

`_app.py` handles each request, as the table in `_routes.py` decides. Start with `ApiApp` in `_app.py`. Why:
docs/decisions/gateway.md.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names

if TYPE_CHECKING:
    from interwhen.gateway._app import make_app
    from interwhen.gateway._config import Config

__all__ = [
    "Config",
    "make_app",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    # The command `serve` lives in this package, and must say which extra is missing where starlette is not installed.
    __getattr__ = lazy_names(
        __name__,
        {
            "interwhen.gateway._app": ("make_app",),
            "interwhen.gateway._config": ("Config",),
        },
    )
