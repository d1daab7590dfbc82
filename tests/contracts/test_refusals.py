"""The measurement of refused corrections, on scripted servers: nothing that it looks at is wrong."""

import pytest

from .refusals import APIS, faults, measure, scripted, summary

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def measured(kind, **options):
    async with scripted(kind) as (url, script):
        return await measure(url, key="k", model="m", most=200, script=script, **options)


@pytest.mark.parametrize("kind", ["hosted", "vllm", "llamacpp"])
async def test_usage_is_what_the_server_counted(kind):
    rows = summary(await measured(kind, calls=12, each=0))["rows"]
    for api in APIS:
        assert rows[f"{api}, no correction"]["prompts"] == {"equal": 4, "counted": 4, "estimated": 0}
        corrected = rows[f"{api}, corrected"]
        assert (corrected["corrected"], corrected["wrong"]) == (4, 0), corrected
        # Of a known server only the first correction of all is an estimate, and of vLLM the responses.
        estimated = 4 if kind == "hosted" or (kind, api) == ("vllm", "responses") else int(api == "chat")
        assert corrected["prompts"] == {"equal": 4 - estimated, "counted": 4 - estimated, "estimated": estimated}


@pytest.mark.fault(
    "H4", injected="eight faults at each resume, on each API", happens="a result, or the bare call's error"
)
@pytest.mark.parametrize("api", APIS)
async def test_resume_faults_give_a_result_or_sdk_error(api):
    report = summary(await measured("hosted", calls=0, each=1, apis=(api,)))
    assert report["wrong"] == 0, report
    assert {row["calls"] for row in report["rows"].values()} == {2 * len(faults(1))}
