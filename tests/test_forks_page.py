"""The page about forks: its code runs as it stands."""

import re
from pathlib import Path

from tests.forked_scripts import run_script

PAGE = Path(__file__).parents[1] / "docs" / "forks.md"


def test_polls_become_rarer_after_right_text(tmp_path):
    path = tmp_path / "page.py"
    path.write_text("\n".join(re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)))
    done = run_script(path)
    assert done.returncode == 0, done.stderr
    forks = [int(count) for count in done.stdout.split()]
    assert len(forks) == 3
    assert forks == sorted(forks, reverse=True)
