"""Results survive a kill at any byte, and a folder belongs to one evaluation and one process."""

import json

import pytest
from interwhen import UsageError
from interwhen.bench.evaluation._results import Manifest, ResultRow, Results, read_rows, shard_name, summarize

MANIFEST = Manifest(task="t", digest="d", model="m", api="chat", shard_size=10)


def row(number, **more):
    return ResultRow(row=number, name=f"row-{number}", status="verified", attempt=f"a{number}", tokens=5, **more)


def test_a_row_is_written_once(tmp_path):
    with Results(tmp_path / "out", MANIFEST) as results:
        assert results.commit(row(3))
        assert not results.commit(row(3))
        assert results.commit(row(12))
        assert results.done(0) == {3}
        assert results.done(1) == {12}
    with Results(tmp_path / "out", MANIFEST) as results:
        assert not results.commit(row(3))
    assert [one.row for one in read_rows(tmp_path / "out")] == [3, 12]


def test_killed_writer_loses_at_most_one_row(tmp_path):
    with Results(tmp_path / "out", MANIFEST) as results:
        for number in range(3):
            results.commit(row(number, text="é\n"))
    path = tmp_path / "out" / shard_name(0)
    whole = path.read_bytes()
    ends = [at + 1 for at, byte in enumerate(whole) if byte == 10]
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        with Results(tmp_path / "out", MANIFEST) as results:
            kept = sum(end <= cut for end in ends)
            assert results.done(0) == set(range(kept))
            for number in range(3):
                assert results.commit(row(number, text="é\n")) == (number >= kept)
        assert path.read_bytes() == whole


def test_tokens_of_killed_attempts_are_counted(tmp_path):
    with Results(tmp_path / "out", MANIFEST) as results:
        results.spend({"lost": (0, 10, 1), "a1": (1, 3, 1)})
        results.spend({"lost": (0, 25, 2)})
        results.commit(row(1))
    with (tmp_path / "out" / "spending.jsonl").open("ab") as file:
        file.write(b'{"attempt":"torn')
    with Results(tmp_path / "out", MANIFEST) as results:
        results.spend({"again": (0, 2, 1)})
    summary = summarize(tmp_path / "out")
    assert (summary.rows, summary.tokens) == (1, 5)
    assert (summary.tokens_again, summary.attempts_again) == (27, 2)


def test_folder_continues_only_with_same_options(tmp_path):
    with Results(tmp_path / "out", MANIFEST):
        pass
    other = Manifest(task="t", digest="d", model="other", api="chat", shard_size=10)
    with pytest.raises(UsageError, match="model was 'm' and is 'other'"), Results(tmp_path / "out", other):
        pass
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    with pytest.raises(UsageError, match="holds other files"), Results(tmp_path / "mine", MANIFEST):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--out must be a folder"), Results(tmp_path / "file", MANIFEST):
        pass


def test_two_processes_cannot_write_the_same_shard(tmp_path):
    with Results(tmp_path / "out", MANIFEST) as one, Results(tmp_path / "out", MANIFEST) as two:
        one.commit(row(1))
        with pytest.raises(UsageError, match="one process at a time"):
            two.commit(row(2))
        assert two.commit(row(15))


@pytest.mark.parametrize("line", [b"garbage", b'{"row": 1, "name": "\xff"}'])
def test_damaged_result_line_is_refused(tmp_path, line):
    with Results(tmp_path / "out", MANIFEST) as results:
        results.commit(row(1))
    path = tmp_path / "out" / shard_name(0)
    path.write_bytes(line + b"\n" + path.read_bytes())
    with pytest.raises(UsageError, match="the line at byte 0 must be a row of results"):
        list(read_rows(tmp_path / "out"))


def test_every_row_has_every_field(tmp_path):
    with Results(tmp_path / "out", MANIFEST) as results:
        results.commit(row(1))
        results.commit(row(2, grade="right", first_token_seconds=0.5))
        results.leave(0)
        results.flush()
    lines = [json.loads(line) for line in (tmp_path / "out" / shard_name(0)).read_text().splitlines()]
    assert set(lines[0]) == set(lines[1]) == set(ResultRow.__struct_fields__)


def test_the_files_load_as_one_table(tmp_path):
    datasets = pytest.importorskip("datasets")
    with Results(tmp_path / "out", MANIFEST) as results:
        results.commit(row(1))
        results.commit(row(12, grade="right"))
    files = sorted(map(str, (tmp_path / "out").glob("shard-*.jsonl")))
    loaded = datasets.load_dataset("json", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded["row"][:] == [1, 12]
    assert loaded["grade"][:] == ["", "right"]
