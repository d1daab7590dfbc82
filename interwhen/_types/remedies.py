"""Remedies: what follows a violation."""

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
    """End the reasoning behind the segment with the claim, and let the model answer; what came after it is cut.

    For a verifier that finds more thinking to be of no use. Its monitor looks at the reasoning only, and proves nothing
    (``required=False``). Where the model has ended its reasoning by itself meanwhile, nothing is done, and what its
    monitor had not looked at yet it does not look at. A result whose reasoning was ended is never ``verified``.
    """

    lead: str = "\n\n"
    """What the answer begins with: it is written behind the tag that closes the reasoning. At least a character."""
    ask: str = "That is enough thinking. Give the final answer now."
    """What is said instead to a model that goes on by turns only."""

    def __post_init__(self) -> None:
        if not self.lead or not self.ask:
            raise UsageError(f"Conclude: lead={self.lead!r} and ask={self.ask!r} must not be empty")


Remedy: TypeAlias = Repair | Feedback | Resample | Conclude | Stop | Abstain


# What we say to the model: templates, levels, and the hygiene of quoted text.

QUOTE_LIMIT = 200
"""The most characters of model text that are ever copied into feedback."""

# Full-width signs count, too: a tokenizer that normalises its input takes them for the plain ones.
_OPEN, _CLOSE, _BAR = r"[<\uff1c\ufe64]", r"[>\uff1e\ufe65]", r"[|\uff5c]"
_CONTROL = re.compile(
    rf"{_OPEN}{_BAR}[^|\uff5c<>\uff1c\uff1e]{{0,60}}(?:{_BAR}{_CLOSE}?|{_CLOSE})"  # <|im_end|>, <|turn>
    rf"|{_OPEN}/?[\w:.-]{{1,60}}{_BAR}{_CLOSE}"  # <turn|>
    rf"|{_OPEN}{_BAR}|{_BAR}{_CLOSE}"  # what is left where tokens are nested, or cut
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
"""What does not show although it is no control character: fillers, selectors (which can carry text), separators."""


def quote(text: str, limit: int = QUOTE_LIMIT) -> str:
    """Return *text* fit to be copied into feedback: one line, bounded, no control or template tokens."""
    clean = _joined("".join(" " if _is_hidden(char) else char for char in text[: 4 * limit]))
    # Again until nothing changes: what is taken out of the middle of something may make a token of the rest.
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
    """How feedback is worded; ``{quote}``, ``{why}`` and ``{witness}`` are filled in.

    Make your own for a model that reacts better to other words, and give it to a run, or set it as the model's
    attribute ``feedback``. Each template is one line, and may use what its
    level allows: raises :class:`~interwhen.UsageError` otherwise.
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


DEFAULT_TEMPLATE = FeedbackTemplate()
"""How feedback is worded where nobody says otherwise; made once, because making one checks it."""


def leaks(violations: tuple[ViolationRecord, ...], answer: str) -> tuple[ViolationRecord, ...]:
    """Audit: return the violations whose inserted text holds *answer* as a whole word or number.

    For measuring, where the right answer is known: feedback that hands it over makes the model look better
    than it is. A repair writes the right value by design, so expect those of the last step here.
    """
    return tuple(violation for violation in violations if holds(violation.inserted, answer))


def holds(text: str, answer: str) -> bool:
    """Tell whether *text* holds *answer* as a whole word or number; nothing holds an empty one."""
    answer = answer.strip()
    return bool(answer) and re.search(rf"(?<![\w.]){re.escape(answer)}(?![\w]|\.\d)", text) is not None
