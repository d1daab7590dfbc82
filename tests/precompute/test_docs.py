"""The page about work ahead of time: its example runs as it stands and prints what it says."""

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "precompute.md").read_text(encoding="utf-8")


def test_the_example_prints_what_the_page_says(tmp_path):
    code = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    said = re.findall(r"```text\n(.*?)```", PAGE, flags=re.DOTALL)[0]
    script = tmp_path / "page.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, "-W", "error", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == said


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
