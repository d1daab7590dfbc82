"""A directory of journals: one file a call, written by one thread for all calls of a process that use the directory.

A journal that the disk does not take is given up and counted; its call continues. Why:
docs/decisions/journal.md.
"""

from __future__ import annotations

import errno
import os
import re
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from interwhen._types.errors import UsageError
from interwhen._types.log import log_info, log_warning
from interwhen.journal._background_writer import BackgroundWriter
from interwhen.journal._records import CalledRecord
from interwhen.journal._settings import CallHead, CallJournal, Journal, read_settings
from interwhen.journal._writer import JournalWriter

if TYPE_CHECKING:
    from interwhen.journal._signatures import Signer

FLUSH_SECONDS = 2.0
"""The pause between two writes. A write costs as much as the records of ten chunks."""
BUSY_SECONDS = 5.0
"""The pause while more than :data:`MANY` journals are written."""
MANY = 100
"""With more journals, the writes of all together would take a noticeable share of a core."""
QUEUED_BYTES = 1 << 20
"""About how many bytes of one call may wait for the disk, before its journal is given up."""
STUCK_SECONDS = 5.0
"""If the disk does not answer for so long, new calls get no journal, so that memory stays bounded."""
_HELD_BYTES = 256 << 10
"""The most bytes of one call that wait in memory until it is known whether its journal is kept."""
_RECORD_SECONDS = 10.0
"""How long the journal of an ended run waits at least for the record of its call."""
_SCAN_SECONDS = 60.0
"""How often the directory is read again, because other processes may write to it."""
_LINGER_SECONDS = 60.0
"""How long the thread looks for more records before it sleeps."""
_WORK_SECONDS = 0.0003
"""How long the thread works until it lets the event loop run."""
_OPEN_SHARE = 4
"""One of so many descriptors of the process may be a journal that stays open between two writes."""
_CLOSE_SECONDS = 5.0
_NAME = re.compile(r"[0-9a-f]{32}\.journal")
"""Our files; only these are ever deleted."""

Kept = Literal["all", "problems", "share"]


class JournalSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which journals of calls are stored, where, what they contain, and how large they may become."""

    path: Annotated[str, Meta(description="The directory, with one file per call; empty for no journals.")] = ""
    keep: Annotated[
        Kept,
        Meta(
            description="all: every call; problems: calls with a violation, a reason for doubt or a failure; "
            "share: a share of all calls."
        ),
    ] = "all"
    share: Annotated[
        float,
        Meta(
            ge=0,
            le=1,
            description="With keep = 'share', the share of calls; with 'problems', the share of the other calls that "
            "are kept, too.",
        ),
    ] = 0.0
    text: Annotated[
        Literal["full", "redacted"],
        Meta(
            description="full: prompts and texts, so that a run can be replayed; redacted: lengths, hashes and "
            "verdicts only."
        ),
    ] = "full"
    max_bytes: Annotated[
        int, Meta(ge=1 << 16, description="The most bytes of all journals; the oldest ones are deleted.")
    ] = 1 << 30
    max_days: Annotated[float, Meta(gt=0, description="After how many days a journal is deleted.")] = 30.0
    sign_with: Annotated[
        str, Meta(description="The file of an Ed25519 key in PEM that signs each journal; empty for no signatures.")
    ] = ""


class JournalDirectory(BackgroundWriter):
    _open: ClassVar[weakref.WeakValueDictionary[str, JournalDirectory]] = weakref.WeakValueDictionary()
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, settings: JournalSettings) -> None:
        super().__init__("interwhen journals", _CLOSE_SECONDS)
        self.settings = settings
        self.kept = 0
        """How many journals have been written to their end."""
        self.passed_over = 0
        """How many calls have no journal because of the setting ``keep``. Some had one while they ran."""
        self.dropped = 0
        """How many journals were given up, or never begun, usually because the disk did not take them."""
        self.deleted = 0
        """How many journals were deleted because of ``max_bytes`` or ``max_days``, also if deleting failed."""
        self.bytes = 0
        """The bytes of all journals in the directory, as far as this process knows."""
        self._folder = Path(settings.path)
        self._hash_key = b""
        self._signer: Signer | None = None
        self._woken: deque[JournalSlot] = deque()
        self._ended: list[JournalSlot] = []
        """The slots whose run has ended, which wait for the record of their call."""
        self._names: set[str] = set()
        """The files that this process is writing."""
        self._files: deque[tuple[str, int]] = deque()
        """The other files with their sizes, oldest first."""
        self._scanned = float("-inf")
        self.alive = self._asked = time.monotonic()
        """When the thread was last active, and when it was last asked to write."""
        self.open_files = 0
        self.most_open = 0
        """How many files may stay open between two writes."""
        self.yielded = 0.0
        """When the thread last let the event loop run: each system call on a file does."""
        self._pause = FLUSH_SECONDS
        """How long records wait, so that the thread has many of them to write."""
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._sleeps = False
        """Whether the thread waits until it is woken."""
        self._is_closing = threading.Event()
        self._is_failing = False

    @classmethod
    def at(cls, settings: JournalSettings) -> JournalDirectory:
        """Return the journal directory for *settings*: an open one with the same path, or a new one with its folder.

        Raises :class:`~interwhen.UsageError` if it is open with other settings, or cannot be created or written.
        """
        path = str(Path(settings.path).absolute())
        ours = msgspec.structs.replace(settings, path=path)
        with cls._lock:
            known = cls._open.get(path)
            if known is not None:
                if known.settings != ours:
                    raise UsageError(
                        f"all users of the journal directory {settings.path!r:.200} must have the same settings, got "
                        f"{settings} and {known.settings}: use equal ones, or another directory"
                    )
                return known
            try:
                Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
            except (OSError, ValueError) as error:
                raise UsageError(
                    f"the journal directory {settings.path!r:.200} must be a directory that can be made, and is not "
                    f"({getattr(error, 'strerror', error)}): correct the path or its permissions"
                ) from error
            if not os.access(path, os.W_OK | os.X_OK):
                raise UsageError(
                    f"the journal directory {settings.path!r:.200} must be writable, and is not: correct its mode"
                )
            made = cls(ours)
            made.open_keys()
            cls._open[path] = made
            return made

    def open_keys(self) -> None:
        """Read the key of redacted journals, which is made if there is none, and try the signing key.

        Raises :class:`~interwhen.UsageError` if one of them cannot be used.
        """
        if self.settings.text == "redacted":
            self._hash_key = _hash_key(self._folder / "hash.key")
        self._signer = Journal(self.settings.path, sign_with=self.settings.sign_with).signer()

    def begin(self, head: CallHead, *, shows_path: bool) -> CallJournal | None:
        """Return the journal for the call described by *head*.

        ``None`` if the call is not in the share that gets journals, or if the disk does not answer; both are counted.
        With *shows_path*, the result of the call contains the full path of the file, otherwise only its name.
        """
        settings = self.settings
        chosen = _is_chosen(head.call_id, settings.share)
        if settings.keep == "share" and not chosen:
            self.passed_over += 1
            return None
        self.start()
        if self._woken and time.monotonic() - max(self.alive, self._asked) > self._pause + STUCK_SECONDS:
            self.lose("the disk does not answer")
            return None
        name = f"{head.call_id}.journal"
        slot = JournalSlot(self, name, is_kept=settings.keep != "problems" or chosen)
        return CallJournal(
            str(self._folder / name) if shows_path else name,
            flush_seconds=FLUSH_SECONDS,
            buffer_bytes=QUEUED_BYTES,
            head=head,
            redacted=settings.text == "redacted",
            slot=slot,
            hash_key=self._hash_key,
            signs=self._signer,
        )

    def wake(self, slot: JournalSlot) -> None:
        """Let the thread write the records that *slot* has queued."""
        self._woken.append(slot)
        if self._sleeps and not self._wake.is_set():
            self._asked = time.monotonic()
            self._wake.set()

    def hurry(self) -> None:
        """Let the thread write all queued records without its delay. Does not wait."""
        self._hurry.set()
        self._wake.set()

    def lose(self, why: str) -> None:
        """Add one to ``dropped``, and log the reason *why*, but not again until a journal could be written."""
        self.dropped += 1
        if not self._is_failing:
            self._is_failing = True
            log_warning("journal.failed", path=self.settings.path, why=why)

    def _begin(self) -> Callable[[], None]:
        self._is_closing, self.alive = threading.Event(), time.monotonic()
        self._hurry.clear()
        return partial(self._run_until, self._is_closing)

    def _tell_to_end(self) -> bool:
        self._is_closing.set()
        self.hurry()
        return True

    def _forget(self) -> None:
        self._woken, self._ended, self._names = deque(), [], set()
        self._wake, self._hurry, self._sleeps = threading.Event(), threading.Event(), False

    def _run_until(self, is_closing: threading.Event) -> None:
        last = time.monotonic()
        while not is_closing.is_set():
            if time.monotonic() - last > _LINGER_SECONDS:
                self._sleep()
            if self._hurry.wait(self._pause):
                self._hurry.clear()
            if self._woken:
                last = time.monotonic()
            self._write()
        self._write()
        for slot in tuple(self._ended):
            self._finish(slot)

    def _sleep(self) -> None:
        self._sleeps = True
        # Look only now: a record that was queued before has not woken the thread, and a later one will.
        if not self._woken:
            self._wake.wait(_RECORD_SECONDS if self._ended else None)
        self._sleeps = False
        self._wake.clear()

    def _write(self) -> None:
        self.most_open = _most_open()
        self.yielded = time.monotonic()
        woken = dict.fromkeys(self._woken.popleft() for _ in range(len(self._woken)))
        self._pause = BUSY_SECONDS if len(woken) > MANY else FLUSH_SECONDS
        for slot in woken:
            self.alive = time.monotonic()
            if slot.step():
                if slot not in self._ended:
                    self._ended.append(slot)
                if slot.is_called:
                    self._finish(slot)
            if self.alive - self.yielded > _WORK_SECONDS:
                # Lets the event loop run: it may wait for the interpreter's lock.
                time.sleep(0)
                self.yielded = time.monotonic()
        now = time.monotonic()
        for slot in tuple(self._ended):
            if now - slot.ended_at > _RECORD_SECONDS:
                self._finish(slot)
        if now - self._scanned > _SCAN_SECONDS:
            self._scan(now)
        self.alive = time.monotonic()

    def _finish(self, slot: JournalSlot) -> None:
        self._ended.remove(slot)
        size = slot.finish()
        self._names.discard(slot.name)
        if size is None:
            self.passed_over += 1
            return
        self._files.append((slot.name, size))
        if not slot.incomplete:
            self.kept += 1
            if self._is_failing:
                self._is_failing = False
                log_info("journal.resumed", path=self.settings.path, dropped=self.dropped)

    def open(self, name: str) -> int:
        """Open the file *name* to append to it, and return its descriptor.

        Until its journal is finished, this process does not delete the file to make room. Raises :class:`OSError`.
        """
        self._names.add(name)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_CLOEXEC", 0)
        return os.open(os.path.join(self.settings.path, name), flags, 0o600)  # noqa: PTH118  (a Path costs more)

    def make_room(self, size: int) -> None:
        """Delete the oldest journals until ``max_bytes`` allows *size* more bytes, and count these as used.

        Raises :class:`OSError`, and deletes nothing, if ``max_bytes`` would be too small even without all others.
        """
        if self._scanned < 0:
            self._scan(time.monotonic())
        oldest: list[tuple[str, int]] = []
        need = self.bytes + size - self.settings.max_bytes
        while need > 0:
            if not self._files:
                self._files.extend(oldest)
                raise OSError(errno.EDQUOT, f"the journals may have {self.settings.max_bytes} bytes together")
            oldest.append(self._files.popleft())
            need -= oldest[-1][1]
        for name, its_size in oldest:
            self._delete(name, its_size)
        self.bytes += size

    def remove(self, name: str, size: int) -> None:
        """Delete the file *name* of *size* bytes. An error is only logged."""
        self.bytes -= size
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            log_warning("journal.undeletable", path=self.settings.path, why=error.strerror)

    def _delete(self, name: str, size: int) -> None:
        self.remove(name, size)
        self.deleted += 1

    def _scan(self, now: float) -> None:
        # Journals that this process writes, and files with other names, stay.
        self._scanned = now
        journals, ours = [], 0
        try:
            with os.scandir(self._folder) as entries:
                for entry in entries:
                    if not _NAME.fullmatch(entry.name):
                        continue
                    size = entry.stat().st_size
                    if entry.name in self._names:
                        ours += size
                    else:
                        journals.append((entry.name, size))
        except OSError as error:
            log_warning("journal.unreadable", path=self.settings.path, why=error.strerror)
            return
        journals.sort()
        self._files = deque(journals)
        self.bytes = ours + sum(size for _, size in journals)
        oldest = (time.time() - self.settings.max_days * 86_400) * 1000
        while self._files and int(self._files[0][0][:12], 16) < oldest:
            self._delete(*self._files.popleft())
        while self._files and self.bytes > self.settings.max_bytes:
            self._delete(*self._files.popleft())


class JournalSlot:
    """One journal in a directory: the file of its writer, and the clerk that writes to it."""

    # With `is_kept`, the journal is kept however the call ends; otherwise only if the call had a problem, or gets no
    # record.

    def __init__(self, directory: JournalDirectory, name: str, *, is_kept: bool) -> None:
        self.name = name
        self.ended_at = 0.0
        """When :meth:`end` was called first, on the monotonic clock; 0 before."""
        self.has_begun = False
        self.is_called = False
        self._directory = directory
        self._is_kept = is_kept
        self._held: bytearray | None = None if is_kept else bytearray()
        """The bytes that wait until it is known whether the journal is kept; ``None`` if they go to the file."""
        self._writing: JournalWriter | None = None
        self._descriptor: int | None = None
        self._size = 0
        self._incomplete = ""
        self._is_over = False
        self._has_problem = True  # unless the record of the call says otherwise

    @property
    def incomplete(self) -> str:
        return self._incomplete if self._writing is None else self._writing.incomplete

    def start(self, writing: Any, _seconds: float) -> None:
        self._writing = writing
        self.has_begun = True

    def wake(self) -> None:
        self._directory.wake(self)

    def hurry(self) -> None:
        """Do nothing. No record of a call is urgent, because calls are not resumed."""

    def end(self) -> None:
        # The journal stays open for the record of the call.
        if not self.ended_at:
            self.ended_at = time.monotonic()
            self._directory.wake(self)

    async def ended(self, _seconds: float) -> bool:
        # No call waits for its journal.
        return True

    def called(self, record: Any, *, has_problem: bool) -> None:
        self._has_problem = has_problem
        if self._writing is not None:
            self._writing.put(CalledRecord(record))
            self._writing.seal()
        self.is_called = True
        if self.ended_at:
            self._directory.wake(self)

    def gave_up(self, why: str) -> None:
        self._directory.lose(why)

    def step(self) -> bool:
        # True: the run has ended, and the journal waits only for the record of its call.
        if self._is_over or self._writing is None:
            return False
        self._writing.write()
        return bool(self.ended_at)

    def finish(self) -> int | None:
        assert self._writing is not None
        self._writing.write()
        self._is_over = True
        is_kept = self._is_kept or self._has_problem
        if is_kept and self._held and not self.incomplete:
            held, self._held = bytes(self._held), None
            try:
                self._append(held)
            except OSError as error:
                self._writing.give_up(f"it cannot be written: {error.strerror or error}")
        self._writing.shut()
        self._incomplete, self._writing = self._writing.incomplete, None  # breaks a reference cycle
        if self._size and (not is_kept):
            self._directory.remove(self.name, self._size)
        return self._size if is_kept else None

    def write(self, data: bytes, /) -> int:
        if self._held is not None:
            self._held += data
            if len(self._held) <= _HELD_BYTES:
                return len(data)
            held, self._held = bytes(self._held), None
            self._append(held)
            return len(data)
        self._append(data)
        return len(data)

    def sync(self) -> None:
        """Do nothing: journals of calls are not forced to the disk."""

    def close(self) -> None:
        was_open = self._descriptor is not None
        self._shut()
        if was_open and not self._size:
            self._directory.remove(self.name, 0)

    def _shut(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            self._directory.open_files -= 1
            os.close(descriptor)

    def _append(self, data: bytes) -> None:
        self._directory.make_room(len(data))
        if self._descriptor is None:
            self._descriptor = self._directory.open(self.name)
            self._directory.open_files += 1
        left = memoryview(data)
        try:
            while left:
                taken = os.write(self._descriptor, left)
                self._size += taken
                left = left[taken:]
        finally:
            self._directory.bytes -= len(left)
        self._directory.yielded = self._directory.alive
        if self._directory.open_files > self._directory.most_open:
            self._shut()


def _hash_key(path: Path) -> bytes:
    try:
        if not path.exists():
            made = path.with_name(f"{path.name}.{os.getpid()}")
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(os.urandom(32))
            with suppress(FileExistsError):  # another process was faster, and its key is the one
                os.link(made, path)
            made.unlink()
        key = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the key {str(path)!r:.200} must be readable, and is not ({error.strerror})") from error
    if len(key) != 32:
        raise UsageError(f"the key {str(path)!r:.200} must have 32 bytes, got {len(key)}: restore or remove it")
    return key


def _most_open() -> int:
    try:
        import resource
    except ImportError:  # Windows
        return 64
    # The gateway raises its limit after it has made the directory.
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 4096 if soft == resource.RLIM_INFINITY else soft // _OPEN_SHARE


def _is_chosen(call_id: str, share: float) -> bool:
    return int(call_id[-8:], 16) < share * (1 << 32)


def open_journals(wanted: object) -> JournalDirectory | None:
    # Raises `UsageError` if the directory cannot be made or written, or is open in this process with other settings.
    if wanted is None or isinstance(wanted, JournalDirectory):
        return wanted
    settings = read_settings("journal", wanted, JournalSettings)
    return JournalDirectory.at(settings) if settings.path else None
