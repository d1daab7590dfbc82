"""An OpenAI-compatible gateway: calls to a model are supervised on their way, in whatever language they are made.

Why: docs/decisions/0010-the-gateway.md.
"""

from interwhen.gateway._config import Config, schema
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._serving import make_app

__all__ = ["Config", "Gateway", "make_app", "schema"]
