"""The same facts give the same orders and events as before, so that each journal of this schema can be resumed."""

import json

import pytest
from tests.core.replays import COUNT, DIGESTS, digest

TOGETHER = 2
"""The number of runs of one test."""


@pytest.mark.parametrize("first", range(0, COUNT, TOGETHER))
def test_the_core_says_what_it_said_before(first):
    """If this is intended, raise `SCHEMA`, and write the digests again: ``python -m tests.core.replays``."""
    known = json.loads(DIGESTS.read_text())
    assert [digest(seed) for seed in range(first, first + TOGETHER)] == known[first : first + TOGETHER]
    assert len(known) == COUNT
