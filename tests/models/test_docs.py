"""The page about transports: its code runs as it stands."""

import re
from pathlib import Path

import pytest
from tests.forked_scripts import run_script

pytest.importorskip("httptools", reason="the extra 'fast' is not installed")

PAGE = Path(__file__).parents[2] / "docs" / "transports.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
PRINTED = {
    "one transport": "verified '17 + 25 = 42\\n'\n",
    "a shared one": "yes\nyes\n1 connection\n",
    "the collector": "",
}


@pytest.mark.parametrize("number", range(len(PRINTED)), ids=list(PRINTED))
def test_each_block_runs_as_it_stands(number, tmp_path):
    path = tmp_path / "page.py"
    path.write_text(BLOCKS[number])
    done = run_script(path, timeout=60)
    assert (done.returncode, done.stdout) == (0, list(PRINTED.values())[number]), done.stderr


def test_there_are_no_other_blocks():
    assert len(BLOCKS) == len(PRINTED)
