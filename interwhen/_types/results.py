"""The result of a run. Its type says whether the text is verified, unverified, abstained or failed."""

from __future__ import annotations

import os
import time
from typing import ClassVar, Literal, TypeAlias

import msgspec

from interwhen._types.ledger import ContextUse, Ledger, Timing, WireReport
from interwhen._types.models import FinishReason, Origin, Prompt, ResumeWay, Role
from interwhen._types.segments import Phase, Span, sha256
from interwhen._types.verdicts import Outcome, Scope

RemedyName = Literal["repair", "feedback", "resample", "restart", "conclude", "stop", "abstain"]
Status = Literal["verified", "unverified", "abstained", "failed"]
Label = Literal["answer verified", "steps verified", "unverified", "abstained", "failed"]
"""The name of a result in all displays. ``verified`` alone would not say whether the answer itself was checked."""
_LABELS: dict[Status, Label] = {
    "verified": "steps verified",
    "unverified": "unverified",
    "abstained": "abstained",
    "failed": "failed",
}


class CheckRecord(msgspec.Struct, frozen=True, gc=False):
    """The record of one check: which verifier judged which claim, and the outcome."""

    monitor: str
    verifier: str
    version: str
    """The version of the verifier."""
    key: str
    """The claim's key; empty if no claim could be extracted from the segment."""
    span: Span | None
    """The claim's span; ``None``: its position is not known."""
    segment: Span
    """The span of the segment in which the claim was found."""
    outcome: Outcome
    seconds: float = 0.0
    """The total time of all tries of the check, in seconds; 0 if it was cancelled, or if the verdict came from the
    check of an equal claim."""
    tries: int = 1
    """The number of tries; ``outcome`` is the outcome of the last one. 1 if the check was cancelled."""
    claim_sha256: str = ""
    """The hash of the claim's text in the trace; empty if the claim has no span."""
    code_sha256: str = ""
    """The hash of the source file that defines the verifier's check; empty if there is no such file."""
    judge_sha256: str = ""
    """What judged the claim: SHA-256 of five lines, which are the hash of the prompt, the verifier's name and version,
    the hash of the monitor's options, and ``code_sha256``."""


class ViolationRecord(msgspec.Struct, frozen=True, gc=False):
    """The record of one violation: the claim, the reason, and the remedy with its cut and inserted text."""

    monitor: str
    verifier: str
    key: str
    span: Span
    """The wrong part, or the segment if its position is not known, in offsets of the trace at that time."""
    quote: str
    """The text of the wrong part, shortened and without control characters."""
    why: str
    witness: str
    interrupted: bool
    """Whether the violation could interrupt the run. False, for example, if the monitor only observes, or if the claim
    has no span."""
    remedy: RemedyName | None = None
    """The remedy that followed; ``None``: another violation got the remedy, or there was none."""
    cut: int | None = None
    """The offset at which the remedy cut the trace; ``None``: there was no remedy."""
    inserted: str = ""
    """The text that the remedy wrote at ``cut``, such as a repair or feedback. Empty: it wrote none."""
    place: int | None = None
    """The number of characters of the trace before the segment, without white space, feedback, and refuted text that
    feedback answers. ``None``: it was not recorded, for example because there was no remedy."""
    phase: Phase | None = None
    """The phase of the refuted segment; ``None``: there was no remedy."""


PromptOutcome = Literal["observed", "refused", "rewritten", "failed"]
"""What was done about a finding in a prompt. ``failed``: its monitor gave no answer."""


class PromptRecord(msgspec.Struct, frozen=True, gc=False):
    """The record of one finding in a prompt, without the text, or of a monitor that failed.

    If the monitor failed, ``role``, ``index`` and ``span`` are ``None``.
    """

    monitor: str
    version: str
    outcome: PromptOutcome
    role: Role | None
    index: int | None
    """The number of the message in the prompt, from 0."""
    span: Span | None
    why: str
    """What was found, or why the monitor failed."""


class Insertion(msgspec.Struct, frozen=True, gc=False):
    """A part of the returned trace that interwhen wrote."""

    span: Span
    origin: Origin


class UnverifiedReason(msgspec.Struct, frozen=True, gc=False):
    """One reason why a result is not verified.

    ``monitor`` is empty if the reason does not concern one monitor. ``span`` is ``None`` if it concerns the whole text.
    """

    monitor: str
    span: Span | None
    why: str
    verifier: str = ""
    """The verifier of the check; empty if the reason is not a single check."""


class NumberCount(msgspec.Struct, frozen=True, gc=False):
    """How many numbers of the text a monitor has checked. Given numbers and plain labels are not counted."""

    monitor: str
    total: int
    unchecked: tuple[Span, ...]
    """The places of the numbers whose value stands in no claim that passed."""

    def __str__(self) -> str:
        if self.unchecked:
            return f"{len(self.unchecked)} of {self.total} numbers have no check"
        return f"{self.total} of {self.total} numbers checked"


class Certificate(msgspec.Struct, frozen=True, gc=False):
    """Lists the checks that passed on exactly this text, which its hash identifies.

    Checks in ``refuted`` reasoning are left out.
    """

    text_sha256: str
    """The hash of the whole returned trace: reasoning and answer, with insertions."""
    prompt_sha256: str
    """The hash of the prompt, as :func:`prompt_sha256` computes it."""
    model: str
    """The name of the model."""
    checks: tuple[CheckRecord, ...]
    covered: tuple[Span, ...]
    """The spans of the claims that passed, merged. Nothing is certified about the other text."""
    coverage: float
    """The number of covered characters divided by the number of all characters of the trace."""
    refuted: tuple[Span, ...] = ()
    """The spans of reasoning that was refuted and is answered by feedback in the trace. They are not certified."""
    interwhen: str = ""
    """The version of this package."""
    scope: Scope = "steps"
    """``answer``: a check that knows the task judged the answer itself. ``steps``: no check that passed judged the
    answer, so the answer may be wrong."""
    hidden_reasoning: bool = False
    """Whether the model seems to have produced reasoning that the server did not send. Nothing is certified about such
    reasoning."""
    chain_sha256: str = ""
    """SHA-256 of the records of all checks of the run, in the order in which they ended. The journal has it after each
    check."""
    signer: str = ""
    """The public Ed25519 key of the process that ran, in hex; empty without a signature."""
    signature: str = ""
    """The signature of all other fields, in hex: see :func:`interwhen.journal.verify`."""

    def matches(self, text: str) -> bool:
        """Tell whether this certificate is for exactly *text*, the ``text`` of a result (not its ``answer``)."""
        return sha256(text) == self.text_sha256


def prompt_sha256(prompt: Prompt) -> str:
    return sha256(prompt if isinstance(prompt, str) else msgspec.json.encode(prompt).decode())


BYTES_A_TOKEN = 4
"""The bytes of text that count as one token in estimates of prompts: about right for English, too many for others."""


def prompt_bytes(prompt: Prompt) -> int:
    texts = (prompt,) if isinstance(prompt, str) else (message.content for message in prompt)
    return sum(len(text.encode(errors="replace")) for text in texts)


def new_call_id() -> str:
    return f"{time.time_ns() // 1_000_000:012x}{os.urandom(10).hex()}"


class JournalState(msgspec.Struct, frozen=True, gc=False):
    """The state of a run's journal at the end of the run."""

    path: str
    size: int
    """The size of the journal in bytes."""
    incomplete: str = ""
    """Why the journal does not hold the whole run; empty if it is complete."""


_WHY_CHARACTERS = 80
"""How much of a reason the short line of a result shows."""


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that every result has, however the run ended."""

    text: str
    """The whole trace: reasoning and answer, including what interwhen inserted."""
    reasoning: str
    answer: str
    finish_reason: FinishReason | None
    """Why the last stream ended; ``None``: the run ended before the stream did, or cut the end of its text."""
    checks: tuple[CheckRecord, ...] = ()
    """The checks on the returned trace."""
    violations: tuple[ViolationRecord, ...] = ()
    """The recorded violations: first those with a remedy, in the order of the remedies, then the others by span. Some
    without a remedy are not recorded, such as those whose text the remedy for an earlier violation cut."""
    insertions: tuple[Insertion, ...] = ()
    resume: ResumeWay | None = None
    """How the last request that continued kept text did so, and why; ``None``: no request did."""
    ledger: Ledger = Ledger()
    timing: Timing = Timing()
    journal: JournalState | None = None
    """``None``: the run had no journal."""
    wire: WireReport = WireReport()
    hidden_reasoning: bool = False
    """Whether the model seems to have produced reasoning that the server did not send, or sent only as a summary. The
    result is then verified only if a check judged the answer itself."""
    precomputed: tuple[str, ...] = ()
    """The names of the prepared items that the run used; their cost is in the ledger."""
    context: ContextUse | None = None
    """The prepared context of the run, and what the run used of it; ``None``: the run had no context."""
    prompt_findings: tuple[PromptRecord, ...] = ()
    """What the monitors of the prompt found, and what they did about it, before the model was asked."""
    numbers: tuple[NumberCount, ...] = ()
    """For each required monitor that counts numbers: how many the text has, and where those without a check are."""
    upstream_status: int | None = None
    """The HTTP status of the server's error, if a run ended as abstained or failed after one; ``None``: none is
    known."""
    status: ClassVar[Status]

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self}>"

    def __str__(self) -> str:
        counts = (
            (len(self.checks), "check"),
            (len(self.violations), "violation"),
            (self.ledger.remedies, "remedy"),
            (self.ledger.kept + self.ledger.discarded, "token"),
        )
        words = {"remedy": "remedies"}
        said = [f"{n:,} {one if n == 1 else words.get(one, one + 's')}" for n, one in counts if n or one != "remedy"]
        numbers = [f"{each.monitor}: {each}" for each in self.numbers]
        return ", ".join((f"{self.label}{self._because()}", *numbers, *said, f"{self.timing.total:.2f} s"))

    def _because(self) -> str:
        reasons: tuple[UnverifiedReason, ...] = getattr(self, "unverified_reasons", ())
        why = getattr(self, "reason", "") or getattr(self, "error", "") or (reasons[0].why if reasons else "")
        shown = ascii(why[:_WHY_CHARACTERS])[1:-1] if not why.isprintable() else why[:_WHY_CHARACTERS]
        return f" ({shown}{'…' if len(why) > _WHY_CHARACTERS else ''})" if why else ""

    def _repr_html_(self) -> str | None:
        return notebook_page(self)

    @property
    def label(self) -> Label:
        """The name of this result for displays: the status and, if verified, the scope of the certificate."""
        return _LABELS[self.status]

    @property
    def answer_verified(self) -> bool:
        """Whether the result is verified, and a check that knows the task judged the answer itself."""
        return self.label == "answer verified"


class Verified(_Result, frozen=True, tag="verified"):
    """Each required check passed on this text, except in reasoning that was refuted and is answered by feedback.

    ``certificate`` says whether the answer itself was checked, and where that reasoning is.
    """

    status: ClassVar[Status] = "verified"
    certificate: Certificate

    @property
    def label(self) -> Label:
        """``answer verified`` or ``steps verified``, by the scope of the certificate."""
        return "answer verified" if self.certificate.scope == "answer" else "steps verified"


class Unverified(_Result, frozen=True, tag="unverified"):
    """The run ended, and its text is not verified as a whole. ``unverified_reasons`` says which text, and why."""

    status: ClassVar[Status] = "unverified"
    unverified_reasons: tuple[UnverifiedReason, ...]


class Abstained(_Result, frozen=True, tag="abstained"):
    """interwhen gives no answer, for the given ``reason``. ``text`` is the trace at the end of the run.

    A run also ends so if the server refused to continue a text that the reader has seen.
    """

    status: ClassVar[Status] = "abstained"
    reason: str
    unverified_reasons: tuple[UnverifiedReason, ...] = ()
    """Which parts of ``text`` are not verified, and why. The span of a claim that ended the run may lie after the end
    of ``text``."""


class Failed(_Result, frozen=True, tag="failed"):
    """The model or its server failed with ``error``. ``text`` is the trace, without text that gates held back."""

    status: ClassVar[Status] = "failed"
    error: str
    """What failed, as a text for a person."""
    unverified_reasons: tuple[UnverifiedReason, ...] = ()
    """Which parts of ``text`` are not verified, and why."""


Result: TypeAlias = Verified | Unverified | Abstained | Failed


def notebook_page(shown: object) -> str | None:
    from importlib.metadata import entry_points  # 20 ms, and only notebooks need it

    for entry in entry_points(group="interwhen.pages", name="notebook"):
        page: str | None = entry.load()(shown)
        return page
    return None
