"""A defect that can be planted."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Mutant:
    name: str
    plant: Any
    found_as: str
    """A part of the names of the invariants that may find it."""
