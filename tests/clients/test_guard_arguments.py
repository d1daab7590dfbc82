"""Checks see all of a call and of a result, or it is refused."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import functools
import json
import pathlib
import uuid

import msgspec
import pydantic
import pytest
from guarded import make, use
from interwhen import guard
from interwhen.clients import Refused
from interwhen.clients._guard import Signature
from watchers import no_call_with, word

pytestmark = pytest.mark.anyio


@pytest.fixture(params=["plain", "async"])
def kind(request):
    return request.param


class Colour(enum.Enum):
    BAD = "BAD"


class Name(str, enum.Enum):  # noqa: UP042  what many programs have
    ONE = "BAD"


@dataclasses.dataclass
class Unset:
    a: str = dataclasses.field(init=False)


class Broken(collections.UserList):
    def __iter__(self):
        raise RuntimeError("BAD")


@dataclasses.dataclass
class Record:
    _to: str


class Struct(msgspec.Struct, omit_defaults=True):
    to: str = "BAD"
    also: str | msgspec.UnsetType = msgspec.UNSET


class Model(pydantic.BaseModel):
    to: str = pydantic.Field(exclude=True)


SHOWN = {
    "path": pathlib.Path("/BAD"),
    "enum": Colour.BAD,
    "text enum": Name.ONE,
    "dataclass": Record("BAD"),
    "struct": Struct(),
    "model": Model(to="BAD"),
    "tuple": ("ok", "BAD"),
    "set": {"BAD"},
    "deque": collections.deque(["BAD"]),
    "mapping": {"a": [{"b": "BAD"}]},
    "key": {"BAD": 1},
    "bytes": b"BAD",
}


@pytest.mark.parametrize("name", SHOWN)
async def test_what_json_can_say_is_shown_whole(kind, name):
    ran = []
    with pytest.raises(Refused, match="BAD must not be touched"):
        await use(make(kind, ran, calls=[no_call_with()]), SHOWN[name])
    assert ran == []
    with pytest.raises(Refused, match="BAD is no word"):
        await use(guard(lambda: SHOWN[name], results=[word()]))


PLAIN = [
    None,
    True,
    2**70,
    1.5,
    dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC),
    dt.timedelta(seconds=3),
    uuid.UUID(int=7),
    decimal.Decimal("1.50"),
    {1: "a"},
    pathlib.Path("a"),
    "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"),
]


@pytest.mark.parametrize("number", range(len(PLAIN)))
async def test_good_calls_with_values_of_many_kinds_run(kind, number):
    ran = []
    await use(make(kind, ran, calls=[no_call_with()]), PLAIN[number])
    assert ran == [PLAIN[number]]
    assert await use(guard(lambda: PLAIN[number], results=[word()])) == PLAIN[number]


DEEP = functools.reduce(lambda inner, _: [inner], range(5000), "BAD")
HIDDEN = {
    "lone surrogate": json.loads('"BAD\\ud800"'),
    "surrogate in a list": ["BAD", "\ud800"],
    "surrogate in a key": {"BAD\ud800": 1},
    "object": object(),
    "object beside it": {"a": object(), "b": "BAD"},
    "infinity": json.loads("Infinity"),
    "not a number": {"a": [float("nan")]},
    "nested": DEEP,
    "keys that are one": {1: "BAD", "1": "ok"},
    "bytes": b"BAD\xff",
    "secret": pydantic.SecretStr("BAD"),
    "generator": (letter for letter in "BAD"),
    "field without a value": Unset(),
    "values that cannot be read": Broken(),
}


@pytest.mark.parametrize("name", HIDDEN)
async def test_what_no_check_can_be_shown_is_refused(kind, name):
    ran = []
    with pytest.raises(Refused, match=r"the argument .to. cannot be checked: .") as caught:
        await use(make(kind, ran, calls=[no_call_with("nothing")]), HIDDEN[name])
    assert ran == []
    assert len(str(caught.value)) < 300
    assert "BAD" not in str(caught.value)
    with pytest.raises(Refused, match="not made"):
        await use(make(kind, ran, results=[word("nothing")]), HIDDEN[name])
    assert ran == []
    if not isinstance(HIDDEN[name], str):  # text is read as it is
        with pytest.raises(Refused, match=r"withheld: the result cannot be checked: ."):
            await use(guard(lambda: HIDDEN[name], results=[word("nothing")]))


def test_calls_are_written_as_a_model_writes_them():
    def move(to, *rest, fast=True, client=None, **more):
        pass

    signature = Signature(move, "move", ["client"])
    assert signature.call(["a"], {"client": object()}).text == 'move({"to": "a", "fast": true})'
    call = signature.call(["é", 1, 2], {"fast": False, "x": {"y": [None]}})
    assert call.text == 'move({"to": "é", "rest": [1,2], "fast": false, "x": {"y":[null]}})'
    assert call.values() == {"to": "é", "rest": [1, 2], "fast": False, "x": {"y": [None]}}


async def test_a_program_supplied_context_value_is_never_inspected(kind):
    class Touchy:
        def __eq__(self, other):
            raise RuntimeError("never compare me")

        __bool__ = __len__ = __iter__ = __eq__
        __hash__ = None

    ran = []
    await use(make(kind, ran, calls=[no_call_with()], results=[word()]), "home", ctx=Touchy())
    assert ran == ["home"]


async def test_observing_monitors_do_not_refuse_uncheckable_values(kind):
    ran = []
    observing = [no_call_with(delivery="observe")]
    await use(make(kind, ran, calls=observing, results=[word(delivery="observe")]), SHOWN)
    assert ran == [SHOWN]
    await use(make(kind, ran, calls=observing), HIDDEN["object"])
    assert ran[1:] == [HIDDEN["object"]]


async def test_a_refusal_explains_why_an_argument_is_uncheckable(kind):
    move = make(kind, [], calls=[no_call_with()], on_refused=str)
    assert await use(move, "\ud800") == (
        "The call of move was not made: the argument 'to' cannot be checked: text must be valid Unicode, got text that is not: replace the lone surrogates."
    )


async def test_result_text_with_invalid_unicode_is_returned_unchanged():
    told = guard(lambda: "fine\ud800\n", results=[word()])
    assert told() == "fine\ud800\n"
