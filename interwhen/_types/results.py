"""The result of a run: a closed union, whose type says what was shown about the text."""

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
"""The name of a result in every display. ``verified`` alone would not say whether the answer was checked."""
_LABELS: dict[Status, Label] = {
    "verified": "steps verified",
    "unverified": "unverified",
    "abstained": "abstained",
    "failed": "failed",
}


class CheckRecord(msgspec.Struct, frozen=True, gc=False):
    """One check: which verifier judged which claim, and how it ended."""

    monitor: str
    verifier: str
    version: str
    key: str
    """The claim's key; empty if no claim could be extracted from the segment."""
    span: Span | None
    """The claim's span; ``None``: its place is not known."""
    segment: Span
    """The segment the claim came from."""
    outcome: Outcome
    seconds: float = 0.0
    """How long all tries of the check took together; 0 if the verdict was known already."""
    tries: int = 1
    """How often the check was tried; ``outcome`` is that of the last try."""
    claim_sha256: str = ""
    """The hash of the claim's text in the trace; empty if the claim has no span, and in older records."""
    code_sha256: str = ""
    """The hash of the module file with the verifier's check; empty if there is none."""


class ViolationRecord(msgspec.Struct, frozen=True, gc=False):
    """One violation and its remedy."""

    monitor: str
    verifier: str
    key: str
    span: Span
    """The wrong part, as offsets into the trace at that time."""
    quote: str
    """The text of the wrong part, bounded and without control characters."""
    why: str
    witness: str
    interrupted: bool
    """False if the monitor only observes, the claim has no span, or feedback answers its segment already."""
    remedy: RemedyName | None = None
    cut: int | None = None
    inserted: str = ""


class Insertion(msgspec.Struct, frozen=True, gc=False):
    """A part of the returned trace that interwhen wrote."""

    span: Span
    origin: Origin


class UnverifiedReason(msgspec.Struct, frozen=True, gc=False):
    """Why a result is not verified: which monitor did not show what, and where (``None``: everywhere)."""

    monitor: str
    span: Span | None
    why: str
    verifier: str = ""
    """The verifier of the check; empty if the reason is not a single check."""


class Certificate(msgspec.Struct, frozen=True, gc=False):
    """Lists the checks that passed on exactly the returned text."""

    text_sha256: str
    prompt_sha256: str
    model: str
    checks: tuple[CheckRecord, ...]
    covered: tuple[Span, ...]
    """The merged spans of the claims. Extractors read the other text too, and found no claim in it."""
    coverage: float
    """Covered characters divided by all characters of the trace."""
    refuted: tuple[Span, ...] = ()
    """Reasoning that was refuted, and that feedback in the trace answers. It is not certified."""
    interwhen: str = ""
    """The version of this package."""
    scope: Scope = "steps"
    """``answer``: a check that knows the task judged the answer itself. ``steps``: all checks passed, but none of them
    judged the answer, so it may be wrong. (Certificates of older versions have no scope, and count as ``steps``.)"""

    def matches(self, text: str) -> bool:
        """Tell whether this certificate is for exactly *text*."""
        return sha256(text) == self.text_sha256


def sha256(text: str) -> str:
    """Return the hex SHA-256 of *text* in UTF-8 (lone surrogates are encoded too)."""
    import hashlib  # with OpenSSL, 3 ms

    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def prompt_sha256(prompt: Prompt) -> str:
    """Return the hash of *prompt*: of its text, or of its messages as JSON."""
    return sha256(prompt if isinstance(prompt, str) else msgspec.json.encode(prompt).decode())


class JournalState(msgspec.Struct, frozen=True, gc=False):
    """The state of a run's journal at the end."""

    path: str
    size: int
    """Its length in bytes."""
    incomplete: str = ""
    """Why the record ends before the run did; empty: it is complete. The run itself is not affected."""


class _Result(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of every result."""

    text: str
    """The whole trace: reasoning and answer, including what interwhen inserted."""
    reasoning: str
    answer: str
    finish_reason: FinishReason | None
    """Why the last stream ended; ``None``: the run ended before it."""
    checks: tuple[CheckRecord, ...] = ()
    """The checks on the returned trace."""
    violations: tuple[ViolationRecord, ...] = ()
    """All violations, including those whose text was cut: first those with a remedy, in the order of the remedies."""
    insertions: tuple[Insertion, ...] = ()
    resume: ResumeMode | None = None
    """How the model continued after a cut or a reconnect; ``None``: there was neither."""
    ledger: Ledger = Ledger()
    timing: Timing = Timing()
    journal: JournalState | None = None
    """``None``: the run had no journal."""
    wire: WireReport = WireReport()
    precomputed: tuple[str, ...] = ()
    """The names of the prepared items that the run used; their cost is in the ledger."""
    status: ClassVar[Status]

    @property
    def label(self) -> Label:
        """The name of this result for displays: its status, and for a verified one its scope."""
        return _LABELS[self.status]

    @property
    def answer_verified(self) -> bool:
        """Whether a check that knows the task judged the answer itself, and every required check passed."""
        return self.label == "answer verified"


class Verified(_Result, frozen=True, tag="verified"):
    """Every required check passed on exactly this text. ``certificate.scope`` says whether the answer was checked."""

    status: ClassVar[Status] = "verified"
    certificate: Certificate

    @property
    def label(self) -> Label:
        """``answer verified`` or ``steps verified``, by the scope of the certificate."""
        return "answer verified" if self.certificate.scope == "answer" else "steps verified"


class Unverified(_Result, frozen=True, tag="unverified"):
    """The run ended, and something in its text was not shown to be right."""

    status: ClassVar[Status] = "unverified"
    unverified_reasons: tuple[UnverifiedReason, ...]


class Abstained(_Result, frozen=True, tag="abstained"):
    """interwhen gives no answer; ``text`` is the trace when the run ended."""

    status: ClassVar[Status] = "abstained"
    reason: str
    unverified_reasons: tuple[UnverifiedReason, ...] = ()


class Failed(_Result, frozen=True, tag="failed"):
    """The model or its server failed; ``text`` is the trace until then."""

    status: ClassVar[Status] = "failed"
    error: str
    unverified_reasons: tuple[UnverifiedReason, ...] = ()


Result: TypeAlias = Verified | Unverified | Abstained | Failed
