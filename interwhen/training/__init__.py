"""Exports training data from journals of runs."""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen.training._export import export_journals

__all__ = [
    "export_journals",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
