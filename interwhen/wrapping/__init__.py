"""Supervision of existing LLM calls: request bodies in, OpenAI-style chunks out; and skins around that.

The common layer knows no HTTP library and no SDK: :mod:`~interwhen.wrapping.calls`, ``settings``, ``upstream``,
``composing``, ``supervised`` and ``whole``. :func:`wrap` is the skin around a client of the ``openai`` package.
"""

from interwhen.wrapping.facts import Facts, Part, facts_of
from interwhen.wrapping.guarding import Refused, guard
from interwhen.wrapping.settings import Reading, Settings
from interwhen.wrapping.wrap import wrap

__all__ = ["Facts", "Part", "Reading", "Refused", "Settings", "facts_of", "guard", "wrap"]
