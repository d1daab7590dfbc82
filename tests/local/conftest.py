from importlib.util import find_spec

import pytest


@pytest.fixture(autouse=True)
def _needs_the_library():
    if find_spec("xllamacpp") is None:
        pytest.skip("xllamacpp is not installed (extra 'local')")


@pytest.fixture(params=["asyncio", "trio"])
def anyio_backend(request):
    return request.param
