"""Every fault of the wire through a whole supervised run: nothing lost, nothing silently wrong."""

import anyio
import pytest
from interwhen.models import Retries, Timeouts
from interwhen.testing.server import FAULTS, ScriptedServer, ScriptedTransport, faulty
from tests.virtual_clock import virtual_backend
from wire_cases import CASES, STORY, WRONG, check, open_model, supervised

pytestmark = pytest.mark.anyio

RANDOM = {"mutated", "cut_anywhere"}
TIMERS = Timeouts(connect=10.0, first_token=50.0, inter_token=25.0, min_rate=2.0)


def cases(*, virtual):
    return [
        pytest.param(name, marks=pytest.mark.fault(case.row, injected=FAULTS[name].says, happens=case.happens), id=name)
        for name, case in CASES.items()
        if virtual or not case.only_virtual
    ]


@pytest.fixture(params=["completions", "chat"])
def api(request):
    return request.param


class TestInVirtualTime:
    @pytest.fixture
    def anyio_backend(self):
        return virtual_backend()

    @pytest.mark.parametrize("name", cases(virtual=True))
    async def test_the_run_ends_right_and_on_time(self, name, api):
        transport = ScriptedTransport(faulty(name, story=STORY, wrong=WRONG))
        model = open_model(api, "http://scripted/v1", transport=transport, timeouts=TIMERS, retries=Retries(base=0.0))
        with anyio.fail_after(1000):
            run, shown = await supervised(model)
        check(CASES[name], run, shown, len(transport.posts))
        assert run.result.timing.total == pytest.approx(CASES[name].seconds, abs=0.02)
        assert transport.open_responses == 0


@pytest.mark.parametrize("name", cases(virtual=False))
async def test_over_a_real_connection_the_run_ends_right(name, api, transport):
    case = CASES[name]
    timeouts = Timeouts(first_token=0.3 if case.seconds == 50.0 else 30.0, inter_token=0.1 if case.seconds else 30.0)
    async with ScriptedServer(faulty(name, story=STORY, wrong=WRONG)) as server:
        options = {"transport": transport, "timeouts": timeouts, "retries": Retries(base=0.0)}
        async with open_model(api, server.base_url, **options) as model:
            with anyio.fail_after(60):
                run, shown = await supervised(model)
        check(case, run, shown, len(server.posts), exact=not case.seconds)
        for request in server.posts:
            request.aborted.set()  # a deaf stream continues
        await server.settled(5)


def test_the_table_is_complete():
    assert set(CASES) | RANDOM == set(FAULTS)
    assert len(CASES) >= 41
    assert {case.row for case in CASES.values()} >= {f"W{n}" for n in range(1, 32)}
