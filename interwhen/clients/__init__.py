"""Supervision of existing LLM calls: `wrap` for clients of the `openai` package, `guard` for tool functions.

Start with `supervise` in `_supervision.py`: it starts a run for a request, which `_calls.py` has read. `_upstream.py`
presents the caller's server as a `Model`, and the codecs convert events of the run to chunks of an API. Only the
`_openai_*.py` files know the SDK. Why: docs/decisions/wrapping-calls.md.
"""

from typing import TYPE_CHECKING

from interwhen._engine.callbacks import SupervisedCall
from interwhen._types import lazy_names
from interwhen._types.prompts import PromptRefused
from interwhen.clients._call_record import CallRecord
from interwhen.clients._chat_codec import SupervisionInfo, supervision_info
from interwhen.clients._demotion import Demotion
from interwhen.clients._guard import Refused

__all__ = [
    "CallRecord",
    "Demotion",
    "PromptRefused",
    "Refused",
    "SupervisedCall",
    "SupervisionInfo",
    "supervision_info",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
