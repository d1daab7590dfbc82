"""The audit file: one line per call, rotation, and what happens if the disk does not take it."""

import json
import os
import stat
import subprocess
import sys
import threading
import time

import msgspec
import pytest
from interwhen import UsageError
from interwhen.clients import _audit
from interwhen.clients._audit import AuditFile, AuditSettings, open_audit
from interwhen.clients._call_record import SCHEMA, CallOrigin, CallRecord, record_call


def record(number=0):
    return record_call(CallOrigin(call_id=f"{number:032x}"), api="chat", model="m")


def lines(path):
    return [json.loads(line) for line in path.read_bytes().splitlines() if line]


@pytest.fixture
def audit(tmp_path):
    made = []

    def make(**options):
        made.append(open_audit({"path": str(tmp_path / "audit.jsonl"), **options}))
        return made[-1]

    yield make
    for file in made:
        file.close()


def test_each_record_is_one_line_and_reads_back(audit, tmp_path):
    file = audit()
    for number in range(20):
        file.write(record(number))
    file.close()
    records = lines(tmp_path / "audit.jsonl")
    assert [int(line["call_id"], 16) for line in records] == list(range(20))
    assert records[0]["schema"] == SCHEMA
    assert msgspec.convert(records[3], CallRecord).call_id == f"{3:032x}"
    assert stat.S_IMODE((tmp_path / "audit.jsonl").stat().st_mode) == 0o600


def test_reopening_a_closed_audit_file_appends_to_it(audit, tmp_path):
    for number in range(3):
        file = audit()
        file.write(record(number))
        file.close()
    assert len(lines(tmp_path / "audit.jsonl")) == 3


def test_files_rotate_and_the_oldest_goes(audit, tmp_path):
    file = audit(max_bytes=2048, files=3)
    for number in range(30):
        file.write(record(number))
    file.close()
    parts = sorted(path.name for path in tmp_path.iterdir())
    assert parts == ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]
    numbers = [int(line["call_id"], 16) for name in reversed(parts) for line in lines(tmp_path / name)]
    assert numbers == list(range(30))[-len(numbers) :]
    assert all((tmp_path / name).stat().st_size <= 2048 for name in parts)


def test_records_lost_to_a_full_disk_are_counted(audit, tmp_path, monkeypatch):
    real, state = os.write, {"full": False}

    def write(descriptor, data):
        if not state["full"]:
            return real(descriptor, data)
        state["full"] = "torn"
        return real(descriptor, data[:10]) if len(data) > 100 else len(data)

    file = audit()
    file.write(record(0))
    file.close()
    monkeypatch.setattr(_audit.os, "write", write)
    state["full"] = True
    file.write(record(1))
    file.close()
    state["full"] = False
    file.write(record(2))
    file.close()
    assert file.dropped == 1
    written = (tmp_path / "audit.jsonl").read_bytes().split(b"\n")
    assert json.loads(written[0])["call_id"] == f"{0:032x}"
    assert len(written[1]) == 10  # what the disk took of the lost record, on a line of its own
    assert json.loads(written[2])["call_id"] == f"{2:032x}"


def test_a_path_that_cannot_be_written_is_counted(tmp_path):
    file = open_audit(tmp_path / "missing" / "audit.jsonl")
    file.write(record())
    file.close()
    assert file.dropped == 1


def test_a_hanging_disk_drops_records_without_blocking_callers(audit, monkeypatch):
    go_on = threading.Event()
    monkeypatch.setattr(_audit, "_QUEUED", 4)
    monkeypatch.setattr(AuditFile, "_append", lambda self, line: go_on.wait(100))
    file = audit()
    began = time.monotonic()
    for number in range(20):
        file.write(record(number))
    assert time.monotonic() - began < 60
    assert file.dropped >= 14
    go_on.set()
    file.close()


@pytest.mark.parametrize("is_full", [False, True], ids=["told to end", "queue full"])
def test_closing_while_disk_hangs_keeps_one_writer_thread(audit, monkeypatch, is_full):
    go_on, appending, most, seen = threading.Event(), [], [], []

    def append(self, line):
        appending.append(line)
        most.append(len(appending))
        go_on.wait(100)
        seen.append(json.loads(line)["call_id"])
        appending.remove(line)

    monkeypatch.setattr(_audit, "_QUEUED", 3 if is_full else 9)
    monkeypatch.setattr(AuditFile, "_append", append)
    file = audit()
    file.close_seconds = 0.05
    file.write(record(0))
    while not appending:
        time.sleep(0.001)
    for number in range(1, 4):
        file.write(record(number))
    file.close()  # in vain
    if not is_full:
        file.write(record(4))
    time.sleep(0.05)
    go_on.set()
    file.close_seconds = 30.0
    file.close()
    assert max(most) == 1
    assert seen == [f"{number:032x}" for number in range(4 if is_full else 5)]
    assert file.dropped == 0


def test_equal_paths_share_a_file_unless_settings_conflict(audit, tmp_path):
    first = audit()
    assert audit() is first
    assert open_audit(str(tmp_path / "." / "audit.jsonl")) is first
    with pytest.raises(UsageError, match="must have the same settings"):
        audit(content=True)


@pytest.mark.parametrize("wrong", [7, {}, {"path": "x", "files": 0}, {"path": "x", "colour": "red"}, {"files": 3}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UsageError, match="audit"):
        open_audit(wrong)
    assert open_audit(None) is None
    assert open_audit(AuditSettings()) is None


FORKING = """
import os, sys
from interwhen.clients._audit import open_audit
from interwhen.clients._call_record import record_call
from interwhen.clients._call_record import CallOrigin

file = open_audit({"path": sys.argv[1]})
write = lambda number: file.write(record_call(CallOrigin(call_id=f"{number:032x}"), api="chat", model="m"))
write(0)
file.close()
write(1)
child = os.fork()
if not child:
    write(2)
    file.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
file.close()
"""


def test_a_forked_process_writes_on(tmp_path):
    # In a process of its own: the one of the tests has other threads.
    path = tmp_path / "audit.jsonl"
    subprocess.run([sys.executable, "-c", FORKING, str(path)], check=True, timeout=60)
    assert {line["call_id"] for line in lines(path)} == {f"{n:032x}" for n in range(3)}


def test_the_defaults_keep_no_file_and_no_content():
    assert AuditSettings().path == ""
    assert not AuditSettings().content
