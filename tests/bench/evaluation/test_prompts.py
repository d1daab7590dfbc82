"""Prompts come from files, from the hub and from installed tasks, in order, and bad rows are named."""

import bz2
import gzip
import json
import lzma

import pytest
from interwhen import Message, UsageError
from interwhen.bench.evaluation._prompts import open_prompts

ROWS = [
    {"prompt": "Add 1 and 1.", "answer": 2},
    {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}], "other": 1},
    {"prompt": "x", "answer": "7", "name": "mine", "monitors": ["arithmetic"]},
]


COMPRESS = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["p.jsonl", "p.jsonl.gz", "p.jsonl.bz2", "p.ndjson.xz", "p.parquet"])
def test_files_give_the_same_rows(tmp_path, name):
    path = tmp_path / name
    rows = ROWS
    ending = path.suffix
    if ending in COMPRESS:
        path.write_bytes(COMPRESS[ending](lines(rows).encode()))
    elif name.endswith(".parquet"):
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        rows = [{"prompt": "Add 1 and 1.", "answer": "2"}, {"prompt": "x", "answer": None}]
        parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        path.write_text("\ufeff" + lines(rows) + "\n")  # with the mark that Windows writes
    prompts = open_prompts(str(path))
    prompt_rows = list(prompts.rows())
    assert prompts.count == len(rows)
    assert [one.number for one in prompt_rows] == list(range(len(rows)))
    assert prompt_rows[0].prompt == (Message("user", "Add 1 and 1."),)
    assert prompt_rows[0].grade("So it is 2.\nAnswer: 2.0")
    assert not prompt_rows[0].grade("Answer: 3")
    assert not prompt_rows[0].grade("2")
    assert prompt_rows[1].grade is None
    if len(rows) == 3:
        assert prompt_rows[1].prompt[0] == Message("system", "Be brief.")
        assert (prompt_rows[2].name, prompt_rows[2].monitors) == ("mine", ("arithmetic",))


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_damaged_file_is_a_usage_error(tmp_path, ending):
    whole = COMPRESS[ending](lines(ROWS * 50).encode())
    path = tmp_path / f"p.jsonl{ending}"
    for at in range(20, len(whole) - 8, 7):
        path.write_bytes(whole[:at] + bytes(255 - each for each in whole[at : at + 6]) + whole[at + 6 :])
        with pytest.raises(UsageError):
            list(open_prompts(str(path)).rows())


def test_a_url_of_fsspec_is_read(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    with fsspec.open("memory://evaluation/p.jsonl", "wb") as file:
        file.write(lines(ROWS).encode())
    assert len(list(open_prompts("memory://evaluation/p.jsonl").rows())) == 3


def test_the_digest_follows_the_content_and_the_options(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines(ROWS))
    first = open_prompts(str(path))
    assert first.count == 3
    assert open_prompts(str(path)).digest == first.digest
    assert open_prompts(str(path), count=2).digest != first.digest
    assert open_prompts(str(path), answer_field="other").digest != first.digest
    path.write_text(lines(ROWS[:2]))
    assert open_prompts(str(path)).digest != first.digest


def test_count_limits_the_rows(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines(ROWS))
    prompts = open_prompts(str(path), count=2)
    assert len(list(prompts.rows())) == prompts.count == 2
    with pytest.raises(UsageError, match="--count must be at least 1"):
        open_prompts(str(path), count=0)


def test_installed_task_gives_exercises_with_graders():
    prompts = open_prompts("chained_arithmetic", count=3, seed=5)
    rows = list(prompts.rows())
    assert len(rows) == 3
    assert rows[0].monitors
    assert rows[0].grade("no answer") is False
    assert prompts.digest != open_prompts("chained_arithmetic", count=3, seed=6).digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1 must be a JSON object"),
        ('{"question": "x"}', "must have the field 'prompt', got question"),
        ('{"prompt": 3}', "line 1 must be a prompt with an answer"),
        ("[]", "line 1 must be a JSON object"),
        ('{"prompt": []}', "line 1 must have at least one message"),
        ('{"prompt": "\udce9"}', "line 1 must be a JSON object"),
        ("", "which has none"),
    ],
)
def test_invalid_line_is_refused_before_the_run(tmp_path, text, message):
    path = tmp_path / "p.jsonl"
    path.write_text(text + "\n", errors="surrogateescape")
    with pytest.raises(UsageError, match=message) as caught:
        open_prompts(str(path))
    assert "readable file" not in str(caught.value)
    if text:
        path.write_text(lines(ROWS[:1]) + text + "\n", errors="surrogateescape")
        with pytest.raises(UsageError, match=message.replace("line 1", "line 2")):
            open_prompts(str(path))
        assert open_prompts(str(path), count=1).count == 1


@pytest.mark.parametrize("ending", COMPRESS)
def test_a_compressed_file_that_is_cut_is_refused(tmp_path, ending):
    path = tmp_path / f"p.jsonl{ending}"
    path.write_bytes(COMPRESS[ending](lines(ROWS * 100).encode())[:40])
    with pytest.raises(UsageError, match="--task must name a readable file"):
        open_prompts(str(path))


def test_row_name_may_be_a_number(tmp_path):
    path = tmp_path / "p.jsonl"
    path.write_text(lines([{"prompt": "x", "name": 7}, {"prompt": "y"}]))
    assert [one.name for one in open_prompts(str(path)).rows()] == ["7", "row-1"]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("missing.jsonl", "--task must name a readable file"),
        ("s3://bucket/file.csv", "a file that ends in"),
        ("-", "which is read more than once"),
    ],
)
def test_a_source_that_cannot_be_read_is_refused(spec, message):
    with pytest.raises(UsageError, match=message):
        open_prompts(spec)
