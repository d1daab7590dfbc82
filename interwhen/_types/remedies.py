"""Remedies: what follows a violation. Also the templates of feedback, and the cleaning of quoted text."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Literal, TypeAlias

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.verdicts import Level, Violation

if TYPE_CHECKING:
    from interwhen._types.results import ViolationRecord


class Repair(msgspec.Struct, frozen=True, tag=True):
    """Cut at the wrong part and write the sound text in its place; the model goes on from there.

    Needs the level ``witness`` and a violation with a ``repair`` of at most 200 characters, without control
    characters and chat-template tokens. The repaired text is read again by the extractor, in its place, and must be
    judged right (with ``worker="async"`` it is not judged again: it must be read as the refuted claim with the repair
    in place of the wrong part). A number or a name that goes on after the wrong part is never cut short. Claims that
    only the model can read (a ``Fork`` without ``local``) are not repaired. In all other cases ``otherwise`` is done.
    """

    otherwise: Feedback | Resample = msgspec.field(default_factory=lambda: Feedback())  # noqa: PLW0108 (defined below)


class Feedback(msgspec.Struct, frozen=True, tag=True):
    """Say what is wrong, as far as the monitor's level allows.

    ``rewind``: cut before the segment with the wrong claim and say it there. ``append``: keep that segment,
    cut what was built on it, and say it after.
    """

    place: Literal["rewind", "append"] = "append"


class Resample(msgspec.Struct, frozen=True, tag=True):
    """Cut before the segment with the wrong claim, say nothing, and sample again."""


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End the run there with the text before the violation, unverified."""


class Abstain(msgspec.Struct, frozen=True, tag=True):
    """End the run there and give no answer."""


class Conclude(msgspec.Struct, frozen=True, tag=True):
    """End the reasoning after the segment with the claim, and let the model answer. The text after it is cut.

    For a verifier that finds that more thinking does not help. Its monitor reads the reasoning only, and proves nothing
    (``required=False``). If the model has ended its reasoning meanwhile, nothing is done, and the open extractions of
    the monitor are cancelled. A result whose reasoning was ended is never ``verified``.
    """

    lead: str = "\n\n"
    """The beginning of the answer, which is written after the tag that closes the reasoning. Not empty."""
    ask: str = "That is enough thinking. Give the final answer now."
    """The user turn for a model that continues by turns only. Not empty."""

    def __post_init__(self) -> None:
        if not self.lead or not self.ask:
            raise UsageError(f"Conclude: lead={self.lead!r} and ask={self.ask!r} must not be empty")


Remedy: TypeAlias = Repair | Feedback | Resample | Conclude | Stop | Abstain


# Feedback: templates, levels, and the cleaning of quoted text.

QUOTE_LIMIT = 200
"""The largest number of characters of model text that are copied into feedback."""

# Full-width signs count too: a tokenizer that normalises its input reads them as the plain ones.
_OPEN, _CLOSE, _BAR = r"[<\uff1c\ufe64]", r"[>\uff1e\ufe65]", r"[|\uff5c]"
_CONTROL = re.compile(
    rf"{_OPEN}{_BAR}[^|\uff5c<>\uff1c\uff1e]{{0,60}}(?:{_BAR}{_CLOSE}?|{_CLOSE})"  # <|im_end|>, <|turn>
    rf"|{_OPEN}/?[\w:.-]{{1,60}}{_BAR}{_CLOSE}"  # <turn|>
    rf"|{_OPEN}{_BAR}|{_BAR}{_CLOSE}"  # the rest of nested or cut tokens
    rf"|{_OPEN}{_OPEN}/?SYS{_CLOSE}{_CLOSE}"
    rf"|{_OPEN}/?(?:think(?:ing)?|thought|tools?|invoke|function|parameter|role|arg|bos|eos|pad|unk|cls|sep|mask|sop|eop"
    rf"|s|co|bot|eot|unused\d+|0x[0-9a-f]{{2}}|[a-z]\w{{0,40}}[_:][\w:]{{0,40}})(?:[\s=:][^<>]{{0,80}})?/?{_CLOSE}"
    r"|[\[\uff3b]/?(?:INST|SYS|THINK|ARGS|IMG|AUDIO|PREFIX|MIDDLE|SUFFIX|gMASK|sMASK|[A-Z]+(?:_[A-Z]+)+)[\]\uff3d]"
    r"|\]~!?b[\[\]]|\[e~\[",  # MiniMax
    re.IGNORECASE,
)
"""Tokens of the chat templates of Llama 2 to 4, Qwen and all of ChatML, Mistral, Gemma, Phi, DeepSeek, Command, gpt-oss
(harmony), GLM, Granite, Kimi, MiniMax, Seed and SmolLM, and tags that look like them."""

_HIDDEN = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2028\u2029\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
"""Invisible characters that are not control characters: fillers, selectors (which can carry text), separators."""


def quote(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Return *text* fit to be copied into feedback: one line, bounded, no control or template tokens."""
    clean = _joined("".join(" " if _is_hidden(char) else char for char in text[: 4 * limit]))
    # Repeated until nothing changes: removing a token may join the text around it to a new token.
    while (found := _joined(_CONTROL.sub(" ", clean))) != clean:
        clean = found
    clean = clean.replace('"', "'")
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"


def is_writable(repair: str) -> bool:
    """Tell whether a verifier's *repair* may be written into the trace: bounded, no control or template tokens."""
    return len(repair) <= QUOTE_LIMIT and _CONTROL.search(repair) is None and not any(map(_is_hidden, repair))


def _joined(text: str) -> str:
    return " ".join(text.split())


def _is_hidden(char: str) -> bool:
    return unicodedata.category(char)[0] == "C" or _HIDDEN.match(char) is not None


_FIELDS = re.compile(r"\{(quote|why|witness)\}")
_ALLOWED: dict[Level, tuple[str, ...]] = {
    "flag": (),
    "locate": ("quote",),
    "explain": ("quote", "why"),
    "witness": ("quote", "why", "witness"),
}


class FeedbackTemplate(msgspec.Struct, frozen=True):
    """The words of feedback; ``{quote}``, ``{why}`` and ``{witness}`` are filled in.

    If a model reacts better to other words, make your own and pass it to a run, or set it as the model's attribute
    ``feedback``. Each template is one line and uses only the fields of its level; otherwise
    :class:`~interwhen.UsageError` is raised.
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
                        f"the template for level {level!r} may use {{quote}}, {{why}} and {{witness}}, got {{{name}}}: "
                        f"{template!r}"
                    )
                if name not in allowed:
                    raise UsageError(f"the template for level {level!r} must not use {{{name}}}, got {template!r}")

    def render(self, level: Level, violation: Violation, wrong_text: str) -> str:
        """Return the sentence for *violation*, which says no more than *level* allows."""
        if level == "witness" and not violation.witness:
            level = "explain"
        template: str = getattr(self, level)
        values = {"quote": wrong_text, "why": violation.why, "witness": violation.witness}
        # In one pass, so that inserted text is never read as a template.
        return _FIELDS.sub(lambda field: quote(values[field[1]]), template)


DEFAULT_TEMPLATE = FeedbackTemplate()
"""The default words of feedback. Made once: each instance is checked."""


def leaks(violations: tuple[ViolationRecord, ...], answer: str) -> tuple[ViolationRecord, ...]:
    """Return the violations whose inserted text holds *answer* as a whole word or number.

    An audit for measurements with known answers: feedback that gives the answer makes the model look better than it
    is. A repair writes the right value by design, so a repair of the last step is listed.
    """
    return tuple(violation for violation in violations if holds(violation.inserted, answer))


def holds(text: str, answer: str) -> bool:
    """Tell whether *text* holds *answer* as a whole word or number; false for an empty *answer*."""
    answer = answer.strip()
    return bool(answer) and re.search(rf"(?<![\w.]){re.escape(answer)}(?![\w]|\.\d)", text) is not None
