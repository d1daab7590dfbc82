"""Large bodies are counted and decoded in another process, and the loop continues meanwhile."""

import json
import time
from contextlib import suppress

import anyio
import msgspec
import pytest
from helpers import ASK, post, refused
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen.gateway import _json_bodies
from interwhen.gateway._json_bodies import INLINE, TooManyValues, decode_object, in_pieces, values
from interwhen.testing.server import events
from watchers import passing

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
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=5), inner, max_size=6),
    max_leaves=20,
)


@given(JSON)
def test_value_count_is_bounded_and_ignores_texts(value):
    data = json.dumps(value).encode()
    assert made(value) <= values(data) + 1
    assert values(data) <= 2 * made(value)


@pytest.mark.parametrize(
    ("data", "more"),
    [
        (b'{"a": "' + b"{[," * 60_000 + b'"}', False),
        (b'{"a": [' + b"1," * 60_000 + b"1]}", True),
        (b'{"a": [' + b"{}," * 60_000 + b"1]}", True),
        (b'{"a": [' + b"1," * 40_000 + b"1]}", False),
        (b"[" * 60_000, True),
    ],
    ids=["text", "numbers", "objects", "fewer", "depth"],
)
async def test_values_are_counted_and_text_is_not(data, more):
    if more:
        with pytest.raises(TooManyValues):
            await decode_object(data, 50_000)
    else:
        assert await decode_object(data, 50_000) == json.loads(data)


async def test_slow_decoder_process_is_killed(monkeypatch):
    monkeypatch.setattr(_json_bodies, "SECONDS", 0.0)
    with pytest.raises(TimeoutError):
        await decode_object(b"[" * 200, 100)


def test_slow_body_decoding_is_refused_as_overload(monkeypatch, upstream, gateway):
    running = gateway(upstream(events(["one\n"], api="chat")), watchers=[passing()])
    monkeypatch.setattr(_json_bodies, "SECONDS", 0.0)
    large = {**ASK, "messages": [{"role": "user", "content": "ab" * INLINE}]}
    refused(post(running, large), 503, "overloaded", retry_after=True)


@pytest.mark.parametrize("size", [10, 10_000])
@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b'["%s"]', msgspec.ValidationError),
        (b'{"a": "%s', msgspec.DecodeError),
        (b'{"a": "\xff%s"}', UnicodeDecodeError),
    ],
    ids=["a list", "cut short", "not UTF-8"],
)
async def test_decode_errors_match_across_processes(size, data, error, monkeypatch):
    monkeypatch.setattr(_json_bodies, "INLINE", 1000)
    with pytest.raises((error, msgspec.DecodeError)):
        await decode_object(data % (b"a" * size), 50_000)


# An event loop for each example: small texts, and fewer of them.
@settings(max_examples=40)
@given(st.dictionaries(st.text(max_size=5), JSON, max_size=4))
def test_pieces_reassemble_the_same_object(value):
    data = json.dumps(value).encode()
    _json_bodies._PIECE, size = 2, _json_bodies._PIECE
    try:
        assert anyio.run(_json_bodies._joined, in_pieces(data, 10_000)) == value
    finally:
        _json_bodies._PIECE = size


# Where a body is decoded. Counted, not timed: this process decodes none that is larger than INLINE.


@pytest.fixture
def decoded_here(monkeypatch):
    sizes = []
    decode = _json_bodies._decode
    monkeypatch.setattr(_json_bodies, "_decode", lambda data: sizes.append(len(data)) or decode(data))
    return sizes


@pytest.mark.parametrize("text", ["a", "\u00e4", '"', "{[,"], ids=["ascii", "umlaut", "escapes", "brackets"])
async def test_a_large_body_is_decoded_in_another_process(text, decoded_here):
    small, large = ({"model": "m", "messages": [{"content": text * n}]} for n in (1000, INLINE))
    for value in (small, large):
        assert await decode_object(json.dumps(value).encode(), 100_000) == value
    assert decoded_here == [len(json.dumps(small))]


async def test_decoded_body_is_returned_in_pieces(decoded_here):
    value = {"model": "m", "messages": [{"content": "x" * 400, "n": n} for n in range(20_000)]}
    assert await decode_object(json.dumps(value).encode(), 100_000) == value
    assert decoded_here == []
    assert [len(parts) for _, parts, _ in in_pieces(json.dumps(value).encode(), 100_000)] == [1, 20]


def test_large_bodies_are_decoded_in_another_process(decoded_here, upstream, gateway):
    server = upstream(events(["one\n"], api="chat"))
    running = gateway(server, watchers=[passing()])
    large = {**ASK, "messages": [{"role": "user", "content": "ab" * INLINE}]}
    for asked in (ASK, large, {**large, "interwhen": False}):
        assert post(running, asked).status_code == 200
    refused(post(running, b'{"m": [' + b"{}," * INLINE + b"{}]}"), 413, "request_too_complex")
    assert max(decoded_here) < INLINE
    assert len(server.posts[1].body) > INLINE


@pytest.mark.fault("G12", injected="16 MiB in a body", happens="decoded in another process; the loop continues")
@pytest.mark.parametrize(
    "data",
    [
        b'{"m":[' + b"{}," * (M // 3) + b"{}]}",
        b'{"m":"' + b"{[," * (M // 3) + b'"}',
        b'{"m":"' + b"a" * M + b'"}',
        b'{"m":"' + b"\\n" * (M // 2) + b'"}',
        json.dumps({"messages": [{"content": "x" * 400, "n": n} for n in range(30_000)]}).encode(),
    ],
    ids=["objects", "brackets in text", "text", "escapes", "many texts"],
)
async def test_decoding_large_body_does_not_block_loop(data):
    await decode_object(b'{"a": 1}'.ljust(INLINE + 1), 100)  # the process is there

    async def tick(held):
        # The thread's own time: on a busy machine, others take the rest.
        last = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            held.append(now - last)
            last = now

    longest = []
    for _ in range(3):  # what holds the loop does so each time
        held = [0.0]
        async with anyio.create_task_group() as group:
            group.start_soon(tick, held)
            with suppress(TooManyValues):
                await decode_object(data, 100_000)
            group.cancel_scope.cancel()
        longest.append(max(held))
    begun = time.thread_time()
    _json_bodies._decode(data)
    here = time.thread_time() - begun  # how long decoding in place holds the loop, on this machine and now
    assert min(longest) < max(0.05, here), f"{min(longest) * 1e3:.0f} ms, and {here * 1e3:.0f} ms in place"
