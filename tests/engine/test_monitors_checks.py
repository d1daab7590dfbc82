"""However a check ends, it is an outcome; nothing but a sound verdict is ever a verdict."""

import asyncio
import threading
from unittest.mock import Mock

import anyio
import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Pass, Span, Unknown, UsageError, Violation, verifier
from interwhen._engine.monitors import as_outcome, check_inline, parse
from interwhen.results import Errored, Judged, TimedOut
from interwhen.testing import Pause, ScriptedModel
from sums import SUM, Sum, adds_up, apply, slow, sums, supervise, watch

pytestmark = pytest.mark.anyio

CLAIM = Sum(key="1+1=2", span=Span(0, 5), left=1, right=1, total=2)
TEXT = "1+1=2\n"


def only_outcome(result):
    (record,) = result.checks
    return record.outcome


class Unprintable(Exception):
    def __str__(self):
        raise RuntimeError("no")


class Unspeakable:
    def __repr__(self):
        raise RuntimeError("no")


RAISED = [ValueError("bad luck"), SystemExit(3), Unprintable(), KeyError(), ExceptionGroup("g", [ValueError()])]


def raising(error, worker):
    def check(claim):
        raise error

    async def check_async(claim):
        raise error

    return verifier(name="raises", worker=worker)(check_async if worker == "async" else check)


@pytest.mark.fault("V1", injected="a verifier that raises, in each kind of worker", happens="an error, never a pass")
@pytest.mark.parametrize("worker", ["inline", "async"])
@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
async def test_a_verifier_that_raises_is_no_pass(error, worker):
    result, _ = await supervise(ScriptedModel([TEXT]), watch(raising(error, worker)))
    assert result.status == "unverified"
    assert only_outcome(result).error.startswith(type(error).__name__)


@pytest.mark.fault(
    "V1", injected="an exception at each call of a run", happens="one check is an error; the text is whole"
)
@pytest.mark.parametrize("bad", [1, 2, 3])
async def test_raising_verifier_spoils_only_that_check(bad):
    def check(claim):
        if claim.left == bad:
            raise RuntimeError
        return Pass()

    text = "1+1=2\n2+2=4\n3+3=6\n"
    result, _ = await supervise(ScriptedModel([text]), watch(verifier(name="v", worker="inline")(check)))
    assert [isinstance(record.outcome, Errored) for record in result.checks] == [n == bad for n in (1, 2, 3)]
    assert (result.status, result.text) == ("unverified", text)


GARBAGE = [
    None,
    True,
    "pass",
    Pass,
    Mock(spec=Pass),
    type("Passing", (Pass,), {})(),
    Judged(Pass()),
    Unspeakable(),
    Pass(evidence=None),
    Unknown(why=3),
    Violation(why=None),
    Violation("x", witness=2),
    Violation("x", repair=2),
    Violation("x", where=(0, 1)),
    Violation("x", where=Span(0, 6)),
    Violation("x", where=Span(0.0, 1.5)),
]


@pytest.mark.fault("V5", injected="verdicts of a wrong type", happens="an error that names the verifier")
@pytest.mark.parametrize("value", GARBAGE, ids=lambda value: type(value).__name__)
@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_a_verifier_that_returns_garbage_is_no_pass(value, delivery):
    for worker in ("inline", "async"):

        async def check_async(claim):
            return value

        who = verifier(name="odd", worker=worker)(check_async if worker == "async" else lambda _claim: value)
        result, events = await supervise(ScriptedModel([TEXT]), watch(who, delivery=delivery))
        if delivery == "gate":
            assert (result.status, result.text, apply(events)) == ("abstained", "", "")
            assert "error: verifier 'odd' returned" in result.reason
        else:
            assert result.status == "unverified"
            assert isinstance(only_outcome(result), Errored)
            assert apply(events) == TEXT


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.builds(object),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(), inner) | st.builds(Violation, inner, inner, inner, inner)
    ),
)


@pytest.mark.fault("V5", injected="any value as a verdict", happens="an outcome, never an exception")
@given(ANYTHING)
def test_any_returned_value_becomes_an_outcome(value):
    outcome = as_outcome(adds_up, CLAIM, value)
    sound = isinstance(value, Violation) and isinstance(value.why, str) and isinstance(value.witness, str)
    sound = sound and value.where is None and isinstance(value.repair, str | None)
    assert isinstance(outcome, Judged) == sound
    if not sound:
        assert "'sums'" in outcome.error
        assert len(outcome.error) < 400


def test_coroutine_from_inline_verifier_is_an_error():
    async def check(claim):
        return Pass()

    class Custom:
        name, version, deadline, worker = "c", "1", 1.0, "inline"

        def check(self, claim):
            return check(claim)

    assert isinstance(check_inline(Custom(), CLAIM), Errored)


@given(ANYTHING)
def test_any_parser_result_gives_claims_or_error(value):
    claims = parse("w", lambda _segment: value, interwhen.Segment("1+1=2", Span(0, 5), "answer"))
    assert claims == () if value is None or value in ([], {}, "", b"") else isinstance(claims, Errored)


@pytest.mark.parametrize(
    "claims",
    [
        [Sum(key=None, span=None, left=1, right=1, total=2)],
        [Sum(key="k", span=(0, 5), left=1, right=1, total=2)],
        [Sum(key="k", span=Span(0, 99), left=1, right=1, total=2)],
        [CLAIM, "not a claim"],
        [Unspeakable()],
    ],
)
async def test_unsound_claim_from_parser_is_an_error(claims):
    result, events = await supervise(ScriptedModel([TEXT]), watch(extractor=lambda _segment: claims))
    assert isinstance(only_outcome(result), Errored)
    assert (result.status, apply(events)) == ("unverified", TEXT)


async def test_asynchronous_parser_is_an_error():
    async def extract(segment):
        return sums(segment)

    result, _ = await supervise(ScriptedModel([TEXT]), watch(extractor=extract))
    assert "plain function" in only_outcome(result).error


@pytest.mark.fault("V2", injected="a verifier that hangs", happens="timed out on time; the stream does not wait")
async def test_hanging_verifier_ends_at_deadline_without_stalling_stream():
    begun = anyio.current_time()
    model = ScriptedModel([[TEXT, "on and on\n", Pause(2.0), "the end\n"]])
    result, events = await supervise(model, watch(slow(1e9, deadline=600.0)))
    assert only_outcome(result) == TimedOut(600.0)
    assert anyio.current_time() - begun == 600.0
    assert result.timing.tail == 598.0
    assert result.status == "unverified"
    assert apply(events) == result.text


@pytest.mark.parametrize("worker", ["inline", "async"])
async def test_unproven_check_of_closed_monitor_abstains(worker):
    def who(claim):
        return Unknown("no idea")

    async def who_async(claim):
        return who(claim)

    checker = verifier(name="v", worker=worker)(who_async if worker == "async" else who)
    for delivery in ("interrupt", "gate"):
        result, events = await supervise(
            ScriptedModel([TEXT + "so\n"]), watch(checker, unproven="closed", delivery=delivery)
        )
        assert result.status == "abstained"
        if delivery == "gate":
            assert apply(events) == ""


@pytest.mark.parametrize("how", ["unknown", "error", "timeout", "extractor"])
@pytest.mark.parametrize("delivery", ["interrupt", "gate", "final"])
async def test_closed_gate_abstains_without_showing_text(how, delivery):
    options = {"extractor": lambda _s: 1 / 0} if how == "extractor" else {}

    def says(claim):
        if how == "error":
            raise RuntimeError("broken")
        return Unknown("cannot tell")

    who = slow(1e9 if how == "timeout" else 1.0, deadline=5.0, function=says)
    monitor = watch(who, unproven="closed", delivery=delivery, **options)
    result, events = await supervise(ScriptedModel([[TEXT, Pause(60), "never\n"]]), monitor)
    assert result.status == "abstained"
    assert "never" not in apply(events)
    if delivery != "interrupt":
        assert apply(events) == ""


async def test_verifier_cancelling_itself_is_an_error(loop):
    async def check(claim):
        future = asyncio.get_running_loop().create_future()
        future.cancel()
        return await future

    who = verifier(name="stray", deadline=1.0)(check)
    result, events = await supervise(ScriptedModel([TEXT]), watch(who))
    assert "a cancellation of its own" in only_outcome(result).error
    assert apply(events) == TEXT


async def stray(*_args):
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    return await future


@pytest.mark.parametrize("delivery", ["interrupt", "gate"])
async def test_fork_cancelled_within_adapter_is_an_error(loop, delivery):
    model = ScriptedModel([TEXT])
    model.complete = stray
    opened = model.stream

    async def stream(request):
        stream = await opened(request)
        stream.release = stray
        return stream

    model.stream = stream
    fork = interwhen.Fork("?", lambda reply, segment: sums(segment))
    result, events = await supervise(model, watch(delivery=delivery), watch(name="fork", extractor=fork))
    assert "cancelled within" in str(result.checks)
    assert (result.status, apply(events)) == ("unverified", TEXT)


async def test_stream_cancelled_within_adapter_reaches_the_reader(loop):
    model = ScriptedModel([TEXT])
    model.stream = stray
    with pytest.raises(interwhen.models.ModelError, match="cancelled within the adapter"):
        await supervise(model, watch(delivery="gate"))
    with pytest.raises(asyncio.CancelledError):
        await supervise(model, watch())


@pytest.mark.fault("V3", injected="a check that sleeps in its thread", happens="the stream continues")
async def test_threaded_check_does_not_stall_the_stream(loop):
    gate = threading.Event()

    @verifier(name="thread", deadline=60.0)
    def check(claim):
        assert gate.wait(60)
        return Pass()

    async with interwhen.run(ScriptedModel([TEXT + "so\n"]), "Q", monitors=[watch(check)]) as run:
        async for event in run:
            if isinstance(event, interwhen.events.StreamEnded):
                assert not gate.is_set()
                gate.set()
    assert run.result.status == "verified"


@pytest.mark.parametrize("kind", ["thread", "async"])
async def test_real_checks_time_out_and_raise(loop, kind):
    gate = threading.Event()

    def check(claim):
        if claim.left == 1:
            gate.wait(60)
        raise SystemExit(claim.key)

    async def check_async(claim):
        if claim.left == 1:
            await anyio.sleep_forever()
        raise SystemExit(claim.key)

    def monitor(left, deadline):
        # Watch the sums with `left`: what must end has another deadline than what must time out.
        who = verifier(name="v", deadline=deadline, worker=kind)(check_async if kind == "async" else check)
        return watch(who, name=f"m{left}", extractor=lambda segment: [s for s in sums(segment) if s.left == left])

    result, _ = await supervise(ScriptedModel(["1+1=2\n2+2=4\n"]), monitor(1, 0.5), monitor(2, 60.0))
    gate.set()
    assert [record.outcome for record in result.checks] == [TimedOut(0.5), Errored("SystemExit: 2+2=4")]


async def test_awaitable_from_plain_function_is_awaited(loop):
    async def later(claim):
        return Pass("later")

    def check(claim):
        return later(claim)

    result, _ = await supervise(ScriptedModel([TEXT]), watch(verifier(name="v")(check)))
    assert only_outcome(result) == Judged(Pass("later"))


def test_awaitable_is_awaited_on_trio():
    async def later(claim):
        return Pass("later")

    async def whole():
        who = verifier(name="v")(lambda claim: later(claim))  # noqa: PLW0108  (a plain function)
        return await interwhen.run(ScriptedModel([TEXT]), "Q", monitors=[watch(who)])

    assert only_outcome(anyio.run(whole, backend="trio")) == Judged(Pass("later"))


@pytest.mark.parametrize("change", [{"deadline": 0}, {"deadline": None}, {"deadline": "1"}, {"worker": "gpu"}])
def test_invalid_verifier_is_refused_before_the_run(change):
    class Custom:
        name, version, deadline, worker = "custom", "1", 1.0, "inline"

        def check(self, claim):
            return Pass()

    who = Custom()
    for key, value in change.items():
        setattr(who, key, value)
    with pytest.raises(UsageError, match="'custom'"):
        interwhen.run(ScriptedModel([TEXT]), "Q", monitors=[watch(who)])


def test_toy_pattern_reads_sums():
    assert SUM.findall("1+1=2 and 10+2=12") == [("1", "1", "2"), ("10", "2", "12")]
