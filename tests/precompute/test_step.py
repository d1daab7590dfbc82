"""From a proposal to an item: who vouches for it is checked, and a producer that goes wrong costs its own step."""

import anyio
import pytest
from interwhen.models import ContextOverflow
from interwhen.precompute import Nothing, Payload, Proposal, Step, Store
from interwhen.registry import PluginError
from interwhen.testing import ScriptedModel
from tests.precompute.toys import Sums, numbers, precomputer

pytestmark = pytest.mark.anyio


class Odd:
    """A producer whose one step does what a test says."""

    name, version, kind = "odd", "1", "answers"

    def __init__(self, does, kind="answers", **step):
        self._does = does
        self.kind = kind
        self._step = {"name": "it", **step}

    def plan(self, context):
        return [Step(**self._step)]

    async def make(self, step, context):
        return await self._does(step, context)


async def ended(does, **options):
    pre = precomputer(producer=Odd(does, **options))
    await pre.add("book", {"a": "1"})
    [done] = await pre.work()
    assert pre.ready(await pre.open("book")) == ()
    return done


@pytest.mark.parametrize(
    ("kind", "basis", "asks", "said"),
    [
        ("answers", "derived", False, "of kind 'answers' must be judged, got 'derived'"),
        ("answers", "observed", False, "of kind 'answers' must be judged, got 'observed'"),
        ("verifiers", "judged", False, "of kind 'verifiers' must be derived, got 'judged'"),
        ("verifiers", "derived", True, "must be made without a model"),
    ],
)
async def test_a_basis_that_is_not_enough_is_refused(kind, basis, asks, said):
    async def does(step, context):
        if asks:
            await context.ask("add 1 2")
        return Proposal(payload=Payload("1+1=2"), basis=basis)

    done = await ended(does, kind=kind)
    assert done.outcome == "failed"
    assert said in done.why


@pytest.mark.parametrize(
    ("step", "act", "said"),
    [
        ({}, "read", "got 'a'; name it in Step(reads=...)"),
        ({}, "premise", "got 'x'; name it in Step(premises=...)"),
        ({}, "garbage", "make() must return a Proposal or Nothing, got 7"),
        ({}, "raise", "ZeroDivisionError"),
    ],
)
async def test_failing_producer_costs_only_its_step(step, act, said):
    async def does(step, context):
        match act:
            case "read":
                context.read("a")
            case "premise":
                context.premise("x")
            case "garbage":
                return 7
        return 1 / 0

    done = await ended(does, **step)
    assert done.outcome == "failed"
    assert said in done.why


@pytest.mark.parametrize("way", ["ask", "work_out"])
async def test_overlong_prompt_is_stored_as_nothing(way):
    def refused(request):
        raise ContextOverflow("the context window has 100 tokens", status=400)

    async def does(step, context):
        reply = await getattr(context, way)("count")
        return Proposal(payload=Payload(reply.text))

    model = ScriptedModel(refused)
    pre = precomputer(producer=Odd(does), model=model)
    await pre.add("book", {"a": "1"})
    (done,) = await pre.work()
    assert done.outcome == "nothing"
    assert "cut the context into smaller pieces (the context window has 100 tokens)" in done.why
    await anyio.sleep(1000)
    assert await pre.work() == ()
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("1+1=2\nand 2+2=5", "rejected"),
        ("1+1=2\nthe moon is cheese", "unknown"),
        ("the moon is cheese", "unknown"),
        ("  \n", "unknown"),
    ],
)
async def test_unchecked_line_is_not_accepted(text, outcome):
    async def does(step, context):
        return Proposal(payload=Payload(text))

    assert (await ended(does)).outcome == outcome


async def test_unmonitored_items_are_not_accepted():
    pre = precomputer()
    bare = type(pre)(pre.store, pre.model, [], producers=[Sums()], debounce=0.0)
    ref = await bare.add("book", numbers(8))
    assert {each.outcome for each in await bare.work()} <= {"unknown", "nothing"}
    assert bare.ready(ref) == ()


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([Step(name="a"), Step(name="a")], "must have its own name, got 'a' twice"),
        ([Step(name="a", reads=("x",))], "may read only pieces of the context, got ..x"),
        ([Step(name="a", premises=("x",))], "must be steps that a producer plans, got"),
        ([Step(name="a", premises=("b",)), Step(name="b", premises=("a",))], "must not form a cycle, got"),
    ],
)
async def test_invalid_plan_is_refused_naming_its_producer(steps, said):
    producer = Odd(None)
    producer.plan = lambda context: steps
    pre = precomputer(producer=producer)
    with pytest.raises(PluginError, match=said):
        await pre.add("book", {"a": "1"})


async def test_guesses_are_visible_only_to_their_producer():
    seen = {}

    def producer(name, kind):
        async def does(step, context):
            if step.name == "guess":
                return Proposal(payload=Payload("perhaps"), basis="guess")
            seen[name] = context.premise("odd::guess")
            return Nothing("that was all")

        odd_producer = Odd(does, kind=kind)
        odd_producer.name = name
        odd_producer.plan = lambda context: [
            *([Step(name="guess")] if name == "odd" else []),
            Step(name="use", premises=("odd::guess",)),
        ]
        return odd_producer

    pre = precomputer()
    pre = type(pre)(
        Store(), pre.model, producers=[producer("odd", "answers"), producer("even", "verifiers")], debounce=0.0
    )
    ref = await pre.add("book", {"a": "1"})
    assert len(await pre.work()) == 3
    assert seen["odd"].payload.text == "perhaps"
    assert seen["even"] is None
    assert pre.ready(ref) == ()
