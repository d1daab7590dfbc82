"""The options of a journal: of a run, and of a call."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

import msgspec

from interwhen._types.errors import UsageError
from interwhen._types.vetting import Amount, Count, vet
from interwhen.journal._files import Clerk, JournalFile, JournalStore
from interwhen.journal._signatures import Signer


class ModelReference(msgspec.Struct, frozen=True):
    """Stores the arguments for :func:`~interwhen.registry.load_model`, except ``api_key``."""

    spec: str
    name: str | None = None
    api: str | None = None


@dataclass(frozen=True, slots=True)
class Journal:
    """Sets where a run writes its journal, and how durable each write is.

    Records usually go to the operating system within ``flush_seconds``, and without this delay at each request and at
    the end of the run. If the process is killed, records that were not written yet are lost; a power failure may lose
    more, unless ``fsync`` is set. Raises :class:`~interwhen.UsageError` if a number is negative, and for a path or
    model of another type.
    """

    path: str | os.PathLike[str]
    """The path of the file, which a new run creates; if a regular file exists there, it must be empty. With ``store``,
    the name of the journal in it."""
    fsync: bool = False
    """Whether to call ``fsync`` after each write. The thread of the journal waits for it, not the stream."""
    flush_seconds: Amount = 0.05
    buffer_bytes: Count = 8 << 20
    """About how many bytes may be queued when the disk is slow. With more, the journal ends, marked as incomplete."""
    close_seconds: Amount = 1.0
    """How many seconds the end of the run waits at most for the last writes."""
    model: ModelReference | None = None
    """How ``resume`` opens the model again. If it is ``None`` and the model is given by name, the run sets it."""
    monitors: tuple[object, ...] = ()
    """The specifications from which ``resume`` makes the monitors, in order. If it is empty, the run sets it."""
    store: JournalStore | None = None
    """Where the journal is stored; ``None`` for a file."""
    clerk: Callable[[], Clerk] | None = None
    """Returns the :class:`Clerk` that writes the journal; ``None`` for a thread."""
    sign_with: str | os.PathLike[str] = ""
    """The file of an Ed25519 key in PEM, with which the run signs its journal and its certificate; empty for none."""

    def __post_init__(self) -> None:
        vet(self)

    @property
    def name(self) -> str:
        """The path of the journal as text."""
        return os.fspath(self.path)

    def signer(self) -> Signer | None:
        """Return what signs; ``None`` without ``sign_with``. Raises :class:`UsageError` if the key cannot be used."""
        if not self.sign_with:
            return None
        return Signer(self.sign_with)

    def keyed(self, digest: str) -> str:
        """Return *digest* in the form that this journal stores."""
        return digest


class CallHead(msgspec.Struct, frozen=True):
    """Identifies the call that a run belongs to, as far as it is known when the run begins."""

    call_id: str
    """32 hexadecimal digits, as in logs."""
    source: Literal["wrap", "gateway"]
    api: str
    model: str
    trace_id: str = ""
    """That of the caller's ``traceparent`` header; empty if there was none."""
    streams: bool = False
    strategy: str = ""


class CallSlot(Clerk, JournalFile, Protocol):
    """One journal in a directory: its file, and the clerk that writes the records in the background."""

    @property
    def incomplete(self) -> str:
        """The reason why the journal is incomplete; empty while it is complete."""
        ...

    @property
    def has_begun(self) -> bool:
        """Whether a run has begun to write this journal."""
        ...

    def called(self, record: Any, *, has_problem: bool) -> None:
        """Queue *record*, the record of the call, as the last record of the journal, if a run has begun to write it.

        *has_problem* is true if the call had a violation, a reason for doubt or a failure.
        """
        ...

    def gave_up(self, why: str) -> None:
        """Add one to the number of lost journals. The reason *why* may be logged."""
        ...


@dataclass(frozen=True, slots=True)
class CallJournal(Journal):
    """The journal of one call in a :class:`~interwhen.journal._directory.JournalDirectory`."""

    head: CallHead = field(kw_only=True)
    redacted: bool = False
    """Whether the journal gets lengths, hashes and verdicts in place of text."""
    slot: CallSlot = field(kw_only=True, repr=False)
    hash_key: bytes = field(default=b"", repr=False)
    """The key of all hashes of texts in a redacted journal."""
    signs: Signer | None = field(default=None, repr=False)
    """Shared by all calls; ``sign_with`` is not used."""

    def signer(self) -> Signer | None:
        return self.signs

    def keyed(self, digest: str) -> str:
        # Without a key, anybody could find a short text by hashing many.
        if not (self.redacted and digest):
            return digest
        import hmac

        return hmac.digest(self.hash_key, digest.encode(), "sha256").hex()


# The settings of a file, or of a directory, that several calls write to.

S = TypeVar("S", bound=msgspec.Struct)


def read_settings(option: str, wanted: object, kind: type[S]) -> S:
    """Return the settings that *wanted* gives for *option*.

    *wanted* is a value of *kind*, a path, or a mapping of the fields of *kind*. Raises :class:`UsageError` for anything
    else, for a path or mapping whose path is empty, and for invalid values.
    """
    if isinstance(wanted, kind):
        fields: object = msgspec.structs.asdict(wanted)
    else:
        fields = {"path": os.fspath(wanted)} if isinstance(wanted, str | os.PathLike) else wanted
    if not isinstance(fields, Mapping) or not (fields.get("path") or isinstance(wanted, kind)):
        raise UsageError(f"{option} must be a path, or a mapping with a path, got {wanted!r:.200}; give one of them")
    try:
        return msgspec.convert(dict(fields), kind)
    except msgspec.ValidationError as error:
        raise UsageError(
            f"{option} must have valid values, got {dict(fields)!r:.200}: {error}; correct this field"
        ) from error
