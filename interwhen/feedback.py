"""What we say to the model: templates, levels, and the hygiene of quoted text."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, assert_never

import msgspec

from interwhen.verdicts import Level, Violation

if TYPE_CHECKING:
    from interwhen.results import ViolationRecord

QUOTE_LIMIT = 200
"""The most characters of model text that are ever copied into feedback."""

_CONTROL = re.compile(
    r"<\|[^|<>]{0,40}\|>|</?(?:think|tool_call|tool_response|s|start_of_turn|end_of_turn)>|\[/?(?:INST|TOOL_CALLS|SYS)\]|"
    r"<</?SYS>>|<[|\uff5c][^|\uff5c<>]{0,40}[|\uff5c]>"
)
"""Tokens of the chat templates of Llama, Qwen, Mistral, Gemma, DeepSeek, Phi, Granite and SmolLM."""


def quote(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Return *text* fit to be copied into feedback: one line, bounded, no control or template tokens."""
    clean = _CONTROL.sub(" ", text[: 4 * limit])
    clean = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in clean)
    clean = " ".join(clean.split()).replace('"', "'")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


class FeedbackTemplate(msgspec.Struct, frozen=True):
    """How feedback is worded; ``{quote}``, ``{why}`` and ``{witness}`` are filled in.

    Make your own for a model that reacts better to other words. Each template is one line.
    """

    flag: str = "Wait, something above is not right. Let me check it again."
    locate: str = 'Wait, "{quote}" is not right. Let me redo that step.'
    explain: str = "Wait, {why}."
    witness: str = "Wait, {witness}."

    def render(self, level: Level, violation: Violation, wrong_text: str) -> str:
        """Return the sentence for *violation* that gives away no more than *level* allows."""
        if level == "witness" and not violation.witness:
            level = "explain"
        match level:
            case "flag":
                template = self.flag
            case "locate":
                template = self.locate
            case "explain":
                template = self.explain
            case "witness":
                template = self.witness
            case _:
                assert_never(level)
        for name, value in (
            ("{quote}", wrong_text),
            ("{why}", violation.why),
            ("{witness}", violation.witness),
        ):
            if name in template:
                return template.replace(name, quote(value))
        return template


def leaks(violations: tuple[ViolationRecord, ...], answer: str) -> tuple[ViolationRecord, ...]:
    """Audit: return the violations whose inserted text holds *answer* as a whole word or number.

    For measuring, where the right answer is known: feedback that hands it over makes the model look better
    than it is. A repair writes the right value by design, so expect those of the last step here.
    """
    answer = answer.strip()
    if not answer:
        return ()
    pattern = re.compile(rf"(?<![\w.]){re.escape(answer)}(?![\w]|\.\d)")
    return tuple(v for v in violations if pattern.search(v.inserted))
