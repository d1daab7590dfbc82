"""A journal never holds a run up, and never fails it."""

import gc
import io
import itertools
import logging
import math
import sys
import threading
from types import SimpleNamespace

import anyio
import interwhen
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import ToolCall, UsageError
from interwhen._engine.recorders import Recorder
from interwhen._types.ledger import WireReport
from interwhen.journal import Journal, JournalError, read_journal
from interwhen.journal._files import frames, preamble
from interwhen.journal._rebuilt_run import facts_of
from interwhen.journal._records import Idle, OutlineRecord, SpentRecord, TextRecord, decode, encode
from interwhen.journal._writer import JournalWriter
from interwhen.models import Chunk, Usage
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

    def open(self, _name, *, keep, size):
        assert len(self.file.data) == size
        self.file.data = self.file.data[:keep]
        return self.file


def journal(file, **options):
    return Journal("memory", store=Memory(file), **options)


class Hand:
    """A clerk that writes when the test asks it to."""

    def start(self, writing, _seconds):
        self.write = writing.write
        self.is_woken = True  # the head waits

    def wake(self):
        self.is_woken = True

    def hurry(self):
        pass

    def come(self):
        if self.is_woken:
            self.is_woken = False
            self.write()


class Recording:
    """A recorder of facts for a core that does nothing, with a clerk of the test's, into memory."""

    def __init__(self, **options):
        self.file, self.hand, self.at = File(), Hand(), 0.0
        self.head, self.chain = preamble()
        settings = journal(self.file, **options)
        self.writer = JournalWriter(settings, self.file, self.hand, size=0, chain=self.chain, head=self.head)
        core = SimpleNamespace(step=lambda _fact: [], transcript=SimpleNamespace(length=0))
        self.recorder = Recorder(settings, self.writer, core)
        no_wire = SimpleNamespace(report=WireReport, wasted=lambda _at: 0)
        no_meter = SimpleNamespace(started=0.0, first=None, largest_gap=0.0, paused=0.0)
        no_forks = SimpleNamespace(tokens=0, prompt_tokens=0, cached_tokens=0)
        upstream = SimpleNamespace(wire=no_wire, close_latency=(), resumes=(), probe_tokens=0)
        self.recorder.begin(lambda: self.at, no_meter, no_forks, upstream)

    def records(self):
        records = [decode(one.payload) for one in frames(self.file.data, "memory")]
        return [one for one in records if not isinstance(one, SpentRecord)]

    def facts(self):
        return [(at, fact) for record in self.records() for at, fact in facts_of(record)]


CHUNKS = st.builds(
    Chunk,
    st.text(st.characters(codec=None), max_size=5),
    st.sampled_from(["answer", "reasoning"]),
    st.sampled_from([1, 1, 1, 1, 1, 2]),
    finish_reason=st.sampled_from([None, None, None, None, "stop"]),
    usage=st.sampled_from([None, None, None, None, Usage(1, None, 2)]),
    logprob=st.sampled_from([None, None, None, None, -0.5]),
    call=st.sampled_from([None, None, None, None, ToolCall("1", "search", '{"q": "x"}')]),
)


@given(st.lists(st.tuples(st.floats(0, 100), CHUNKS | st.just(Idle(3.0)) | st.none()), max_size=40))
def test_every_fact_is_written_once_in_order(steps):
    made, told = Recording(), []
    for gap, fact in steps:  # None: the clerk comes
        made.at += gap
        if fact is None:
            made.hand.come()
        else:
            told.append((made.at, fact))
            made.recorder.step(fact)
    made.hand.come()
    facts = made.facts()
    assert [fact for _, fact in facts] == [fact for _, fact in told]
    assert [at for at, _ in facts] == pytest.approx([at for at, _ in told], abs=2e-6)
    assert made.writer._taken + 1000 >= made.writer._put >= made.writer._taken


def test_background_writer_loses_no_chunk():
    made, count = Recording(), 6000
    done = threading.Event()

    def clerk():
        while not done.is_set():
            made.hand.come()
        made.hand.come()

    thread = threading.Thread(target=clerk)
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        thread.start()
        for number in range(count):
            made.recorder.step(Chunk(f"{number} ") if number % 97 else Idle(number))
    finally:
        done.set()
        thread.join()
        sys.setswitchinterval(before)
    values = [fact.seconds if isinstance(fact, Idle) else int(fact.text) for _, fact in made.facts()]
    assert values == list(range(count))


def test_chunk_recording_is_cheap_and_allocates_nothing():
    made, counts = Recording(), []

    def trace(frame, event, _argument):
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        if event == "opcode":
            counts[-1] += 1
        return trace

    def record(chunks):
        gc.collect()
        before = len(gc.get_objects())
        before_trace = sys.gettrace()
        counts.append(0)
        sys.settrace(trace)
        try:
            for chunk in chunks:
                made.recorder.step(chunk)
        finally:
            sys.settrace(before_trace)
        return len(gc.get_objects()) - before

    texts = [Chunk(f"{number} ") for number in range(120)]
    record(texts[:20])
    objects = [record(texts[at : at + 5]) for at in range(20, 60, 5)]
    # The core of this test takes about five.
    assert 20 <= counts[2] / 5 <= 95
    # Other threads make objects too, but not each time.
    assert sorted(objects)[4] <= 2
    for chunks in ((), texts[60:]):  # Python 3.13 counts no steps of code that it traces for the first time
        for chunk in chunks:
            made.recorder.step(chunk)
        made.hand.is_woken = True
        counts.append(0)
        before_trace = sys.gettrace()
        sys.settrace(trace)
        made.hand.come()
        sys.settrace(before_trace)
    assert 1 <= counts[-1] / 60 <= 15
    assert len(made.facts()) == 120


def test_only_chunks_waiting_for_disk_are_queued():
    made = Recording(buffer_bytes=8000)
    for number in range(1000):  # many times the buffer, but never at once
        made.recorder.step(Chunk(f"{number} ", phase="answer" if number % 7 else "reasoning"))
        if number % 7 == 0:
            made.writer.put(OutlineRecord(number, "x" * 900))
        if number % 20 == 0:
            made.hand.come()
    assert made.writer.incomplete == ""


@pytest.mark.parametrize("phases", [("answer",), ("answer", "reasoning")])
def test_stalled_writer_bounds_the_queue(phases, caplog):
    made = Recording(buffer_bytes=8000)
    for number, phase in zip(range(10_000), itertools.cycle(phases), strict=False):
        made.recorder.step(Chunk(f"{number} ", phase=phase))
    assert made.writer.incomplete == "the disk is too slow: 8000 bytes were queued"
    assert sum(len(item.items) // 2 for item in made.writer._items) < 8000 // 96 + 65
    assert len(warnings(caplog)) == 1


async def run(file, **options):
    with_journal = interwhen.run(goes_on(), "Q", monitors=[watch()], journal=journal(file, **options))
    async with with_journal as going:
        events = [event async for event in going]
    assert events[-1] == interwhen.events.Finished(going.result)
    return going.result, events


@pytest.fixture
async def plain():
    return await supervise(goes_on(), watch())


def warnings(caplog):
    return [entry.getMessage() for entry in caplog.records if "journal.given_up" in entry.getMessage()]


async def test_result_reports_the_journal_state(plain):
    file = File()
    result, events = await run(file)
    assert result.text == plain[0].text
    assert [type(event) for event in events] == [type(event) for event in plain[1]]
    assert (result.journal.path, result.journal.size, result.journal.incomplete) == ("memory", len(file.data), "")
    assert (file.closed, file.syncs) == (1, 0)
    assert plain[0].journal is None
    *_, ending, _seal = taken_apart(file.data)
    assert ending.result.text == result.text


@pytest.mark.fault(
    "P5", injected="the file fails at byte k", happens="the run continues; its result says what is missing"
)
async def test_full_disk_costs_record_but_not_run(plain, caplog, record_property):
    whole = File()
    await run(whole)
    sizes = range(0, len(whole.data) - 1, 211)
    record_property("tries", len(sizes))
    failed = 0
    for size in sizes:
        caplog.clear()
        file = File(size)
        result, _ = await run(file)
        assert (result.status, result.text, result.ledger) == (plain[0].status, plain[0].text, plain[0].ledger)
        if not result.journal.incomplete:
            # The clerk's thread may take the chunks in fewer records than the first time: then the file is smaller.
            assert len(file.data) <= size
            assert taken_apart(file.data)[-1].result.text == result.text
            continue
        failed += 1
        assert result.journal.incomplete == "it cannot be written: No space left on device"
        assert result.journal.size == len(file.data) == size
        assert file.closed == 1
        assert len(warnings(caplog)) == 1
        if size > 16:
            assert sum(len(entry.payload) + 8 for entry in frames(file.data, "x")) <= size - 16
    assert failed > len(sizes) / 3


@pytest.mark.fault("P5", injected="/dev/full", happens="the run continues; its result says what is missing")
async def test_full_device_is_reported_in_result(plain, loop):
    async with interwhen.run(goes_on(), "Q", monitors=[watch()], journal="/dev/full") as going:
        result = await going.drain()
    assert result.text == plain[0].text
    assert result.journal == interwhen.results.JournalState(
        "/dev/full", 0, "it cannot be written: No space left on device"
    )


@pytest.mark.fault("P5", injected="a disk that never answers", happens="the run ends in time, without its record")
async def test_hanging_disk_does_not_block_the_run(plain, loop, caplog):
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
async def test_slow_disk_is_abandoned(plain, loop, caplog):
    gate = threading.Event()
    file = File(size=0, gate=gate)
    try:
        result, _ = await run(file, close_seconds=0.05, buffer_bytes=1000)
    finally:
        gate.set()
    assert result.text == plain[0].text
    assert result.journal.incomplete == "the disk is too slow: 1000 bytes were queued"
    assert len(warnings(caplog)) == 1


async def test_short_writes_lose_nothing():
    whole, file = File(), File(piece=7)
    await run(whole)
    result, _ = await run(file)
    assert result.journal.incomplete == ""
    assert len(taken_apart(file.data)) >= 9


async def test_verdict_with_string_subclass_is_written():
    file = File()
    sure = watch(slow(0.0, function=lambda _claim: interwhen.Pass(evidence=Text("x"))))
    async with interwhen.run(goes_on(), "Q", monitors=[sure], journal=journal(file)) as going:
        result = await going.drain()
    assert result.journal.incomplete == ""
    assert taken_apart(file.data)[-2].result.checks == result.checks


class Text(str):
    __slots__ = ()


async def test_each_flush_waits_for_the_disk_if_asked():
    file = File()
    await run(file, fsync=True, flush_seconds=0.0)
    assert file.syncs >= 1


async def test_failed_close_is_reported():
    class Broken(File):
        def close(self):
            raise OSError(5, "Input/output error")

    result, _ = await run(Broken())
    assert "could not be closed" in result.journal.incomplete


async def test_a_kill_loses_no_more_than_a_flush(path, loop):
    model = ScriptedModel([["1+1=2\n", "2+2=5\n"], ["\n3+3=6\n4+4", Pause(600)]])
    async with interwhen.run(model, "Q", monitors=[watch()], journal=path) as going:
        async for event in going:
            if isinstance(event, interwhen.Delta) and "3" in event.text:
                break
        with anyio.fail_after(60):
            while not path.stat().st_size or interwhen.replay(path).text != going.text:
                await anyio.sleep(0.01)


@pytest.mark.parametrize("existing", [b"something", b"\x89IWJ"])
async def test_existing_file_is_not_overwritten(existing, path):
    path.write_bytes(existing)
    with pytest.raises(JournalError, match="this file exists: resume it"):
        async with interwhen.run(goes_on(), "Q", journal=path):
            pass
    assert path.read_bytes() == existing


async def test_existing_empty_file_is_accepted(path):
    path.touch()
    async with interwhen.run(goes_on(), "Q", journal=path) as going:
        await going.drain()
    assert read_journal(path).result.text == going.result.text


async def test_unavailable_path_is_refused_at_once(tmp_path):
    with pytest.raises(JournalError, match=r"must be a writable file, and is not .No such file or directory"):
        async with interwhen.run(goes_on(), "Q", journal=tmp_path / "none" / "j"):
            pass
    with pytest.raises(JournalError, match=r"must be a writable file, and is not .*embedded null"):
        async with interwhen.run(goes_on(), "Q", journal=tmp_path / "a\0b"):
            pass


async def test_unencodable_option_is_refused_before_the_run(path):
    sampling = interwhen.Sampling(extra={"odd": io.StringIO()})
    with pytest.raises(UsageError, match="must have a JSON form, got a StringIO"):
        async with interwhen.run(goes_on(), "Q", sampling=sampling, journal=path):
            pass
    endless = []
    endless.append(endless)
    for odd in (1 << 70, endless):
        with pytest.raises(UsageError, match=r"must be JSON values .* look at sampling.extra"):
            async with interwhen.run(goes_on(), "Q", sampling=interwhen.Sampling(extra={"odd": odd}), journal=path):
                pass
    for monitor in (watch(name="\ud800"), watch(trigger=interwhen.Lines(every=1 << 70))):
        with pytest.raises(UsageError, match=r"must be JSON values .* and at the settings of monitors"):
            async with interwhen.run(goes_on(), "Q", monitors=[monitor], journal=path):
                pass
    with pytest.raises(UsageError, match="must be a path or a Journal"):
        interwhen.run(goes_on(), "Q", journal=3)
    for setting, value in (("close_seconds", -1), ("flush_seconds", float("nan")), ("buffer_bytes", "1")):
        with pytest.raises(UsageError, match=rf"Journal: {setting} must be a .*number of at least 0, got {value!r}"):
            Journal(path, **{setting: value})
    with pytest.raises(UsageError, match=r"Journal: path must be a text or PathLike\(...\), got b'x'"):
        Journal(b"x")
    with pytest.raises(UsageError, match=r"Journal: model must be ModelReference\(...\) or None, got 'local'"):
        Journal(path, model="local")  # its header could not be read again
    with pytest.raises(JournalError, match=r"must be a writable file, and is not .*embedded null"):
        async with interwhen.run(goes_on(), "Q", journal="a\0b"):
            pass
    with pytest.raises(JournalError, match=r"must be a readable file, and is not .*embedded null"):
        interwhen.journal.read_journal("a\0b")


async def test_infinite_journal_timeouts_are_allowed(path, loop):
    settings = Journal(path, flush_seconds=float("inf"), close_seconds=float("inf"))
    async with interwhen.run(goes_on(), "Q", monitors=[watch()], journal=settings) as run:
        result = await run.drain()
    assert result.journal.incomplete == ""
    assert interwhen.journal.read_journal(path).result is not None


async def test_run_without_journal_has_no_recorder():
    before = set(threading.enumerate())  # with those of other tests
    async with interwhen.run(goes_on(), "Q", monitors=[watch()]) as going:
        assert going._step == going._core.step
        assert going._upstream._step == going._core.step
        assert "interwhen journal" not in {thread.name for thread in set(threading.enumerate()) - before}


async def test_no_thread_outlives_its_run(path):
    await supervise(goes_on(), watch(), journal=path)
    left = [thread for thread in threading.enumerate() if thread.name == "interwhen journal"]
    for thread in left:
        thread.join(60)
    assert not any(thread.is_alive() for thread in left)


@pytest.mark.parametrize("name", KINDS)
async def test_journal_does_not_change_the_stream(name, path):
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


@pytest.mark.parametrize(
    "clock", [(), (0.0,), (0.0, 0.0, 0.0), (1.0, math.inf), (1.0, math.nan), (1.0, 1e300), b"\0" * 16, ("1", "2")]
)
def test_record_with_mismatched_times_is_refused(clock):
    good = TextRecord(0.5, "answer", ("a", "b"), (7.0, 7.25))
    assert decode(encode(good)).times() == [0.5, 0.75]
    tag, *fields, _ = msgspec.msgpack.decode(encode(good))
    with pytest.raises((msgspec.MsgspecError, ValueError)):
        decode(msgspec.msgpack.encode([tag, *fields, clock]))


def test_chunk_is_not_later_than_its_effect():
    made = Recording()
    for number in range(300):
        made.at = number / 7
        made.recorder.step(Chunk(f"{number} "))
        made.recorder.step(Idle(number))
    made.hand.come()
    times = [at for at, _ in made.facts()]
    assert times == sorted(times)


def test_chunk_not_encodable_as_utf8_keeps_its_time():
    made = Recording()
    for number, text in enumerate(("a", "\ud800", "b")):
        made.at = number / 4
        made.recorder.step(Chunk(text))
    made.hand.come()
    assert [(at, fact.text) for at, fact in made.facts()] == [(0.0, "a"), (0.25, "\ud800"), (0.5, "b")]
