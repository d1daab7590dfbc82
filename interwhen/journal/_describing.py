"""Monitors as data, and back: what a journal must say about them so that the core can be rebuilt without their code."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_type_hints

import msgspec

from interwhen._code import code_digest
from interwhen.claims import Claim
from interwhen.errors import JournalError
from interwhen.journal._records import Header, MonitorRecord, VerifierRecord
from interwhen.monitors import Fork, Monitor
from interwhen.segments import Segment
from interwhen.verdicts import Unknown
from interwhen.verifier import Worker

_CODE = ("verifier", "extractor")
"""What in a monitor is no data."""
_CHOSEN = ("remedy", "scope")
"""What in a monitor is the choice of its plug-in, and may differ in another version of it."""
_SECRET = re.compile(r"key|token|secret|password|credential|auth", re.IGNORECASE)
_NO_SECRET = frozenset(("max_tokens", "min_tokens", "stop_token_ids", "skip_special_tokens", "ignore_eos_token"))


@dataclass(frozen=True, slots=True)
class AbsentVerifier:
    """Stands for a verifier whose verdicts are in the journal; it has no opinion of its own."""

    name: str
    version: str
    deadline: float
    worker: Worker

    def check(self, _claim: Claim, /) -> Unknown:
        """Say that it cannot tell."""
        return Unknown("this verifier is known by its record only")


def describe(
    monitors: Sequence[Monitor], specs: Sequence[object] = ()
) -> tuple[tuple[VerifierRecord, ...], tuple[MonitorRecord, ...]]:
    """Return what a journal keeps of *monitors*, which were asked for as *specs*."""
    seen: list[tuple[object, object]] = []
    verifiers: list[VerifierRecord] = []
    records: list[MonitorRecord] = []
    for place, monitor in enumerate(monitors):
        # As the core has it: what was prepared belongs to the question.
        asked = (monitor.verifier, monitor.prepare)
        number = next((at for at, other in enumerate(seen) if other[0] is asked[0] and other[1] is asked[1]), len(seen))
        if number == len(seen):
            seen.append(asked)
            who = monitor.verifier
            name, version, deadline = str(who.name), str(who.version), float(who.deadline)
            verifiers.append(VerifierRecord(name, version, deadline, who.worker, code_digest(who)))
        values = {
            entry.name: getattr(monitor, entry.name) for entry in dataclasses.fields(monitor) if entry.name not in _CODE
        }
        code = tuple(name for name, value in values.items() if callable(value))
        fields = {name: _as_read(value) for name, value in values.items() if name not in code}
        spec = specs[place] if place < len(specs) else None
        records.append(MonitorRecord(number, isinstance(monitor.extractor, Fork), fields, code, _writable(spec)))
    return tuple(verifiers), tuple(records)


def recorded_monitors(header: Header) -> tuple[Monitor, ...]:
    """Return monitors that make the core do as those of the journal did, without their code."""
    hints = get_type_hints(Monitor)
    verifiers = [AbsentVerifier(who.name, who.version, who.deadline, who.worker) for who in header.verifiers]
    return tuple(
        Monitor(
            verifier=verifiers[record.verifier],
            extractor=Fork("", lambda _reply, _segment: ()) if record.forks else _no_claims,
            **_data(record, hints),
        )
        for record in header.monitors
    )


def as_recorded(header: Header, monitors: Sequence[Monitor]) -> tuple[Monitor, ...]:
    """Return *monitors*, made by the names in *header*, with what that version of their plug-ins chose by default."""
    if len(monitors) != len(header.monitors):
        return tuple(monitors)
    hints = get_type_hints(Monitor)
    found = []
    for monitor, record in zip(monitors, header.monitors, strict=True):
        chosen = {name: value for name, value in _data(record, hints).items() if name in _CHOSEN}
        chosen.setdefault("scope", "steps")  # older records do not know it
        found.append(dataclasses.replace(monitor, **chosen))
    return tuple(found)


def refuse_others(path: str, header: Header, monitors: Sequence[Monitor]) -> None:
    """Raise :class:`JournalError` unless *monitors* are those of the journal: its facts hold for no others."""
    verifiers, records = describe(monitors)
    if len(records) != len(header.monitors):
        names = ", ".join(repr(record.fields["name"]) for record in header.monitors) or "none"
        raise JournalError(path, f"its run had the monitors {names}; got {len(records)}: give the same ones")
    for given, ours in zip(records, header.monitors, strict=True):
        name = ours.fields["name"]
        for label in sorted(ours.fields.keys()):  # one that it does not name is younger than the journal
            was, now = ours.fields[label], given.fields.get(label)
            if was != now:
                raise JournalError(path, f"monitor {name!r} had {label}={was!r}, and has {now!r} now")
        who, other = header.verifiers[ours.verifier], verifiers[given.verifier]
        if (who.name, who.version) != (other.name, other.version):
            raise JournalError(
                path,
                f"monitor {name!r} had the verifier {who.name!r} version {who.version!r}, "
                f"and has {other.name!r} version {other.version!r} now: its verdicts may differ",
            )
        if (ours.verifier, ours.forks) != (given.verifier, given.forks):
            raise JournalError(path, f"monitor {name!r} shares its verifier, or extracts, otherwise than it did")


def without_secrets(options: Mapping[str, object]) -> dict[str, object]:
    """Return *options* without those whose names say that they are nobody else's business."""
    return {name: value for name, value in options.items() if not _is_secret(name)}


def _is_secret(name: str) -> bool:
    return name not in _NO_SECRET and _SECRET.search(name) is not None


def _data(record: MonitorRecord, hints: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: msgspec.convert(value, hints[name]) for name, value in record.fields.items()}
    return {**values, **dict.fromkeys(record.code, _no_claims)}


def _as_read(value: object) -> object:
    """Return *value* as it comes back from a file: with lists for tuples, for example."""
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def _writable(spec: object) -> str | dict[str, Any] | None:
    if isinstance(spec, str):
        options = spec.partition(":")[2]
        named = (part.partition("=")[0] for part in options.split(","))
        return None if any(_is_secret(name) for name in named) else spec
    if isinstance(spec, Mapping) and not any(_is_secret(str(name)) for name in spec):
        try:
            found: dict[str, Any] = msgspec.to_builtins(dict(spec))
        except TypeError:
            return None
        return found
    return None


def _no_claims(_segment: Segment) -> tuple[Claim, ...]:
    return ()
