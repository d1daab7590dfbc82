"""An OpenAI-compatible gateway: calls to a model are supervised on their way, in whatever language they are made."""

from interwhen.gateway.app import make_app
from interwhen.gateway.config import Config, schema
from interwhen.gateway.gateway import Gateway

__all__ = ["Config", "Gateway", "make_app", "schema"]
