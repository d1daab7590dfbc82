"""The records of a journal.

Unless a field says otherwise, times are in seconds since the run began. The time between the last record and a resume
does not count.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache, partial
from operator import is_
from typing import Annotated, Any, TypeAlias, get_type_hints

import msgspec
from msgspec import Meta

from interwhen._core.checks import plain, tracks
from interwhen._core.messages import (
    Abandoned,
    Broken,
    Ended,
    Extracted,
    Fact,
    Idle,
    Opened,
    OutOfTime,
    Resumed,
    Settled,
    SwitchedOff,
)
from interwhen._types.budgets import Budgets
from interwhen._types.errors import DECODE_ERRORS, JournalError
from interwhen._types.ledger import Offline, WireReport
from interwhen._types.models import Chunk, Prompt, ResumeMode, Sampling, Usage
from interwhen._types.monitors import Extractor, Fork, Monitor, Tracker
from interwhen._types.remedies import Auto, FeedbackTemplate
from interwhen._types.results import PromptRecord, Result
from interwhen._types.segments import Claim, Phase, Segment, sha256
from interwhen._types.verdicts import Unknown
from interwhen._types.verifiers import Worker
from interwhen.journal._settings import CallHead, ModelReference

Time = Annotated[float, Meta(ge=-1e12, le=1e12)]
"""Readers convert a time to whole microseconds, so it has bounds."""
RareFact: TypeAlias = (
    Opened | Ended | Broken | Extracted | Settled | OutOfTime | Idle | Abandoned | Resumed | SwitchedOff
)


class VerifierRecord(msgspec.Struct, frozen=True):
    """A verifier of the run. The deadline is in seconds."""

    name: str
    version: str
    deadline: float
    worker: Worker
    code_sha256: str = ""
    """The SHA-256 of the module file of the verifier; empty if no file could be read."""


class MonitorRecord(msgspec.Struct, frozen=True):
    """A monitor as data, without its functions."""

    verifier: int
    """The index of its verifier in ``Header.verifiers``."""
    forks: bool
    """Whether its extractor is a fork."""
    fields: dict[str, Any]
    """The values of the fields that are data."""
    code: tuple[str, ...] = ()
    """The names of the other fields, which are functions, without ``verifier`` and ``extractor``."""
    untrusted_spec: str | dict[str, Any] | None = msgspec.field(default=None, name="spec")
    """The name and options of the monitor; ``None`` if they are not known or cannot be stored, for example because an
    option may be a secret. Anybody may have written them: only :mod:`interwhen._run.consent` makes monitors of them."""
    tracks: bool = False
    """Whether its extractor, or the parser of its fork, is a tracker."""
    options_sha256: str = ""
    """The hash of ``spec``, a part of what each check judged; empty if it is not known."""

    def __post_init__(self) -> None:
        if not isinstance(self.fields.get("name"), str):
            raise TypeError(f"a monitor must have a name, got {self.fields.get('name')!r:.80}")

    @property
    def name(self) -> str:
        return str(self.fields["name"])

    @property
    def title(self) -> str:
        spec = self.untrusted_spec
        plugin = spec.partition(":")[0].strip() if isinstance(spec, str) else (spec or {}).get("name")
        return f"{self.name} ({plugin:.60})" if isinstance(plugin, str) and plugin != self.name else self.name


class Header(msgspec.Struct, frozen=True, array_like=True, tag="header", kw_only=True):
    """The settings of the run, in the first record."""

    interwhen: str
    """The version that began the run."""
    written: float
    """When the run began, in seconds since 1970 (UTC)."""
    model: str
    untrusted_model: ModelReference | None
    """How the run opened its model, if that is known. Anybody may have written it, so only
    :mod:`interwhen._run.consent` opens it."""
    prompt: Prompt
    prompt_sha256: str
    sampling: Sampling
    budgets: Budgets
    template: FeedbackTemplate
    think_tags: tuple[str, str] | None
    """``None`` if the run did not look for tags."""
    context_tokens: int | None
    """``None`` if it is not known."""
    starts_in: Phase
    verifiers: tuple[VerifierRecord, ...]
    monitors: tuple[MonitorRecord, ...]
    offline: Offline = Offline()
    """If the prepared items add text to the prompt, ``prompt`` already contains it."""
    resume: ResumeMode | None = None
    """``None`` if it was not known when the run began."""
    min_coverage: float = 0.0
    """From 0 to 1."""
    call: CallHead | None = None
    """``None`` for a run without a client or a gateway."""
    redacted: bool = False
    """Whether the journal has an outline in place of the text. Then only the hash of ``prompt`` is there."""
    prompt_findings: tuple[PromptRecord, ...] = ()
    """Empty in the journal of a call. ``prompt`` is the rewritten prompt."""
    signer: str = ""
    """The public Ed25519 key, in hex, of the signatures of the seals; empty: there are none."""

    def __post_init__(self) -> None:
        if not all(0 <= one.verifier < len(self.verifiers) for one in self.monitors):
            raise ValueError("each monitor must have one of the verifiers")


class TextRecord(msgspec.Struct, frozen=True, array_like=True, tag="text"):
    """Consecutive chunks of plain text, with their times."""

    at: Time
    """The time of the first chunk."""
    phase: Phase
    texts: tuple[str, ...]
    clock: tuple[Time, ...]
    """When each chunk came, in seconds on some clock."""

    def __post_init__(self) -> None:
        if len(self.clock) != len(self.texts):
            raise ValueError(f"there must be a time for each text, got {len(self.clock)} for {len(self.texts)}")

    def times(self) -> list[float]:
        # In seconds since the run began, rounded down to microseconds.
        return [int((self.at + time - self.clock[0]) * 1e6) / 1e6 for time in self.clock]


class ChunkRecord(msgspec.Struct, frozen=True, array_like=True, tag="came"):
    """A chunk that has more than plain text, such as a finish reason, token counts or a tool call."""

    at: Time
    chunk: Chunk


class FactRecord(msgspec.Struct, frozen=True, array_like=True, tag="told"):
    """A fact that the core received, of any type except a chunk."""

    at: Time
    length: int
    """The length of the trace in characters before this fact. A rebuilt trace must have the same length."""
    fact: RareFact


class SpentRecord(msgspec.Struct, frozen=True, array_like=True, tag="spent"):
    """Counters and times that the engine measured, which the core does not know."""

    fork_tokens: int = 0
    """The generated tokens of the forks that were answered so far, as the model counts."""
    fork_prompt_tokens: int = 0
    """The prompt tokens of these forks; the next field has the cached ones among them."""
    fork_cached_tokens: int = 0
    first_token: float | None = None
    """This and the next three fields are those of :class:`~interwhen.results.Timing`."""
    largest_gap: float = 0.0
    paused: float = 0.0
    close_latency: tuple[float, ...] = ()
    unread: int = 0
    """Tokens that arrived after the end of the run, in the same read."""
    wire: WireReport | None = None
    """``None`` if there was nothing to report."""
    wasted: int = 0
    """As :attr:`~interwhen.results.Ledger.wasted_tokens`."""
    behind: Usage | None = None
    """The server's token counts, if they arrived after the end of the run in the same read."""
    resumes: tuple[tuple[int, float | None], ...] = ()
    """For each request that continued kept text: its number, and the seconds until its first text, if any has come."""
    probe_tokens: int = 0
    """As :attr:`~interwhen.results.Ledger.probe_tokens`."""


class EndRecord(msgspec.Struct, frozen=True, array_like=True, tag="ending"):
    at: Time
    result: Result


class OutlineRecord(msgspec.Struct, frozen=True, array_like=True, tag="outline"):
    """What is new in the timeline, as JSON: :class:`~interwhen.journal._timeline.RunNotes`."""

    # A redacted journal has these records instead of text and facts.

    at: float
    part: str


class CalledRecord(msgspec.Struct, frozen=True, array_like=True, tag="called"):
    """The record of a supervised call, without prompt and text."""

    record: Any
    """A :class:`~interwhen.clients._call_record.CallRecord`; when it is read, a dictionary with its fields."""


class SealRecord(msgspec.Struct, frozen=True, array_like=True, tag="seal"):
    """Binds all records before it. It follows each check that ended, the end of the run, and the record of the call."""

    # Without a seal after it, a verdict or a result does not count: the file ends early.

    checks: str
    """The head of the core's chain over the checks that have ended (:attr:`Certificate.chain_sha256`)."""
    digest: bytes = b""
    """The head of the chain over the payloads of all records before this one: see :func:`link`."""
    signature: bytes = b""
    """The signature by :attr:`Header.signer`; empty if there is none."""

    def signed_bytes(self) -> bytes:
        return b"interwhen journal\n" + self.digest + self.checks.encode()


def link(digest: bytes, payload: bytes) -> bytes:
    from hashlib import sha256  # this import takes 3 ms, because it loads OpenSSL

    return sha256(digest + sha256(payload).digest()).digest()


class EscapedRecord(msgspec.Struct, frozen=True, array_like=True, tag="escaped"):
    """A record as ASCII JSON, because its text contains lone surrogates, which UTF-8 cannot encode."""

    json: str


Record: TypeAlias = (
    Header | TextRecord | ChunkRecord | FactRecord | SpentRecord | EndRecord | OutlineRecord | CalledRecord | SealRecord
)
"""A closed union without :class:`EscapedRecord`, which only encodes one of the others."""


def encode(record: Record) -> bytes:
    try:
        return _encoder().encode(record)
    except UnicodeEncodeError:
        import json

        text = json.dumps(msgspec.to_builtins(record, enc_hook=plain), default=plain)
        return msgspec.msgpack.encode(EscapedRecord(text))


def decode(payload: bytes) -> Record:
    # Raises `msgspec.MsgspecError` or `ValueError` if `payload` is not a record.
    record = _decoder().decode(payload)
    if isinstance(record, EscapedRecord):
        import json

        record = msgspec.convert(json.loads(record.json), Record)
    return record


class TextColumns:
    """Collects consecutive plain chunks of one phase for :class:`TextRecord`."""

    # One thread may add chunks while another takes them.

    __slots__ = ("began", "cost", "is_awake", "items", "phase", "taken")

    def __init__(self, phase: Phase | None, began: float = 0.0) -> None:
        # `began` is when the run began, on the clock of the times.
        self.phase = phase
        self.began = began
        # One call adds text and time, so that the other thread never sees one without the other. One list for both:
        # with hundreds of streams, each further object costs a cache miss. `take` subtracts `began` once for all.
        self.items: list[Any] = []
        """The text of each chunk, followed by its time on the clock of the run."""
        self.taken = 0
        self.cost = 0
        """The approximate memory in bytes; 0 before the columns are complete."""
        self.is_awake = False
        """Whether the thread that takes chunks will look again. If not, it must be woken after a chunk was added."""

    def take(self) -> TextRecord | None:
        self.is_awake = False  # before the copy, so that a chunk added after the copy wakes this thread again
        items = self.items[self.taken :]
        if not items or self.phase is None:
            return None
        self.taken += len(items)
        return TextRecord(items[1] - self.began, self.phase, tuple(items[::2]), tuple(items[1::2]))


def is_plain(chunk: Chunk) -> bool:
    return (
        chunk.tokens == 1
        and chunk.finish_reason is None
        and chunk.usage is None
        and chunk.logprob is None
        and chunk.call is None
    )


def fact_record(at: float, length: int, fact: Fact) -> FactRecord:
    """Return the record of *fact*, which must not be a chunk.

    Of an extracted claim, it has only the key and the span.
    """
    assert not isinstance(fact, Chunk)
    if isinstance(fact, Extracted):
        claims = tuple(Claim(key=str(claim.key), span=claim.span) for claim in fact.claims)
        fact = msgspec.structs.replace(fact, claims=claims)
    return FactRecord(at, length, fact)


@cache
def _encoder() -> msgspec.msgpack.Encoder:
    return msgspec.msgpack.Encoder(enc_hook=plain)


@cache
def _decoder() -> msgspec.msgpack.Decoder[Record | EscapedRecord]:
    return msgspec.msgpack.Decoder(Record | EscapedRecord)


# Monitors as data, and back, so that the core can be rebuilt without their code.

_CODE = ("verifier", "extractor", "spec")
"""The fields that the record of a monitor has in another form."""
_CHOSEN = ("remedy", "scope", "trigger")
"""The fields whose default the plug-in chooses. Another version of the plug-in may choose another default."""
_SECRET = re.compile(r"key|token|secret|password|credential|auth", re.IGNORECASE)
_NO_SECRET = frozenset(("max_tokens", "min_tokens", "stop_token_ids", "skip_special_tokens", "ignore_eos_token"))


class AbsentVerifier(msgspec.Struct, frozen=True):
    """Replaces a verifier whose verdicts are in the journal. A new check with it returns ``Unknown``."""

    name: str
    version: str
    deadline: float
    worker: Worker

    def check(self, _claim: Claim, /) -> Unknown:
        return Unknown(
            "the code of this verifier is not in the journal, only its record: give monitors=[...] to check again"
        )


def describe(
    monitors: Sequence[Monitor], specs: Sequence[object] = ()
) -> tuple[tuple[VerifierRecord, ...], tuple[MonitorRecord, ...]]:
    """Return the records of the *monitors* and of their verifiers.

    *specs* are the specifications for monitors that have none themselves; they are ignored if their number differs.
    """
    seen: list[tuple[object, object]] = []
    verifiers: list[VerifierRecord] = []
    records: list[MonitorRecord] = []
    for place, monitor in enumerate(monitors):
        # As in the core: monitors share verdicts only if they also share what was prepared.
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
        # One specification may make several monitors. Then only the monitors themselves tell from which they were made.
        spec = specs[place] if monitor.spec is None and len(specs) == len(monitors) else monitor.spec
        forks, tracker = isinstance(monitor.extractor, Fork), tracks(monitor.extractor)
        options = options_digest(monitor)
        records.append(MonitorRecord(number, forks, fields, code, _writable(spec), tracker, options))
    return tuple(verifiers), tuple(records)


def code_digest(verifier: Any) -> str:
    # The SHA-256 of the file that defines `check`, without the modules that it imports. It is cached, so later changes
    # of the file are usually not seen.
    check = inspect.unwrap(getattr(verifier, "check", verifier))
    check = getattr(check, "func", check)  # of a partial
    module = getattr(check, "__module__", None) or type(verifier).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    return _of_file(file) if isinstance(file, str) else ""


@lru_cache(maxsize=256)
def _of_file(file: str) -> str:
    try:
        import hashlib
        from pathlib import Path

        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""


def options_digest(monitor: Monitor) -> str:
    spec = _writable(monitor.spec)
    try:
        return "" if spec is None else sha256(msgspec.json.encode(spec, order="sorted").decode())
    except (TypeError, UnicodeEncodeError):
        return ""


Described: TypeAlias = tuple[tuple[VerifierRecord, ...], tuple[MonitorRecord, ...]]

_DESCRIBED: deque[tuple[Sequence[Monitor], Sequence[object], object, Described]] = deque(maxlen=8)
"""The last monitors that were described: the calls of a gateway usually have the same ones."""


def describe_again(monitors: Sequence[Monitor], specs: Sequence[object] = ()) -> Described:
    # Of changes inside these objects, only those of name, version, deadline and worker of a verifier are noticed.
    now = [(who.name, who.version, who.deadline, who.worker) for who in (one.verifier for one in monitors)]
    for known, others, then, described in tuple(_DESCRIBED):
        same = len(known) == len(monitors) and len(others) == len(specs) and then == now
        if same and all(map(is_, known, monitors)) and all(map(is_, others, specs)):
            return described
    made = describe(monitors, specs)
    _DESCRIBED.append((tuple(monitors), tuple(specs), now, made))
    return made


def _extractor_of(record: MonitorRecord) -> Extractor:
    tracker: Tracker[None] = Tracker(lambda _prepared: None, lambda _state, *_given: (None, ()))
    if record.forks:
        return Fork("", tracker if record.tracks else lambda _reply, _segment: ())
    return tracker if record.tracks else _no_claims


def recorded_monitors(header: Header, path: str) -> tuple[Monitor, ...]:
    hints = get_type_hints(Monitor)
    verifiers = [AbsentVerifier(who.name, who.version, who.deadline, who.worker) for who in header.verifiers]
    try:
        return tuple(
            Monitor(
                verifier=verifiers[record.verifier],
                extractor=_extractor_of(record),
                **_data(record, hints),
            )
            for record in header.monitors
        )
    except (LookupError, TypeError, ValueError, *DECODE_ERRORS) as error:
        raise JournalError(
            path,
            f"its monitors must have settings that this version knows, and one has not ({error!r:.200}): use the "
            f"version that wrote it, {header.interwhen}",
        ) from error


def as_recorded(header: Header, monitors: Sequence[Monitor]) -> tuple[Monitor, ...]:
    # Another number of monitors is left to `refuse_others`, which the caller calls next, and which raises.
    if len(monitors) != len(header.monitors):
        return tuple(monitors)
    hints = get_type_hints(Monitor)
    recorded = []
    for monitor, record in zip(monitors, header.monitors, strict=True):
        chosen = {name: value for name, value in _data(record, hints).items() if name in _CHOSEN}
        recorded.append(dataclasses.replace(monitor, **chosen))
    return tuple(recorded)


def with_recorded_remedies(header: Header, monitors: Sequence[Monitor]) -> tuple[Monitor, ...]:
    hints = get_type_hints(Monitor)
    recorded = {record.fields.get("name"): record.fields.get("remedy") for record in header.monitors}
    return tuple(
        dataclasses.replace(monitor, remedy=msgspec.convert(remedy, hints["remedy"]))
        if isinstance(monitor.remedy, Auto) and (remedy := recorded.get(monitor.name)) is not None
        else monitor
        for monitor in monitors
    )


def refuse_others(path: str, header: Header, monitors: Sequence[Monitor]) -> None:
    # What the header records of the monitors is compared, but not their code.
    verifiers, records = describe(monitors)
    hints = get_type_hints(Monitor)
    if len(records) != len(header.monitors):
        names = ", ".join(repr(record.fields["name"]) for record in header.monitors) or "none"
        raise JournalError(
            path, f"the monitors must be those of its run ({names}), got {len(records)} monitors: give the same ones"
        )
    for given, ours in zip(records, header.monitors, strict=True):
        name = ours.fields["name"]
        for label in sorted(ours.fields.keys()):  # a field that is missing there is newer than the journal
            was, now = ours.fields[label], given.fields.get(label)
            read = partial(msgspec.convert, type=hints[label])  # missing fields get their default values
            if was != now and (label not in given.fields or read(was) != read(now)):
                raise JournalError(
                    path,
                    f"monitor {name!r:.80} must have {label}={was!r:.80} as in its run, got {now!r:.80}: "
                    "set it as in the run",
                )
        who, other = header.verifiers[ours.verifier], verifiers[given.verifier]
        if (who.name, who.version) != (other.name, other.version):
            raise JournalError(
                path,
                f"monitor {name!r:.80} must have the verifier {who.name!r} version {who.version!r} as in "
                f"its run, got {other.name!r} version {other.version!r}: install the old version",
            )
        if (ours.verifier, ours.forks) != (given.verifier, given.forks):
            raise JournalError(
                path,
                f"monitor {name!r:.80} must share its verifier and extract claims as in its run, and does "
                "it differently: give the monitors of the run",
            )


def without_secrets(options: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in options.items() if not _is_secret(name)}


def is_writable(spec: str) -> bool:
    return _writable(spec) is not None


def _is_secret(name: str) -> bool:
    return name not in _NO_SECRET and _SECRET.search(name) is not None


def _data(record: MonitorRecord, hints: Mapping[str, Any]) -> dict[str, Any]:
    values = {name: msgspec.convert(value, hints[name]) for name, value in record.fields.items()}
    return {**values, **dict.fromkeys(record.code, _no_claims)}


def _as_read(value: object) -> object:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(value))


def _writable(spec: object) -> str | dict[str, Any] | None:
    if isinstance(spec, str):
        options = spec.partition(":")[2]
        named = (part.partition("=")[0] for part in options.split(","))
        return None if any(_is_secret(name) for name in named) else spec
    if isinstance(spec, Mapping) and not any(_is_secret(str(name)) for name in spec):
        try:
            plain_spec: dict[str, Any] = msgspec.to_builtins(dict(spec))
        except TypeError:
            return None
        return plain_spec
    return None


def _no_claims(_segment: Segment) -> tuple[Claim, ...]:
    return ()
