"""Helpers for authors of verifiers: text normalization, exact quantities, matches as claims, solving with Z3.

Each module has an `__all__`: `normalization`, `quantities`, `quotes`, `solving` (extra `z3`), and `tool_calls`. The
names below are mainly for type annotations; most verifiers need only the names in `interwhen` itself.
"""

from interwhen._types.errors import MissingExtraError
from interwhen._types.monitors import Extractor, Parser, Recognizer
from interwhen._types.prompts import PromptFinding, PromptMonitor, PromptRefused, PromptText
from interwhen._types.results import PromptRecord, UnverifiedReason
from interwhen._types.segments import CallFormat, Offset, WrittenCalls
from interwhen._types.verdicts import OnError, Outcome
from interwhen._types.verifiers import Worker
from interwhen.registry import safe_from_data
from interwhen.toolkit.normalization import Normalized, normalize

__all__ = [
    "CallFormat",
    "Extractor",
    "MissingExtraError",
    "Normalized",
    "Offset",
    "OnError",
    "Outcome",
    "Parser",
    "PromptFinding",
    "PromptMonitor",
    "PromptRecord",
    "PromptRefused",
    "PromptText",
    "Recognizer",
    "UnverifiedReason",
    "Worker",
    "WrittenCalls",
    "normalize",
    "safe_from_data",
]
