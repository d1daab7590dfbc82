"""Supervision of existing LLM calls: `wrap` for clients of the `openai` package, `guard` for tool functions.

`_calls.py` reads a request, `_supervision.py` makes a run of it, `_upstream.py` is the caller's server as a model. A
codec for each API converts events of the run to chunks: `_chat_codec.py`, `_responses_codec.py`. `_known_fields.py`
lists the fields of a chunk that are text. Only the `_openai_*.py` files know the SDK. Start with `supervise` in
`_supervision.py`. Why: docs/decisions/0009-wrapping-calls.md.
"""

from interwhen.clients._calls import Reading, Settings
from interwhen.clients._chat_codec import Part, SupervisionInfo, supervision_info
from interwhen.clients._demotion import Demotion
from interwhen.clients._guard import Refused, guard
from interwhen.clients._wrap import wrap

__all__ = ["Demotion", "Part", "Reading", "Refused", "Settings", "SupervisionInfo", "guard", "supervision_info", "wrap"]
