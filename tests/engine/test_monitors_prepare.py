"""A verifier that knows the problem: prepared beside the stream, once a run; and one that knows the text before."""

import asyncio
import pickle
import re
from dataclasses import dataclass

import anyio
import interwhen
import pytest
from interwhen import (
    Claim,
    Feedback,
    Message,
    Monitor,
    Pass,
    Resample,
    Span,
    Task,
    Tracker,
    UsageError,
    Violation,
    verifier,
)
from interwhen._engine.monitors import BoundVerifier
from interwhen.models import ConnectError
from interwhen.testing import Pause, ScriptedModel
from sums import adds_up, apply, sums, supervise, watch
from workers import limited

pytestmark = pytest.mark.anyio

LIMIT = re.compile(r"at most (\d+)")


async def read_limit(task):
    match = LIMIT.search(task.text)
    return int(match[1]) if match else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Number(Claim):
    value: int


def numbers(segment, limit):
    assert isinstance(limit, int)
    for match in re.finditer(r"\d+", segment.text):
        yield Number(key=match[0], span=segment.at(*match.span()), value=int(match[0]))


@verifier(name="limit", worker="inline")
def within(claim: Number, limit: int):
    return Pass() if claim.value <= limit else Violation(why=f"{claim.value} is too much", repair=str(limit))


def limit(**options):
    return Monitor(**{"name": "limit", "verifier": within, "extractor": numbers, "prepare": read_limit} | options)


async def test_extractor_and_verifier_get_prepared_value():
    result, events = await supervise(ScriptedModel(["3\n40\n", "\n5\n"]), limit(), prompt="Say at most 9.")
    assert result.text == apply(events) == "3\n9\n5\n"
    assert result.status == "verified"


class ReadLimit:
    async def __call__(self, task):
        return await read_limit(task)


async def test_an_object_whose_call_is_async_is_awaited():
    model = ScriptedModel(["3\n40\n", "\n5\n"])
    result, _ = await supervise(model, limit(prepare=ReadLimit()), prompt="Say at most 9.")
    assert (result.text, result.status) == ("3\n9\n5\n", "verified")


async def test_inapplicable_monitor_checks_nothing():
    result, _ = await supervise(ScriptedModel(["3\n40\n"]), limit(), watch(), prompt="Say something.")
    assert (result.text, result.checks) == ("3\n40\n", ())
    assert result.status == "unverified"  # nothing was checked, so nothing is shown


async def test_stream_continues_during_prepare_and_is_judged_later():
    async def slow(task):
        await anyio.sleep(5)
        return await read_limit(task)

    model = ScriptedModel([["3\n", "40\n", Pause(1), "4\n"], "\n5\n"])
    begun = anyio.current_time()
    seen = []
    async with interwhen.run(model, "at most 9", monitors=[limit(prepare=slow)]) as run:
        seen.extend([(anyio.current_time() - begun, event) async for event in run])
    first = next(at for at, event in seen if isinstance(event, interwhen.Delta) and "4\n" in event.text)
    assert first < 2
    assert run.result.text == "3\n9\n5\n"
    assert run.result.status == "verified"


@pytest.mark.parametrize("unproven", ["open", "closed"])
async def test_raising_preparation_leaves_run_unproven(unproven):
    async def broken(task):
        raise ValueError("no such problem")

    result, _ = await supervise(ScriptedModel(["3\n"]), limit(prepare=broken, unproven=unproven), prompt="at most 9")
    assert result.status == ("unverified" if unproven == "open" else "abstained")
    said = [*(doubt.why for doubt in result.unverified_reasons), getattr(result, "reason", "")]
    assert any("prepare of 'limit': ValueError: no such problem" in why for why in said)


async def test_late_preparation_leaves_run_unverified():
    async def never(task):
        await anyio.sleep_forever()

    monitor = limit(prepare=never, prepare_deadline=2.0)
    begun = anyio.current_time()
    result, _ = await supervise(ScriptedModel(["3\n"]), monitor, prompt="at most 9")
    assert anyio.current_time() - begun == pytest.approx(2.0)
    assert result.status == "unverified"
    assert "timed out" in result.unverified_reasons[0].why


async def test_text_cut_during_prepare_is_not_judged():
    seen = []

    async def slow(task):
        await anyio.sleep(5)
        return 9

    def note(segment, limit):
        seen.append(segment.text)
        return ()

    model = ScriptedModel([["1+1=3\n", "40\n"], "2+2=4\n"])
    monitors = [watch(adds_up, remedy=Resample()), limit(prepare=slow, extractor=note)]
    result, _ = await supervise(model, *monitors)
    assert result.text == "2+2=4\n"
    assert seen == ["1+1=3", "2+2=4"]  # what might still have been wrong earlier was waited for


async def test_shared_verifier_uses_each_monitors_own_preparation():
    async def wide(task):
        return 100

    narrow, broad = limit(delivery="observe"), limit(name="broad", prepare=wide)
    result, _ = await supervise(ScriptedModel(["40\n"]), narrow, broad, prompt="at most 9")
    assert [violation.monitor for violation in result.violations] == ["limit"]


async def test_leaving_ends_the_preparation():
    ended = anyio.Event()

    async def never(task):
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with interwhen.run(ScriptedModel(["3\n"]), "at most 9", monitors=[limit(prepare=never)]) as run:
        await anext(run)
    assert ended.is_set()


async def test_a_plain_preparation_runs_in_a_thread(loop):
    result, _ = await supervise(ScriptedModel(["3\n40\n", "\n5\n"]), limited(), prompt="at most 9")
    assert result.text == "3\n9\n5\n"
    assert result.status == "verified"


async def test_process_verifier_gets_prepared_value(loop):
    result, _ = await supervise(ScriptedModel(["3\n40\n", "\n5\n"]), limited("process"), prompt="at most 9")
    assert result.text == "3\n9\n5\n"
    assert result.status == "verified"


def test_bound_verifier_is_picklable():
    bound = pickle.loads(pickle.dumps(BoundVerifier(limited("process").verifier, 9)))
    assert (bound.name, bound.worker, bound.prepared) == ("limited", "process", 9)


def test_task_exposes_text_and_question():
    turns = (
        Message(role="system", content="Be brief."),
        Message(role="user", content="One?"),
        Message(role="assistant", content="Yes."),
        Message(role="user", content="Two?"),
    )
    assert (Task(turns).text, Task(turns).question) == ("Be brief.\n\nOne?\n\nTwo?", "Two?")
    assert (Task("One?").text, Task("One?").question) == ("One?", "One?")
    assert Task(()).question == ""


@pytest.mark.parametrize("options", [{"prepare": 3}, {"prepare_deadline": 0.0}, {"extractor": 3}])
def test_invalid_prepare_options_are_refused(options):
    with pytest.raises(UsageError, match="limit"):
        limit(**options)


# ---------------------------------------------------------------------- trackers


@dataclass(frozen=True, slots=True, kw_only=True)
class Move(Claim):
    before: int
    said: int


def count(state, segment):
    said = int(segment.text) if segment.text.isdecimal() else None
    if said is None:
        return state, ()
    return said, [Move(key=f"{state} {said}", span=segment.span, before=state, said=said)]


def judge_count(claim, *_prepared):
    if claim.said == claim.before + 1:
        return Pass()
    return Violation(why=f"{claim.said} does not follow", repair=str(claim.before + 1))


def counting(worker="inline", start=lambda _: 0, **options):
    @verifier(name="counting", worker="inline")
    def check(claim):
        return judge_count(claim)

    @verifier(name="counting")
    async def check_later(claim, *_prepared):
        await anyio.sleep(0.5)
        return judge_count(claim)

    who = check if worker == "inline" else check_later
    return Monitor(**{"name": "counting", "verifier": who, "extractor": Tracker(start, count)} | options)


@pytest.mark.parametrize("worker", ["inline", "async"])
async def test_tracker_judges_line_by_earlier_lines(worker):
    model = ScriptedModel([["1\n", "2\n", "4\n", "5\n"], "\n4\n5\n"])
    result, _ = await supervise(model, counting(worker))
    assert result.text == "1\n2\n3\n4\n5\n"
    assert result.status == "verified"
    assert result.ledger.remedies == 1


@pytest.mark.parametrize("worker", ["inline", "async"])
@pytest.mark.parametrize("place", ["rewind", "append"])
async def test_refuted_line_leaves_no_tracker_state(worker, place):
    model = ScriptedModel(["1\n2\n4\n5\n", "3\n4\n"])
    result, _ = await supervise(model, counting(worker, remedy=Feedback(place=place)))
    assert result.text.endswith("3\n4\n")
    assert [record.key for record in result.violations] == ["2 4"]


async def test_line_refuted_by_another_monitor_leaves_no_state():
    def lines(state, segment):
        return (*state, segment.text), [Claim(key=repr(state), span=segment.span)]

    @verifier(name="fine", worker="inline")
    def fine(_claim):
        return Pass()

    tracker = Monitor(name="lines", verifier=fine, extractor=Tracker(lambda _: (), lines))
    model = ScriptedModel(["a\n1+1=3\nb\n", "c\n"])
    result, _ = await supervise(model, watch(adds_up, remedy=Feedback(place="append")), tracker)
    keys = [record.key for record in result.checks if record.monitor == "lines"]
    assert keys[-1].startswith("('a',")
    assert "1+1=3" not in keys[-1]


async def test_segment_with_refuted_text_leaves_no_state():
    def pairs(state, segment):
        return (*state, segment.text.strip()), [Claim(key=repr(state), span=segment.span)]

    @verifier(name="fine", worker="inline")
    def fine(_claim):
        return Pass()

    tracker = Monitor(
        name="pairs", verifier=fine, extractor=Tracker(lambda _: (), pairs), trigger=interwhen.Lines(every=2)
    )
    model = ScriptedModel(["1+1=3\nb\n", "c\nd\n"])
    result, _ = await supervise(model, watch(adds_up, remedy=Feedback(place="append")), tracker)
    assert result.text.startswith("1+1=3\nWait")
    keys = [record.key for record in result.checks if record.monitor == "pairs"]
    assert keys == ["()", "()"]


async def test_text_refuted_during_prepare_leaves_no_state():
    async def later(_task):
        await anyio.sleep(1.0)
        return ()

    def lines(state, segment):
        return (*state, segment.text), [Claim(key=repr(state), span=segment.span)]

    @verifier(name="fine", worker="inline")
    def fine(_claim, _prepared):
        return Pass()

    tracker = Monitor(name="lines", verifier=fine, extractor=Tracker(lambda _: (), lines), prepare=later)
    model = ScriptedModel(["a\n1+1=3\nb\n", "c\n"])
    result, _ = await supervise(model, watch(adds_up, remedy=Feedback(place="append")), tracker)
    keys = [record.key for record in result.checks if record.monitor == "lines"]
    assert keys == ["()", "('a',)", "('a',)"]


async def test_tracker_keeps_state_before_in_line_repair():
    def sentences(state, segment):
        return (*state, segment.text.strip()), [Claim(key=repr(state), span=segment.span)]

    @verifier(name="fine", worker="inline")
    def fine(_claim):
        return Pass()

    tracker = Monitor(
        name="sentences", verifier=fine, extractor=Tracker(lambda _: (), sentences), trigger=interwhen.Sentences()
    )
    model = ScriptedModel(["One. Two. 1+1=3\nb\n", "\nc\n"])
    result, _ = await supervise(model, watch(adds_up), tracker)
    assert result.text == "One. Two. 1+1=2\nc\n"
    keys = [record.key for record in result.checks if record.monitor == "sentences"]
    assert keys == ["()", "('One.',)", "('One.', 'Two.')", "('One.', 'Two.', '1+1=2')"]


async def test_observed_violation_stays_in_tracker_state():
    result, _ = await supervise(ScriptedModel(["1\n4\n5\n"]), counting(delivery="observe"))
    assert [record.key for record in result.violations] == ["1 4"]


async def test_reconnect_keeps_tracker_state():
    model = ScriptedModel([["1\n", "2\n", ConnectError("reset")], "3\n4\n"])
    result, _ = await supervise(model, counting())
    assert (result.text, result.status) == ("1\n2\n3\n4\n", "verified")


async def test_a_tracker_starts_from_what_was_prepared():
    async def read(task):
        return int(task.question)

    monitor = counting("async", start=lambda prepared: prepared, prepare=read)
    result, _ = await supervise(ScriptedModel(["8\n9\n"]), monitor, prompt="7")
    assert (result.text, result.status) == ("8\n9\n", "verified")


@pytest.mark.parametrize("broken", [lambda state, segment: 1 / 0, lambda state, segment: None])
async def test_failing_tracker_step_is_an_error_outcome(broken):
    monitor = counting(extractor=Tracker(lambda _: 0, broken))
    result, _ = await supervise(ScriptedModel(["1\n"]), monitor)
    assert result.status == "unverified"
    assert "extractor of 'counting'" in result.unverified_reasons[0].why


async def test_two_runs_do_not_share_a_state():
    monitor = counting()
    for _ in range(2):
        result, _ = await supervise(ScriptedModel(["1\n2\n"]), monitor)
        assert result.status == "verified"


async def test_extractor_without_prepare_still_works():
    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(extractor=sums))
    assert result.checks[0].span == Span(0, 5)


class TestOnAsyncio:
    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    @pytest.mark.parametrize("in_thread", [True, False])
    async def test_cancelled_future_in_prepare_is_an_error(self, in_thread):
        def fails(_task):
            raise asyncio.CancelledError

        async def waits(_task):
            future = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

        monitor = limit(prepare=fails if in_thread else waits)
        result = await interwhen.run(ScriptedModel(["3\n"]), "at most 9", monitors=[monitor])
        assert result.status == "unverified"
        assert "prepare of 'limit': CancelledError" in result.checks[0].outcome.error
