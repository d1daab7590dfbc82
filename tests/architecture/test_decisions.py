"""Each decision is linked from where it matters: from code, or from a page of the docs."""

import re

import pytest
from tests.architecture.public_api import ROOT

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

LINK = re.compile(r"decisions/(\d{4})[-\w]*")


def test_each_decision_is_linked_from_outside_the_decisions():
    decisions = {path.name[:4]: path.name for path in (ROOT / "docs" / "decisions").glob("*.md")}
    linked = set()
    for folder in ("interwhen", "interwhen_pytest", "verifiers", "docs"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".md"} and path.parent.name != "decisions":
                linked |= set(LINK.findall(path.read_text(encoding="utf-8")))
    for path in (*ROOT.glob("*.md"), ROOT / "pyproject.toml"):
        linked |= set(LINK.findall(path.read_text(encoding="utf-8")))
    assert {number: name for number, name in decisions.items() if number not in linked} == {}
    assert linked <= decisions.keys()
