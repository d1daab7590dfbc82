"""The workflows of the public host: clean YAML, which says that it was not run."""

from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).parents[2] / ".github" / "workflows"
RULES = "{extends: default, rules: {line-length: {max: 130}, document-start: disable, truthy: disable}}"

pytestmark = pytest.mark.source


@pytest.mark.parametrize("name", ["ci.yml", "release.yml"])
def test_workflow_is_clean_and_marked_not_run(name):
    pytest.importorskip("yamllint")
    from yamllint import linter
    from yamllint.config import YamlLintConfig

    text = (WORKFLOWS / name).read_text(encoding="utf-8")
    assert list(linter.run(text, YamlLintConfig(RULES))) == []
    assert "not yet run anywhere" in text.splitlines()[0].lower()
