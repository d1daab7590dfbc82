"""The file: framed, chained, versioned, and read up to its first bad byte."""

import errno
import os
import stat
import struct
from dataclasses import replace

import interwhen
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Claim, Sampling, Span, Violation, load_monitor
from interwhen._core.messages import Ended, Extracted, Opened, Settled
from interwhen.journal import JournalError, read_journal
from interwhen.journal import _records as records
from interwhen.journal._files import MAGIC, SCHEMA, START, LockedFile, frame, frames, preamble
from interwhen.results import Errored, Judged
from journals import KINDS, borders, goes_on, put_together, recorded, taken_apart
from sums import watch
from tests.resealed import standing

pytestmark = pytest.mark.anyio


@pytest.mark.fault("P4", injected="the file cut at every byte", happens="the longest whole prefix is read")
async def test_truncated_file_gives_longest_whole_prefix(path, record_property):
    _, _, data = await recorded(KINDS["no monitors"], path)
    whole, ends = taken_apart(data), borders(data)
    record_property("tries", len(data))
    for size in range(len(data)):
        path.write_bytes(data[:size])
        if size < ends[0]:
            with pytest.raises(JournalError):
                read_journal(path)
            continue
        journal = read_journal(path)
        count = standing(whole[: sum(end <= size for end in ends)])
        assert (journal.header, *journal.records) == tuple(whole[:count])
        assert journal.size == ends[count - 1]
        assert journal.left_out == size - journal.size


@pytest.mark.fault("P4", injected="one bit flipped in every byte", happens="the records before it are read, no more")
async def test_damaged_byte_ends_the_readable_part(path, record_property):
    _, _, data = await recorded(KINDS["no monitors"], path)
    whole, ends = taken_apart(data), borders(data)
    record_property("tries", len(data))
    for at in range(len(data)):
        path.write_bytes(data[:at] + bytes([data[at] ^ 1 << at % 8]) + data[at + 1 :])
        if at < ends[0]:
            with pytest.raises(JournalError):
                read_journal(path)
        else:
            journal = read_journal(path)
            count = standing(whole[: sum(end <= at for end in ends)])
            assert (journal.header, *journal.records) == tuple(whole[:count])


async def test_misplaced_record_ends_the_journal(path):
    _, _, data = await recorded(KINDS["no monitors"], path)
    ends = borders(data)
    path.write_bytes(data[: ends[3]] + data[ends[4] :])
    assert read_journal(path).size == ends[3]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "it must begin with"),
        (b"1+1=2\n" * 9, "it must begin with"),
        (MAGIC.replace(b"\r\n", b"\n") + bytes(40), "it must begin with"),
        (preamble()[0], "was cut within it"),
        (preamble()[0][:-1] + b"\0", "its first bytes are damaged"),
    ],
)
def test_invalid_file_is_refused(data, said, path):
    path.write_bytes(data)
    with pytest.raises(JournalError, match=said):
        read_journal(path)
    with pytest.raises(JournalError, match="must be a readable file, and is not"):
        read_journal(path.parent / "none")
    with pytest.raises(JournalError, match=r"must be a readable file, and is not .*embedded null"):
        read_journal("a\0b")


def test_a_newer_schema_is_refused_by_name(path):
    from zlib import crc32

    head = struct.pack("<8sI", MAGIC, SCHEMA + 1)
    path.write_bytes(head + struct.pack("<I", crc32(head)) + b"whatever it holds")
    with pytest.raises(
        JournalError, match=f"it must have schema {SCHEMA} .*, got schema {SCHEMA + 1}: use the version"
    ):
        read_journal(path)


def test_first_record_must_be_the_header(path):
    data, chain = preamble()
    path.write_bytes(data + frame(records.encode(records.SpentRecord()), chain)[0])
    with pytest.raises(JournalError, match="its first record must be the header, got a "):
        read_journal(path)
    path.write_bytes(data + frame(b"\x93\xa3odd\x01\x02", chain)[0])
    with pytest.raises(JournalError, match="record 0 must be one that this version knows"):
        read_journal(path)


def test_untruncatable_damaged_end_is_an_error(path, monkeypatch):
    def full(descriptor, size):
        raise OSError(errno.EIO, "Input/output error")

    path.write_bytes(bytes(20))
    monkeypatch.setattr(os, "ftruncate", full)
    with pytest.raises(JournalError, match=r"its damaged end must be cut off, and cannot be \(Input/output error\)"):
        LockedFile(str(path), keep=10, size=20)
    monkeypatch.undo()
    LockedFile(str(path), keep=10, size=20).close()  # it is not left locked
    assert path.stat().st_size == 10


@given(st.lists(st.binary(max_size=20), max_size=6), st.binary(max_size=12))
def test_frames_round_trip(payloads, junk):
    data, chain = preamble()
    for payload in payloads:
        framed, chain = frame(payload, chain)
        data += framed
    read = list(frames(data + junk, "x"))
    assert [entry.payload for entry in read][: len(payloads)] == payloads
    assert (read[len(payloads) - 1].end if payloads else START) == len(data)


class Word(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "fact",
    [
        Opened("prefill"),
        Ended(),
        Extracted(3, (Claim(key="a\ud800", span=Span(1, 2)), Claim(key="b", span=None)), 0.5, "said"),
        Settled(4, Judged(Violation("why", "it", Span(0, 1), "fix"), cached=True), 0.1),
        Settled(5, Errored(Word("of a library"))),
    ],
)
def test_facts_round_trip(fact):
    again = records.decode(records.encode(records.fact_record(1.5, 7, fact)))
    assert again == records.FactRecord(1.5, 7, fact)


def test_claims_keep_only_fields_the_core_reads():
    from sums import Sum

    claim = Sum(key="1+1=2", span=Span(0, 5), left=1, right=1, total=2)
    [kept] = records.fact_record(0.0, 0, Extracted(1, (claim,))).fact.claims
    assert type(kept) is Claim


async def test_secrets_are_not_written(path):
    secret = "sk-do-not-write-this"
    extra = {"api_key": secret, "headers": 1, "X-Auth": secret, "min_p": 0.1}
    sampling = Sampling(max_tokens=50, extra=extra)
    monitors = [watch(), {"name": "arithmetic", "label": "b", "level": "explain"}]
    async with interwhen.run(goes_on(), "Q", monitors=monitors, sampling=sampling, journal=path) as run:
        await run.drain()
    assert secret.encode() not in path.read_bytes()
    header = read_journal(path).header
    assert header.sampling == Sampling(max_tokens=50, extra={"headers": 1, "min_p": 0.1})
    assert [record.untrusted_spec for record in header.monitors] == [None, monitors[1]]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_specs_with_something_secret_are_not_written():
    from interwhen.journal._records import describe

    monitor = replace(load_monitor("arithmetic"), spec=None)
    specs = ["arithmetic:level=explain", "arithmetic:api_key=x", {"name": "a", "token": "x"}, lambda: monitor]
    _, described = describe([monitor] * 4, specs)
    assert [record.untrusted_spec for record in described] == [specs[0], None, None, None]
    _, described = describe([replace(monitor, spec=spec) for spec in specs[:3]])
    assert [record.untrusted_spec for record in described] == [specs[0], None, None]


async def test_recorded_monitors_round_trip(path):
    from interwhen.journal._records import recorded_monitors

    for name in ("forks", "feedback", "slow checks"):
        file = path.with_name(name.replace(" ", ""))
        await recorded(KINDS[name], file)
        monitors = KINDS[name].monitors()
        for was, now in zip(monitors, recorded_monitors(read_journal(file).header, file), strict=True):
            for label in ("name", "trigger", "delivery", "remedy", "level", "phase", "unproven", "required"):
                assert getattr(now, label) == getattr(was, label)
            assert now.verifier.version == was.verifier.version
            assert type(now.extractor) is type(was.extractor)


@pytest.mark.parametrize("change", [{"delivery": "later"}, {"a later field": 1}])
async def test_newer_monitor_format_is_refused_naming_its_version(change, path):
    _, _, data = await recorded(KINDS["repairs"], path)
    header, *others = taken_apart(data)
    [monitor] = header.monitors
    monitor = msgspec.structs.replace(monitor, fields={**monitor.fields, **change})
    path.write_bytes(put_together([msgspec.structs.replace(header, monitors=(monitor,)), *others]))
    for read in (read_journal, interwhen.replay, interwhen.journal.timeline):
        with pytest.raises(JournalError, match="must have settings that this version knows, and one has not"):
            read(path)
