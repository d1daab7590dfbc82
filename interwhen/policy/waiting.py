"""The files that a synthesis leaves: rules that are admitted, and a queue of what a person must look at."""

from __future__ import annotations

import itertools
from contextlib import suppress
from pathlib import Path

import msgspec

from interwhen.errors import UsageError
from interwhen.policy.folders import inner_folder, read_file
from interwhen.policy.reading_rules import checked_id
from interwhen.policy.synthesis import Draft


class Queued(msgspec.Struct, frozen=True, omit_defaults=True):
    """A clause for which no rule was admitted."""

    clause: str
    status: str
    problems: tuple[str, ...] = ()
    """What was wrong with the last attempt."""
    text: str = ""
    """The rule as the model wrote it last."""
    reason: str = ""
    """Why there is no rule, in the model's words."""
    attempts: int = 0
    model: str = ""


def keep(folder: Path, draft: Draft, model: str) -> Path:
    """Write *draft* into *folder*: a rule into ``rules/``, anything else into ``review/``. Returns the file."""
    if draft.rule is not None:
        return write_rule(folder, draft.rule.id, draft.text, model)
    inner, name = inner_folder(folder, "review", make=True), f"clause-{draft.number:03}"
    problems = draft.attempts[-1].problems if draft.attempts else ()
    queued = Queued(draft.clause, draft.status, problems, draft.text, draft.reason, len(draft.attempts), model)
    for number in itertools.count(1):  # what waits already may have been edited, so it stays
        place = inner / (f"{name}.json" if number == 1 else f"{name}-{number}.json")
        with suppress(FileExistsError), place.open("xb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(queued)) + b"\n")
            return place
    raise AssertionError


def write_rule(folder: Path, rule_id: str, text: str, model: str) -> Path:
    """Write the file of a new rule that *model* wrote. Raises :class:`UsageError` where there is one already."""
    place = inner_folder(folder, "rules", make=True) / f"{checked_id(rule_id)}.toml"
    origin = "".join(char for char in model if char.isprintable() and char not in "\"'\\")[:80]
    try:
        with place.open("x", encoding="utf-8") as file:
            file.write(f'origin = "{origin or "a model"}"\n{text.strip()}\n')
    except FileExistsError as error:
        raise UsageError(f"there is a rule in {str(place)!r} already") from error
    return place


def queue(folder: Path) -> list[str]:
    """Return the names of what waits for a review, in order."""
    inner = inner_folder(folder, "review")
    return sorted(path.stem for path in inner.glob("*.json")) if inner.is_dir() else []


def read_queued(folder: Path, name: str) -> Queued:
    """Return what waits under *name*. Raises :class:`UsageError`."""
    if name not in queue(folder):
        raise UsageError(f"nothing waits under {name!r:.80}; waiting: {', '.join(queue(folder)) or 'nothing'}"[:400])
    text = read_file(folder / "review", f"{name}.json")
    try:
        return msgspec.json.decode(text, type=Queued)
    except msgspec.MsgspecError as error:
        raise UsageError(f"review/{name}.json cannot be read: {error}") from error


def drop(folder: Path, name: str) -> None:
    """Take *name* from the queue. Raises :class:`UsageError`."""
    read_queued(folder, name)
    (folder / "review" / f"{name}.json").unlink()
