"""Plain words, and one class for one name."""

import pytest
from tests.architecture.words import dialect, repeated_classes

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

# Words of problems, models, prompts and names of users: not ours to choose.
DELIBERATE = {
    "tests/core/test_scanners.py",
    "tests/precompute/producers/test_answers.py",
    "tests/verifiers/doubtful_texts.py",
    "tests/verifiers/test_arithmetic_windows.py",
    "tests/verifiers/test_logic_swaps.py",
    "tests/vllm/environment.py",
    "verifiers/interwhen_verifiers/puzzles/_logic/premises.py",
}


def test_sources_and_pages_use_plain_words():
    found = [hit for hit in dialect() if hit[0] not in DELIBERATE]
    assert found == [], "STYLE: say it with a plain word"


def test_a_class_name_occurs_once_in_the_framework():
    assert repeated_classes() == {}
