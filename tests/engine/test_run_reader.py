"""Readers leave, raise, are cancelled, come from other tasks: nothing is left behind and nothing is swallowed."""

import asyncio
import contextlib

import anyio
import anyio.lowlevel
import interwhen
import pytest
import trio
import trio.lowlevel
from interwhen import Fork, UsageError
from interwhen.models import Capabilities, ConnectError, IteratorStream
from interwhen.testing import Pause, ScriptedModel
from sums import Accountant, apply, slow, sums, supervise, watch

pytestmark = pytest.mark.anyio

TEXT = "1+1=2\n2+2=5\n3+3=6\n"


def scene(**options):
    model = Accountant([TEXT, "\n4+4=8\n"], size=3, forks=lambda r: "1+1=2", delay=0.001, **options)
    monitors = [
        watch(slow(0.002)),
        watch(slow(0.003), name="observer", delivery="observe"),
        watch(name="fork", extractor=Fork("?", lambda reply, segment: sums(segment)), delivery="observe"),
    ]
    return model, monitors


def gated(monitors):
    return [*monitors, watch(slow(0.001), name="gate", delivery="gate")]


async def number_of_events(monitors_of):
    model, monitors = scene()
    _, events = await supervise(model, *monitors_of(monitors))
    return len(events)


@pytest.mark.fault("P1", injected="a reader that leaves at each event", happens="no task and no stream left")
@pytest.mark.parametrize("monitors_of", [list, gated])
async def test_leaving_at_any_event_leaks_nothing(monitors_of):
    for stop in range(await number_of_events(monitors_of) + 1):
        model, monitors = scene()
        events = []
        async with interwhen.run(model, "Q", monitors=monitors_of(monitors)) as run:
            async for event in run:
                events.append(event)
                if len(events) > stop:
                    break
        assert trio.lowlevel.current_task().child_nurseries == []
        model.assert_all_closed_once()
        result = run.result
        left = [event async for event in run]
        assert [*events, *left][-1] == interwhen.events.Finished(result)  # what there was may still be read
        # What a gate holds back at that moment is not shown.
        assert result.text.startswith(apply([*events, *left]))
        assert monitors_of is gated or apply([*events, *left]) == result.text
        with pytest.raises(StopAsyncIteration):
            await anext(run)
        if stop == 0:
            assert result.status == "unverified"
            assert result.unverified_reasons[0].why == "the reader left before the end"


@pytest.mark.fault("P1", injected="the same, on real loops", happens="no task left")
async def test_leaving_on_asyncio_leaks_no_task(loop):
    for stop in range(0, 30, 3):
        model, monitors = scene()
        tasks = asyncio.all_tasks()
        async with interwhen.run(model, "Q", monitors=gated(monitors) if stop % 2 else monitors) as run:
            for _ in range(stop):
                with contextlib.suppress(StopAsyncIteration):
                    await anext(run)
        assert asyncio.all_tasks() == tasks
        model.assert_all_closed_once()
        assert run.result.status in {"unverified", "verified"}


async def test_leaving_without_reading_opens_no_stream():
    model, monitors = scene()
    async with interwhen.run(model, "Q", monitors=monitors) as run:
        pass
    assert (run.result.status, run.result.text, model.requests) == ("unverified", "", [])


async def raise_after_two_events(error, run):
    async with run:
        await anext(run)
        await anext(run)
        raise error


@pytest.mark.parametrize("error", [ValueError("mine"), KeyboardInterrupt(), ExceptionGroup("mine", [OSError()])])
@pytest.mark.parametrize("monitors_of", [list, gated])
async def test_reader_exception_propagates_unchanged(error, monitors_of):
    model, monitors = scene()
    run = interwhen.run(model, "Q", monitors=monitors_of(monitors))
    with pytest.raises(type(error)) as caught:
        await raise_after_two_events(error, run)
    assert caught.value is error
    assert run.result.status == "unverified"
    model.assert_all_closed_once()


async def test_reader_exception_propagates_unchanged_on_asyncio(loop):
    model, monitors = scene()
    with pytest.raises(ValueError, match="mine"):
        await raise_after_two_events(ValueError("mine"), interwhen.run(model, "Q", monitors=gated(monitors)))
    model.assert_all_closed_once()


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope before the given step of any task."""

    def __init__(self, scope, step):
        self.scope, self.left = scope, step

    def before_task_step(self, task):
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


@pytest.mark.fault("P2", injected="a cancellation at each point", happens="no task and no stream left")
@pytest.mark.parametrize("monitors_of", [list, gated])
async def test_cancellation_at_any_point_leaks_nothing(monitors_of):
    step, finished = 0, False
    while not finished:
        step += 1
        model, monitors = scene(closing=0.001)
        run = interwhen.run(model, "Q", monitors=monitors_of(monitors))
        went_on = False
        with anyio.CancelScope() as scope:
            instrument = CancelAtStep(scope, step)
            trio.lowlevel.add_instrument(instrument)
            try:
                async with run:
                    await run.drain()
                    finished = True
                went_on = True
                await anyio.lowlevel.checkpoint()
            finally:
                trio.lowlevel.remove_instrument(instrument)
        assert scope.cancelled_caught or finished
        assert finished or not went_on
        assert trio.lowlevel.current_task().child_nurseries == []
        model.assert_all_closed_once()
        if run._open_for_readers:
            assert run.result.status == "verified" if finished else run.result.status in {"unverified", "verified"}
    assert step > 40


@pytest.mark.fault("P2", injected="a cancellation at each turn of real loops", happens="no task and no stream left")
@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize("monitors_of", [list, gated])
async def test_cancellation_at_any_step_leaks_nothing(loop, monitors_of, native):
    count, finished = 0, False
    while not finished:
        model, monitors = scene()
        run = interwhen.run(model, "Q", monitors=monitors_of(monitors))
        before = asyncio.all_tasks()
        scope = anyio.CancelScope()
        ended = []

        async def read(run=run, scope=scope, ended=ended):
            with scope:
                async with run:
                    async for _ in run:
                        pass
                ended.append(True)

        task = asyncio.create_task(read())
        for _ in range(count):
            await asyncio.sleep(0)
        if native:
            task.cancel()
        else:
            scope.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        finished = bool(ended)
        assert finished or (task.cancelled() if native else scope.cancelled_caught)
        assert asyncio.all_tasks() == before
        model.assert_all_closed_once()
        if run._open_for_readers:
            assert run.result.status in {"unverified", "verified"}
        count += 3 if count < 60 else 40
    assert count > 20


@pytest.mark.fault("P2", injected="`asyncio.timeout` around a run", happens="it ends with `TimeoutError`")
async def test_asyncio_timeout_works_around_a_run(loop):
    model = Accountant([["1+1=2\n", Pause(60)]])
    run = interwhen.run(model, "Q", monitors=[watch()])
    clock = asyncio.get_running_loop().time

    async def read():
        async with asyncio.timeout(None) as limit, run:
            async for event in run:
                if isinstance(event, interwhen.Delta):
                    limit.reschedule(clock() + 0.1)

    with pytest.raises(TimeoutError):
        await read()
    assert run.result.text == "1+1=2\n"
    model.assert_all_closed_once()


@pytest.mark.parametrize("monitors_of", [list, gated])
async def test_a_timeout_around_one_event_loses_nothing(monitors_of):
    model = ScriptedModel([["1+1=2\n", Pause(5), "2+2=4\n", Pause(5), "3+3=6\n"]])
    timeouts = 0
    async with interwhen.run(model, "Q", monitors=monitors_of([watch()])) as run:
        events = []
        while not (events and isinstance(events[-1], interwhen.events.Finished)):
            with anyio.move_on_after(2) as scope:
                events.append(await anext(run))
            timeouts += scope.cancelled_caught
    assert timeouts >= 2
    assert apply(events) == run.result.text == "1+1=2\n2+2=4\n3+3=6\n"


async def test_timeout_during_stream_close_loses_nothing(loop):
    # The end of the stream must reach the core though the task that learns of it is cancelled there.
    model = Accountant([["1+1=2\n"]], closing=0.03)
    async with interwhen.run(model, "Q", monitors=[watch()]) as run:
        while True:
            try:
                async with asyncio.timeout(0.01):
                    if isinstance(await anext(run), interwhen.events.Finished):
                        break
            except TimeoutError:
                pass
    assert run.result.status == "verified"
    model.assert_all_closed_once()


class Iterated(ScriptedModel):
    """A model written with an async generator."""

    async def stream(self, request):
        self.requests.append(request)

        async def texts():
            for text in ("1+1=2\n", "2+2=4\n")[len(self.requests) - 1 :]:
                yield text
                await anyio.sleep(5)
                if self._forks is not None:
                    raise ConnectError("reset")

        return IteratorStream(texts())


@pytest.mark.parametrize("breaks", [True, False])
async def test_interrupted_iterator_does_not_count_as_ended(breaks):
    # What a generator says after it was interrupted, StopAsyncIteration, must not make half a text verified.
    model = Iterated([], forks=str if breaks else None)
    async with interwhen.run(model, "Q", monitors=[watch()], budgets=interwhen.Budgets(reconnects=0)) as run:
        while True:
            with anyio.move_on_after(2):
                if isinstance(await anext(run), interwhen.events.Finished):
                    break
    assert (run.result.status, run.result.text) == ("failed", "1+1=2\n")


async def test_exhausted_iterator_is_a_complete_text():
    model = Iterated([])
    result, _ = await supervise(model, watch())
    assert (result.status, result.text, result.finish_reason) == ("verified", "1+1=2\n2+2=4\n", "stop")


@pytest.mark.parametrize("monitors_of", [list, gated])
async def test_another_task_may_read_the_run(monitors_of):
    model, monitors = scene()
    events = []

    async def read(run):
        async for event in run:
            events.append(event)  # noqa: PERF401

    async with interwhen.run(model, "Q", monitors=monitors_of(monitors)) as run, anyio.create_task_group() as group:
        group.start_soon(read, run)
    assert apply(events) == run.result.text == "1+1=2\n2+2=4\n4+4=8\n"


@pytest.mark.parametrize("delay", [0.0, 0.5, 1.5, 3.0, 6.0, 30.0])
@pytest.mark.parametrize("monitors_of", [list, gated])
async def test_leaving_wakes_a_reader_in_another_task(delay, monitors_of):
    model = Accountant([["2+2=5\n", Pause(2)], "\n"], opening=1.0, closing=0.2)
    events = []

    async def read(run):
        async for event in run:
            events.append(event)  # noqa: PERF401

    run = interwhen.run(model, "Q", monitors=monitors_of([watch(slow(1.0))]))
    async with anyio.create_task_group() as group, run:
        group.start_soon(read, run)
        await anyio.sleep(delay)
    assert isinstance(events[-1], interwhen.events.Finished)
    model.assert_all_closed_once()


@pytest.mark.parametrize("monitors_of", [list, gated])
@pytest.mark.parametrize("delay", [0.0, 0.5, 1.5, 2.5])
async def test_two_concurrent_readers_are_refused(monitors_of, delay):
    model = ScriptedModel([["1+1=2\n", Pause(1)]])
    opened = model.stream

    async def stream(request):
        await anyio.sleep(1.0)
        return await opened(request)

    model.stream = stream
    complaints = []

    async def read(run):
        try:
            await run.drain()
        except UsageError as error:
            complaints.append(str(error))

    run = interwhen.run(model, "Q", monitors=monitors_of([watch(slow(2.0))]))
    async with run, anyio.create_task_group() as group:
        group.start_soon(read, run)
        await anyio.sleep(delay)
        group.start_soon(read, run)
    assert complaints == ["two tasks read the same run at once"]
    assert run.result.status == "verified"
    assert len(model.requests) == 1


@pytest.mark.parametrize("monitors_of", [list, gated])
@pytest.mark.parametrize("where", ["capabilities", "stream", "receive"])
async def test_model_exception_reaches_the_reader_unchanged(where, monitors_of):
    closed = []

    class Buggy(ScriptedModel):
        async def capabilities(self):
            if where == "capabilities":
                raise ZeroDivisionError
            return await super().capabilities()

        async def stream(self, request):
            if where == "stream":
                raise ZeroDivisionError
            stream = await super().stream(request)

            async def fetch():
                raise ZeroDivisionError

            stream.fetch = fetch
            return stream

        async def aclose(self):
            closed.append(True)

    run = interwhen.run(Buggy(["x"]), "Q", monitors=monitors_of([watch()]))
    run._owned = run._model
    with pytest.raises(ZeroDivisionError):
        async with run:
            await run.drain()
    assert closed == [True]


@pytest.mark.parametrize("fault", ["raises", "hangs"])
async def test_model_that_fails_to_close_keeps_result(fault):
    class Stuck(ScriptedModel):
        async def aclose(self):
            if fault == "raises":
                raise OSError
            await anyio.sleep(1e6)

    begun = anyio.current_time()
    run = interwhen.run(Stuck(["1+1=2\n"]), "Q", monitors=[watch()])
    run._owned = run._model
    async with run:
        await run.drain()
    assert run.result.status == "verified"
    assert anyio.current_time() - begun <= 5.0


async def test_reading_ahead_of_a_reader_is_bounded():
    read = 0

    def script(request):
        nonlocal read
        for _ in range(100_000):
            read += 1
            yield "x\n"

    model = ScriptedModel(script, capabilities=Capabilities("prefix", think_tags=None))
    async with interwhen.run(model, "Q", monitors=[watch(delivery="gate")]) as run:
        await anext(run)
        await anyio.sleep(1000)
        assert 100 < read < 2000
        seen = read
        for _ in range(600):
            await anext(run)
        await anyio.sleep(1000)
        assert seen < read < 3000
