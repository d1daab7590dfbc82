"""One record per call through a gateway: its id in the answer, its log event, and its line in the audit file."""

import json
import socket
import time

import httpx2
import interwhen
import pytest
import structlog
from helpers import ASK, corrected, post, sse
from interwhen.testing.server import Sleep, events, reply
from watchers import passing, word


@pytest.fixture
def audited(tmp_path, gateway):
    path = tmp_path / "audit.jsonl"

    def make(server, **options):
        running = gateway(server, audit={"path": str(path)}, **options)

        def audit_lines():
            running.idle()
            until = time.monotonic() + 60
            while running.gateway.audit._queue.qsize():
                assert time.monotonic() < until
                time.sleep(0.005)
            running.gateway.audit.close()
            return [json.loads(line) for line in path.read_text().splitlines()]

        return running, audit_lines

    return make


@pytest.mark.parametrize("streamed", [True, False])
@pytest.mark.parametrize("detail", ["brief", "full"])
def test_call_id_matches_answer_event_and_record(streamed, detail, upstream, audited):
    running, records = audited(upstream(corrected), watchers=[word(good="good")])
    traced = {"traceparent": f"00-{'a1' * 16}-{'b2' * 8}-01"}
    body = {**ASK, "stream": streamed, "interwhen": {"detail": detail}}
    with structlog.testing.capture_logs() as logs:
        answer = post(running, body, headers=traced)
        [line] = records()
    call_id = answer.headers["x-interwhen-call"]
    told = (sse(answer.text)[-2] if streamed else answer.json())["interwhen"]
    assert call_id == line["call_id"] == told["call_id"]
    [log] = [log for log in logs if log["event"] == "call.ended"]
    assert (log["call_id"], log["trace_id"], log["monitors"]) == (call_id, "a1" * 16, "word")
    assert (log["outcome"], log["violations"]) == ("steps verified", 1)
    assert (line["source"], line["api"], line["model"], line["outcome"]) == ("gateway", "chat", "m", "steps verified")
    assert line["ledger"]["requests"] == 2
    assert "BAD" not in json.dumps(line)


def test_passed_and_refused_calls_have_audit_records(upstream, audited):
    running, records = audited(upstream(events(["x"], api="chat")), offers=[passing()])
    answers = [
        post(running, ASK),
        post(running, {**ASK, "interwhen": {"monitors": ["no-such"]}}),
        post(running, {**ASK, "n": 2, "interwhen": {"monitors": ["passing"]}}),
        httpx2.get(f"{running.base_url}/models"),
    ]
    ids = [answer.headers["x-interwhen-call"] for answer in answers]
    assert len(set(ids)) == 4
    lines = records()
    assert [(line["call_id"], line["outcome"]) for line in lines] == list(
        zip(ids[:3], ("passed", "refused", "refused"), strict=True)
    )


def test_failed_and_abandoned_calls_are_audited(upstream, audited):
    refusing = upstream(reply(503, b'{"error": {"message": "busy"}}'))
    running, records = audited(refusing, watchers=[passing()])
    post(running, ASK)
    assert [line["outcome"] for line in records()] == ["failed"]
    slow = upstream((*events(["one\n"], api="chat")[:-2], Sleep(60)))
    running.gateway.upstreams[0].url = slow.base_url
    client = socket.create_connection(("127.0.0.1", int(running.root.rpartition(":")[2])))
    body = json.dumps({**ASK, "stream": True}).encode()
    client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    assert b"200" in client.recv(1024)
    client.close()
    line = records()[-1]
    assert (line["outcome"], line["checks"][0]["outcome"] if line["checks"] else "pass") == ("left", "pass")


def test_full_disk_drops_audit_records_not_calls(upstream, gateway):
    running = gateway(upstream(events(["x\n"], api="chat")), watchers=[passing()], audit={"path": "/dev/full"})
    for _ in range(3):
        assert post(running, ASK).status_code == 200
    running.idle()
    until = time.monotonic() + 60
    while running.metric("interwhen_audit_dropped") < 3:
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture
def journaled(tmp_path, gateway):
    folder = tmp_path / "journals"

    def make(server, **options):
        settings = {"path": str(folder), **options.pop("journal", {})}
        running = gateway(server, journal=settings, **options)

        def journal_paths():
            running.idle()
            running.gateway.journals.close()
            return sorted(folder.glob("*.journal"))

        return running, journal_paths

    return make


@pytest.mark.parametrize("streamed", [True, False])
def test_journal_carries_the_call_id(streamed, upstream, journaled):
    running, journals = journaled(upstream(corrected), watchers=[word(good="good")])
    key = "sk-of-the-caller-0123"
    body = {**ASK, "stream": streamed, "interwhen": {"detail": "full"}}
    answer = post(
        running, body, headers={"authorization": f"Bearer {key}", "traceparent": f"00-{'a1' * 16}-{'b2' * 8}-01"}
    )
    [path] = journals()
    assert path.name == f"{answer.headers['x-interwhen-call']}.journal"
    assert str(path.parent) not in answer.text  # a client must not learn the directories of the host
    assert key.encode() not in path.read_bytes()
    journal = interwhen.journal.read_journal(path)
    assert (journal.header.call.source, journal.header.call.trace_id) == ("gateway", "a1" * 16)
    assert (journal.header.call.streams, journal.call["outcome"]) == (streamed, "steps verified")
    assert [one.remedy for one in interwhen.journal.timeline(path).remedies] == ["repair"]
    text = httpx2.get(running.base_url.removesuffix("/v1") + "/metrics").text
    assert 'interwhen_journals{what="kept"} 1.0' in text
    assert f"interwhen_journal_bytes {path.stat().st_size:.1f}" in text


def test_journal_names_configured_and_requested_monitors(upstream, journaled):
    server = upstream(events(["2 + 2 = 4\n"], api="chat"))
    offered = [{"name": "arithmetic", "label": "offered", "level": "locate"}]
    running, journals = journaled(
        server,
        monitors=["arithmetic:level=explain"],
        offers=[interwhen.load_monitor(each) for each in offered],
    )
    post(running, {**ASK, "interwhen": {"monitors": ["arithmetic", "offered"]}})
    [path] = journals()
    specs = [one.untrusted_spec for one in interwhen.journal.read_journal(path).header.monitors]
    assert [one.level for one in map(interwhen.load_monitor, specs)] == ["explain", "locate"]


@pytest.mark.fault(
    "P5", injected="a directory for journals that takes none", happens="every call is answered; log and metric say it"
)
def test_journal_failure_costs_no_call(upstream, journaled, tmp_path):
    running, _ = journaled(upstream(corrected), watchers=[word(good="good")])
    (tmp_path / "journals").rmdir()
    (tmp_path / "journals").write_text("no directory any more")
    with structlog.testing.capture_logs() as logs:
        answers = [post(running, ASK) for _ in range(3)]
        running.idle()
        running.gateway.journals.close()
    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert all(answer.json()["interwhen"]["result"]["label"] == "steps verified" for answer in answers)
    assert [log["event"] for log in logs].count("journal.failed") == 1
    text = httpx2.get(running.base_url.removesuffix("/v1") + "/metrics").text
    assert 'interwhen_journals{what="dropped"} 3.0' in text


def test_upstream_refusal_is_journaled_as_problem(upstream, journaled):
    running, journals = journaled(
        upstream(lambda _: reply(500, b"{}")),
        watchers=[word(good="good")],
        journal={"keep": "problems", "text": "redacted"},
    )
    assert post(running, ASK).status_code >= 500
    [path] = journals()
    assert [one.how for one in interwhen.journal.timeline(path).requests] == ["refused"]
