"""Supervision of existing LLM calls: request bodies in, OpenAI-style chunks out; and skins around that.

The common layer knows no HTTP library and no SDK: :mod:`~interwhen.clients._calls`, ``settings``, ``upstream``,
``composing``, ``supervised`` and ``whole``. :func:`wrap` is the skin around a client of the ``openai`` package.

Why: docs/decisions/0009-wrapping-calls.md.
"""

from interwhen.clients._calls import Reading, Settings
from interwhen.clients._chat_codec import Facts, Part, facts_of
from interwhen.clients._guard import Refused, guard
from interwhen.clients._wrap import wrap

__all__ = ["Facts", "Part", "Reading", "Refused", "Settings", "facts_of", "guard", "wrap"]
