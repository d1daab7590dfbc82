"""For authors of verifiers: text in one normal form, exact quantities, quotations, solving, and rarer types.

Each module stands alone and has an `__all__`: `normalization` (with offsets kept to the original text), `quantities`,
`quotes`, and `solving` (Z3 with limits, extra `z3`). The names below are for type annotations; most verifiers need only
what `interwhen` itself offers. Nothing here knows of runs or models.
"""

from interwhen._types.errors import MissingExtraError
from interwhen._types.monitors import Extractor, Parser
from interwhen._types.spans import Offset
from interwhen._types.verdicts import OnError, Outcome
from interwhen._types.verifiers import Worker
from interwhen.toolkit.normalization import Normalized, normalize

__all__ = [
    "Extractor",
    "MissingExtraError",
    "Normalized",
    "Offset",
    "OnError",
    "Outcome",
    "Parser",
    "Worker",
    "normalize",
]
