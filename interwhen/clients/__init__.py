"""Supervision of existing LLM calls: `wrap` for clients of the `openai` package, `guard` for tool functions.

Start with `supervise` in `_supervision.py`: it starts a run for a request, which `_calls.py` has read. `_upstream.py`
presents the caller's server as a `Model`, and the codecs convert events of the run to chunks of an API. Only the
`_openai_*.py` files know the SDK. Why: docs/decisions/wrapping-calls.md.
"""

from interwhen._engine.callbacks import SupervisedCall, WatchedCalls
from interwhen._types.monitors import Reading
from interwhen._types.prompts import PromptRefused
from interwhen.clients._call_record import CallRecord
from interwhen.clients._calls import Settings
from interwhen.clients._chat_codec import Part, SupervisionInfo, supervision_info
from interwhen.clients._demotion import Demotion
from interwhen.clients._guard import Refused, guard
from interwhen.clients._wrap import wrap

__all__ = [
    "CallRecord",
    "Demotion",
    "Part",
    "PromptRefused",
    "Reading",
    "Refused",
    "Settings",
    "SupervisedCall",
    "SupervisionInfo",
    "WatchedCalls",
    "guard",
    "supervision_info",
    "wrap",
]
