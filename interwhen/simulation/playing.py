"""Plays one world: the real engine and core in virtual time, process after process."""

from __future__ import annotations

import asyncio
import logging

from interwhen.errors import JournalError
from interwhen.journal import Journal
from interwhen.simulation.disk import Disk, Filed, filed_in
from interwhen.simulation.lives import Life, Played
from interwhen.simulation.model import SimulatedModel
from interwhen.simulation.processes import Killed, Process
from interwhen.simulation.world import Death, World
from interwhen.testing.virtual_time import VirtualLoop, VirtualTimeError

LONGEST = 20_000.0
"""Virtual seconds after which a world counts as endless."""
TURNS = 400_000


def play(world: World) -> Played:
    """Play *world* to its end. Never raises for what the code under test does: that is for the judge."""
    played = Played(world, SimulatedModel(world), disk=Disk() if world.deaths else None)
    logger = logging.getLogger("interwhen")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # a warning for each fault of a hundred thousand worlds helps nobody
    try:
        for death in (*world.deaths, None):
            _live(played, death)
            if played.stuck is not None:
                break
    finally:
        logger.setLevel(level)
    return played


def _live(played: Played, death: Death | None) -> None:
    """Live the life of one process, which *death* ends, if it does not end by itself before."""
    world, model, last = played.world, played.model, played.lives[-1] if played.lives else None
    life = Life(world.reader if death is None else death.reader, book=list(last.book) if last is not None else [])
    life.judged_on_file = len(life.book)
    if last is not None:
        life.before = last.filed or Filed()
    played.lives.append(life)
    asked = len(model.fork_prefixes)
    model.begin()
    loop = VirtualLoop(seconds=LONGEST, turns=TURNS)
    process = Process(played, life, death, loop)
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            try:
                runner.run(process.live())
            except Killed:
                life = process.bury()
                process.clean_up()
    except VirtualTimeError as error:
        if not life.was_killed:
            life.stuck = error
    if not life.was_killed:
        life.seconds, life.turns = loop.time(), loop.turns
    life.asked_forks = len(model.fork_prefixes) - asked
    if played.journal is not None:
        _settle(played, life, played.journal)


def _settle(played: Played, life: Life, journal: Journal) -> None:
    """See what is on file when a process is gone, and let the model remember no more than that."""
    assert played.disk is not None
    try:
        life.filed = filed_in(journal)
    except JournalError as error:
        if played.disk.has_header:
            life.raised = life.raised or error
    found, before = life.filed or Filed(), life.before
    if life.was_killed:
        life.lost_chunks = played.model.remember(
            found.opened - before.opened, found.chunks - before.chunks, found.unread
        )
    if life.filed is None:
        played.disk.clear()
        life.book.clear()
