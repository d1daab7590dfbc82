"""The page about the fork planner: its code runs as it stands."""

import re
from pathlib import Path

from tests.forked_scripts import run_script

PAGE = Path(__file__).parents[2] / "docs" / "fork-planner.md"


def test_the_page(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "page.py"
    path.write_text("\n".join(blocks))
    done = run_script(path)
    assert done.returncode == 0, done.stderr
    first, *forks = done.stdout.splitlines()
    assert first == "two apples live"
    assert [int(count) for count in forks] == sorted(map(int, forks), reverse=True)
    assert len(forks) == 3
