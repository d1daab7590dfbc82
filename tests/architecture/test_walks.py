"""The walks of docs/architecture.md name functions that run, in that order; and a walk does not grow unnoticed."""

import re

import anyio
import pytest
from tests.architecture.public_api import ROOT
from tests.architecture.walks import walk_refused_call, walk_token, walk_violation

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
WALKS = {"a token": walk_token, "a violation": walk_violation, "a refused tool call": walk_refused_call}
# At most so many files of interwhen run code, those of the model adapter included. Measured: 9, 20 and 36.
MOST_FILES = {"a token": 9, "a violation": 20, "a refused tool call": 36}


def named(section):
    text = PAGE.split(f"## Walk: {section}\n")[1].split("\n## ")[0]
    return re.findall(r"`([\w/]+\.py:[\w.]+)`", text)


@pytest.mark.parametrize("section", WALKS)
def test_documented_walk_matches_the_executed_functions(section):
    walk = anyio.run(WALKS[section])
    ran = list(walk.functions)
    functions = named(section)
    assert functions
    missing = [function for function in functions if function not in walk.functions]
    assert not missing, f"named in docs/architecture.md, but not run: {missing}"
    assert [ran.index(function) for function in functions] == sorted(ran.index(function) for function in functions)
    assert len(walk.files) <= MOST_FILES[section], walk.files
