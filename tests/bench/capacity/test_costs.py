"""The inputs of the model: read from a measurement or from an evaluation, never invented."""

import msgspec
import pytest
from interwhen import UsageError
from interwhen.bench.capacity._costs import Machine, Point, load_of_results, read_measured
from interwhen.bench.evaluation._results import ResultRow

from .support import MEASURED


def test_a_written_measurement_is_read_again(tmp_path):
    path = tmp_path / "measured.json"
    path.write_bytes(msgspec.json.encode(MEASURED))
    assert read_measured(path) == MEASURED


@pytest.mark.parametrize("content", [None, b"{}", b"no JSON", b'{"interwhen": "\xff"}'])
def test_another_file_is_refused(tmp_path, content):
    path = tmp_path / "measured.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="interwhen plan measure"):
        read_measured(path)


@pytest.mark.parametrize("change", [{"seconds": 0.0}, {"tokens": 0.0}], ids=str)
def test_a_measurement_of_no_answer_is_refused(tmp_path, change):
    path = tmp_path / "measured.json"
    load = msgspec.structs.replace(MEASURED.load, **change)
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(MEASURED, load=load)))
    with pytest.raises(UsageError, match="must have tokens and take time"):
        read_measured(path)


def test_the_mean_answer_of_an_evaluation_is_the_load(tmp_path):
    plain = {"name": "n", "status": "verified"}
    rows = [
        ResultRow(
            row=0, tokens=100, seconds=2.0, forks=2, fork_tokens=20, worker_checks=4, worker_seconds=0.2, **plain
        ),
        ResultRow(row=1, tokens=300, seconds=6.0, remedies=1, **plain),
        ResultRow(row=2, tokens=50, fork_tokens=50, seconds=9.0, **plain),  # the stream brought no token
    ]
    lines = b"".join(msgspec.json.encode(row) + b"\n" for row in rows)
    (tmp_path / "shard-00000.jsonl").write_bytes(lines)
    load = load_of_results(tmp_path)
    assert (load.tokens, load.seconds, load.forks, load.fork_tokens) == (190, 4.0, 1, 10)
    assert (load.checks, load.check_ms, load.remedies) == (2, pytest.approx(50.0), 0.5)
    assert load.rate == pytest.approx(190 / 4)


def test_an_evaluation_without_results_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--results"):
        load_of_results(tmp_path)


def test_the_error_of_a_point_is_a_share_of_the_measured_value():
    assert Point(what="p", unit="ms", measured=8.0, predicted=10.0).error == pytest.approx(0.25)


def test_this_machine_has_cores_memory_files_and_ports():
    here = Machine.here()
    assert min(here.cores, here.memory_mb, here.open_files, here.ports, here.disk_gb) > 0
