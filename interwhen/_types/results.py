"""How a run ends: a closed union whose type says what may be believed."""

from __future__ import annotations

from typing import ClassVar, Literal, TypeAlias

import msgspec

from interwhen._types.ledger import Ledger, Timing, WireReport
from interwhen._types.models import FinishReason, Origin, Prompt, ResumeMode
from interwhen._types.spans import Span
from interwhen._types.verdicts import Outcome, Scope

RemedyName = Literal["repair", "feedback", "resample", "conclude", "stop", "abstain"]
Status = Literal["verified", "unverified", "abstained", "failed"]
Label = Literal["answer verified", "steps verified", "unverified", "abstained", "failed"]
"""How a result is called wherever a person reads it: ``verified`` alone would say nothing of the answer."""
_LABELS: dict[Status, Label] = {
    "verified": "steps verified",
    "unverified": "unverified",
    "abstained": "abstained",
    "failed": "failed",
}


class CheckRecord(msgspec.Struct, frozen=True, gc=False):
    """One check on the trace: who looked at what, and how it ended."""

    monitor: str
    verifier: str
    version: str
    key: str
    """The claim's key; empty where no claim could be extracted from the segment."""
    span: Span | None
    """The claim's span; ``None``: not grounded."""
    segment: Span
    """The segment the claim came from."""
    outcome: Outcome
    seconds: float = 0.0
    """How long the check took, all tries together; 0 when the verdict was known already."""
    tries: int = 1
    """How often the check was tried; ``outcome`` is what the last try came to."""
    claim_sha256: str = ""
    """The hash of the claim's words in the trace; empty where the check is tied to none, and in older records."""
    code_sha256: str = ""
    """The hash of the module file in which the verifier's check is written; empty where it has none."""


class ViolationRecord(msgspec.Struct, frozen=True, gc=False):
    """One violation, and what was done about it."""

    monitor: str
    verifier: str
    key: str
    span: Span
    """The wrong part, as offsets into the trace as it stood then."""
    quote: str
    """That part of the model's text, bounded and without control characters."""
    why: str
    witness: str
    interrupted: bool
    """False: the monitor only observes, or the claim was not grounded, or its segment was answered already."""
    remedy: RemedyName | None = None
    cut: int | None = None
    inserted: str = ""


class Insertion(msgspec.Struct, frozen=True, gc=False):
    """A stretch of the returned trace that we wrote."""

    span: Span
    origin: Origin


class UnverifiedReason(msgspec.Struct, frozen=True, gc=False):
    """Why a result is not verified: what was not shown, by whom, and where (``None``: everywhere)."""

    monitor: str
    span: Span | None
    why: str
    verifier: str = ""
    """Whose check it was; empty where no single check is the reason."""


class Certificate(msgspec.Struct, frozen=True, gc=False):
    """What was checked on exactly which text. Every check listed here ended in a pass."""

    text_sha256: str
    prompt_sha256: str
    model: str
    checks: tuple[CheckRecord, ...]
    covered: tuple[Span, ...]
    """The spans that claims rest on, merged; text outside them was seen by extractors but states no claim."""
    coverage: float
    """Covered characters by all characters of the trace, between 0 and 1."""
    refuted: tuple[Span, ...] = ()
    """Reasoning that was refuted and then answered by feedback inside the trace; not part of what is certified."""
    interwhen: str = ""
    """The version of this package."""
    scope: Scope = "steps"
    """``answer``: a check that knows the task judged the answer itself. ``steps``: all checks passed, and none of them
    did that, so the answer may be wrong. (Certificates of older versions do not say, and count as ``steps``.)"""

    def matches(self, text: str) -> bool:
        """Tell whether *text* is the very text this certificate was given for."""
        return sha256(text) == self.text_sha256


def sha256(text: str) -> str:
    """Return the hex SHA-256 of *text* in UTF-8 (lone surrogates are kept apart)."""
    import hashlib  # with OpenSSL, 3 ms

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def prompt_sha256(prompt: Prompt) -> str:
    """Return the hash of a prompt: of its text, or of its messages as JSON."""
    return sha256(prompt if isinstance(prompt, str) else msgspec.json.encode(prompt).decode())


class JournalState(msgspec.Struct, frozen=True, gc=False):
    """What became of the journal of a run."""

    path: str
    size: int
    """How many bytes of it the file holds."""
    incomplete: str = ""
    """Why the record ends before the run did; empty: it is whole. The run itself is none the worse for it."""


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """What every result carries."""

    text: str
    """The whole standing trace: reasoning and answer, with what we inserted."""
    reasoning: str
    answer: str
    finish_reason: FinishReason | None
    """Why the last stream ended; ``None``: it did not end by itself."""
    checks: tuple[CheckRecord, ...] = ()
    """The checks on the standing trace."""
    violations: tuple[ViolationRecord, ...] = ()
    """All violations in the order they were acted upon, also those whose text was cut."""
    insertions: tuple[Insertion, ...] = ()
    resume: ResumeMode | None = None
    """How the model went on after a cut or a reconnect; ``None``: it never had to."""
    ledger: Ledger = Ledger()
    timing: Timing = Timing()
    journal: JournalState | None = None
    """``None``: no journal was asked for."""
    wire: WireReport = WireReport()
    precomputed: tuple[str, ...] = ()
    """The items that the run used of its prepared context, by name; what they cost is in the ledger."""
    status: ClassVar[Status]

    @property
    def label(self) -> Label:
        """How to call this result wherever a person reads it: its status, and of a verified one the scope, too."""
        return _LABELS[self.status]

    @property
    def answer_verified(self) -> bool:
        """Whether a check that knows the task judged the answer itself, and every required check passed."""
        return self.label == "answer verified"


class Verified(_Result, frozen=True, tag="verified"):
    """Every required check passed on this very text. ``certificate.scope`` says what that means for the answer."""

    status: ClassVar[Status] = "verified"
    certificate: Certificate

    @property
    def label(self) -> Label:
        """``answer verified`` or ``steps verified``, by the scope of the certificate."""
        return "answer verified" if self.certificate.scope == "answer" else "steps verified"


class Unverified(_Result, frozen=True, tag="unverified"):
    """The run came to an end, and something in it was not shown to be right."""

    status: ClassVar[Status] = "unverified"
    unverified_reasons: tuple[UnverifiedReason, ...]


class Abstained(_Result, frozen=True, tag="abstained"):
    """interwhen gives no answer; ``text`` is the prefix that stood when it gave up."""

    status: ClassVar[Status] = "abstained"
    reason: str
    unverified_reasons: tuple[UnverifiedReason, ...] = ()


class Failed(_Result, frozen=True, tag="failed"):
    """The model or its server failed; ``text`` is what had come until then."""

    status: ClassVar[Status] = "failed"
    error: str
    unverified_reasons: tuple[UnverifiedReason, ...] = ()


Result: TypeAlias = Verified | Unverified | Abstained | Failed
