"""Servers that continue after the connection was closed: they get an abort call, are bounded in number, and are counted."""

import anyio
import pytest
from interwhen import Sampling, UsageError
from interwhen.models import Request, Retries, Timeouts, _orphans
from interwhen.models._chunks import decode_completion
from interwhen.models._orphans import ORPHAN_SECONDS, AbortCall, OrphanedStream, OrphanedStreams
from interwhen.models._token_stream import TokenStream
from interwhen.testing.server import ScriptedServer, ScriptedTransport, fault, faulty, reply
from tests.fuzz.stream_property import Body
from tests.virtual_clock import virtual_backend
from wire_cases import STORY, WHOLE, WRONG, open_model, supervised

pytestmark = pytest.mark.anyio
IGNORES = faulty("ignore_cancel", story=STORY, wrong=WRONG)


@pytest.fixture(params=["completions", "chat"])
def api(request):
    return request.param


@pytest.mark.fault(
    "W23", injected="a generation that continues when closed", happens="closed at once, and resumed beside it"
)
async def test_a_server_that_ignores_the_close_delays_nothing(api, transport):
    async with ScriptedServer(IGNORES) as server:
        async with open_model(api, server.base_url, transport=transport) as model:
            with anyio.fail_after(60):
                run, _ = await supervised(model)
            first, second = server.posts
            assert (run.result.status, run.result.text) == ("verified", WHOLE)
            with anyio.fail_after(60):
                await first.gone.wait()
                while server.running > 1:
                    await anyio.sleep(0.001)
            assert run.result.timing.close_latency
            assert second.generated == 4
            assert server.running == 1, "the server is not deaf: the test shows nothing"
        first.aborted.set()
        await server.settled(5)


@pytest.mark.fault(
    "W23", injected="the same, where the server has an abort call", happens="the call ends the generation"
)
async def test_an_abort_call_ends_it(api, transport, monkeypatch):
    # A busy machine may take longer over its first connection than a user would wait.
    monkeypatch.setattr(_orphans, "_TIMEOUTS", Timeouts(connect=30.0, first_token=30.0, total=30.0))
    async with ScriptedServer(IGNORES) as server:
        async with open_model(api, server.base_url, transport=transport, abort=AbortCall(), max_orphans=1) as model:
            with anyio.fail_after(60):
                run, _ = await supervised(model)
            assert (run.result.status, run.result.text) == ("verified", WHOLE)
            first, second = server.posts
            (abort,) = server.aborts
            assert abort.path == "/abort_request"
            assert abort.json == {"rid": first.json["rid"]}
            assert first.json["rid"] != second.json["rid"]
            assert model.orphans.alive == 0
            assert run.result.ledger.wasted_tokens == 0
        await server.settled(5)
        assert server.running == 0


async def test_a_stream_that_ended_is_not_aborted(api, transport):
    async with (
        ScriptedServer(faulty("none")) as server,
        open_model(api, server.base_url, transport=transport, abort=AbortCall()) as model,
    ):
        await supervised(model)
        assert server.aborts == []


class TestInVirtualTime:
    @pytest.fixture
    def anyio_backend(self):
        return virtual_backend()

    @pytest.mark.fault(
        "W23",
        injected="streams closed early, at a limit of two orphaned streams",
        happens="the third waits for the first",
    )
    async def test_a_server_never_exceeds_its_limit_of_orphans(self, api):
        transport = ScriptedTransport(lambda request: fault("slow_drip", request.api, story=("x" * 50,)))
        model = open_model(api, "http://h/v1", transport=transport, max_orphans=2, sampling=Sampling(max_tokens=40))
        # Ten tokens in the nine seconds behind the head: the thirty that are left take twenty-seven more.
        for _ in range(2):
            stream = await model.stream(Request("q"))
            for _ in range(10):
                await stream.receive()
            await stream.aclose()
        assert model.orphans.alive == 2
        begun = anyio.current_time()
        await (await model.stream(Request("q"))).aclose()
        assert anyio.current_time() - begun == pytest.approx(17.0 + 1.0, abs=0.1)
        assert model.orphans.alive == 2
        assert transport.open_responses == 0

    @pytest.mark.fault(
        "W23", injected="a closed stream that counts as orphaned", happens="`wasted_tokens` in the ledger"
    )
    async def test_tokens_an_orphan_may_waste_enter_the_ledger(self, api):
        story = ("1+1=2\n", WRONG, *["x"] * 40)

        def script(request):
            if request.number == 0:
                return fault("ignore_cancel", request.api, story=story, wrong=WRONG)
            return fault("slow_drip", request.api, story=("\n3+3=6\n",))

        model = open_model(api, "http://h/v1", transport=ScriptedTransport(script), max_orphans=4)
        run, _ = await supervised(model, sampling=Sampling(max_tokens=12))
        assert run.result.text == "1+1=2\n2+2=4\n3+3=6\n"
        # Two tokens in no time: a high rate, so all that max_tokens left is counted.
        assert run.result.ledger.wasted_tokens == 10
        trusting = open_model(api, "http://h/v1", transport=ScriptedTransport(script))
        run, _ = await supervised(trusting, sampling=Sampling(max_tokens=12))
        assert run.result.ledger.wasted_tokens == 0

    async def test_closing_after_the_finish_reason_leaves_no_orphan(self):
        orphans = OrphanedStreams(1)
        event = b'data: {"choices":[{"text":"x","finish_reason":%s}]}\n\n'
        for reason, left in ((b'"stop"', 0), (b"null", 1)):
            stream = TokenStream(Body([event % reason]), decode_completion, orphans=orphans, limit=40)
            await stream.receive()
            await stream.aclose()
            assert orphans.alive == left

    async def test_a_run_survives_failed_or_hanging_abort_calls(self, api):
        from interwhen.testing.server import Stall

        for said in (reply(500, b"{}"), (Stall(),)):

            class Refusing(ScriptedTransport):
                def answer(self, request, said=said):
                    reply = super().answer(request)
                    return said if request.path == "/abort_request" else reply

            transport = Refusing(IGNORES)
            model = open_model(api, "http://h/v1", transport=transport, abort=AbortCall(), retries=Retries(base=0.0))
            begun = anyio.current_time()
            run, _ = await supervised(model)
            assert (run.result.status, run.result.text) == ("verified", WHOLE)
            assert run.result.timing.total == pytest.approx(0.0, abs=0.01), "the resume waited for the abort call"
            assert anyio.current_time() - begun <= 1.1
            assert len(transport.aborts) == 1

    async def test_a_stopped_orphan_wakes_every_waiting_stream(self):
        orphans = OrphanedStreams(1)
        closed = OrphanedStream(anyio.current_time(), rate=1.0, left=30)
        orphans.add(closed)
        waited = []

        async def wait():
            begun = anyio.current_time()
            await orphans.wait_for_room()
            waited.append(anyio.current_time() - begun)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(wait)
            await anyio.sleep(2.0)
            orphans.stop(closed)
        assert waited == [2.0, 2.0, 2.0]


def test_orphans_count_until_tokens_or_time_run_out():
    assert OrphanedStream(10.0, 2.0, 20).over_at == 20.0
    assert OrphanedStream(10.0, 2.0, None).over_at == 10.0 + ORPHAN_SECONDS
    assert OrphanedStream(10.0, 0.0, 5).over_at == 10.0 + ORPHAN_SECONDS
    assert OrphanedStream(10.0, 0.001, 10**6).over_at == 10.0 + ORPHAN_SECONDS
    assert OrphanedStream(10.0, 2.0, 20, is_stopped=True).over_at == 10.0
    assert [OrphanedStream(10.0, 2.0, 20).wasted(now) for now in (5.0, 10.0, 14.0, 20.0, 99.0)] == [0, 0, 8, 20, 20]
    assert OrphanedStream(10.0, 2.0, None).wasted(13.0) == 6
    assert OrphanedStream(10.0, 2.0, 20, is_stopped=True).wasted(99.0) == 0


def test_a_limit_of_zero_orphans_is_refused():
    with pytest.raises(UsageError, match="max_orphans must be a whole number of at least 1, got 0"):
        OrphanedStreams(0)


@pytest.mark.parametrize("name", ["rid", "mine"])
def test_an_id_of_the_callers_own_is_used(name):
    body = {} if name == "rid" else {"rid": "mine"}
    marked = AbortCall().mark(body)
    assert body["rid"] == marked
    assert (marked == "mine") == (name == "mine")


def test_an_id_of_none_is_replaced():
    body = {"rid": None}
    assert AbortCall().mark(body) == body["rid"] != "None"
