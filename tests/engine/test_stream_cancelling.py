"""A violation cancels the read itself, wherever the run happens to be; one stream is open at a time."""

import anyio
import interwhen
import pytest
from interwhen.models import Capabilities, Chunk, ConnectError, StreamClosed, Timeouts, UpstreamError, Usage
from interwhen.testing import Pause, ScriptedModel
from sums import Accountant, apply, judge, slow, sums, supervise, watch

pytestmark = pytest.mark.anyio

FIXED = "2+2=4"


def times(model, what):
    return [(number, at) for event, number, at in model.log if event == what]


@pytest.mark.fault("W30", injected="a violation while the model is silent", happens="the read ends at once")
@pytest.mark.parametrize("delivery", ["interrupt", "gate", "final"])
async def test_violation_cancels_read_of_stalled_stream(delivery):
    begun = anyio.current_time()
    model = Accountant([["2+2=5\n", Pause(50), "never\n"], "\n"])
    result, events = await supervise(model, watch(slow(3.0), delivery=delivery))
    assert result.text == apply(events) == FIXED + "\n"
    assert times(model, "closing")[0] == (1, begun + 3.0)
    assert anyio.current_time() - begun < 10
    assert result.timing.paused < 1


async def test_earlier_violation_cancels_opening_of_next_request():
    # The first line is found wrong while the second's remedy is being asked for: the cut moves back.
    model = Accountant(
        [["1+1=3\n", "2+2=5\n", Pause(50)], "\n", "\n"],
        opening=lambda number: 30.0 if number == 2 else 0.0,
    )
    early = watch(slow(5.0), name="early", extractor=lambda s: [c for c in sums(s) if c.left == 1])
    late = watch(slow(1.0), name="late", extractor=lambda s: [c for c in sums(s) if c.left == 2])
    # An observer does not hold up the decision, so nothing waits for it here.
    result, events = await supervise(model, early, late)
    assert result.text == apply(events) == "1+1=2\n"
    assert model.requests[-1].prefix == "1+1=2"
    model.assert_all_closed_once()


async def test_run_end_cancels_request_being_opened():
    model = Accountant(["x"], opening=40.0)
    begun = anyio.current_time()
    result, _ = await supervise(model, watch(), budgets=interwhen.Budgets(seconds=2.0))
    assert result.status == "abstained"
    assert anyio.current_time() - begun == 2.0
    assert model.log == []


async def test_violation_closes_stream_while_reader_is_away():
    model = Accountant([["2+2=5\n", "more\n", *["x"] * 50], "\n"])
    async with interwhen.run(model, "Q", monitors=[watch(slow(1.0))]) as run:
        async for event in run:
            if isinstance(event, interwhen.Delta):
                break
        await anyio.sleep(5)
        assert [what for what, _, _ in model.log] == ["opened", "closing", "closed"]
        result = await run.drain()
    assert result.text == FIXED + "\n"


async def test_stream_is_closed_before_next_one_opens():
    model = Accountant([["2+2=5\n", Pause(50)], "\n"], closing=0.3)
    await supervise(model, watch())
    assert [entry[:2] for entry in model.log[:4]] == [("opened", 1), ("closing", 1), ("closed", 1), ("opened", 2)]


@pytest.mark.fault("W23", injected="a stream that does not close", happens="abandoned after half a second")
async def test_close_of_stream_is_bounded_in_time():
    model = Accountant([["2+2=5\n", Pause(50)], "\n"], closing=1000.0)
    result, _ = await supervise(model, watch())
    assert result.status == "verified"
    assert times(model, "opened")[1][1] - times(model, "closing")[0][1] == 0.5


async def test_raising_close_does_not_fail_the_run():
    class Broken(ScriptedModel):
        async def stream(self, request):
            stream = await super().stream(request)

            async def release():
                raise OSError("the socket is gone")

            stream.release = release
            return stream

    result, _ = await supervise(Broken([["2+2=5\n", Pause(50)], "\n"]), watch())
    assert (result.status, result.text) == ("verified", "2+2=4\n")


async def test_request_failing_during_cancellation_breaks_once():
    class Rude(ScriptedModel):
        async def stream(self, request):
            if self.requests:
                return await super().stream(request)
            self.requests.append(request)
            try:
                return await anyio.sleep_forever()
            except BaseException:  # noqa: BLE001
                raise ConnectError("interrupted") from None

    model = Rude(["", "1+1=2\n"], timeouts=Timeouts(first_token=1.0))
    result, events = await supervise(model, watch())
    assert [event.error for event in events if isinstance(event, interwhen.events.StreamBroken)] == [
        "the first_token timeout of 1 s ran out: allow more time, or look whether the server still answers"
    ]
    assert (result.status, result.ledger.reconnects) == ("verified", 1)


async def test_text_arriving_with_violation_is_counted_late():
    class Batches:
        def __init__(self, *batches):
            self._batches = list(batches)

        async def receive(self):
            await anyio.sleep(0)
            return self._batches.pop(0) if self._batches else ()

        async def aclose(self):
            pass

    class Batched(ScriptedModel):
        async def stream(self, request):
            self.requests.append(request)
            await anyio.sleep(0)
            if len(self.requests) == 1:
                usage = Usage(prompt_tokens=10)
                return Batches([Chunk("2+2=5\n"), Chunk("late\n"), Chunk("", tokens=0, usage=usage)])
            return Batches([Chunk("\n")], [Chunk("", tokens=0, finish_reason="stop", usage=Usage(prompt_tokens=12))])

    result, events = await supervise(Batched([""]), watch())
    assert result.text == apply(events) == "2+2=4\n"
    assert (result.ledger.late, result.ledger.prompt_tokens) == (1, 22)


async def test_running_usage_counts_are_not_summed():
    class Counting(ScriptedModel):
        async def stream(self, request):
            stream = await super().stream(request)
            fetch = stream.fetch
            seen = 0

            async def counted():
                nonlocal seen
                seen += 1
                chunks = await fetch()
                return [
                    Chunk(c.text, tokens=c.tokens, finish_reason=c.finish_reason, usage=Usage(5, 1, seen))
                    for c in chunks
                ]

            stream.fetch = counted
            return stream

    result, _ = await supervise(Counting(["1+1=2\n"], size=1), watch())
    assert (result.ledger.prompt_tokens, result.ledger.cached_tokens) == (5, 1)


async def test_check_dropped_before_start_does_not_run():
    called = []

    def note(claim):
        called.append(claim.key)
        return judge(claim)

    # One chunk brings both lines: the second check is ordered, and dropped by the violation in the first.
    model = Accountant([["1+1=3\n7+7=14\n", Pause(50)], "\n"])
    await supervise(model, watch(), watch(slow(0.0, function=note), name="other", delivery="observe"))
    assert "7+7=14" not in called


@pytest.mark.fault("W31", injected="a resume refused with 503 or 400", happens="abstained, with text and repair kept")
@pytest.mark.parametrize("error", [UpstreamError("busy", status=503), UpstreamError("no", status=400)])
async def test_a_resume_that_fails_keeps_the_text(error):
    model = Accountant([["1+1=2\n", "2+2=5\n"], "\n"], opening=lambda number: error if number > 1 else 0.0)
    result, events = await supervise(model, watch())
    assert (result.status, result.text) == ("abstained", "1+1=2\n2+2=4")
    assert apply(events) == result.text
    assert result.ledger.reconnects == (3 if error.retryable else 0)
    assert result.upstream_status == error.status
    assert str(error) in result.reason
    assert len(model.requests) == 2 + result.ledger.reconnects


async def test_externally_closed_stream_is_resumed():
    model = Accountant([["1+1=2\n", StreamClosed()], "3+3=6\n"])
    result, _ = await supervise(model, watch())
    assert (result.status, result.text) == ("verified", "1+1=2\n3+3=6\n")
    assert result.resume.mode == Capabilities(resume="prefix").resume
