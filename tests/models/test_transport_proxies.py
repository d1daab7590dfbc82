"""The environment's proxies are used by both transports, and no password file is read."""

import asyncio
import contextlib
import threading

import pytest
from interwhen import UsageError
from interwhen.models import FastTransport
from interwhen.models._httpx2_transport import Httpx2Transport, _proxy
from interwhen.models._transport import HttpRequest


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    netrc = tmp_path / "netrc"
    netrc.write_text("machine model.invalid login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))


async def head_that_a_proxy_gets(monkeypatch, transport, credentials):
    heads = []

    async def answer(reader, writer):
        heads.append((await reader.readuntil(b"\r\n\r\n")).decode().lower())
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        monkeypatch.setenv("http_proxy", f"http://{credentials}127.0.0.1:{server.sockets[0].getsockname()[1]}")
        request = HttpRequest("GET", "http://model.invalid/v1/models", {"authorization": "Bearer key"})
        response = await transport.send(request, connect_timeout=60)
        assert await response.receive() == b"ok"
        await response.aclose()
        await transport.aclose()
    return heads[0]


@pytest.mark.parametrize("kind", [FastTransport, Httpx2Transport])
def test_a_proxied_request_keeps_its_key_ignoring_netrc(monkeypatch, kind):
    head = asyncio.run(head_that_a_proxy_gets(monkeypatch, kind(), "a:b@"))
    assert head.startswith("get http://model.invalid/v1/models http/1.1\r\n")
    assert "proxy-authorization: basic ytpi\r\n" in head
    assert "\r\nauthorization: bearer key\r\n" in head


@pytest.mark.parametrize("kind", [FastTransport, Httpx2Transport])
@pytest.mark.parametrize(
    ("proxy", "message"),
    [
        ("http://a:secret@host:port", "a proxy must be a URL such as"),
        ("a:secret@host:port", "a proxy must be a URL such as"),
        ("http://", "a proxy must be a URL such as"),
        ("ftp://host:1", "a proxy must be a URL such as"),
        ("http://h\xfcst:1", "a proxy must be a URL such as"),
        ("socks5://a:secret@host:1", "must have the package socksio"),
    ],
)
def test_what_is_no_proxy_is_refused(monkeypatch, kind, proxy, message):
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setattr("interwhen.models._httpx2_transport.find_spec", lambda _: None)
    with pytest.raises(UsageError, match=message) as caught:
        asyncio.run(kind().send(HttpRequest("GET", "http://model.invalid/v1"), connect_timeout=1))
    assert "secret" not in str(caught.value)


def test_a_proxy_without_a_scheme_defaults_to_http():
    proxy = _proxy("a:b@host:9")
    assert (proxy.url.scheme, proxy.url.host, proxy.url.port) == (b"http", b"host", 9)
    assert proxy.auth == (b"a", b"b")


def test_fast_transport_looks_up_proxies_once_per_server(monkeypatch):
    asked = []

    def no_proxy(scheme, host):
        asked.append((scheme, host))

    monkeypatch.setattr("interwhen.models._fast_transport.environment_proxy", no_proxy)
    transport = FastTransport()
    for path in ("a", "b"):
        assert not transport._has_proxy(f"http://127.0.0.1:1/{path}")
    assert not transport._has_proxy("http://127.0.0.1:2/a")
    assert asked == [("http", "127.0.0.1:1"), ("http", "127.0.0.1:2")]


def test_the_proxied_transport_is_one_for_each_loop(monkeypatch):
    # A connection of one loop cannot be used in another one, also with the same transport.
    transport, together, ways = FastTransport(), threading.Barrier(2, timeout=60), []

    async def answer(reader, writer):
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        writer.close()

    async def main():
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            if threading.current_thread() is threading.main_thread():
                monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
            await asyncio.to_thread(together.wait)
            for _ in range(5):
                response = await transport.send(HttpRequest("GET", "http://model.invalid/"), connect_timeout=60)
                assert await response.receive() == b"ok"
                await response.aclose()
            ways.append(transport._pool().proxied_transport)
            await asyncio.to_thread(together.wait)
            if threading.current_thread() is threading.main_thread():
                await transport.aclose()
                assert ways[0] is not ways[1]
            await asyncio.to_thread(together.wait)

    other = threading.Thread(target=asyncio.run, args=(main(),))
    other.start()
    asyncio.run(main())
    other.join()
    assert len(ways) == 2
