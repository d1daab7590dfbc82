"""Old runs are resumed in virtual time on trio."""

import pytest
from trio.testing import MockClock


@pytest.fixture
def anyio_backend():
    return "trio", {"clock": MockClock(autojump_threshold=0)}
