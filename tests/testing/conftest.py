"""The shipped fakes are tested in virtual time on trio."""

import pytest
from tests.virtual_clock import virtual_backend


@pytest.fixture
def anyio_backend():
    return virtual_backend()
