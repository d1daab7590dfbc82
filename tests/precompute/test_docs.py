"""The page about work ahead of time: its examples run as they stand and print what it says."""

import re
from pathlib import Path

import pytest
from tests.forked_scripts import run_script

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "precompute.md").read_text(encoding="utf-8")


EXAMPLES = list(
    zip(*(re.findall(rf"```{kind}\n(.*?)```", PAGE, flags=re.DOTALL) for kind in ("python", "text")), strict=True)
)


@pytest.mark.parametrize(("code", "said"), EXAMPLES)
def test_examples_print_documented_output(code, said, tmp_path):
    script = tmp_path / "page.py"
    script.write_text(code)
    done = run_script(script, cwd=tmp_path, warn="error")
    assert done.returncode == 0, done.stderr
    assert done.stdout == said


def test_page_links_exist():
    for target in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target
