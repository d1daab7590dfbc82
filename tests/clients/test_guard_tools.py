"""A guarded tool runs only when its call was found right, and its result is given only when that is."""

import dataclasses
import functools
import threading

import anyio
import interwhen
import pytest
from guarded import make, use
from interwhen import UsageError, guard
from interwhen.clients import Refused
from watchers import no_call_with, word

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["plain", "async"])
def kind(request):
    return request.param


async def test_a_good_call_runs(kind):
    ran = []
    move = make(kind, ran, calls=[no_call_with()], results=[word()])
    assert await use(move, "home", ctx=object()) == "moved to home"
    assert ran == ["home"]
    assert (move.__name__, move.__doc__) == ("move", "Move.")


@pytest.mark.parametrize("worker", ["inline", "thread"])
async def test_a_refused_call_does_not_run(kind, worker):
    ran = []
    move = make(kind, ran, calls=[no_call_with(worker=worker)])
    with pytest.raises(Refused, match="The call of move was not made: BAD must not be touched") as caught:
        await use(move, "BAD")
    assert ran == []
    assert not caught.value.ran


async def test_a_refused_result_is_withheld(kind):
    ran = []
    move = make(kind, ran, results=[word()])
    with pytest.raises(Refused, match="The result of move is withheld: BAD is no word") as caught:
        await use(move, "BAD")
    assert ran == ["BAD"]
    assert caught.value.ran


async def test_a_refusal_can_be_the_result(kind):
    move = make(kind, [], calls=[no_call_with()], on_refused=str)
    assert await use(move, "BAD") == "The call of move was not made: BAD must not be touched."


async def test_a_crashing_check_refuses_unless_errors_are_allowed(kind):
    @interwhen.verifier(name="broken", worker="inline")
    def broken(claim):
        raise RuntimeError("no")

    monitor = dataclasses.replace(no_call_with(), verifier=broken)
    ran = []
    opened = dataclasses.replace(monitor, on_error="open")
    assert await use(make(kind, ran, calls=[opened]), "home") == "moved to home"
    with pytest.raises(Refused, match="RuntimeError"):
        await use(make(kind, ran, calls=[monitor]), "home")
    assert ran == ["home"]


async def test_an_undecided_verifier_refuses_when_unproven_is_closed(kind):
    @interwhen.verifier(name="unsure", worker="inline")
    def unsure(claim):
        return interwhen.Unknown("who knows")

    monitor = dataclasses.replace(no_call_with(), verifier=unsure)
    ran = []
    assert await use(make(kind, ran, calls=[monitor]), "home") == "moved to home"
    with pytest.raises(Refused, match="who knows"):
        await use(make(kind, ran, calls=[dataclasses.replace(monitor, unproven="closed")]), "home")
    assert ran == ["home"]


async def test_one_who_only_observes_refuses_nothing(kind):
    assert await use(make(kind, [], calls=[no_call_with(delivery="observe")]), "BAD") == "moved to BAD"


async def test_wrong_arguments_are_the_tool_s_own_error(kind):
    with pytest.raises(TypeError):
        await use(make(kind, [], calls=[no_call_with()]), "a", "b", "c")


async def test_a_plain_guarded_tool_works_from_many_threads():
    move = make("plain", [], calls=[no_call_with()], on_refused=str)
    texts = []
    threads = [
        threading.Thread(target=lambda n=n: texts.append(move(f"BAD{n}" if n % 2 else "home"))) for n in range(20)
    ]
    for thread in threads:
        thread.start()
    await anyio.to_thread.run_sync(lambda: [thread.join() for thread in threads])
    assert sorted(text.startswith("moved") for text in texts) == [False] * 10 + [True] * 10


@pytest.mark.parametrize(
    "options",
    [
        {"calls": [word()]},
        {"calls": [dataclasses.replace(no_call_with(), phase="reasoning", delivery="interrupt")]},
        {"calls": [no_call_with(), word(delivery="observe")]},
        {"results": [word(trigger=interwhen.triggers.ThinkEnd())]},
        {"results": [word(phase="reasoning")]},
        {"calls": [no_call_with()], "on_refused": "no"},
        {"calls": [no_call_with()], "history": []},
        {"calls": [no_call_with()], "on_refused": anyio.sleep},
    ],
)
def test_monitors_reading_nothing_and_mistyped_options_are_refused(options):
    with pytest.raises(UsageError, match=r"guard\(\w+=\.\.\.\) must"):
        guard(lambda to: to, **options)


def test_what_is_no_function_is_refused():
    with pytest.raises(UsageError):
        guard([no_call_with()])


@interwhen.verifier(name="permitted", worker="inline")
def permitted(claim, prepared):
    return interwhen.Pass() if prepared == claim.key else interwhen.Violation(why=f"{prepared} came before")


def every_segment(segment, _prepared):
    yield interwhen.Claim(key=segment.text, span=segment.span)


async def test_monitors_know_the_conversation_and_results_their_call(kind):
    said = [{"role": "user", "content": 'move({"to": "home"})'}]
    asked = interwhen.Monitor(
        name="asked",
        trigger=interwhen.ToolCalls(),
        extractor=every_segment,
        verifier=permitted,
        prepare=lambda task: task.question,
    )
    answered = interwhen.Monitor(
        name="answered",
        trigger=interwhen.Answer(),
        extractor=every_segment,
        verifier=permitted,
        prepare=lambda task: f"moved to {task.messages[-1].calls[0].values()['to']}",
    )
    move = make(kind, [], calls=[asked], results=[answered], history=lambda: said)
    assert await use(move, "home") == "moved to home"
    said[0] = {"role": "user", "content": "Stay."}
    with pytest.raises(Refused, match=r"not made: Stay\. came before"):
        await use(move, "home")


async def test_a_default_is_an_argument_too():
    ran = []

    @guard(calls=[no_call_with()])
    def move(to="BAD"):
        ran.append(to)

    with pytest.raises(Refused):
        move()
    assert ran == []


@pytest.mark.parametrize("options", [{"to": "BAD"}, {"rest": "BAD"}], ids=["positional", "its own name"])
def test_no_argument_hides_another_of_its_name(options):
    ran = []

    @guard(calls=[no_call_with()])
    def move(to, /, *rest, **more):
        ran.append((to, rest, more))

    move("a", "b", other="c", more="d")
    assert ran == [("a", ("b",), {"other": "c", "more": "d"})]
    with pytest.raises(Refused, match="BAD must not be touched"):
        move("a", more="BAD")
    with pytest.raises(Refused):
        move("BAD" if "to" in options else "a", "b", **dict.fromkeys(options, "ok"))
    with pytest.raises(Refused):
        move("a", "b", **options)
    assert len(ran) == 1


async def test_a_method_is_checked_without_its_object():
    class Robot:
        @guard(calls=[no_call_with()])
        async def move(self, to):
            return to

        @guard(calls=[no_call_with()])
        def turn(self, to):
            return to

    robot = Robot()
    assert await robot.move("home") == robot.turn("home") == "home"
    assert guard(robot.turn, calls=[no_call_with()])("home") == "home"
    for tool in (robot.move, robot.turn):
        with pytest.raises(Refused):
            await use(tool, "BAD")

    def free(self):
        return self

    with pytest.raises(Refused):
        guard(free, calls=[no_call_with()])("BAD")


def test_guard_requires_valid_context_names_and_showable_defaults():
    sentinel = object()

    def move(to, client=sentinel):
        return to

    with pytest.raises(UsageError, match=r"must name parameters of move, which are to, client, got 'ctx'"):
        guard(move, calls=[no_call_with()], context=["ctx"])
    with pytest.raises(UsageError, match=r"must be a list of names"):
        guard(move, calls=[no_call_with()], context="client")
    with pytest.raises(UsageError, match=r"context=\['client'\]"):
        guard(move, calls=[no_call_with()])
    assert guard(move, calls=[no_call_with()], context=["client"])("home") == "home"


class Calling:
    async def __call__(self, to):
        return to


def coming(to):
    async def later():
        return to

    return later()


async def plainly(to):
    return to


TOOLS = {
    "object": Calling(),
    "awaitable": coming,
    "static": staticmethod(plainly),
    "partial": functools.partial(plainly),
}


@pytest.mark.parametrize("name", TOOLS)
async def test_results_of_tools_that_are_awaited_are_checked(name):
    tool = guard(TOOLS[name], calls=[no_call_with("WORSE")], results=[word()], name="move")
    assert await use(tool, "home") == "home"
    with pytest.raises(Refused, match="withheld"):
        await use(tool, "BAD")
    with pytest.raises(Refused, match="not made"):
        await use(tool, "WORSE")
    told = guard(TOOLS[name], results=[word()], name="move", on_refused=str)
    assert (await use(told, "BAD")).startswith("The result of move is withheld")


def pieces(to):
    yield to


async def async_pieces(to):
    yield to


class Pieces:
    def __call__(self, to):
        yield to


@pytest.mark.parametrize("tool", [pieces, async_pieces, Pieces()], ids=["plain", "async", "object"])
async def test_results_of_generators_are_refused_at_once(tool):
    with pytest.raises(UsageError, match="returns its result whole"):
        guard(tool, results=[word()])
    watched = guard(tool, calls=[no_call_with()])
    pieces = watched("home")
    assert ([each async for each in pieces] if tool is async_pieces else list(pieces)) == ["home"]
    with pytest.raises(Refused):
        watched("BAD")
