"""Monitors of the prompt, which read it before the model is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias, get_args

import msgspec
from msgspec import Meta

from interwhen._types.errors import InterwhenError, UsageError
from interwhen._types.models import Role
from interwhen._types.results import Abstained, PromptRecord
from interwhen._types.segments import Span
from interwhen._types.vetting import Seconds, vet

PromptAction: TypeAlias = Literal["observe", "refuse", "rewrite"]
"""What follows a finding. ``observe``: it is recorded. ``refuse``: the model is not asked. ``rewrite``: the function of
the monitor replaces the found text."""


class PromptText(msgspec.Struct, frozen=True):
    """One text of a prompt, such as the content of a message, the result of a tool, or a retrieved document."""

    text: str
    role: Role
    """Who wrote it; ``tool`` for results of tools and for retrieved documents."""
    index: int = 0
    """The number of its message in the prompt, from 0."""


class PromptFinding(msgspec.Struct, frozen=True):
    """A part of a text that a monitor found. *why* must not quote the text, because it is logged and recorded."""

    span: Span
    """The place in the text of the :class:`PromptText`. It must not be empty."""
    why: str
    """What was found, without its text."""


Find: TypeAlias = Callable[[PromptText], Iterable[PromptFinding]]
Rewrite: TypeAlias = Callable[[PromptText, PromptFinding], str]
EVERY_ROLE: tuple[Role, ...] = get_args(Role)


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptMonitor:
    """Reads the texts of a prompt before the model is asked. Raises :class:`UsageError` on wrong values.

    *find* runs in a worker thread for each text of the given *roles* that is not empty, and again for each text that
    *rewrite* has changed. It returns what it finds.
    """

    name: str
    find: Find
    version: str = "1"
    """The version of the monitor, for the records of its findings."""
    action: PromptAction = "refuse"
    """What follows a finding."""
    rewrite: Rewrite | None = None
    """For the action ``rewrite``: returns the text that replaces a finding. ``None`` for the other actions."""
    roles: Annotated[tuple[Role, ...], Meta(min_length=1, description=f"some of {', '.join(EVERY_ROLE)}")] = EVERY_ROLE
    """The roles whose texts the monitor reads."""
    on_error: Literal["open", "closed"] | None = None
    """What follows if *find* or *rewrite* fails or is late, or if *find* still finds something in a rewritten text:
    ``closed`` refuses the prompt, ``open`` sends it without the changes of this monitor. ``None``: ``open`` for
    ``observe``, ``closed`` otherwise."""
    deadline: Seconds = 5.0
    """How long the monitor may take for the whole prompt, in seconds."""

    def __post_init__(self) -> None:
        vet(self, f"prompt monitor {self.name!r:.80}: ")
        if (self.rewrite is None) is (self.action == "rewrite"):
            raise UsageError(
                f"prompt monitor {self.name!r:.80}: rewrite must be given with action='rewrite' and only then, got "
                f"{self.rewrite!r:.80} with action={self.action!r}"
            )

    @property
    def is_closed(self) -> bool:
        """Whether the prompt is refused if the monitor fails."""
        return self.on_error == "closed" or (self.on_error is None and self.action != "observe")


class PromptRefused(InterwhenError):
    """Raised if a monitor refused the prompt, or failed and is closed, so that the model was not asked.

    *records* are the findings of all monitors (at most 100 of each), and the failures.
    """

    def __init__(self, records: tuple[PromptRecord, ...]) -> None:
        self.records = records
        refusing = [one for one in records if one.outcome in ("refused", "failed")]
        reasons = "; ".join(dict.fromkeys(f"{one.monitor}: {one.why}" for one in refusing))
        self.reason = f"the prompt must pass its monitors, and was refused by {reasons}"
        super().__init__(f"{self.reason}; remove what they found, or change the action of the monitor")

    @property
    def result(self) -> Abstained:
        """The result of the refused call: no text, and the reason."""
        return Abstained(
            text="", reasoning="", answer="", finish_reason=None, reason=self.reason, prompt_findings=self.records
        )
