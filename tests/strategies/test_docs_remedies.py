"""The page about remedies: its code runs as it stands."""

import re
from pathlib import Path

PAGE = (Path(__file__).parents[2] / "docs" / "remedies.md").read_text()


def test_the_code_of_the_page_runs():
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert blocks
    exec(compile("\n".join(blocks), "remedies.md", "exec"), {"__name__": "page"})
