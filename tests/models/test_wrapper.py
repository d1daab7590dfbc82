"""A model that wraps another one passes on what it does not change, also what is optional."""

import ast
import copy
import re
from pathlib import Path

import interwhen
import pytest
from interwhen._types.models import ResumeWay
from interwhen.models import RecordingModel, Request, Retries, Timeouts
from interwhen.models._metered import MeteredModel
from interwhen.models._wrapper import ModelWrapper
from interwhen.remedies import FeedbackTemplate
from interwhen.testing import ScriptedModel

pytestmark = pytest.mark.anyio
PACKAGE = Path(interwhen.__file__).parent


def model():
    inner = ScriptedModel(["yes"], forks=lambda _request: "a fork")
    inner.feedback = FeedbackTemplate()
    inner.timeouts = Timeouts(idle=9.0)
    inner.retries = Retries(attempts=7)
    return inner


@pytest.mark.parametrize("wrap", [ModelWrapper, RecordingModel, lambda inner: MeteredModel(inner, 100)])
def test_optional_attributes_are_those_of_the_wrapped_model(wrap):
    inner = model()
    wrapped = wrap(inner)
    for name in ("feedback", "timeouts", "retries"):
        assert getattr(wrapped, name) is getattr(inner, name)
    with pytest.raises(AttributeError, match="no_such"):
        _ = wrapped.no_such


async def test_every_call_goes_to_the_wrapped_model():
    inner = model()
    closed = []

    async def aclose():
        closed.append(True)

    inner.aclose = aclose
    wrapped = ModelWrapper(inner)
    assert wrapped.name == inner.name
    assert await wrapped.capabilities() == await inner.capabilities()
    assert [chunk.text for chunk in await (await wrapped.stream(Request("q"))).receive()] == ["yes"]
    assert (await wrapped.complete(Request("q", side="?"))).text == "a fork"
    await wrapped.aclose()
    assert closed == [True]


def test_a_wrapper_can_be_copied():
    # While a copy is made, it has no model yet; a look for one must not go round in circles.
    inner = model()
    assert copy.copy(ModelWrapper(inner)).name == inner.name


@pytest.mark.source
def test_nothing_else_passes_calls_on_by_hand():
    offenders = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.AsyncFunctionDef(name="capabilities", body=[*_, ast.Return(value=ast.Await(value=call))]):
                    is_forwarded = re.fullmatch(r"self\.\w+\.capabilities\(\)", ast.unparse(call)) is not None
                case ast.Assign(targets=[ast.Attribute(attr="capabilities")], value=ast.Attribute(attr="capabilities")):
                    is_forwarded = True
                case _:
                    is_forwarded = False
            if is_forwarded:
                offenders.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert [place.partition(":")[0] for place in offenders] == ["models/_wrapper.py"], offenders


async def test_a_recorded_stream_keeps_its_streams_optional_members():
    way = ResumeWay("prefix", "a test")
    aborted = []

    class Inner(ScriptedModel):
        async def stream(self, request):
            stream = await super().stream(request)
            stream.way = way
            stream.trail = "ids"
            stream.abort = lambda: aborted.append(True)
            stream.settle = lambda: True
            return stream

    recorder = RecordingModel(Inner(["yes"]))
    stream = await recorder.stream(Request("q"))
    assert (stream.way, stream.trail) == (way, "ids")
    stream.abort()
    assert aborted == [True]
    await stream.receive()
    assert stream.settle()
    assert [arrival.chunk.text for arrival in recorder.recordings[0].arrivals] == ["yes"]
    with pytest.raises(AttributeError, match="no_such"):
        _ = stream.no_such


async def test_a_recorded_stream_without_settle_closes_as_usual():
    recorder = RecordingModel(ScriptedModel(["yes"]))
    stream = await recorder.stream(Request("q"))
    assert not stream.settle()
    await stream.aclose()
    assert len(recorder.recordings) == 1
