"""What is known about a play: the log of each process, and of the world around them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from interwhen.events import Event
from interwhen.journal import Journal
from interwhen.results import Result
from interwhen.simulation.disk import NAME, Disk, Filed
from interwhen.simulation.model import SimulatedModel
from interwhen.simulation.world import Reader, World
from interwhen.testing.virtual_time import VirtualTimeError


class Seen(NamedTuple):
    """An event, when it reached the reader, and how many checks had ended by then."""

    at: float
    judged: int
    event: Event


class ReaderError(Exception):
    """What a reader raises of its own."""


@dataclass(slots=True)
class Life:
    """What one process did, and what became of it."""

    reader: Reader
    seen: list[Seen] = field(default_factory=list)
    book: list[tuple[int, str]] = field(default_factory=list)
    """Each check that ended, as number of the judge and text of the claim, in order; that of earlier processes, too."""
    is_resumed: bool = False
    """Whether it went on from a journal."""
    result: Result | None = None
    raised: BaseException | None = None
    stuck: VirtualTimeError | None = None
    entered: bool = False
    was_cancelled: bool = False
    cancel_swallowed: bool = False
    """Whether the reader was cancelled while it read, and nothing came of it."""
    left_tasks: tuple[str, ...] = ()
    seconds: float = 0.0
    turns: int = 0
    asked_forks: int = 0
    open_forks: int = 0
    """How many of them had not ended when it was killed."""
    was_killed: bool = False
    seen_on_file: int = 0
    """How many events the reader had when all that had happened was on file last."""
    judged_on_file: int = 0
    """How many checks had ended by then."""
    taken_on_file: int = 0
    """How many chunks were taken in by then."""
    taken_before_request: int = 0
    """How many chunks were taken in before a request was sent, some turns before the end."""
    before: Filed = field(default_factory=Filed)
    """What was on file when it began."""
    filed: Filed | None = None
    """What is on file at its end; ``None``: there is no journal, or none with a first record."""
    lost_chunks: int = 0
    """How many chunks it had taken in that are not on file."""

    @property
    def saw_all(self) -> bool:
        """Whether the reader read to the end and looked at every event."""
        return self.raised is None and not self.was_cancelled and self.reader.kind in ("steady", "slow", "batch")


@dataclass(slots=True)
class Played:
    """Everything that is known about one play: what the judge of the simulator judges."""

    world: World
    model: SimulatedModel
    lives: list[Life] = field(default_factory=list)
    """Of all processes, in order. What holds of the run holds of the last one: it began with all that was before."""
    disk: Disk | None = None

    @property
    def life(self) -> Life:
        """The last one."""
        return self.lives[-1]

    @property
    def seen(self) -> list[Seen]:
        """What the last reader was told: of the whole run."""
        return self.life.seen

    @property
    def book(self) -> list[tuple[int, str]]:
        """Each check that ended, in all processes."""
        return self.life.book

    @property
    def result(self) -> Result | None:
        """How the run ended."""
        return self.life.result

    @property
    def stuck(self) -> VirtualTimeError | None:
        """Why it did not end."""
        return self.life.stuck

    @property
    def saw_all(self) -> bool:
        """Whether the last reader read to the end and looked at every event."""
        return self.life.saw_all

    @property
    def turns(self) -> int:
        """How many turns all loops made."""
        return sum(life.turns for life in self.lives)

    @property
    def seconds(self) -> float:
        """How long all processes lived."""
        return sum(life.seconds for life in self.lives)

    @property
    def journal(self) -> Journal | None:
        """The journal, to be read."""
        return None if self.disk is None else Journal(NAME, store=self.disk)
