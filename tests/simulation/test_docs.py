"""What docs/simulation.md shows does what it says."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "simulation.md"


def test_the_example_runs_at_once():
    [code] = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names = {}
    exec(code, names)
    result = names["result"]
    assert result.text == "1 + 1 = 2\n2 + 2 = 4\n"
    assert result.timing.total == 59
