"""One record per call of a wrapped client: what it says, when it is written, and that it holds no content."""

import json

import anyio
import interwhen
import openai
import pytest
import structlog
from both import KINDS, ask, read
from interwhen.clients._call_record import new_call_id, trace_id_of
from interwhen.journal._directory import JournalDirectory, JournalSettings
from interwhen.testing.server import Sleep, events, reply
from watchers import passing, word

pytestmark = pytest.mark.anyio


@pytest.fixture
def logs():
    with structlog.testing.capture_logs() as captured:
        yield captured


def ended(logs):
    return [log for log in logs if log["event"] == "call.ended"]


def records(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture
def audited(tmp_path, serve, clients):
    from interwhen.clients._audit import open_audit

    path = tmp_path / "audit.jsonl"

    def make(script, kind="async", monitors=None, **options):
        content = options.pop("content", False)
        settings = {"path": str(path), "content": content}
        client = interwhen.wrap(
            clients(KINDS[kind], serve(script)), monitors=monitors or [word(good="good")], audit=settings, **options
        )

        def entries():
            open_audit(settings).close()
            return records(path)

        return client, entries

    return make


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("api", ["chat", "completions"])
async def test_each_call_gets_one_record_without_its_content(kind, stream, api, audited, logs):
    def script(request):
        return events(["one\n", "BAD\n"] if request.number == 0 else ["\n"], api=api)

    client, entries = audited(script, kind)
    traced = {"traceparent": f"00-{'a1' * 16}-{'b2' * 8}-01"}
    answer = await ask(client, api, stream=stream, extra_headers=traced)
    info = (await read(answer))[-1].interwhen if stream else answer.interwhen
    [line] = entries()
    assert line["call_id"] == info.call_id
    assert len(line["call_id"]) == 32
    assert (line["trace_id"], line["source"], line["api"], line["model"]) == ("a1" * 16, "wrap", api, "m")
    assert line["monitors"] == [{"name": "word", "verifier": "word", "version": "1", "delivery": "interrupt"}]
    assert (line["outcome"], line["scope"], line["finish_reason"]) == ("steps verified", "steps", "stop")
    assert [check["outcome"] for check in line["checks"]] == ["pass"] * len(line["checks"])
    [violation] = line["violations"]
    assert (violation["verifier"], violation["remedy"], violation["span"]) == ("word", "repair", {"start": 4, "end": 7})
    assert line["ledger"]["kept"] == info.result.ledger.kept
    assert line["milliseconds"] > 0
    assert line["began"].endswith("+00:00")
    assert line["text_sha256"] == info.result.certificate.text_sha256
    assert line["content"] is None
    text = json.dumps(line)
    assert "BAD" not in text
    assert "good" not in text
    assert "one" not in text.replace('"none"', "")
    [log] = ended(logs)
    assert (log["call_id"], log["outcome"], log["violations"]) == (info.call_id, "steps verified", 1)
    assert "BAD" not in repr(log)


async def test_content_is_kept_if_it_is_asked_for(audited):
    client, entries = audited(
        lambda _: events(["one\n", "BAD\n"], api="chat"), content=True, monitors=[word()], budgets={"remedies": 0}
    )
    await ask(client)
    [line] = entries()
    assert line["content"]["prompt"][0]["content"] == "q"
    assert line["content"]["text"] == "one\n"
    assert line["content"]["whys"] == ["BAD is no word"]


async def test_failed_and_cancelled_calls_are_recorded(audited):
    client, entries = audited(lambda _: reply(404, b'{"error": {"message": "no such model"}}'))
    with pytest.raises(openai.NotFoundError):
        await ask(client)
    [line] = entries()
    assert line["outcome"] == "failed"
    client, entries = audited(lambda _: (*events(["one\n"], api="chat")[:-2], Sleep(60)))
    begun = anyio.Event()

    async def read_on():
        async for _ in await ask(client, stream=True):
            begun.set()

    async with anyio.create_task_group() as group:
        group.start_soon(read_on)
        await begun.wait()
        group.cancel_scope.cancel()
    with anyio.fail_after(60):
        while len(entries()) < 2:
            await anyio.sleep(0.02)
    assert entries()[1]["outcome"] in ("abstained", "unverified")


async def test_an_answer_is_delivered_even_if_recording_fails(audited, logs, monkeypatch):
    from interwhen.clients import _supervision

    monkeypatch.setattr(_supervision, "record_call", lambda *_, **__: 1 / 0)
    client, _ = audited(lambda _: events(["one\n"], api="chat"), monitors=[passing()])
    answer = await ask(client)
    assert answer.choices[0].message.content == "one\n"
    assert [log["error"] for log in logs if log["event"] == "call.unrecorded"] == ["ZeroDivisionError"]


async def test_records_name_the_strategy_and_its_request_count(audited):
    client, entries = audited(lambda _: events(["one\n"], api="chat"), strategy="best-of-n:n=3", monitors=[passing()])
    await ask(client)
    [line] = entries()
    assert (line["strategy"], line["ledger"]["requests"]) == ("best-of-n:n=3", 3)


def test_ids_sort_by_time_and_differ():
    made = [new_call_id() for _ in range(1000)]
    assert len(set(made)) == 1000
    assert [one[:12] for one in made] == sorted(one[:12] for one in made)


@pytest.mark.parametrize(
    ("header", "trace"),
    [
        (f"00-{'a1' * 16}-{'b2' * 8}-01", "a1" * 16),
        (f"cc-{'a1' * 16}-{'b2' * 8}-01-more", "a1" * 16),
        (f"00-{'0' * 32}-{'b2' * 8}-01", ""),
        (f"00-{'A1' * 16}-{'b2' * 8}-01", ""),
        ("00-zz", ""),
        ("", ""),
        (None, ""),
    ],
)
def test_only_valid_traceparent_headers_give_a_trace_id(header, trace):
    assert trace_id_of(header) == trace


@pytest.mark.parametrize("kind", ["async", "sync"])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_call_journal_holds_its_run_and_record(kind, stream, serve, clients, tmp_path):
    def script(request):
        return events(["one\n", "BAD\n"] if request.number == 0 else ["\n"], api="chat")

    journals = {"path": str(tmp_path / "journals")}
    key = "sk-a-key-of-the-caller"
    client = interwhen.wrap(clients(KINDS[kind], serve(script)), monitors=[word(good="good")], journal=journals)
    answer = await ask(client, "chat", stream=stream, extra_headers={"x-secret": key, "authorization": f"Bearer {key}"})
    info = (await read(answer))[-1].interwhen if stream else answer.interwhen
    JournalDirectory.at(JournalSettings(**journals)).close()
    [path] = (tmp_path / "journals").iterdir()
    assert path.name == f"{info.call_id}.journal"
    assert info.result.journal.path == str(path)
    assert key.encode() not in path.read_bytes()
    journal = interwhen.journal.read_journal(path)
    assert (journal.header.call.call_id, journal.header.call.source, journal.header.call.api) == (
        info.call_id,
        "wrap",
        "chat",
    )
    assert journal.call["outcome"] == "steps verified"
    assert journal.call["journal"] == path.name
    assert journal.call["content"] is None
    assert interwhen.replay(path).differences == ()
    assert [one.remedy for one in interwhen.journal.timeline(path).remedies] == ["repair"]


async def test_a_journal_names_its_monitors_with_their_options(serve, clients, tmp_path):
    # A monitor that was given as an object cannot be named.
    journals = {"path": str(tmp_path / "journals")}
    script = events(["2 + 2 = 4\n", "3 + 3 = 6\n"], api="chat")
    named = ["arithmetic:level=explain", {"name": "arithmetic", "label": "second", "deadline": 2.5}, passing()]
    client = interwhen.wrap(clients(KINDS["async"], serve(lambda _: script)), monitors=named, journal=journals)
    await ask(client, "chat", stream=False, interwhen={"reading": "gate"})
    JournalDirectory.at(JournalSettings(**journals)).close()
    [path] = (tmp_path / "journals").iterdir()
    journal = interwhen.journal.read_journal(path)
    assert [one.untrusted_spec for one in journal.header.monitors] == [*named[:2], None]
    assert [one.fields["delivery"] for one in journal.header.monitors[:2]] == ["gate", "gate"]
    assert all("spec" not in one.fields for one in journal.header.monitors)
    arithmetic = interwhen.load_monitor(named[0])
    assert journal.header.verifiers[0].version == arithmetic.verifier.version
    again = [interwhen.load_monitor(one.untrusted_spec) for one in journal.header.monitors[:2]]
    assert [(one.name, one.level, one.verifier.deadline) for one in again] == [
        ("arithmetic", "explain", arithmetic.verifier.deadline),
        ("second", "witness", 2.5),
    ]


async def test_journals_can_be_kept_only_for_problem_calls(serve, clients, tmp_path):
    def script(request):
        return events(["one\n", "BAD\n"] if request.number == 1 else ["fine\n"], api="chat")

    journals = {"path": str(tmp_path / "journals"), "keep": "problems"}
    client = interwhen.wrap(clients(KINDS["async"], serve(script)), monitors=[word(good="good")], journal=journals)
    ids = [(await ask(client, "chat", stream=False)).interwhen.call_id for _ in range(3)]
    await ask(client, "chat", stream=False, interwhen={"journal": None})
    JournalDirectory.at(JournalSettings(**journals)).close()
    assert [path.name for path in (tmp_path / "journals").iterdir()] == [f"{ids[1]}.journal"]


async def test_a_journal_alone_still_holds_the_call_record(serve, clients, tmp_path, monkeypatch):
    monkeypatch.setattr("interwhen.clients._supervision.logs_info", lambda: False)
    journals = {"path": str(tmp_path / "journals")}
    client = interwhen.wrap(
        clients(KINDS["async"], serve(lambda _: events(["x"], api="chat"))), monitors=[passing()], journal=journals
    )
    await ask(client, "chat", stream=False)
    JournalDirectory.at(JournalSettings(**journals)).close()
    [path] = (tmp_path / "journals").iterdir()
    assert interwhen.journal.read_journal(path).call["api"] == "chat"
