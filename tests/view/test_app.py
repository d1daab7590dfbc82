"""What the server of the page answers, and to whom."""

import json
from base64 import b64encode

import anyio
import httpx2
import pytest
from interwhen.journal import _rebuilt_run
from interwhen.journal._files import frames
from interwhen.journal._records import SealRecord, decode
from interwhen.view import _app
from interwhen.view._app import PageServer, gateway_pages, loopback_only, with_key
from interwhen.view._runs import RunFolder, run_id
from interwhen.view._server import local_app
from tests.view.recorded import PLAIN, REPAIRED, record

KEY = "a key of the page"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    record(folder / "repaired.journal", REPAIRED)
    record(folder / "plain.journal", PLAIN)
    return folder


def client(app, *, peer="127.0.0.1", host="127.0.0.1:8400", **headers):
    transport = httpx2.ASGITransport(app, client=(peer, 50000))
    return httpx2.AsyncClient(transport=transport, base_url=f"http://{host}", headers=headers)


def pages(folder, guard=loopback_only, **options):
    return PageServer(RunFolder([folder]), guard, **options).app()


@pytest.mark.anyio
async def test_the_page_has_a_strict_policy(folder):
    async with client(pages(folder)) as http:
        answer = await http.get("/")
    csp = answer.headers["content-security-policy"]
    assert answer.status_code == 200
    assert "frame-ancestors 'none'" in csp
    assert "unsafe" not in csp
    assert "connect-src 'self'" in csp
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.anyio
async def test_the_list_is_paged(folder):
    async with client(pages(folder)) as http:
        first = (await http.get("/runs", params={"limit": "1"})).json()
        second = (await http.get("/runs", params={"limit": "1", "after": first["next"]})).json()
        assert "next" not in second
        assert {first["runs"][0]["id"], second["runs"][0]["id"]} == {
            run_id(folder / "repaired.journal"),
            run_id(folder / "plain.journal"),
        }
        assert (await http.get("/runs", params={"limit": "none"})).status_code == 400


@pytest.mark.anyio
async def test_a_timeline_has_an_etag_and_parts(folder):
    name = run_id(folder / "repaired.journal")
    async with client(pages(folder)) as http:
        whole = await http.get(f"/runs/{name}/timeline")
        again = await http.get(f"/runs/{name}/timeline", headers={"if-none-match": whole.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        offset = whole.json()["offset"]
        rest = (await http.get(f"/runs/{name}/timeline", params={"from": str(offset)})).json()
        assert "text" not in rest
        for at in (offset - 1, offset + 1, 999_999_999_999_999):
            assert (await http.get(f"/runs/{name}/timeline", params={"from": str(at)})).status_code == 416
        assert (await http.get(f"/runs/{name}/timeline", params={"from": "x"})).status_code == 400
        assert (await http.get("/runs/0123/timeline")).status_code == 404


@pytest.mark.anyio
async def test_reconnected_reader_misses_no_part(folder, tmp_path):
    path = tmp_path / "growing.journal"
    data = (folder / "repaired.journal").read_bytes()
    path.write_bytes(data[: len(data) // 2])
    app = pages(tmp_path)
    name = run_id(path)

    async def events(since, until):
        live_events = []
        async with (
            client(app) as http,
            http.stream("GET", f"/runs/{name}/live", headers={"last-event-id": str(since)}) as answer,
        ):
            event = {}
            async for line in answer.aiter_lines():
                if line:
                    key, _, value = line.partition(": ")
                    event[key] = value
                elif event:
                    live_events.append(event)
                    if until(event):
                        return live_events
                    event = {}
        return live_events

    # The transport of these tests gives an answer once it is complete, so the run ends before anybody asks.
    path.write_bytes(data)
    whole = await events(0, lambda event: event.get("event") == "over")
    assert [event.get("event") for event in whole[1:]] == ["part", "over"]
    offset = len(data)
    assert whole[1]["id"] == str(offset)
    middle = middle_of(path, data)
    rest = await events(middle, lambda event: event.get("event") == "over")
    text = json.loads(whole[1]["data"])["text"]
    part = json.loads(rest[1]["data"])
    assert part["from"] == middle
    assert text.endswith(part.get("text", ""))
    assert len(part.get("text", "")) < len(text)


@pytest.mark.anyio
async def test_page_reads_journal_once_for_opening_and_following(folder, monkeypatch):
    path = folder / "repaired.journal"
    payloads, decode = [], _rebuilt_run.decode
    monkeypatch.setattr(_rebuilt_run, "decode", lambda payload: payloads.append(payload) or decode(payload))
    app = pages(folder)
    async with client(app) as http:
        for _ in range(2):  # two browsers
            whole = (await http.get(f"/runs/{run_id(path)}/timeline")).json()
            rest = await http.get(f"/runs/{run_id(path)}/live", params={"from": str(whole["offset"])})
            assert "event: over" in rest.text
            assert "event: part" not in rest.text
    assert len(payloads) == len(list(frames(path.read_bytes(), str(path))))


@pytest.mark.anyio
async def test_requests_arriving_together_keep_the_limit(folder, monkeypatch):
    monkeypatch.setattr(_app, "_MOST_LIVE", 2)
    statuses = []

    async def follow(http):
        answer = await http.get(f"/runs/{run_id(folder / 'repaired.journal')}/live")
        statuses.append(answer.status_code)

    async with client(pages(folder)) as http:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(follow, http)
        assert sorted(statuses) == [200, 200, 503, 503, 503]
        await follow(http)
    assert statuses[-1] == 200


def middle_of(path, data):
    seals = [frame.end for frame in frames(data, str(path)) if isinstance(decode(frame.payload), SealRecord)]
    return seals[(len(seals) - 1) // 2]


@pytest.mark.anyio
async def test_a_claim_is_verified_again(folder):
    name = run_id(folder / "repaired.journal")
    headers = {"x-interwhen": "page"}
    async with client(pages(folder, verify=True)) as http:
        checks = (await http.get(f"/runs/{name}/timeline")).json()["checks"]
        wrong = next(int(index) for index, check in checks.items() if check["outcome"] == "violation")
        reply = (await http.post(f"/runs/{name}/verify", json={"check": wrong}, headers=headers)).json()
        assert reply["outcome"] == "violation"
        assert "2788" in reply["why"]
        assert (await http.post(f"/runs/{name}/verify", json={"check": 999}, headers=headers)).status_code == 422
        assert (await http.post(f"/runs/{name}/verify", json={"check": "x"}, headers=headers)).status_code == 400
        assert (await http.post(f"/runs/{name}/verify", json={"check": wrong})).status_code == 403
    async with client(pages(folder)) as http:
        assert (await http.post(f"/runs/{name}/verify", json={"check": wrong}, headers=headers)).status_code == 404


@pytest.mark.anyio
async def test_recheck_accepts_only_allowed_monitors(folder):
    name = run_id(folder / "repaired.journal")
    headers = {"x-interwhen": "page"}
    places = {False: {"arithmetic": 200, "regex:patterns=sells": 422}, True: {"regex:patterns=sells": 200, "none": 422}}
    places[True]["command:command=true,sandbox=none"] = 422
    for any_monitor, wanted in places.items():
        async with client(pages(folder, verify=True, any_monitor=any_monitor)) as http:
            for monitor, status in wanted.items():
                answer = await http.post(f"/runs/{name}/recheck", json={"monitor": monitor}, headers=headers)
                assert answer.status_code == status, (any_monitor, monitor)
                if status == 200:
                    assert answer.json()["rechecked"] == monitor
            assert (await http.post(f"/runs/{name}/recheck", json={}, headers=headers)).status_code == 400
            garbled = b'{"monitor": "\xff"}'
            assert (await http.post(f"/runs/{name}/recheck", content=garbled, headers=headers)).status_code == 400
            assert (
                await http.post("/runs/0/recheck", json={"monitor": "arithmetic"}, headers=headers)
            ).status_code == 404
            # Another page cannot ask.
            assert (await http.post(f"/runs/{name}/recheck", json={"monitor": "arithmetic"})).status_code == 403


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("peer", "host", "status"),
    [
        ("127.0.0.1", "127.0.0.1:8400", 200),
        ("::1", "localhost", 200),
        ("127.0.0.1", "evil.example", 403),
        ("127.0.0.1", "[", 403),
        ("10.0.0.7", "127.0.0.1", 403),
    ],
)
async def test_server_without_key_accepts_only_loopback(folder, peer, host, status):
    async with client(pages(folder), peer=peer, host="localhost") as http:
        http.headers["host"] = host
        for path in ("/", "/runs", f"/runs/{run_id(folder / 'plain.journal')}/timeline"):
            assert (await http.get(path)).status_code == status


@pytest.mark.anyio
async def test_server_with_key_requires_it(folder):
    basic = b64encode(f"anybody:{KEY}".encode()).decode()
    for authorization, status in (
        (f"Basic {basic}", 200),
        (f"Bearer {KEY}", 200),
        ("Bearer other", 401),
        ("Basic !", 401),
        ("", 401),
    ):
        headers = {"authorization": authorization} if authorization else {}
        async with client(pages(folder, with_key(KEY)), peer="10.0.0.7", host="gateway", **headers) as http:
            answer = await http.get("/runs")
        assert answer.status_code == status, authorization
        if status == 401:
            assert answer.headers["www-authenticate"].startswith("Basic ")


@pytest.mark.anyio
async def test_local_address_contains_secret_word(folder):
    async with client(local_app(RunFolder([folder]), "word")) as http:
        assert (await http.get("/word/runs")).status_code == 200
        assert (await http.get("/runs")).status_code == 404
        assert (await http.get("/wore/runs")).status_code == 404


@pytest.mark.anyio
async def test_the_gateway_serves_it_below_ui(folder):
    app = gateway_pages([str(folder)], KEY, lambda: False)
    async with client(app, authorization=f"Bearer {KEY}") as http:
        assert (await http.get("/ui")).headers["location"].endswith("ui/")
        assert (await http.get("/ui/")).status_code == 200
        assert len((await http.get("/ui/runs")).json()["runs"]) == 2


@pytest.fixture
def anyio_backend():
    return "asyncio"
