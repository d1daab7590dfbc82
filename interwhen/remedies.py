"""Remedies for special cases. The usual ones, such as `Repair`, are in `interwhen`."""

from interwhen._types.remedies import Abstain, Conclude, FeedbackTemplate, Remedy, Stop
from interwhen._types.verdicts import Retry

__all__ = [
    "Abstain",
    "Conclude",
    "FeedbackTemplate",
    "Remedy",
    "Retry",
    "Stop",
]
