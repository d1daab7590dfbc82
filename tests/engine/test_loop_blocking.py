"""Code that blocks the event loop is named, and watching for it costs nothing for a token."""

import asyncio
import sys
import threading
import time

import anyio
import interwhen
import pytest
from interwhen import Claim, Pass, Workers, verifier
from interwhen._engine import loop_blocking, monitors
from interwhen._engine.loop_blocking import (
    MOST,
    SEES_FUNCTIONS,
    WATCHER,
    LoopBlocking,
    WatchedLoop,
    frames_of,
)
from interwhen.testing import Pause, ScriptedModel, run_virtual
from structlog.testing import capture_logs
from sums import judge, sums, supervise, watch
from trio import lowlevel

pytestmark = pytest.mark.anyio
CLAIM = Claim(key="k", span=None)


def jump(seconds):
    lowlevel.current_clock().jump(seconds)


@pytest.mark.fault("V3", injected="an inline verifier or a parser that blocks the loop", happens="it is named")
@pytest.mark.parametrize(("seconds", "held"), [(0.019, 0), (0.021, 2), (3.0, 2)])
async def test_slow_call_on_loop_is_reported_by_name(seconds, held, configured):
    @verifier(name="slowpoke", worker="inline")
    def check(claim):
        jump(seconds)
        return judge(claim)

    def parser(segment):
        jump(seconds)
        return sums(segment)

    with capture_logs() as logs:
        result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(check, name="m", extractor=parser))
    blocks = result.timing.blocked_loop
    assert [each.what for each in blocks] == ["extractor of 'm'", "verifier 'slowpoke'"][:held]
    assert [each.seconds for each in blocks] == pytest.approx([seconds] * held)
    assert all("test_loop_blocking.py:" in each.where for each in blocks)
    assert [(entry["event"], entry["what"]) for entry in logs[:-1]] == [("loop.blocked", each.what) for each in blocks]
    assert result.status == "verified"


async def test_blocked_loop_records_keep_only_the_longest(configured):
    lines = [f"{left}+1={left + 1}\n" for left in range(50)]

    @verifier(name="slowpoke", worker="inline")
    def check(claim):
        jump(1.0 + claim.left)
        return judge(claim)

    with capture_logs() as logs:
        result, _ = await supervise(ScriptedModel([lines]), watch(check))
    assert [each.seconds for each in result.timing.blocked_loop] == [1.0 + left for left in range(50 - MOST, 50)]
    assert [entry["event"] for entry in logs].count("loop.blocked") == 1


async def test_disabled_blocked_loop_watch_records_nothing():
    @verifier(name="slowpoke", worker="inline")
    def check(claim):
        jump(9.0)
        return judge(claim)

    async with Workers(blocked_loop_after=None) as workers:
        result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(check), workers=workers)
    assert result.timing.blocked_loop == ()


@pytest.mark.fault("V3", injected="a real block of 50 ms, four culprits", happens="function, file and line are named")
@pytest.mark.parametrize("who", ["verifier", "parser", "async verifier", "callback"])
async def test_real_block_of_50_ms_is_detected(who, loop):
    def block():
        time.sleep(0.05)

    @verifier(name="blocks", worker="async" if who == "async verifier" else None)
    async def check(claim):
        if who == "async verifier":
            block()
        return judge(claim)

    @verifier(name="blocks", worker="inline")
    def check_inline(claim):
        block()
        return judge(claim)

    def parser(segment):
        if who == "parser":
            block()
        return sums(segment)

    chosen = check_inline if who == "verifier" else check
    lines = [step for left in range(10) for step in (f"{left}+1={left + 1}\n", Pause(0.03))]
    what = {"verifier": "verifier 'blocks'", "async verifier": "verifier 'blocks'", "parser": "extractor of 'sums'"}

    async def blocked_seconds():
        async with interwhen.run(ScriptedModel([lines]), "Q", monitors=[watch(chosen, extractor=parser)]) as run:
            async for event in run:
                if who == "callback" and isinstance(event, interwhen.Delta):
                    block()
        mine = [each for each in run.result.timing.blocked_loop if each.what == what.get(who, "other code")]
        if who in ("async verifier", "callback"):  # seen by the watching thread only
            mine = [each for each in mine if each.where]
            if SEES_FUNCTIONS:
                mine = [each for each in mine if "block (" in each.where and "test_loop_blocking.py:" in each.where]
        return [each.seconds for each in mine]

    # Ten times, and again: on a busy machine the watching thread may come too late to see them.
    until = time.monotonic() + 60
    while not (seconds := await blocked_seconds()):
        assert time.monotonic() < until
    assert max(seconds) > 0.02


async def test_plain_function_checks_run_in_threads_by_default(loop):
    @verifier(name="blocks", deadline=60.0)
    def check(claim):
        assert threading.current_thread() is not threading.main_thread()
        time.sleep(0.05)
        return Pass()

    assert check.worker == "thread"
    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(check))
    assert result.status == "verified"
    assert "verifier 'blocks'" not in [each.what for each in result.timing.blocked_loop]


async def test_watcher_thread_watches_only_during_runs(loop):
    def threads():
        return {thread for thread in threading.enumerate() if thread.name == "interwhen-loop-watch"}

    await supervise(ScriptedModel(["1+1=2\n"]), watch())
    before = threads()
    assert WATCHER.thread in before
    for _ in range(2):
        await supervise(ScriptedModel(["1+1=2\n"]), watch())
    assert threads() == before  # one for the process, asleep; another test has made a watcher of its own
    assert not WATCHER.loops


# ------------------------------------------------------------------ on a clock of our own


class Listener:
    def __init__(self, limit):
        self.limit = limit
        self.heard = []

    def record(self, blocked):
        self.heard.append(blocked)

    def starve(self, seconds):
        return None


def busy():
    return [sys._getframe()]


def watched(*limits):
    posted = []
    it = WatchedLoop(posted.append, None, 0)
    listeners = [Listener(limit) for limit in limits]
    for listener in listeners:
        it.add(listener)
    return it, posted, listeners


async def test_watcher_reads_frames_of_running_task(loop):
    seen = []

    def look(running, thread):
        seen.extend(frame.f_code.co_name for frame in frames_of(running, thread))

    async def inner():
        looker = threading.Thread(target=look, args=(asyncio.get_running_loop(), threading.get_ident()))
        looker.start()
        looker.join()

    async def outer():
        await inner()

    async with anyio.create_task_group() as group:
        group.start_soon(outer)
    if SEES_FUNCTIONS:
        at = seen.index("inner")
        assert seen[at : at + 2] == ["inner", "outer"]
    else:
        assert seen == ["outer"]


def test_loop_that_is_not_running_has_no_frames():
    loop = asyncio.new_event_loop()
    try:
        assert frames_of(loop, 0) == []
        assert frames_of(None, 0) == []
    finally:
        loop.close()
    gone = WatchedLoop(loop.call_soon_threadsafe, loop, 0)
    WATCHER.loops[loop] = gone
    WATCHER.look(gone)
    assert loop not in WATCHER.loops


def test_loop_answering_in_time_is_not_reported():
    it, posted, (listener,) = watched(0.02)
    for step in range(10):
        it.look(step * 0.01, busy(), lambda: 0.0)
        it.answered(step * 0.01 + 0.005)
    assert len(posted) == 10
    assert listener.heard == []


def test_late_answer_reaches_listeners_above_their_threshold():
    it, posted, (eager, patient) = watched(0.02, 1.0)
    frames = busy()
    for now in (0.0, 0.01, 0.02, 0.03):
        it.look(now, frames, lambda: 0.05)
    assert len(posted) == 1  # it is asked once
    posted[0]()
    (held,) = eager.heard
    assert (held.what, held.seconds) == ("other code", 0.05)
    assert held.where.startswith("busy (")
    assert patient.heard == []
    it.answered(9.0)  # an answer to nothing
    assert len(eager.heard) == 1


def looked_at(calls, answered):
    it, posted, (listener,) = watched(0.04)
    it.look(0.0, [], None)
    for at, call in enumerate(calls, start=2):
        it.look(at / 100, call, None)
    it.answered(answered)
    assert len(posted) == 1
    return [round(held.seconds, 3) for held in listener.heard]


def test_many_short_calls_are_not_blocking():
    assert looked_at([busy() for _ in range(8)], 0.1) == []
    assert looked_at([busy()], 0.045) == []


def test_blocking_call_includes_time_around_its_samples():
    short, long, longer = [busy() for _ in range(5)], busy(), busy()
    assert looked_at([*short[:2], *[long] * 5, *short[2:]], 0.12) == [0.06]
    assert looked_at([*[long] * 5, *short[:2]], 0.09) == [0.07]
    assert looked_at([*[long] * 5, *[longer] * 4], 0.111) == [0.07, 0.051]
    assert looked_at([*[long] * 3, [], *[longer] * 2], 0.08) == [0.05]  # the second one for too short a time


def test_missed_samples_are_reported_once():
    it, _, (listener,) = watched(0.04)
    frames = busy()
    it.look(0.0, [], None)
    it.look(0.2, frames, None)
    it.answered(0.21)
    assert [held.seconds for held in listener.heard] == [0.21]


def test_block_timed_by_its_caller_is_not_repeated():
    it, _, (listener,) = watched(0.04)
    engine = {"timed": [], "sys": sys}
    source = "def check_inline():\n    timed.append(sys._getframe())\ncheck_inline()"
    exec(compile(source, monitors.__file__, "exec"), engine)
    other = busy()
    it.look(0.0, [], None)
    for at in (2, 3, 4, 5):
        it.look(at / 100, engine["timed"], None)
    for at in (6, 7, 8, 9, 10):
        it.look(at / 100, other, None)
    it.answered(0.11)
    assert [round(held.seconds, 3) for held in listener.heard] == [0.06]


def test_late_loop_is_sampled_more_often():
    it, _, _ = watched(0.04)
    assert it.pause == 0.01
    it.look(0.0, [], None)
    assert it.pause == 0.005
    it.answered(0.001)
    assert it.pause == 0.01


def is_waiting(it):
    frames = frames_of(it.loop, it.thread)
    return not frames or loop_blocking._is_of_loop(frames[0])


def test_idle_loop_is_not_woken():
    posted = []

    async def main():
        it = WatchedLoop(posted.append, asyncio.get_running_loop(), threading.get_ident())

        def look_while_it_waits():
            deadline = time.monotonic() + 30
            while not is_waiting(it) and time.monotonic() < deadline:
                time.sleep(0.01)
            WATCHER.look(it)

        await asyncio.to_thread(look_while_it_waits)
        assert posted == []
        WATCHER.look(it)  # from a task of the loop, which runs code now
        assert len(posted) == 1

    asyncio.run(main())


def test_same_call_is_recognized_in_different_stacks():
    it, posted, (listener,) = watched(0.02)
    turn = compile("import sys\ndef _run(call):\n    return call()", "/lib/asyncio/events.py", "exec")
    space = {}
    exec(turn, space)

    def call():
        mine = sys._getframe()
        for now in (0.01, 0.02):  # each time in another function
            it.look(now, [*busy(), mine, mine.f_back, mine.f_back.f_back], lambda: 0.05)

    it.look(0.0, [], lambda: 0.05)
    space["_run"](call)
    posted.pop()()
    assert len(listener.heard) == 1


def test_waiting_loop_is_not_blocking():
    it, posted, (listener,) = watched(0.02)
    code = compile("import sys\nframe = sys._getframe()", "/lib/selectors.py", "exec")
    space = {}
    exec(code, space)
    it.look(0.0, busy(), lambda: 0.5)
    it.look(0.01, [space["frame"]], lambda: 0.5)
    it.look(0.02, [], lambda: 0.5)
    posted[0]()
    assert listener.heard == []


def test_lowest_listener_limit_applies():
    it, _, _ = watched(0.5, 0.02, 0.5)
    assert it.limit == 0.02


def test_watcher_thread_stops_when_idle_and_restarts(monkeypatch):
    monkeypatch.setattr(loop_blocking, "_LINGER_SECONDS", 0.0)
    looks = []
    monkeypatch.setattr(WatchedLoop, "look", lambda *_: looks.append(1))
    watcher = loop_blocking.LoopWatcher()

    async def enter_and_leave():
        listener = Listener(0.002)
        entered = watcher.enter(listener)
        entered.asked = 0.0  # as if it ran code, so that the thread looks at it
        looks.clear()
        while not looks:
            await anyio.sleep(0.001)
        watcher.leave(entered, listener)
        watcher.leave(entered, listener)  # twice is once

    for _ in range(2):
        anyio.run(enter_and_leave)
        while watcher.thread is not None:
            time.sleep(0.001)


def test_disabled_limit_records_nothing():
    blocking = LoopBlocking(None)
    blocking.start()
    blocking.stop()
    assert blocking.blocked == ()
    assert blocking.limit == float("inf")


def test_a_loop_in_virtual_time_is_not_watched():
    async def enter():
        return WATCHER.enter(Listener(0.02))

    assert run_virtual(enter) is None


def test_failing_loop_does_not_affect_other_loops(configured):
    def refuse(_call):
        raise OSError("gone")

    closed = asyncio.new_event_loop()
    closed.close()
    bad, good = WatchedLoop(refuse, closed, 0), WatchedLoop([].append, closed, 0)
    with capture_logs() as logs:
        for each in (bad, good):
            WATCHER.look(each)
    assert [log["event"] for log in logs] == ["loop.unwatched"]
    assert good.asked is not None


def frames():
    frame, stack = sys._getframe(1), []
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack


@pytest.mark.parametrize("way", ["inline", "parse", "aside"])
async def test_blocking_verifier_is_named_where_engine_calls_it(way):
    # Frames are known by file and function: a call that moves to another file must still be found.
    samples = []

    def check(claim):
        samples.append(loop_blocking.blocked_by(frames()))
        return interwhen.Pass()

    async def wait(claim):
        return check(claim)

    if way == "parse":
        monitors.parse("numbers", lambda _segment: check(None) and (), None)
    elif way == "inline":
        monitors.check_inline(interwhen.verifier(name="v", worker="inline")(check), CLAIM)
    else:
        with anyio.CancelScope() as scope:
            await monitors.check_aside(interwhen.verifier(name="v")(wait), CLAIM, workers=None, scope=scope)
    [sample] = samples
    if way == "aside":
        assert sample[0] == "verifier 'v'"
    else:
        assert sample is None  # its caller measures it
