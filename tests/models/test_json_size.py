"""How many values a JSON text has is known before they are made, and the loop goes on meanwhile."""

import json
import time

import anyio
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen.models import _json_size
from interwhen.models._json_size import SLICE, has_more_values, values

pytestmark = pytest.mark.anyio
M = 16 << 20


@pytest.fixture
def anyio_backend():
    return "asyncio"


def made(value):
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(made, inner))


JSON = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(st.sampled_from('a",\\{[\n'))),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(JSON)
def test_no_value_is_missed_and_no_text_is_counted(value):
    data = json.dumps(value).encode()
    assert made(value) <= values(data) + 1
    assert values(data) <= 2 * made(value)


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (b'{"a": "' + b'{[,\\"' * 60_000 + b'"}', False),
        (b'{"a": [' + b"1," * 60_000 + b"1]}", True),
        (b'{"a": [' + b"{}," * 60_000 + b"1]}", True),
        (b'{"a": [' + b"1," * 40_000 + b"1]}", False),
        (b"[" * 60_000, True),
        (b'{"a": ' + b'"' * 60_001, False),
    ],
    ids=["text", "numbers", "objects", "fewer", "depth", "broken"],
)
async def test_values_are_counted_and_text_is_not(data, more):
    assert await has_more_values(data, 50_000) == more


async def test_many_values_across_slices_are_counted(monkeypatch):
    monkeypatch.setattr(_json_size, "SLICE", 10)
    assert await has_more_values(b"[" + b"1," * 50 + b"1]", 49)
    assert not await has_more_values(b"[" + b"1," * 50 + b"1]", 52)


async def test_what_cannot_be_counted_in_time_has_more(monkeypatch):
    monkeypatch.setattr(_json_size, "_SECONDS", 0.0)
    assert await has_more_values(b"[" * 200, 100)


@pytest.mark.parametrize(
    "data",
    [b'{"m":[' + b"{}," * (M // 3) + b"{}]}", b'{"m":"' + b"{[," * (M // 3) + b'"}', b'{"m":"' + b"a" * M + b'"}'],
    ids=["objects", "brackets in text", "text"],
)
async def test_the_loop_goes_on_while_sixteen_mebibytes_are_counted(data):
    await has_more_values(b"[" * 200, 100)  # the process is there
    held = [0.0]

    async def tick():
        # The thread's own time: on a busy machine, others take the rest.
        last = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            held.append(now - last)
            last = now

    async with anyio.create_task_group() as group:
        group.start_soon(tick)
        await has_more_values(data, 100_000)
        group.cancel_scope.cancel()
    assert max(held) < 0.05, f"{max(held) * 1e3:.0f} ms"
    assert len(data) > 15 * SLICE
    msgspec.json.decode(b"1")
