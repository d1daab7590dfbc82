"""The measurement of resumes makes the server continue twice a run, and reports what it counted."""

from importlib.util import find_spec

import anyio
import pytest
from interwhen import UsageError
from tests.benchmarks import resumes as _resumes


@pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed (extra 'local')")
@pytest.mark.parametrize("api", ["completions", "chat"])
def test_each_arm_is_reported_and_setting_restored(api):
    async def measure():
        return await _resumes.resumes(api=api, pairs=2)

    report = anyio.run(measure)
    assert _resumes._token_stream.MOST_LOOKS == _resumes.LOOKS > 0
    (table,) = report.tables
    counted = {row["what"]: row["measured"].value for row in table.rows if "resumes" in row["what"]}
    assert set(counted) >= {f"{arm}: resumes" for arm in _resumes._ARMS}
    assert all(2 <= counted[f"{arm}: resumes"] <= 4 for arm in _resumes._ARMS)
    assert report.passed


def test_a_hosted_model_is_refused():
    with pytest.raises(UsageError, match="only a local model"):
        anyio.run(lambda: _resumes.resumes(model="openai:x"))
