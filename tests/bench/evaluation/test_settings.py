"""The settings of an evaluation: another process makes the same evaluation of them."""

import pickle

import anyio
import pytest
from interwhen import UsageError
from interwhen.bench.evaluation._results import read_manifest, read_rows
from interwhen.bench.evaluation._settings import EvaluationSettings, run_shards

from .support import serving, written


def settings(folder, url, **options):
    path = str(folder / "prompts.jsonl")
    names = {
        "task": path,
        "source": path,
        "out": str(folder / "out"),
        "endpoints": (url,),
        "model": "m",
    }
    return EvaluationSettings(**names | options)


def test_another_process_runs_shards_with_same_manifest(tmp_path):
    written(tmp_path, 25)
    with serving() as url:
        given = settings(tmp_path, url, shard_size=10, monitors=("arithmetic",))
        copy = pickle.loads(pickle.dumps(given))
        ended = anyio.run(lambda: run_shards(given, shards=(1,)))
        assert sorted(row.row for row in read_rows(given.out)) == list(range(10, 20))
        assert (ended.progress.rows, ended.endpoints[0].runs) == (10, 10)
        anyio.run(lambda: run_shards(copy, part="-2"))
    assert sorted(row.row for row in read_rows(given.out)) == list(range(25))
    assert read_manifest(given.out).versions.keys() == {"arithmetic"}
    assert given.spent_tokens() == sum(row.tokens for row in read_rows(given.out))


def test_other_options_in_the_same_folder_are_refused(tmp_path):
    written(tmp_path, 3)
    with serving() as url:
        anyio.run(lambda: run_shards(settings(tmp_path, url)))
        with pytest.raises(UsageError, match="model was 'm' and is 'other'"):
            anyio.run(lambda: run_shards(settings(tmp_path, url, model="other")))


def test_nothing_is_evaluated_while_supervision_is_off(tmp_path, monkeypatch):
    written(tmp_path, 3)
    monkeypatch.setenv("INTERWHEN_OFF", "1")
    with serving() as url, pytest.raises(UsageError, match="supervision must be on to evaluate"):
        anyio.run(lambda: run_shards(settings(tmp_path, url)))
    assert not (tmp_path / "out").exists()
