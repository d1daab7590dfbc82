"""What we say to the model: templates, levels, and the hygiene of quoted text."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING

import msgspec

from interwhen.errors import UsageError
from interwhen.verdicts import Level, Violation

if TYPE_CHECKING:
    from interwhen.results import ViolationRecord

QUOTE_LIMIT = 200
"""The most characters of model text that are ever copied into feedback."""

_CONTROL = re.compile(
    r"<\|[^|<>]{0,40}\|>|<[|\uff5c][^|\uff5c<>]{0,40}[|\uff5c]>|<</?SYS>>|"
    r"</?(?:think|tools?|tool_calls?|tool_response|s|bos|eos|pad|unk|mask|sop|eop|start_of_turn|end_of_turn)>|"
    r"\[/?(?:INST|SYS|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT|THINK|gMASK)\]"
)
"""Tokens of the chat templates of Llama, Qwen, Mistral, Gemma, DeepSeek, Phi, Granite and SmolLM."""


def quote(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Return *text* fit to be copied into feedback: one line, bounded, no control or template tokens."""
    clean = _CONTROL.sub(" ", text[: 4 * limit])
    clean = "".join(c if unicodedata.category(c)[0] != "C" else " " for c in clean)
    clean = " ".join(clean.split()).replace('"', "'")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def is_writable(repair: str) -> bool:
    """Tell whether a verifier's *repair* may be written into the trace: bounded, no control or template tokens."""
    return (
        len(repair) <= QUOTE_LIMIT
        and _CONTROL.search(repair) is None
        and not any(unicodedata.category(c)[0] == "C" for c in repair)
    )


_FIELDS = re.compile(r"\{(quote|why|witness)\}")
_ALLOWED: dict[Level, tuple[str, ...]] = {
    "flag": (),
    "locate": ("quote",),
    "explain": ("quote", "why"),
    "witness": ("quote", "why", "witness"),
}


class FeedbackTemplate(msgspec.Struct, frozen=True):
    """How feedback is worded; ``{quote}``, ``{why}`` and ``{witness}`` are filled in.

    Make your own for a model that reacts better to other words, and give it to a run, or set it as the model's
    attribute ``feedback``. Each template is one line, and may use what its
    level allows: raises :class:`~interwhen.errors.UsageError` otherwise.
    """

    flag: str = "Wait, something above is not right. Let me check it again."
    locate: str = 'Wait, "{quote}" is not right. Let me redo that step.'
    explain: str = "Wait, {why}."
    witness: str = "Wait, {witness}."

    def __post_init__(self) -> None:
        for level, allowed in _ALLOWED.items():
            template = getattr(self, level)
            if "\n" in template:
                raise UsageError(f"the template for level {level!r} must be one line, got {template!r}")
            for name in re.findall(r"\{(\w+)\}", template):
                if name not in _ALLOWED["witness"]:
                    raise UsageError(
                        f"the template for level {level!r} has {{{name}}}, which is none of {{quote}}, {{why}} and "
                        f"{{witness}}: {template!r}"
                    )
                if name not in allowed:
                    raise UsageError(f"the template for level {level!r} must not give away {{{name}}}: {template!r}")

    def render(self, level: Level, violation: Violation, wrong_text: str) -> str:
        """Return the sentence for *violation* that gives away no more than *level* allows."""
        if level == "witness" and not violation.witness:
            level = "explain"
        template: str = getattr(self, level)
        values = {"quote": wrong_text, "why": violation.why, "witness": violation.witness}
        # In one pass: what is filled in is never read as a template.
        return _FIELDS.sub(lambda field: quote(values[field[1]]), template)


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
