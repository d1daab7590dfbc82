"""A directory of journals: what is kept, how much of it, and what happens if the disk does not take it."""

import errno
import hmac
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import interwhen
import msgspec
import pytest
import structlog
from interwhen import UsageError
from interwhen.journal import JournalError, _directory, read_journal
from interwhen.journal._directory import JournalSettings, open_journals
from interwhen.journal._files import START, frames
from interwhen.journal._records import SpentRecord, describe, describe_again
from interwhen.journal._settings import CallHead
from journals import borders, goes_on
from sums import watch
from tests.resealed import standing

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("loop")]

RIGHT = ("1+1=2\n", "2+2=4\n")
SECRET = "the answer of a patient"


class Record(msgspec.Struct):
    """Stands for the record of a call."""

    call_id: str
    outcome: str = "steps verified"


@pytest.fixture
def directory(tmp_path):
    made = []

    def make(**options):
        made.append(open_journals({"path": str(tmp_path / "journals"), **options}))
        return made[-1]

    yield make
    for one in made:
        one.close()


def new_id(number=0, at=None):
    return f"{round((at or time.time()) * 1000):012x}{number:020x}"


async def call(directory, number=0, *, lines=RIGHT, at=None, has_problem=False, ends=True):
    head = CallHead(new_id(number, at), "wrap", "chat", "m", "t" * 32, streams=True)
    journal = directory.begin(head, shows_path=True)
    async with interwhen.run(goes_on(lines), SECRET, monitors=[watch()], journal=journal) as run:
        result = await run.drain()
    if journal is not None and ends:
        journal.slot.called(Record(head.call_id), has_problem=has_problem)
    return head.call_id, result


def files(directory):
    return Path(directory.settings.path)


def names(directory):
    return sorted(path.name for path in files(directory).iterdir())


async def test_each_call_writes_one_complete_journal(directory):
    here = directory()
    call_id, result = await call(here, lines=("1+1=2\n", "2+2=5\n"))
    here.close()
    assert names(here) == [f"{call_id}.journal"]
    path = files(here) / f"{call_id}.journal"
    assert result.journal.path == str(path)
    journal = read_journal(path)
    assert (journal.header.call.call_id, journal.header.call.trace_id) == (call_id, "t" * 32)
    assert journal.result.text == result.text
    assert journal.call == {"call_id": call_id, "outcome": "steps verified"}
    assert interwhen.replay(path).differences == ()
    line = interwhen.journal.timeline(path)
    assert [one.remedy for one in line.remedies] == ["repair"]
    assert msgspec.json.decode(line.compact)["call"]["outcome"] == "steps verified"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files(here).stat().st_mode) == 0o700


async def test_one_thread_writes_the_journals_of_many_calls(directory):
    here = directory()

    def threads():
        return {thread for thread in threading.enumerate() if thread.name != "interwhen-loop-watch"}

    before = threads()
    for number in range(20):
        await call(here, number)
    assert len(threads() - before) <= 1
    here.close()
    assert threads() <= before
    assert len(names(here)) == here.kept == 20
    await call(here, 21)  # a closed directory begins again
    here.close()
    assert len(names(here)) == 21


async def test_keep_problems_keeps_only_problem_calls(directory):
    here = directory(keep="problems")
    good, _ = await call(here, 1)
    bad, _ = await call(here, 2, has_problem=True)
    unknown, _ = await call(here, 3, ends=False)  # nothing said how it ended
    here.close()
    assert names(here) == sorted([f"{bad}.journal", f"{unknown}.journal"])
    assert (here.kept, here.passed_over) == (2, 1)
    assert good not in str(names(here))


async def test_long_call_without_problem_leaves_no_file(directory, monkeypatch):
    monkeypatch.setattr(_directory, "_HELD_BYTES", 100)
    here = directory(keep="problems")
    await call(here, 1)
    here.close()
    assert (names(here), here.bytes, here.passed_over) == ([], 0, 1)


async def test_a_share_is_chosen_by_the_id(directory):
    here = directory(keep="share", share=0.5)
    low, high = 1, (1 << 32) - 1
    first, _ = await call(here, low)
    _, result = await call(here, high)
    here.close()
    assert names(here) == [f"{first}.journal"]
    assert result.journal is None


async def test_oldest_journals_are_deleted_beyond_byte_limit(directory):
    here = directory(max_bytes=1 << 16)
    made = [(await call(here, number))[0] for number in range(40)]
    here.close()
    left = names(here)
    assert left == sorted(f"{name}.journal" for name in made)[-len(left) :]
    total = sum((files(here) / name).stat().st_size for name in left)
    assert total == here.bytes <= 1 << 16
    assert here.deleted == 40 - len(left) > 0


async def test_unfittable_journal_deletes_no_other(directory):
    here = directory(max_bytes=1 << 16)
    for number in range(3):
        await call(here, number)
    here.close()
    before = names(here)
    with pytest.raises(OSError, match="the journals may have 65536 bytes together"):
        here.make_room(1 << 17)
    assert names(here) == before
    assert here.deleted == 0
    here.make_room((1 << 16) - here.bytes + 1)  # one more than there is room for
    assert names(here) == before[1:]


async def test_expired_journals_are_deleted_other_files_kept(directory, tmp_path):
    folder = tmp_path / "journals"
    folder.mkdir()
    old = folder / f"{new_id(1, time.time() - 40 * 86_400)}.journal"
    young = folder / f"{new_id(2, time.time() - 86_400)}.journal"
    for path in (old, young, folder / "notes.txt", folder / "mine.journal"):
        path.write_bytes(b"x")
    here = directory(max_days=30)
    call_id, _ = await call(here)
    here.close()
    assert names(here) == sorted([young.name, f"{call_id}.journal", "notes.txt", "mine.journal"])


async def test_redacted_journal_keeps_verdicts_without_text(directory):
    here = directory(text="redacted")
    call_id, result = await call(here, lines=("1+1=2\n", "2+2=5 and a private word\n"))
    here.close()
    path = files(here) / f"{call_id}.journal"
    data = path.read_bytes()
    for words in (SECRET, "private", "2+2", "1+1", "adds up"):
        assert words.encode() not in data
    line = interwhen.journal.timeline(path)
    assert [type(check.outcome.verdict).__name__ for check in line.checks if check.cut is None] == ["Pass"] * 2
    assert [one.remedy for one in line.remedies] == ["repair"]
    assert sum(one.length for one in line.texts) - sum(one.removed for one in line.remedies) == len(result.text)
    form = msgspec.json.decode(line.compact)
    assert (form["redacted"], form["label"], form["call"]["call_id"]) == (True, result.label, call_id)
    assert form["result"]["ledger"]["kept"] == result.ledger.kept
    key = (files(here) / "hash.key").read_bytes()
    claim = result.checks[0].claim_sha256
    assert form["checks"][0]["key"] == hmac.digest(key, claim.encode(), "sha256").hex()
    for known in (claim, result.certificate.text_sha256, result.certificate.prompt_sha256):
        assert known.encode() not in data  # short texts are found by hashing many
    for function in (interwhen.replay, lambda path: interwhen.resume(path, model=goes_on(), monitors=[watch()])):
        with pytest.raises(JournalError, match=r"must hold the text .* it is redacted"):
            function(path)
    with pytest.raises(JournalError, match=r"must hold the text .* it is redacted"):
        await interwhen.recheck(path, ["arithmetic"])  # no text, no findings: that is no clean run


async def test_redacted_journal_has_same_times_as_full(directory, path):
    here = directory(text="redacted")
    lines = ("1+1=2\n", "2+2=5\n", "3+3=6\n")
    call_id, _ = await call(here, lines=lines)
    here.close()
    async with interwhen.run(goes_on(lines), SECRET, monitors=[watch()], journal=path) as run:
        await run.drain()
    ours, theirs = interwhen.journal.timeline(files(here) / f"{call_id}.journal"), interwhen.journal.timeline(path)

    def shape(line):
        texts = [(one.start, one.length, one.phase, one.origin, one.tokens) for one in line.texts]
        checks = [(one.monitor, one.span, one.segment, one.lag, one.cut, one.remedy, one.worker) for one in line.checks]
        requests = [(one.how, one.resume, one.start, one.remedy) for one in line.requests]
        return texts, checks, requests, [one.to for one in line.frontier], [one.to for one in line.cuts]

    assert shape(ours) == shape(theirs)


@pytest.mark.parametrize("text", ["full", "redacted"])
async def test_damaged_call_journal_is_recovered_or_refused(text, directory, path):
    here = directory(text=text)
    call_id, _ = await call(here, lines=("1+1=3\n",))
    here.close()
    data = (files(here) / f"{call_id}.journal").read_bytes()
    path.write_bytes(data)
    whole, ends = read_journal(path), borders(data)
    assert ends[-1] == len(data)
    entries = (whole.header, *whole.records)
    payloads = [entry.payload for entry in frames(data, "x")]
    for at in range(len(data)):
        changes = range(1, 256) if at < START + 8 else (1 << at % 8,)
        for damaged in (data[:at], *(data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :] for bits in changes)):
            if at < START:
                with pytest.raises(JournalError):
                    list(frames(damaged, "x"))
                continue
            readable = [entry.payload for entry in frames(damaged, "x")]
            assert readable == payloads[: sum(end <= at for end in ends)]
        if at % 97:
            continue
        path.write_bytes(data[:at])  # what is recovered from a file is what its records say
        if at < ends[0]:
            with pytest.raises(JournalError):
                read_journal(path)
        else:
            read = read_journal(path)
            assert (read.header, *read.records) == entries[: standing(entries[: sum(end <= at for end in ends)])]
            interwhen.journal.timeline(path)


async def test_full_disk_costs_journal_but_not_call(directory, monkeypatch):
    real, full = os.write, True

    def write(descriptor, data):
        if not full or descriptor < 3:
            return real(descriptor, data)
        if len(data) > 200:
            return real(descriptor, bytes(data)[:100])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(_directory.os, "write", write)
    here = directory()
    with structlog.testing.capture_logs() as logs:
        for number in range(3):
            _, result = await call(here, number)
            assert result.label == "steps verified"
        here.close()
        assert (here.kept, here.dropped) == (0, 3)
        assert [log["event"] for log in logs if log["event"].startswith("journal")] == ["journal.failed"]
        full = False
        await call(here, 4)
        here.close()
    assert (here.kept, here.dropped) == (1, 3)
    assert [log["event"] for log in logs if log["event"].startswith("journal")] == ["journal.failed", "journal.resumed"]


def test_file_size_limit_costs_journal_but_not_call(tmp_path):
    program = """
import resource, sys, anyio, interwhen
from interwhen.journal import _directory
from interwhen.journal._directory import open_journals
from interwhen.journal._settings import CallHead
from interwhen.testing import ScriptedModel

async def main():
    _directory._CLOSE_SECONDS = 30.0
    here = open_journals({"path": sys.argv[1]})
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
    for number in range(3):
        journal = here.begin(CallHead(f"{number:032x}", "wrap", "chat", "m"), shows_path=True)
        async with interwhen.run(ScriptedModel(["1 + 1 = 2"]), "Q", monitors=["arithmetic"], journal=journal) as run:
            result = await run.drain()
        assert result.label == "steps verified", result
    here.close()
    print(here.kept, here.dropped)

anyio.run(main)
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["0", "3"]
    assert done.stderr.count("journal.failed") <= 1


@pytest.mark.fault(
    "P5", injected="a disk that hangs during calls", happens="no call waits; the lost journals are counted"
)
async def test_hanging_disk_does_not_block_calls(directory, monkeypatch):
    writing, freed = threading.Event(), threading.Event()
    real = os.write

    def write(descriptor, data):
        writing.set()
        freed.wait(100)
        return real(descriptor, data)

    monkeypatch.setattr(_directory.os, "write", write)
    monkeypatch.setattr(_directory, "QUEUED_BYTES", 4000)
    monkeypatch.setattr(_directory, "STUCK_SECONDS", 100.0)
    monkeypatch.setattr(_directory, "FLUSH_SECONDS", 0.01)
    here = directory()
    try:
        await call(here, 1)
        assert writing.wait(30)  # the thread hangs in the first write
        begun = time.monotonic()
        long = tuple(f"{number}+1={number + 1}\n" for number in range(9))
        _, result = await call(here, 2, lines=long)
        assert result.label == "steps verified"
        assert "the disk is too slow" in result.journal.incomplete
        monkeypatch.setattr(_directory, "STUCK_SECONDS", 0.0)
        until(lambda: time.monotonic() > max(here.alive, here._asked) + 0.05)
        _, result = await call(here, 3)
        assert result.label == "steps verified"
        assert result.journal is None
        assert time.monotonic() - begun < 60
        assert here.dropped == 2
    finally:
        freed.set()


async def test_closed_directory_keeps_one_writer_on_hanging_disk(directory, monkeypatch):
    freed, writing, most = threading.Event(), set(), []
    real = os.write

    def write(descriptor, data):
        writing.add(threading.get_ident())
        most.append(len(writing))
        freed.wait(100)
        written = real(descriptor, data)
        writing.discard(threading.get_ident())
        return written

    monkeypatch.setattr(_directory.os, "write", write)
    monkeypatch.setattr(_directory, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(_directory, "STUCK_SECONDS", 100.0)
    here = directory()
    here.close_seconds = 0.05
    try:
        await call(here, 1)
        until(lambda: writing)
        here.close()  # in vain
        await call(here, 2)
        time.sleep(0.05)
    finally:
        freed.set()
    here.close_seconds = 30.0
    here.close()
    assert max(most) == 1
    assert here.kept == 2
    assert here.dropped == 0


async def test_idle_disk_is_not_considered_hanging(directory, monkeypatch):
    monkeypatch.setattr(_directory, "STUCK_SECONDS", 50.0)
    monkeypatch.setattr(_directory, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(_directory, "_LINGER_SECONDS", 0.0)
    here = directory()
    await call(here, 1)
    until(lambda: here.kept == 1)
    until(lambda: here._sleeps)
    here._asked = here.alive = time.monotonic() - 100  # as if it had slept since then
    for number in range(2, 6):
        _, result = await call(here, number)
        assert result.journal is not None
    here.close()
    assert (here.kept, here.dropped) == (5, 0)


async def test_busy_writer_is_not_considered_hanging(directory, monkeypatch):
    monkeypatch.setattr(_directory, "MANY", 2)
    monkeypatch.setattr(_directory, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(_directory, "BUSY_SECONDS", 60.0)
    monkeypatch.setattr(_directory, "STUCK_SECONDS", 0.0)
    here = directory()
    monkeypatch.setattr(_directory, "STUCK_SECONDS", 30.0)
    assert here._pause == 0.01
    await call(here, 1)
    while here._woken or here._ended or not here.kept:
        time.sleep(0.01)
    assert here._pause == 0.01
    here.close()  # three journals for the thread at once
    monkeypatch.setattr(here, "start", lambda: None)
    for number in range(2, 5):
        await call(here, number)
    here._write()
    assert here._pause == 60.0
    here._asked = here.alive = time.monotonic() - 80  # 60 that were meant, and 20 of the 30 that a disk may take
    _, result = await call(here, 5)
    assert result.journal is not None
    here._asked = here.alive = time.monotonic() - 100
    _, result = await call(here, 6)
    assert result.journal is None
    here._write()
    assert (here._pause, here.kept) == (0.01, 5)


def until(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.002)


async def test_call_does_not_wake_an_active_writer(directory, monkeypatch):
    monkeypatch.setattr(_directory, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(_directory, "_LINGER_SECONDS", 1000.0)
    here, woken = directory(), []
    await call(here, 1)
    wake = here._wake.set
    monkeypatch.setattr(here._wake, "set", lambda: woken.append(1) or wake())
    for number in range(2, 6):
        await call(here, number)
    until(lambda: here.kept == 5)
    assert woken == []


async def test_idle_writer_sleeps_until_next_call(directory, monkeypatch):
    monkeypatch.setattr(_directory, "FLUSH_SECONDS", 0.01)
    monkeypatch.setattr(_directory, "_LINGER_SECONDS", 0.0)
    here = directory()
    for number in range(1, 4):
        await call(here, number)
        until(lambda number=number: here.kept == number)
        until(lambda: here._sleeps)
        assert not here._woken
    assert here.dropped == 0


async def test_file_is_reopened_only_when_descriptors_run_short(directory, monkeypatch):
    opened = []
    monkeypatch.setattr(_directory, "_most_open", lambda: most)
    for most, times in ((1, 1), (0, 2)):
        here = directory(path=f"{directory().settings.path}{most}")
        real = here.open
        monkeypatch.setattr(here, "start", lambda: None)
        monkeypatch.setattr(here, "open", lambda name, real=real: opened.append(name) or real(name))
        head = CallHead(new_id(1), "wrap", "chat", "m")
        journal = here.begin(head, shows_path=True)
        async with interwhen.run(goes_on(RIGHT), SECRET, monitors=[watch()], journal=journal) as run:
            await anext(run)
            here._write()
            assert here.open_files == most
            await run.drain()
        journal.slot.called(Record(head.call_id), has_problem=False)
        here._write()
        assert (here.open_files, here.kept, len(opened)) == (0, 1, times)
        assert read_journal(files(here) / f"{head.call_id}.journal").result is not None
        opened.clear()


async def test_counters_are_recorded_on_change_and_at_end(directory):
    here = directory()
    call_id, result = await call(here, lines=("1+1=2\n", "2+2=5\n", *(f"{n}+1={n + 1}\n" for n in range(9))))
    here.close()
    journal = read_journal(files(here) / f"{call_id}.journal")
    spent = [record for record in journal.records if isinstance(record, SpentRecord)]
    # After the first text, after the stream was closed, and at the end.
    assert 2 <= len(spent) <= 5
    assert len(result.checks) > 10
    assert spent[-1].largest_gap == result.timing.largest_gap
    assert spent[-1].close_latency == result.timing.close_latency
    assert interwhen.replay(files(here) / f"{call_id}.journal").differences == ()


def test_invalid_directory_settings_are_refused(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    for wanted, said in (
        (7, "journal must be a path"),
        ({}, "journal must be a path"),
        ({"path": str(tmp_path / "a"), "keep": "some"}, "journal must have valid values"),
        (JournalSettings(path=str(tmp_path / "a"), keep="some"), "journal must have valid values"),
        (JournalSettings(path=str(tmp_path / "a"), share=5.0), "journal must have valid values"),
        (file / "below", "must be a directory that can be made, and is not"),
        ("a\0b", "must be a directory that can be made, and is not .*embedded null"),
    ):
        with pytest.raises(UsageError, match=said):
            open_journals(wanted)
    first = open_journals(tmp_path / "b")
    assert open_journals({"path": str(tmp_path / "b")}) is first
    with pytest.raises(UsageError, match="must have the same settings"):
        open_journals({"path": str(tmp_path / "b"), "keep": "problems"})


def test_monitors_are_described_again_only_if_they_changed():
    monitors = (watch(), watch())
    known = describe_again(monitors)
    assert known == describe(monitors)
    assert describe_again(list(monitors)) is known
    assert describe_again(monitors[:1]) is not known
    assert describe_again(monitors, ("sums", "sums")) is not known
    assert describe_again(monitors) is known
    object.__setattr__(monitors[0].verifier, "deadline", 6.0)  # an object of the caller, which may not be frozen
    again = describe_again(monitors)
    assert again == describe(monitors) != known


async def test_hurried_directory_writes_without_delay(directory, monkeypatch):
    monkeypatch.setattr(_directory, "FLUSH_SECONDS", 60.0)
    here = directory()
    for number in range(1, 4):
        await call(here, number)
        here.hurry()
        until(lambda number=number: here.kept == number)
