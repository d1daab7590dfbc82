"""How a run ended: everything the core knows about it, in one record."""

from __future__ import annotations

from interwhen._core.certify import certificate, doubts
from interwhen._core.messages import Outline
from interwhen._core.tally import Tally
from interwhen._core.transcript import Transcript
from interwhen._core.violations import Violations
from interwhen._core.work import Work
from interwhen.models.base import FinishReason, ResumeMode
from interwhen.results import Doubt, Status


class Outliner:
    """Says how a run stands and how it ended, from the books of its core."""

    def __init__(
        self, transcript: Transcript, work: Work, violations: Violations, tally: Tally, prompt_sha256: str
    ) -> None:
        self._transcript = transcript
        self._work = work
        self._violations = violations
        self._tally = tally
        self._prompt_sha256 = prompt_sha256

    def doubts(self, finish_reason: FinishReason | None) -> tuple[Doubt, ...]:
        """Return everything that keeps the standing text from being verified."""
        work, violations = self._work, self._violations
        found = doubts(work.ordered_records(), work.monitors, violations.disavowed(), finish_reason)
        return (*violations.concluded, *found)

    def outline(
        self, status: Status, reason: str, finish_reason: FinishReason | None, resume: ResumeMode | None
    ) -> Outline:
        """Return the record of a run that ended as *status*, because of *reason*."""
        transcript, violations, tally = self._transcript, self._violations, self._tally
        records = self._work.ordered_records()
        found = (*violations.unproven, *self.doubts(finish_reason))
        if reason and status == "unverified":
            found = (Doubt("", None, reason), *found)
        certified = None
        if status == "verified":
            certified = certificate(transcript, records, violations.disavowed(), self._prompt_sha256)
        return Outline(
            status=status,
            text=transcript.slice(0, transcript.length),
            reasoning=transcript.text_of("reasoning"),
            answer=transcript.text_of("answer"),
            finish_reason=finish_reason,
            checks=records,
            violations=violations.all(),
            insertions=tuple(transcript.insertions),
            resume=resume,
            doubts=found,
            certificate=certified,
            reason=reason,
            kept=transcript.kept_tokens,
            discarded=tally.discarded + tally.late,
            late=tally.late,
            remedies=tally.remedies,
            reconnects=tally.reconnects,
            forks=tally.forks,
        )
