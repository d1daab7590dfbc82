"""Helpers for authors of verifiers: text normalization, exact quantities, matches as claims, solving with Z3.

Its modules are `quantities`, `quotes`, `solving` (extra `z3`), and `tool_calls`. Of the names below, most are types
for annotations; a small verifier needs only the names in `interwhen` itself.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen._types.errors import MissingExtraError
from interwhen._types.monitors import Delivery, Recognizer
from interwhen._types.prompts import PromptFinding, PromptMonitor, PromptText
from interwhen._types.segments import Mention
from interwhen._types.triggers import PhaseFilter
from interwhen._types.verdicts import Level, Scope
from interwhen._types.verifiers import FunctionVerifier, Verifier, Worker, on_cancel, time_left
from interwhen.registry import safe_from_data
from interwhen.toolkit._normalization import Normalized, normalize

__all__ = [
    "Delivery",
    "FunctionVerifier",
    "Level",
    "Mention",
    "MissingExtraError",
    "Normalized",
    "PhaseFilter",
    "PromptFinding",
    "PromptMonitor",
    "PromptText",
    "Recognizer",
    "Scope",
    "Verifier",
    "Worker",
    "normalize",
    "on_cancel",
    "safe_from_data",
    "time_left",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
