"""The measurement of held right texts counts what it says."""

import gzip
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "examples"))

import measure_held

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_each_right_text_is_counted_once_by_what_became_of_it(tmp_path, capsys):
    records = [
        {"answer": "2 + 2 = <<2+2=4>>4\n#### 4"},
        {"answer": "nothing to check here\n#### 4"},
        {"answer": "2 + 2 = 5\n#### 5"},
    ]
    (tmp_path / "gsm8k").mkdir()
    with gzip.open(tmp_path / "gsm8k" / "train.jsonl.gz", "wt") as lines:
        lines.writelines(f"{json.dumps(record)}\n" for record in records)
    await measure_held.main(tmp_path, "arithmetic")
    assert capsys.readouterr().out == (
        "gsm8k/train: 3 right texts: 1 held: a violation, 1 released, unverified, 1 released, verified\n"
    )
