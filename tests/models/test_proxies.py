"""The environment's proxies are used by both transports, and no password file is read."""

import asyncio

import pytest
from interwhen.errors import UsageError
from interwhen.models.aiohttp_transport import AiohttpTransport
from interwhen.models.httpx2_transport import Httpx2Transport
from interwhen.models.transport import HttpRequest


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
        response = await transport.send(request, connect_timeout=5)
        assert await response.receive() == b"ok"
        await response.aclose()
        await transport.aclose()
    return heads[0]


@pytest.mark.parametrize("kind", [AiohttpTransport, Httpx2Transport])
def test_a_request_goes_to_the_proxy_with_its_own_key_alone(monkeypatch, kind):
    head = asyncio.run(head_that_a_proxy_gets(monkeypatch, kind(), "a:b@"))
    assert head.startswith("get http://model.invalid/v1/models http/1.1\r\n")
    assert "proxy-authorization: basic ytpi\r\n" in head
    assert "\r\nauthorization: bearer key\r\n" in head


def test_aiohttp_refuses_a_proxy_that_it_cannot_speak_to(monkeypatch):
    monkeypatch.setenv("http_proxy", "socks5://127.0.0.1:9")

    async def ask():
        transport = AiohttpTransport()
        with pytest.raises(UsageError, match="'socks5' proxy; use transport='httpx2'"):
            await transport.send(HttpRequest("GET", "http://model.invalid/v1"), connect_timeout=5)
        await transport.aclose()

    asyncio.run(ask())
