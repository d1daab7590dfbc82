"""Supervision of existing LLM calls: `wrap` for clients of the `openai` package, `guard` for tool functions.

`_calls.py` reads a request, and `_supervision.py` starts a run for it. `_upstream.py` presents the caller's server as a
`Model`. `_chat_codec.py` and `_responses_codec.py` convert events of the run to chunks of an API. `_known_fields.py`
lists the known fields of a chunk and says which of them hold text. Only the `_openai_*.py` files know the SDK. Start
with `supervise` in `_supervision.py`. Why: docs/decisions/0009-wrapping-calls.md.
"""

from interwhen._engine.journaling import SupervisedCall, WatchedCalls
from interwhen._types.prompts import PromptRefused
from interwhen.clients._call_record import CallRecord
from interwhen.clients._calls import Reading, Settings
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
