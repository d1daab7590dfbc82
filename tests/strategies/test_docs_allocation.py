"""The page about allocation: its code runs as it stands, one block after the other."""

import re
from pathlib import Path

from tests.forked_scripts import run_script

PAGE = Path(__file__).parents[2] / "docs" / "allocation.md"


def test_the_page(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    path = tmp_path / "page.py"
    path.write_text("\n".join(blocks))
    done = run_script(path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "2 True\n120.0\n"
