"""Describes a world and its play as text."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from interwhen._types.events import (
    CheckSettled,
    Delta,
    Event,
    Finished,
    Remedied,
    Retracted,
    StreamBroken,
    ViolationFound,
)
from interwhen._types.verdicts import Errored, Judged, Skipped, TimedOut
from tests.simulation.invariants import ExaminedWorld
from tests.simulation.play import FileState, PlayedWorld, ProcessLog
from tests.simulation.worlds import (
    Chunking,
    MonitorSetup,
    ProcessDeath,
    RunLimits,
    SumItem,
    TextItem,
    ThinkEndItem,
    VerifierSetup,
    World,
    true_value,
)


def describe(world: World) -> str:
    # Return a description of `world`. Most properties with their default value are left out.
    return "\n".join(_lines(world))


def _lines(world: World) -> Iterator[str]:
    yield f"the model says (reasoning: {world.thinking})"
    for item in world.items:
        yield f"  {_item(item)}"
    for watch in world.watches:
        yield f"monitor {watch.name}: {_unusual(watch, MonitorSetup(watch.name), ('name',)) or 'default'}"
    for number, judge in enumerate(world.judges):
        what = _unusual(judge, VerifierSetup(), ("mishaps",))
        mishaps = "; ".join(f"{mishap.kind} on {mishap.about}" for mishap in judge.mishaps)
        yield f"judge {number}: {', '.join(part for part in (what, mishaps) if part) or 'default'}"
    for wire in world.wires:
        yield f"request {wire.request}: {wire.kind} after {wire.at} characters"
    for name, value, usual in (("chunks", world.chunking, Chunking()), ("limits", world.limits, RunLimits())):
        if value != usual:
            yield f"{name}: {_unusual(value, usual)}"
    if world.reader.kind != "steady":
        yield f"the reader: {world.reader.kind}, at={world.reader.at}, seconds={world.reader.seconds}"
    if world.fork_fault != "none" or world.fork_seconds:
        yield f"forks: {world.fork_seconds:g} s, {world.fork_fault} on {world.fork_fault_about or 'nothing'}"
    yield from _deaths(world)


def _deaths(world: World) -> Iterator[str]:
    for number, death in enumerate(world.deaths):
        yield f"process {number} is killed: {_unusual(death, ProcessDeath(-1))}"
    if world.disk_seconds:
        yield f"the disk takes {world.disk_seconds:g} s"


def _item(item: TextItem | SumItem | ThinkEndItem) -> str:
    if isinstance(item, TextItem):
        return repr(item.text)
    if isinstance(item, ThinkEndItem):
        return "(the reasoning ends)"
    values = [true_value(item) + off for off in item.off]
    wrong = (
        "" if set(item.off) == {0} else f"   by generation: {', '.join(map(str, values))}; right: {true_value(item)}"
    )
    text = f"{item.before}{item.left}{item.op}{item.right}={values[0]}{item.after}"
    return f"{text!r}{' as a tool call' if item.call else ''}{wrong}"


def _unusual(value: msgspec.Struct, usual: msgspec.Struct, skip: tuple[str, ...] = ()) -> str:
    names = [name for name in value.__struct_fields__ if name not in skip]
    return ", ".join(
        f"{name}={getattr(value, name)!r}" for name in names if getattr(value, name) != getattr(usual, name)
    )


def tell(played: PlayedWorld) -> str:
    lines = []
    for number, process in enumerate(played.processes):
        if len(played.processes) > 1:
            lines.append(f"process {number} {'resumes' if process.is_resumed else 'begins'}")
        lines += [f"{seen.at:8.3f}  {_event(seen.event)}" for seen in process.seen]
        if process.raised is not None:
            lines.append(f"raised: {process.raised!r}")
        lines += _end_of(process)
    for number, sent in enumerate(played.model.sent):
        said = "".join(chunk.text for chunk in sent.chunks)
        lines.append(
            f"request {number}: after {sent.request.prefix!r} came {said!r}, {sent.fault or sent.ended or 'cut'}"
        )
    return "\n".join(lines)


def _end_of(process: ProcessLog) -> Iterator[str]:
    if process.was_killed:
        yield f"{process.seconds:8.3f}  killed at turn {process.turns}, {process.lost_chunks} chunks lost"
    if process.filed is not None:
        yield f"          on file: {_unusual(process.filed, FileState())}"


def _event(event: Event) -> str:
    match event:
        case Delta(text=text, start=start, origin=origin):
            return f"{start:4} + {text!r}{'' if origin == 'model' else f' ({origin})'}"
        case Retracted(to=to):
            return f"{to:4} <"
        case CheckSettled(check=check):
            about = check.key or ("extraction" if check.span is None else f"unread text at {check.span.start}")
            return f"     {check.monitor}: {about} {_outcome(check.outcome)}"
        case ViolationFound(violation=violation):
            return f"     {violation.monitor} refutes {violation.key} at {violation.span.start}"
        case Remedied(violation=violation):
            return f"     {violation.monitor}: {violation.remedy} at {violation.cut}, writes {violation.inserted!r}"
        case StreamBroken(error=error, action=action):
            return f"     broken: {error}, {action}"
        case Finished(result=result):
            return f"     the end: {result.status}, {result.text!r}, {_unusual(result.ledger, type(result.ledger)())}"
        case _:
            return f"     {event!r:.120}"


def _outcome(outcome: object) -> str:
    match outcome:
        case Judged(verdict=verdict, cached=cached):
            return f"{type(verdict).__name__.lower()}{' (known)' if cached else ''}"
        case Errored(error=why) | Skipped(why=why):
            return f"{type(outcome).__name__.lower()}: {why}"
        case TimedOut():
            return "timed out"
        case _:
            return type(outcome).__name__.lower()


def report(examined: ExaminedWorld) -> str:
    broken = "\n".join(f"BROKEN: {one.invariant}\n        {one.detail}" for one in examined.broken)
    return f"{describe(examined.played.world)}\n\n{tell(examined.played)}\n\n{broken or 'every invariant holds'}"
