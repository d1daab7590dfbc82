"""TLS, on the loops' own machinery: the same stream, the same closing, and no context where none is needed."""

import shutil
import ssl
import subprocess

import anyio
import pytest
from interwhen.models import CompletionsModel, ConnectError, Request, Retries, StreamClosed
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.testing.server import ScriptedServer, Stall, events

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl"),
]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost", "-keyout", key, "-out", cert]
    subprocess.run([*command.split(), *names], check=True, capture_output=True)
    return cert, key


def transport_of(name, context):
    if name == "fast":
        from interwhen.models import FastTransport

        return FastTransport(ssl_context=context)
    return Httpx2Transport(ssl_context=context)


async def run_with(certificate, use):
    cert, key = certificate
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    async with ScriptedServer(lambda _request: (*events(["x"])[:1], Stall()), ssl_context=context) as server:
        await use(server.base_url, server)


def read_and_close(certificate, name):
    async def use(url, server):
        shared = transport_of(name, ssl.create_default_context(cafile=certificate[0]))
        model = CompletionsModel(url, "m", transport=shared, retries=Retries(attempts=0))
        stream = await model.stream(Request("q"))
        assert (await stream.receive())[0].text == "x"

        async def reader():
            with pytest.raises(StreamClosed):
                await stream.receive()

        async with anyio.create_task_group() as group:
            group.start_soon(reader)
            await anyio.lowlevel.checkpoint()
            await anyio.wait_all_tasks_blocked()
            await stream.aclose()
        with anyio.fail_after(60):
            await server.posts[0].gone.wait()
        await shared.aclose()

    return use


async def test_tls_streams_deliver_text_and_close_during_reads(certificate, transport):
    await run_with(certificate, read_and_close(certificate, transport))


def test_the_same_on_uvloop(certificate):
    uvloop = pytest.importorskip("uvloop", reason="the extra 'fast' is not installed")
    uvloop.run(run_with(certificate, read_and_close(certificate, "fast")))


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate, transport):
    async def use(url, server):
        shared = transport_of(transport, ssl.create_default_context())
        model = CompletionsModel(url, "m", transport=shared, retries=Retries(attempts=0))
        with pytest.raises(ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await model.stream(Request("q"))
        await shared.aclose()

    await run_with(certificate, use)


def test_plain_http_reads_no_certificates(monkeypatch):
    def refuse():
        raise AssertionError("the trust store was read")

    monkeypatch.setattr("httpcore2.default_ssl_context", refuse)

    async def use():
        transport = Httpx2Transport(trust_env=False)
        transport._pool("http://127.0.0.1:1/v1")
        with pytest.raises(AssertionError):
            transport._pool("https://127.0.0.1:1/v1")
        await transport.aclose()

    anyio.run(use)


@pytest.mark.parametrize(
    ("environment", "url", "proxy"),
    [
        ({}, "http://h/v1", None),
        ({"http_proxy": "http://p:3128"}, "http://h/v1", "http://p:3128"),
        ({"http_proxy": "http://p:3128"}, "https://h/v1", None),
        ({"all_proxy": "http://p:3128"}, "https://h/v1", "http://p:3128"),
        ({"http_proxy": "http://p:3128", "no_proxy": "h"}, "http://h:80/v1", None),
    ],
)
def test_the_environments_proxies_are_used(monkeypatch, environment, url, proxy):
    from interwhen.models._transport import environment_proxy, scheme_and_host

    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert environment_proxy(*scheme_and_host(url)) == proxy
