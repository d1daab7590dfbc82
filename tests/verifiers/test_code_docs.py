"""The pages on the verifiers of code, and on stopping early: their Python runs as it stands."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from tests.forked_scripts import run_script

PAGES = Path(__file__).parents[2] / "docs" / "verifiers"


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process sandbox needs Linux")
@pytest.mark.parametrize("page", ["python", "command", "early_stopping"])
def test_code_of_each_page_runs(page, tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", (PAGES / f"{page}.md").read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = run_script(script, timeout=60)
    assert done.returncode == 0, done.stderr
