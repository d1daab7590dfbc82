"""Answers of the fast transport, without a socket: what the parser may be shown, and what becomes of the connection."""

import asyncio
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen.models import ConnectError, ModelError, StreamProtocolError, _fast_transport
from interwhen.models._fast_transport import FastConnection

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
WHOLE = {
    "chunked": CHUNKED + b"3\r\none\r\n4;x=y\r\n two\r\n0\r\ntrailer: 1\r\n\r\n",
    "length": b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\none two",
    "until it closes": b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\none two",
    "interim answers": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\none two",
}


class Wire(asyncio.Transport):
    """What the loop gives to a connection, without a socket."""

    def __init__(self):
        super().__init__()
        self.sent = b""
        self.paused = self.closed = False
        self.unsent = 0

    def write(self, data):
        self.sent += data

    def pause_reading(self):
        self.paused = True

    def resume_reading(self):
        self.paused = False

    def is_closing(self):
        return self.closed

    def get_write_buffer_size(self):
        return self.unsent

    def abort(self):
        self.closed = True


class Asked:
    """A connection that was asked for one answer."""

    def __init__(self):
        self.idle = []
        self.wire = Wire()
        self.connection = FastConnection(self.idle.append, lambda _: None)
        self.connection.connection_made(self.wire)
        self.answer = self.connection.send_request(b"GET", "http://h/v1", asyncio.get_running_loop())

    def feed(self, *parts):
        for part in parts:
            if not self.wire.closed:
                self.connection.data_received(part)

    async def body(self):
        await self.answer.head()
        body = b""
        while data := await self.answer.receive():
            body += data
        return body


def on_asyncio(main):
    return asyncio.run(main())


# ---------------------------------------------------------------------- what comes


@pytest.mark.parametrize("name", list(WHOLE))
@given(cuts=st.lists(st.integers(0, 200), max_size=12))
@settings(max_examples=25, deadline=None)
def test_no_cut_of_the_bytes_changes_an_answer(name, cuts):
    data = WHOLE[name]
    places = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]

    async def main():
        asked = Asked()
        asked.feed(*(data[a:b] for a, b in itertools.pairwise(places)))
        asked.connection.eof_received()
        assert await asked.body() == b"one two"
        assert (asked.answer.status, len(asked.idle)) == (200, int(name != "until it closes"))

    on_asyncio(main)


@given(
    name=st.sampled_from(sorted(WHOLE)),
    place=st.integers(0, 120),
    junk=st.binary(max_size=6),
    gone=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_whatever_comes_nobody_waits_for_ever(name, place, junk, gone):
    data = WHOLE[name]
    data = data[:place] + junk + data[place + gone :]

    async def main():
        asked = Asked()
        asked.feed(data)
        asked.connection.connection_lost(None)
        try:
            async with asyncio.timeout(60):
                await asked.body()
        except ModelError:
            pass

    on_asyncio(main)


def test_what_came_meanwhile_is_handed_over_at_once():
    async def main():
        asked = Asked()
        asked.feed(CHUNKED + b"1\r\na\r\n", b"1\r\nb\r\n1\r\nc\r\n", b"1\r\nd\r\n")
        await asked.answer.head()
        assert await asked.answer.receive() == b"abcd"

    on_asyncio(main)


def test_only_a_whole_answer_fully_read_is_settled():
    async def main():
        asked = Asked()
        head, end = WHOLE["chunked"].split(b"0\r\n")
        asked.feed(head)
        await asked.answer.head()
        assert not asked.answer.settle()  # not whole, and unread
        assert await asked.answer.receive() == b"one two"
        assert not asked.answer.settle()  # not whole
        asked.feed(b"3\r\nend\r\n0\r\n" + end)
        assert not asked.answer.settle()  # unread
        assert await asked.answer.receive() == b"end"
        assert asked.answer.settle()
        assert asked.idle == [asked.connection]
        assert not asked.wire.closed

    on_asyncio(main)


def test_a_chunk_wakes_its_reader_once():
    class Counting(asyncio.Future):
        made = 0

        def __init__(self, **options):
            Counting.made += 1
            super().__init__(**options)

    async def main():
        loop = asyncio.get_running_loop()
        loop.create_future = lambda: Counting(loop=loop)
        asked = Asked()
        asked.feed(CHUNKED)
        await asked.answer.head()
        seen = []

        async def read():
            while data := await asked.answer.receive():
                seen.append(data)

        reader = asyncio.ensure_future(read())
        for number in range(5):
            await asyncio.sleep(0)
            asked.feed(b"1\r\n%d\r\n" % number)
        await asyncio.sleep(0)
        asked.feed(b"0\r\n\r\n")
        await reader
        assert (len(seen), Counting.made) == (5, 6)

    on_asyncio(main)


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", StreamProtocolError),
        (b"HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", StreamProtocolError),
        (CHUNKED + b"3\r\none\r\nnonsense\r\n", ConnectError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n", StreamProtocolError),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcd", StreamProtocolError),
    ],
    ids=["another protocol", "an upgrade", "wrong chunk", "two framings", "two lengths"],
)
def test_what_is_no_answer_closes_the_connection(data, kind):
    async def main():
        asked = Asked()
        asked.feed(data)
        with pytest.raises(kind):
            await asked.body()
        assert asked.wire.closed
        assert not asked.idle

    on_asyncio(main)


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nx: ", CHUNKED + b"0\r\nx: "], ids=["head", "trailers"])
def test_endless_heads_or_trailers_do_not_fill_memory(head):
    async def main():
        asked = Asked()
        asked.feed(head)
        for _ in range(1000):
            asked.feed(b"x" * 1000)
        assert asked.wire.closed
        with pytest.raises(ModelError, match="without any body"):
            await asked.body()

    on_asyncio(main)


def test_a_body_framed_in_separate_reads_is_unlimited(monkeypatch):
    monkeypatch.setattr(_fast_transport, "_MOST_WITHOUT_BODY", 100)

    async def main():
        asked = Asked()
        asked.feed(CHUNKED)
        for _ in range(100):
            asked.feed(b"1\r\n", b"a", b"\r\n")
        asked.feed(b"0\r\n\r\n")
        assert await asked.body() == b"a" * 100

    on_asyncio(main)


def test_an_unread_body_pauses_the_server_until_read(monkeypatch):
    monkeypatch.setattr(_fast_transport, "HIGH_WATER", 10)

    async def main():
        asked = Asked()
        asked.feed(CHUNKED, b"8\r\n12345678\r\n")
        await asked.answer.head()
        assert not asked.wire.paused
        asked.feed(b"8\r\n12345678\r\n")
        assert asked.wire.paused
        assert await asked.answer.receive() == b"1234567812345678"
        assert not asked.wire.paused
        asked.feed(b"b\r\n12345678901\r\n", b"0\r\n\r\n")  # over the mark, and whole before it is read
        assert not asked.wire.paused
        assert asked.idle == [asked.connection]
        assert await asked.answer.receive() == b"12345678901"

    on_asyncio(main)


# ---------------------------------------------------------------------- what is kept


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\n", b"nonsense", b"\0"], ids=["answer", "text", "zero"])
@pytest.mark.parametrize("at_once", [True, False])
def test_an_unrequested_answer_never_answers_the_next_request(more, at_once):
    async def main():
        asked = Asked()
        asked.feed(*((WHOLE["length"] + more,) if at_once else (WHOLE["length"], more)))
        assert await asked.body() == b"one two"
        assert asked.wire.closed
        assert not asked.connection.is_usable

    on_asyncio(main)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\ncontent-length: 1\r\n\r\na",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 1\r\n\r\na",
    ],
    ids=["1.0", "close"],
)
def test_connections_are_not_kept_when_servers_forbid_it(data):
    async def main():
        asked = Asked()
        asked.feed(data)
        assert await asked.body() == b"a"
        assert (asked.wire.closed, asked.idle) == (True, [])

    on_asyncio(main)


def test_two_answers_in_one_read_are_not_mixed():
    async def main():
        asked = Asked()
        asked.feed(WHOLE["length"] + b"HTTP/1.1 500 No\r\nx-other: 1\r\ncontent-length: 4\r\n\r\nevil")
        assert await asked.body() == b"one two"
        assert (asked.answer.status, asked.answer.headers) == (200, {"content-length": "7"})
        assert asked.wire.closed

    on_asyncio(main)


def test_an_ignored_answers_body_joins_no_other_answer():
    async def main():
        asked = Asked()
        asked.feed(b"HTTP/1.1 000 No\r\ncontent-length: 4\r\n\r\nevil" + WHOLE["length"])
        assert await asked.body() == b"one two"

    on_asyncio(main)


def test_a_connection_with_unsent_bytes_is_not_kept():
    async def main():
        asked = Asked()
        asked.wire.unsent = 1
        asked.feed(WHOLE["length"])
        assert await asked.body() == b"one two"
        assert (asked.wire.closed, asked.idle) == (True, [])

    on_asyncio(main)
