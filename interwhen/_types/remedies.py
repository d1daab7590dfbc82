"""Remedies for violations, and the templates of feedback."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError
from interwhen._types.segments import quote
from interwhen._types.verdicts import Level, Violation
from interwhen._types.vetting import Positive, Text, vet

if TYPE_CHECKING:
    from interwhen._types.results import ViolationRecord


class Repair(msgspec.Struct, frozen=True, tag=True):
    """Cut the trace at the wrong part, write the right text in its place, and let the model continue from there.

    The repair is written only if all of these hold; if not, the remedy ``otherwise`` is used:

    * The monitor has the level ``witness``, and the violation has a ``repair`` that is not empty and changes the text.
    * The repair has at most 200 characters, and no control characters, invisible characters or chat-template tokens.
    * The extractor finds claims in the repaired text, and the verifier passes them. (An async verifier is not asked;
      its extractor must find the refuted claim with the wrong part replaced by the repair.)
    * The wrong part does not end inside a number or a name.
    * The claim can be read without the model. A ``Fork`` without ``local`` is never repaired.
    * The claim is not in a structured tool call, and the same words were not refuted at the same place before.
    """

    otherwise: Feedback | Resample = msgspec.field(default_factory=lambda: Feedback())  # noqa: PLW0108 (defined below)


class Feedback(msgspec.Struct, frozen=True, tag=True):
    """Write a sentence into the trace that tells the model what is wrong, as far as the monitor's level allows.

    ``rewind``: cut the trace before the segment with the wrong claim, and write the sentence there. ``append``: keep
    that segment, cut the text after it, and write the sentence after the segment. If the segment cannot stay, such as a
    tool call in the answer, ``append`` cuts it, too.
    """

    place: Literal["rewind", "append"] = "append"


class Resample(msgspec.Struct, frozen=True, tag=True):
    """Cut the trace before the segment with the wrong claim, and sample it again without any feedback.

    If the segment is a structured tool call, the trace is cut before the first call of the answer. A temperature of 0
    is raised, because the model would write the same text again.
    """


Rung = Literal["repair", "resample", "feedback", "restart"]
"""A remedy of the ladder of :class:`Auto`. ``restart``: cut the trace back to an earlier point, and sample again."""
RUNGS: tuple[Rung, ...] = get_args(Rung)
LADDER: tuple[Rung, ...] = ("repair", "resample", "resample", "feedback", "restart")


class Auto(msgspec.Struct, frozen=True, tag=True):
    """Choose the remedy at each violation. This is the default of a monitor.

    The remedies form a ladder: write a repair if the verifier has one (the conditions of :class:`Repair` hold here,
    too); sample again; give feedback; restart from an earlier point; end the run. If the same words are refuted again
    at the same place, the ladder moves on; other words may get another sample. Where the requests at one place would
    cost more than a new sample, the run restarts from the beginning. A new sample of an answer, and a restart, may also
    remove reasoning before it. A refuted structured tool call gets feedback. Raises
    :class:`~interwhen.UsageError` on wrong values.
    """

    order: Annotated[
        tuple[Rung, ...], Meta(min_length=1, description=f"some of {', '.join(RUNGS)}, each once but resample")
    ] = LADDER
    """The order of the ladder. ``resample`` may be in it several times. A rung that is left out is not used."""
    samples: Positive = 12
    """The largest number of new samples at one place. After them, the ladder moves on."""
    place: Literal["rewind", "append"] | None = None
    """Where feedback is written, as in :class:`Feedback`. ``None``: after the refuted text in the reasoning, and in its
    place in the answer. Feedback on an answer is written at the end of the reasoning instead, if the model can continue
    there."""
    end: Literal["abstain", "unverified"] = "abstain"
    """What follows the last rung, or a spent budget of remedies, repeats or discarded tokens. ``abstain``: no answer.
    ``unverified``: the refuted text stays, and this monitor interrupts no more; if it is required, the result is not
    verified. Monitors that hold text back always abstain."""

    def __post_init__(self) -> None:
        vet(self)
        others = [rung for rung in self.order if rung != "resample"]
        if len(set(others)) < len(others):
            raise UsageError(
                f"Auto: order must be some of {', '.join(RUNGS)}, each once but resample; got {self.order!r}"
            )


class Stop(msgspec.Struct, frozen=True, tag=True):
    """End the run as ``unverified``, with at most the text before the segment of the violation.

    If the segment is a structured tool call, at most the text before the first call of the answer is kept.
    """


class Abstain(msgspec.Struct, frozen=True, tag=True):
    """End the run as ``abstained``. At most the text before the segment of the violation is kept in the result."""


class Conclude(msgspec.Struct, frozen=True, tag=True):
    """End the reasoning after the segment with the claim, cut the text after it, and let the model answer.

    Use it with a verifier that finds out that more reasoning does not help. The monitor must have the phase
    ``reasoning`` and ``required=False``. If the reasoning has ended, or a budget is spent, this remedy does nothing. A
    result whose reasoning it ended is never ``verified``. Raises :class:`~interwhen.UsageError` if ``lead`` or ``ask``
    is empty.
    """

    lead: Text = "\n\n"
    """The beginning of the answer. It is written after the tag that closes the reasoning. Must not be empty."""
    ask: Text = "That is enough thinking. Give the final answer now."
    """The user turn for a model that can continue only by an extra turn. Must not be empty."""

    def __post_init__(self) -> None:
        vet(self)


Remedy: TypeAlias = Auto | Repair | Feedback | Resample | Conclude | Stop | Abstain


# Feedback: templates and levels.

_FIELDS = re.compile(r"\{(quote|why|witness)\}")
_ALLOWED: dict[Level, tuple[str, ...]] = {
    "flag": (),
    "locate": ("quote",),
    "explain": ("quote", "why"),
    "witness": ("quote", "why", "witness"),
}


class FeedbackTemplate(msgspec.Struct, frozen=True):
    """The sentences of feedback, one template per level, with the fields ``{quote}``, ``{why}`` and ``{witness}``.

    Pass your own object to a run, or set it as the attribute ``feedback`` of the model. Raises
    :class:`~interwhen.UsageError` if a template has more than one line or a field that its level does not allow.
    """

    flag: str = "Wait, something above is not right. Let me check it again."
    locate: str = 'Wait, "{quote}" is not right. Let me redo that step.'
    explain: str = "Wait, {why}."
    witness: str = "Wait, {witness}."
    again: tuple[FeedbackTemplate, ...] = ()
    """Other words for later feedback of the remedy :class:`Auto` at one place, in order. The last ones are repeated.
    Empty: the same words each time."""

    def __post_init__(self) -> None:
        vet(self)
        for level, allowed in _ALLOWED.items():
            template = getattr(self, level)
            if "\n" in template:
                raise UsageError(
                    f"FeedbackTemplate: the template for level {level!r} must be one line, got {template!r}; "
                    "remove the line breaks"
                )
            for name in re.findall(r"\{(\w+)\}", template):
                if name not in _ALLOWED["witness"]:
                    raise UsageError(
                        f"FeedbackTemplate: the template for level {level!r} may use {{quote}}, {{why}} and "
                        f"{{witness}}, got {{{name}}} in {template!r}; correct it"
                    )
                if name not in allowed:
                    raise UsageError(
                        f"FeedbackTemplate: the template for level {level!r} must not use {{{name}}}, which says "
                        f"more than this level may; got {template!r}; remove it"
                    )

    def render(self, level: Level, violation: Violation, wrong_text: str, number: int = 0) -> str:
        """Return the sentence for *violation* at *level*. *wrong_text* is the text that ``{quote}`` shows.

        *number* is how often feedback was given before at this place, for the templates of :attr:`again`. Without a
        witness, the level ``witness`` becomes ``explain``.
        """
        if number and self.again:
            return self.again[min(number, len(self.again)) - 1].render(level, violation, wrong_text)
        if level == "witness" and not violation.witness:
            level = "explain"
        template: str = getattr(self, level)
        values = {"quote": wrong_text, "why": violation.why, "witness": violation.witness}
        # In one pass, so that inserted text is never read as a template.
        return _FIELDS.sub(lambda field: quote(values[field[1]]), template)


DEFAULT_TEMPLATE = FeedbackTemplate(
    again=(
        FeedbackTemplate(
            flag="This is still not right. I will do it another way.",
            locate='No, "{quote}" is not right either. I will do that step another way.',
            explain="That is still not right: {why}. I will do it another way.",
            witness="That is still not right: {witness}. I will do it another way.",
        ),
    )
)


def leaks(violations: tuple[ViolationRecord, ...], answer: str) -> tuple[ViolationRecord, ...]:
    # For the audit of a benchmark with known answers. A repair writes the right value by design, so a repair of the
    # last step may be in the list.
    return tuple(violation for violation in violations if holds(violation.inserted, answer))


def holds(text: str, answer: str) -> bool:
    answer = answer.strip()
    # A single point before the answer belongs to a number (3.5, .5); the last one of an ellipsis does not.
    pattern = rf"(?<!\w)(?<![^.]\.)(?<!^\.){re.escape(answer)}(?!\w|\.\d)"
    return bool(answer) and re.search(pattern, text) is not None
