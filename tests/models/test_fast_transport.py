"""The fast transport by itself: what it keeps and sends, and on uvloop."""

import asyncio
import gc
import threading

import anyio
import pytest
from interwhen import UsageError
from interwhen.models import ConnectError, FastTransport, StreamClosed, _fast_transport
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.models._transport import HttpRequest
from interwhen.testing.server import Head, ScriptedServer, Send, Stall, events, fault


def on_asyncio(main):
    return asyncio.run(main())


async def collected(response):
    received = b""
    while data := await response.receive():
        received += data
    return received


async def ask(transport, server, path="/models"):
    response = await transport.send(HttpRequest("GET", server.base_url + path), connect_timeout=60)
    await collected(response)
    await response.aclose()


def test_idle_connections_are_closed_after_a_while(monkeypatch):
    monkeypatch.setattr(_fast_transport, "KEEPALIVE_SECONDS", 0.3)

    async def main():
        transport = FastTransport()
        async with ScriptedServer(lambda _: events(["x"])) as server:
            await ask(transport, server)
            assert server.connections == 1
            await server.settled()
            await ask(transport, server)
            assert server.connections == 2
            await transport.aclose()
            await server.settled()

    on_asyncio(main)


def test_no_more_idle_connections_than_allowed_are_kept(monkeypatch):
    monkeypatch.setattr(_fast_transport, "KEPT_CONNECTIONS", 2)

    async def main():
        transport = FastTransport()
        async with ScriptedServer(lambda _: events(["x"])) as server:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(ask, transport, server)
            with anyio.fail_after(60):
                while server.open_connections != 2:
                    await anyio.sleep(0.001)
            await transport.aclose()
            await server.settled()

    on_asyncio(main)


def test_one_transport_serves_one_loop_after_the_other():
    transport = FastTransport()

    async def main():
        async with ScriptedServer(lambda _: events(["x"])) as server:
            await ask(transport, server)
            await transport.aclose()

    on_asyncio(main)
    on_asyncio(main)


# ---------------------------------------------------------------------- what is sent


def test_invalid_headers_and_urls_are_refused_before_sending():
    async def main():
        transport = FastTransport()
        for headers in ({"authorization": "Bearer a\nx: y"}, {"x\r\ny": "z"}, {"x": "a\0"}, {"x": "\u20ac"}):
            with pytest.raises(UsageError, match="header"):
                await transport.send(HttpRequest("GET", "http://127.0.0.1:9/", headers), connect_timeout=60)
        for url in ("ftp://h/", "http://", "http://h:port/", "http:///x", "nonsense"):
            with pytest.raises(UsageError, match="must begin with http:// or https://"):
                await transport.send(HttpRequest("GET", "http://[::1"), connect_timeout=None)
            with pytest.raises(UsageError, match="must begin with http:// or https://"):
                await transport.send(HttpRequest("GET", url), connect_timeout=60)

    on_asyncio(main)


def test_unquoted_paths_are_quoted_and_quoted_ones_kept():
    async def main():
        transport = FastTransport()
        async with ScriptedServer(lambda _: events(["x"])) as server:
            for path in ("/a b?q=\u00e4 c", "/%2fa?x=%20y&z=[1]"):
                request = HttpRequest("POST", server.base_url + path, {"X-Y": "z"}, b"{}")
                await (await transport.send(request, connect_timeout=60)).aclose()
            assert [post.path for post in server.posts] == ["/v1/a%20b?q=%C3%A4%20c", "/v1/%2fa?x=%20y&z=%5B1%5D"]
            assert server.posts[0].headers == {"host": f"127.0.0.1:{server.port}", "x-y": "z", "content-length": "2"}
            await transport.aclose()

    on_asyncio(main)


def test_it_says_that_it_needs_asyncio():
    async def main():
        with pytest.raises(UsageError, match="must run on asyncio"):
            await FastTransport().send(HttpRequest("GET", "http://127.0.0.1:9/"), connect_timeout=60)

    anyio.run(main, backend="trio")


# ---------------------------------------------------------------------- on uvloop


def test_on_uvloop_cancelled_requests_never_leave_a_socket():
    uvloop = pytest.importorskip("uvloop", reason="the extra 'fast' is not installed")

    async def main():
        transport = FastTransport()
        async with ScriptedServer(lambda _: events(["one ", "two"])) as server:
            for count in range(40):
                task = asyncio.ensure_future(ask(transport, server))
                for _ in range(count):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.wait([task])
            await ask(transport, server)
            await transport.aclose()
            await server.settled()
        gc.collect()

    uvloop.run(main())


def test_on_uvloop_closing_wakes_reader_and_reaches_server():
    uvloop = pytest.importorskip("uvloop", reason="the extra 'fast' is not installed")

    async def main():
        transport = FastTransport()
        async with ScriptedServer(lambda _: (Head(), Send(b"x"), Stall())) as server:
            response = await transport.send(HttpRequest("POST", server.base_url, body=b"{}"), connect_timeout=60)
            assert await response.receive() == b"x"
            reader = asyncio.ensure_future(response.receive())
            await asyncio.sleep(0)
            await response.aclose()
            with pytest.raises(StreamClosed):
                await reader
            with anyio.fail_after(60):
                await server.posts[0].gone.wait()
            await transport.aclose()

    uvloop.run(main())


def test_on_uvloop_a_reset_raises_after_the_text():
    uvloop = pytest.importorskip("uvloop", reason="the extra 'fast' is not installed")

    async def main():
        transport = FastTransport()
        async with ScriptedServer(lambda _: fault("rst_mid")) as server:
            response = await transport.send(HttpRequest("POST", server.base_url, body=b"{}"), connect_timeout=60)
            with pytest.raises(ConnectError, match="broke after"):
                await collected(response)
            await response.aclose()
            await transport.aclose()

    uvloop.run(main())


# ---------------------------------------------------------------------- what others do to it


def test_closing_the_transport_ends_a_wait_for_headers():
    async def main():
        transport = FastTransport()
        async with ScriptedServer(lambda _: (Stall(),)) as server:
            request = HttpRequest("POST", server.base_url, body=b"{}")
            waiting = asyncio.ensure_future(transport.send(request, connect_timeout=60))
            with anyio.fail_after(60):
                while not server.posts:
                    await anyio.sleep(0.001)
                await transport.aclose()
                with pytest.raises(StreamClosed, match="this side closed it"):
                    await waiting
            await server.settled()

    on_asyncio(main)


def test_an_impossible_host_name_is_a_connection_error():
    async def main():
        for host in ("a" * 64 + ".com", "a..b"):
            with pytest.raises(ConnectError, match="could not connect"):
                await FastTransport(trust_env=False).send(HttpRequest("GET", f"http://{host}/"), connect_timeout=60)

    on_asyncio(main)


def test_one_transport_serves_several_threads_loops_at_once():
    transport, together = FastTransport(), threading.Barrier(3, timeout=60)
    counts = []

    async def main():
        async with ScriptedServer(lambda _: events(["x"])) as server:
            for _ in range(5):
                await asyncio.to_thread(together.wait)
                await ask(transport, server)
            counts.append(server.connections)
            await asyncio.to_thread(together.wait)
            if threading.current_thread() is threading.main_thread():
                await transport.aclose()
            await server.settled()  # the others, too, have their connections closed

    threads = [threading.Thread(target=on_asyncio, args=(main,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    on_asyncio(main)
    for thread in threads:
        thread.join()
    assert counts == [1, 1, 1]  # each loop kept its own


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the connection of the loop is not closed
@pytest.mark.parametrize("closes", ["in another loop", "without a loop"])
def test_a_transport_may_close_after_its_loop_ended(closes):
    transport = FastTransport()

    async def main():
        async with ScriptedServer(lambda _: events(["x"])) as server:
            await ask(transport, server)

    on_asyncio(main)
    if closes == "in another loop":
        on_asyncio(transport.aclose)
    else:
        with pytest.raises(StopIteration):
            transport.aclose().send(None)


class Talker(asyncio.Protocol):
    """A server that answers each request, and says one more thing a moment later. *said* is set when it has gone out."""

    def __init__(self, more, said):
        self.more = more
        self.said = said

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        loop = asyncio.get_running_loop()
        loop.call_later(0.02, self.more, self.transport)
        loop.call_later(
            0.04, loop.call_later, 0.01, self.said.set
        )  # after the turn in which the loop closes the socket


@pytest.mark.parametrize(
    "more",
    [lambda it: it.write(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"), lambda it: it.close()],
    ids=["answer", "end"],
)
def test_stray_data_during_blocked_loops_answers_no_request(more):
    ready, url, stop, said = threading.Event(), [], threading.Event(), threading.Event()

    async def serve():
        server = await asyncio.get_running_loop().create_server(lambda: Talker(more, said), "127.0.0.1", 0)
        url.append(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        ready.set()
        while not stop.is_set():
            await asyncio.sleep(0.005)
        server.close()

    async def main():
        transport = FastTransport()
        for _ in range(3):
            response = await transport.send(HttpRequest("GET", url[0]), connect_timeout=60)
            assert await collected(response) == b"ok"
            await response.aclose()
            assert said.wait(60)  # holds the loop, as a callback of somebody's may
            said.clear()
        await transport.aclose()

    server = threading.Thread(target=asyncio.run, args=(serve(),))
    server.start()
    try:
        assert ready.wait(60)
        on_asyncio(main)
    finally:
        stop.set()
        server.join()


INVALID = {
    **dict.fromkeys(["Host", "content-length", "Transfer-Encoding", "a:b", "", "a b", "ä"], "1"),
    "authorization": "Bearer key\n",
    "x-name": "Zoë Łuk",
    "x-nul": "a\0b",
}


@pytest.mark.parametrize("make", [FastTransport, Httpx2Transport])
@pytest.mark.parametrize(("name", "value"), INVALID.items())
def test_an_invalid_header_is_refused_and_named(make, name, value):
    async def main():
        transport = make()
        request = HttpRequest("POST", "http://127.0.0.1:9/v1", {name: value}, b"x")
        with pytest.raises(UsageError, match="remove it") as caught:
            await transport.send(request, connect_timeout=1)
        await transport.aclose()
        assert repr(name) in str(caught.value)
        assert value.strip() not in str(caught.value) or value == "1"  # it may be a key

    on_asyncio(main)
