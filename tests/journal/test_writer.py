"""A journal never holds a run up, and never fails it."""

import io
import logging
import threading

import anyio
import interwhen
import pytest
from interwhen import Journal, JournalError, UsageError, read_journal
from interwhen.journal._files import frames
from interwhen.testing import Pause, ScriptedModel
from journals import KINDS, goes_on, taken_apart
from sums import apply, slow, supervise, watch

pytestmark = pytest.mark.anyio


class File:
    """A file in memory that fails, or waits, once it holds *size* bytes."""

    def __init__(self, size=1 << 60, gate=None, piece=1 << 60):
        self.data = b""
        self.closed = 0
        self.syncs = 0
        self._size = size
        self._gate = gate
        self._piece = piece

    def write(self, data):
        if self._gate is not None and len(self.data) + len(data) > self._size:
            self._gate.wait(30)
        elif len(self.data) + len(data) > self._size:
            taken = self._size - len(self.data)
            self.data += data[:taken]
            if taken:
                return taken
            raise OSError(28, "No space left on device")
        self.data += data[: self._piece]
        return min(len(data), self._piece)

    def sync(self):
        self.syncs += 1

    def close(self):
        self.closed += 1


class Memory:
    """A store with one file."""

    def __init__(self, file):
        self.file = file

    def read(self, _name):
        return self.file.data

    def open(self, _name, *, keep, found):
        assert len(self.file.data) == found
        self.file.data = self.file.data[:keep]
        return self.file


def journal(file, **options):
    return Journal("memory", store=Memory(file), **options)


async def run(file, **options):
    with_journal = interwhen.run(goes_on(), "Q", monitors=[watch()], journal=journal(file, **options))
    async with with_journal as going:
        events = [event async for event in going]
    assert events[-1] == interwhen.Finished(going.result)
    return going.result, events


@pytest.fixture
async def plain():
    return await supervise(goes_on(), watch())


def warnings(caplog):
    return [entry.getMessage() for entry in caplog.records if "journal.given_up" in entry.getMessage()]


async def test_a_result_says_what_became_of_the_journal(plain):
    file = File()
    result, events = await run(file)
    assert result.text == plain[0].text
    assert [type(event) for event in events] == [type(event) for event in plain[1]]
    assert (result.journal.path, result.journal.size, result.journal.incomplete) == ("memory", len(file.data), "")
    assert (file.closed, file.syncs) == (1, 0)
    assert plain[0].journal is None
    *_, ending = taken_apart(file.data)
    assert ending.result.text == result.text


@pytest.mark.fault(
    "P5", injected="the file fails at byte k", happens="the run continues; its result says what is missing"
)
async def test_a_disk_that_is_full_at_any_byte_costs_the_record_not_the_run(plain, caplog, record_property):
    whole = File()
    await run(whole)
    sizes = range(0, len(whole.data) - 1, 211)
    record_property("tries", len(sizes))
    for size in sizes:
        caplog.clear()
        file = File(size)
        result, _ = await run(file)
        assert (result.status, result.text, result.ledger) == (plain[0].status, plain[0].text, plain[0].ledger)
        assert result.journal.incomplete == "it cannot be written: No space left on device"
        assert result.journal.size == len(file.data) == size
        assert file.closed == 1
        assert len(warnings(caplog)) == 1
        if size > 16:
            assert sum(len(entry.payload) + 8 for entry in frames(file.data, "x")) <= size - 16


@pytest.mark.fault("P5", injected="/dev/full", happens="the run continues; its result says what is missing")
async def test_dev_full(plain, loop):
    async with interwhen.run(goes_on(), "Q", monitors=[watch()], journal="/dev/full") as going:
        result = await going.drain()
    assert result.text == plain[0].text
    assert result.journal == interwhen.journal.JournalState(
        "/dev/full", 0, "it cannot be written: No space left on device"
    )


@pytest.mark.fault("P5", injected="a disk that never answers", happens="the run ends in time, without its record")
async def test_a_disk_that_hangs_holds_nothing_up(plain, loop, caplog):
    gate = threading.Event()
    file = File(size=0, gate=gate)
    try:
        result, _ = await run(file, close_seconds=0.05)
    finally:
        gate.set()
    assert result.text == plain[0].text
    assert result.journal.incomplete == "the disk did not accept the last records within 0.05 s"
    assert len(warnings(caplog)) == 1


@pytest.mark.fault("P5", injected="a disk slower than the stream", happens="memory is bounded; the rest is not written")
async def test_a_disk_that_is_too_slow_is_given_up_on(plain, loop, caplog):
    gate = threading.Event()
    file = File(size=0, gate=gate)
    try:
        result, _ = await run(file, close_seconds=0.05, buffer_bytes=1000)
    finally:
        gate.set()
    assert result.text == plain[0].text
    assert result.journal.incomplete == "the disk is too slow: 1000 bytes were queued"
    assert len(warnings(caplog)) == 1


async def test_a_file_that_takes_little_at_a_time_gets_all():
    whole, file = File(), File(piece=7)
    await run(whole)
    result, _ = await run(file)
    assert result.journal.incomplete == ""
    assert len(taken_apart(file.data)) >= 9


async def test_a_verdict_in_a_string_of_some_library_is_written():
    file = File()
    sure = watch(slow(0.0, function=lambda _claim: interwhen.Pass(evidence=Text("x"))))
    async with interwhen.run(goes_on(), "Q", monitors=[sure], journal=journal(file)) as going:
        result = await going.drain()
    assert result.journal.incomplete == ""
    assert taken_apart(file.data)[-1].result.checks == result.checks


class Text(str):
    __slots__ = ()


async def test_each_flush_waits_for_the_disk_if_asked():
    file = File()
    await run(file, fsync=True, flush_seconds=0.0)
    assert file.syncs >= 1


async def test_a_closing_that_fails_is_told():
    class Broken(File):
        def close(self):
            raise OSError(5, "Input/output error")

    result, _ = await run(Broken())
    assert "could not be closed" in result.journal.incomplete


async def test_a_kill_loses_no_more_than_a_flush(path, loop):
    """What the reader saw before the last request, remedy or flush is in the file while the run continues."""
    model = ScriptedModel([["1+1=2\n", "2+2=5\n"], ["\n3+3", Pause(60)]])
    async with interwhen.run(model, "Q", monitors=[watch()], journal=path) as going:
        async for event in going:
            if isinstance(event, interwhen.Delta) and "3" in event.text:
                break
        with anyio.fail_after(20):
            while not path.stat().st_size or interwhen.replay(path).text != going.text:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("existing", [b"something", b"\x89IWJ"])
async def test_a_file_that_is_there_is_not_written_over(existing, path):
    path.write_bytes(existing)
    with pytest.raises(JournalError, match="this file exists: resume it"):
        async with interwhen.run(goes_on(), "Q", journal=path):
            pass
    assert path.read_bytes() == existing


async def test_an_empty_file_that_is_there_will_do(path):
    path.touch()
    async with interwhen.run(goes_on(), "Q", journal=path) as going:
        await going.drain()
    assert read_journal(path).result.text == going.result.text


async def test_a_place_that_cannot_be_had_is_said_at_once(tmp_path):
    with pytest.raises(JournalError, match=r"must be a writable file, and is not .No such file or directory"):
        async with interwhen.run(goes_on(), "Q", journal=tmp_path / "none" / "j"):
            pass


async def test_what_has_no_form_is_said_at_once(path):
    sampling = interwhen.Sampling(extra={"odd": io.StringIO()})
    with pytest.raises(UsageError, match="must have a JSON form, got a StringIO"):
        async with interwhen.run(goes_on(), "Q", sampling=sampling, journal=path):
            pass
    with pytest.raises(UsageError, match="must be a path or a Journal"):
        interwhen.run(goes_on(), "Q", journal=3)
    with pytest.raises(UsageError, match=r"close_seconds=.* must be at least 0, got -1"):
        Journal(path, close_seconds=-1)


async def test_without_a_journal_nothing_stands_between_the_stream_and_the_core():
    async with interwhen.run(goes_on(), "Q", monitors=[watch()]) as going:
        assert going._step == going._core.step
        assert going._upstream._step == going._core.step
        assert "interwhen journal" not in {thread.name for thread in threading.enumerate()}


async def test_no_thread_outlives_its_run(path):
    await supervise(goes_on(), watch(), journal=path)
    left = [thread for thread in threading.enumerate() if thread.name == "interwhen journal"]
    for thread in left:
        thread.join(5)
    assert not any(thread.is_alive() for thread in left)


@pytest.mark.parametrize("name", KINDS)
async def test_a_journal_changes_nothing_that_a_reader_sees(name, path):
    kind = KINDS[name]
    async with kind.run() as plain:
        shown = apply([event async for event in plain])
    async with kind.run(journal=path) as kept:
        assert apply([event async for event in kept]) == shown
    was, now = plain.result, kept.result
    assert (now.status, now.text, now.violations, now.insertions) == (
        was.status,
        was.text,
        was.violations,
        was.insertions,
    )
    assert (now.ledger.kept, now.ledger.remedies) == (was.ledger.kept, was.ledger.remedies)


@pytest.fixture(autouse=True)
def logged(caplog):
    caplog.set_level(logging.WARNING, logger="interwhen")
