"""Connects interwhen to other libraries. See docs/integrations.md and docs/ray.md."""

from typing import TYPE_CHECKING

from interwhen._engine.callbacks import last, watching
from interwhen._types import lazy_names
from interwhen.integrations._facts import facts_of

__all__ = [
    "facts_of",
    "last",
    "watching",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
