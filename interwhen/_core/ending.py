"""How the model's stream ended, as far as it said, and what the run's end is for that: everything in one record."""

from __future__ import annotations

from interwhen._core.certify import ENDED_WELL, certificate, coverage_doubt, doubts
from interwhen._core.messages import Finish, Outline
from interwhen._core.tally import Tally
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Violations
from interwhen._core.work import Work
from interwhen.models.base import FinishReason, ResumeMode
from interwhen.results import Doubt, Status


class Ending:
    """Keeps why the model stopped; says how a run stands and how it ended, from the books of its core."""

    def __init__(
        self,
        transcript: Transcript,
        work: Work,
        violations: Violations,
        tally: Tally,
        prompt_sha256: str,
        min_coverage: float = 0.0,
    ) -> None:
        self._transcript = transcript
        self._work = work
        self._violations = violations
        self._tally = tally
        self._prompt_sha256 = prompt_sha256
        self._min_coverage = min_coverage
        self.reason: FinishReason | None = None
        """Why the model stopped; ``None``: it has not said that it did."""
        self.resume: ResumeMode | None = None
        """How the text so far was given to the model last; ``None``: it never was."""

    def hear(self, reason: FinishReason) -> None:
        """Take what the model says. A bad reason stays: what was cut short is not whole because more is said."""
        if self.reason is None or self.reason in ENDED_WELL:
            self.reason = reason

    def status(self) -> Status:
        """Return what a run is whose checks are all settled."""
        return "unverified" if self._doubts() else "verified"

    def finish(self, status: Status, why: str) -> Finish:
        """Return the order that ends the run as *status*, because of *why*."""
        return Finish(self._outline(status, why))

    def _doubts(self) -> tuple[Doubt, ...]:
        """Return everything that keeps the standing text from being verified."""
        work, violations = self._work, self._violations
        records, disavowed = work.ordered_records(), violations.disavowed()
        found = doubts(records, work.monitors, disavowed, self.reason)
        if self._min_coverage:
            found = (*found, *coverage_doubt(self._transcript, records, disavowed, self._min_coverage))
        return (*violations.concluded, *found)

    def _outline(self, status: Status, why: str) -> Outline:
        transcript, violations, tally = self._transcript, self._violations, self._tally
        records = self._work.ordered_records()
        found = (*violations.unproven, *self._doubts())
        if why and status == "unverified":
            found = (Doubt("", None, why), *found)
        certified = None
        if status == "verified":
            monitors = self._work.monitors
            certified = certificate(transcript, records, monitors, violations.disavowed(), self._prompt_sha256)
        return Outline(
            status=status,
            text=transcript.slice(0, transcript.length),
            reasoning=transcript.text_of("reasoning"),
            answer=transcript.text_of("answer"),
            finish_reason=self.reason,
            checks=records,
            violations=violations.all(),
            insertions=tuple(transcript.insertions),
            resume=self.resume,
            doubts=found,
            certificate=certified,
            reason=why,
            kept=transcript.kept_tokens,
            discarded=tally.discarded + tally.late,
            late=tally.late,
            remedies=tally.remedies,
            reconnects=tally.reconnects,
            forks=tally.forks,
        )
