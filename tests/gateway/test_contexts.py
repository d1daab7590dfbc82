"""Prepared contexts behind the URL: named by a client or recognised, served to those who may, and said in the headers."""

import shutil
import sqlite3

import anyio
import pytest
from helpers import ASK, post, refused, sse
from interwhen import UsageError
from interwhen.gateway import Config
from interwhen.gateway._gateway import Gateway
from interwhen.testing.server import events
from tests.precompute.prepared import ANSWER, QUESTION, TEXT, prepare
from watchers import passing

OTHER = "What does Jo earn in dollars by 4 days?"
LINES = TEXT.replace("\n\n", "\n")
LEAD = f"From the text:\n{LINES}\n\n"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    place = tmp_path_factory.mktemp("store") / "s.db"
    anyio.run(prepare, place)
    anyio.run(prepare, place, "secret-plan")
    return place


@pytest.fixture
def place(prepared, tmp_path):
    return str(shutil.copy(prepared, tmp_path))


def told(_request):
    return events(["180\n"], api="chat")


def asking(question, *before, **more):
    return {"model": "m", "messages": [*before, {"role": "user", "content": question}], **more}


def content(answer):
    return answer.json()["choices"][0]["message"]["content"]


def posts(server):
    return [request.json for request in server.requests if request.method == "POST"]


WAYS = {"header": ({}, {"X-Interwhen-Context": "wages"}), "field": ({"interwhen": {"context": "wages"}}, {})}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("streamed", [True, False])
def test_a_request_names_its_context(way, streamed, upstream, gateway, place):
    server = upstream(told)
    running = gateway(server, watchers=[passing()], contexts={"store": place, "names": ["w*"], "passages": 500})
    fields, headers = WAYS[way]
    answer = post(running, asking(QUESTION, stream=streamed, **fields), headers=headers)
    assert answer.headers["x-interwhen-context"] == "wages; used=answer"
    assert posts(server) == []
    if streamed:
        *chunks, end = sse(answer.text)
        assert end == "[DONE]"
        assert (
            "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"]) == ANSWER
        )
        result = chunks[-1]["interwhen"]["result"]
    else:
        assert content(answer) == ANSWER
        result = answer.json()["interwhen"]["result"]
    assert (result["type"], result["context"]["used"], len(result["precomputed"])) == ("verified", "answer", 1)
    answer = post(running, asking(OTHER, **fields), headers=headers)
    assert answer.headers["x-interwhen-context"] == "wages; used=passages"
    [sent] = posts(server)
    assert sent["messages"] == [{"role": "user", "content": LEAD + OTHER}]
    assert "interwhen" not in sent
    assert not any("interwhen" in name for request in server.requests for name in request.headers)


def test_forbidden_context_name_looks_unknown(upstream, gateway, place):
    server = upstream(told)
    running = gateway(server, contexts={"store": place, "names": ["w*"]})
    errors = []
    for name in ("secret-plan", "no-such", "wonder"):
        answer = post(running, ASK, headers={"X-Interwhen-Context": name})
        error = refused(answer, 400, "unknown_context")
        errors.append(error["message"].replace(name, "NAME"))
        assert place not in error["message"]
    assert len(set(errors)) == 1
    assert posts(server) == []
    for value, code in ((7, "invalid_type"), (["wages"], "invalid_type")):
        refused(post(running, {**ASK, "interwhen": {"context": value}}), 400, code)
    # A gateway that serves no contexts has no store to look into.
    refused(post(gateway(server), ASK, headers={"X-Interwhen-Context": "wages"}), 400, "unknown_context")


def test_tenant_uses_only_its_own_contexts(upstream, gateway, place, monkeypatch):
    monkeypatch.setenv("PLAN_KEY", "the-key-of-the-planners")
    monkeypatch.setenv("WAGE_KEY", "the-key-of-the-clerks")
    tenants = [{"key_env": "PLAN_KEY", "names": ["secret-*"]}, {"key_env": "WAGE_KEY", "names": ["wages"]}]
    running = gateway(upstream(told), contexts={"store": place, "tenants": tenants, "recognize": 20, "passages": 500})

    def ask(key, name="", **fields):
        headers = {"X-Interwhen-Key": key} | ({"X-Interwhen-Context": name} if name else {})
        return post(running, asking(OTHER, **fields), headers=headers)

    assert ask("the-key-of-the-planners", "secret-plan").headers["x-interwhen-context"] == "secret-plan; used=passages"
    assert ask("the-key-of-the-clerks", "wages").headers["x-interwhen-context"] == "wages; used=passages"
    refused(ask("the-key-of-the-clerks", "secret-plan"), 400, "unknown_context")
    refused(ask("the-key-of-the-planners", "wages"), 400, "unknown_context")
    assert ask("no-such-key", "wages").status_code == 401
    # Who has the text gets the context of that text only if it may use it.
    turns = {"messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": OTHER}]}
    for key, name in (("the-key-of-the-planners", "secret-plan"), ("the-key-of-the-clerks", "wages")):
        answer = post(running, {"model": "m", **turns}, headers={"X-Interwhen-Key": key})
        assert answer.headers["x-interwhen-context"] == f"{name}; used=passages"


def test_long_prompt_is_recognized_only_when_enabled(upstream, gateway, place):
    server = upstream(told)
    system = {"role": "system", "content": TEXT}
    plain = gateway(server, watchers=[passing()], contexts={"store": place, "names": ["wages"]})
    assert "x-interwhen-context" not in post(plain, asking(QUESTION, system)).headers
    server.requests.clear()
    running = gateway(server, watchers=[passing()], contexts={"store": place, "names": ["wages"], "recognize": 20})
    for body in (asking(QUESTION, system), asking(f"{TEXT}\n\n{QUESTION}")):
        answer = post(running, body)
        assert answer.headers["x-interwhen-context"] == "wages; used=answer"
        assert content(answer) == ANSWER
    completion = post(running, {"model": "m", "prompt": f"{TEXT}\n{QUESTION}"}, "completions")
    assert completion.json()["choices"][0]["text"] == ANSWER
    assert posts(server) == []
    assert (
        post(running, asking(OTHER, system)).headers["x-interwhen-context"]
        == 'wages; used=none; why="nothing fits the question"'
    )
    assert (
        "x-interwhen-context" not in post(running, asking(QUESTION, {"role": "system", "content": "Be brief."})).headers
    )
    # A request may say that it wants none.
    headers = {"X-Interwhen-Context": "none"}
    assert "x-interwhen-context" not in post(running, asking(QUESTION, system), headers=headers).headers
    short = gateway(server, contexts={"store": place, "names": ["wages"], "recognize": 5000})
    assert "x-interwhen-context" not in post(short, asking(QUESTION, system)).headers


def test_default_context_applies_to_unnamed_calls(upstream, gateway, place):
    server = upstream(told)
    running = gateway(server, contexts={"store": place, "names": ["wages"], "default": "wages"})
    assert post(running, asking(QUESTION)).headers["x-interwhen-context"] == "wages; used=answer"
    answer = post(running, asking("Who?"))
    assert answer.headers["x-interwhen-context"] == 'wages; used=none; why="nothing fits the question"'
    answer = post(running, asking(QUESTION, model="other"))
    assert answer.headers["x-interwhen-context"] == "wages; used=unavailable; why=\"it was prepared for the model 'm'\""
    assert "x-interwhen-context" not in post(running, asking(QUESTION, interwhen=False)).headers


def test_broken_store_costs_the_context_only(upstream, gateway, place):
    server = upstream(told)
    running = gateway(server, contexts={"store": place, "names": ["wages"]})
    other = sqlite3.connect(place, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    source = running.gateway.chooser.contexts._source
    source.opened_store().shelf._connection.execute("PRAGMA journal_mode = DELETE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        answer = post(running, asking(QUESTION), headers={"X-Interwhen-Context": "wages"})
    finally:
        other.close()
    assert answer.status_code == 200
    assert content(answer) == "180\n"
    assert answer.headers["x-interwhen-context"].startswith('wages; used=unavailable; why="the store cannot be read: ')
    assert place not in answer.headers["x-interwhen-context"]


def test_a_switched_off_gateway_uses_no_context(upstream, gateway, place):
    running = gateway(upstream(told), contexts={"store": place, "names": ["wages"]}, off=True)
    answer = post(running, asking(QUESTION), headers={"X-Interwhen-Context": "wages"})
    assert (answer.status_code, answer.headers["x-interwhen-supervision"]) == (200, "off")
    assert "x-interwhen-context" not in answer.headers


def make(**contexts):
    return Gateway(Config(upstreams=("http://127.0.0.1:9/v1",), contexts=contexts_of(contexts)))


def contexts_of(fields):
    import msgspec
    from interwhen.gateway._config import ContextsConfig

    return msgspec.convert(fields, ContextsConfig)


def test_a_configuration_that_cannot_work_is_an_error(place, monkeypatch, tmp_path):
    with pytest.raises(
        UsageError, match=r"contexts\.default must match a pattern of contexts\.names \(a\*\), got 'wages'"
    ):
        make(store=place, names=["a*"], default="wages")
    with pytest.raises(UsageError, match="context 'absent' must be in the store"):
        make(store=place, names=["*"], default="absent")
    with pytest.raises(UsageError, match="must exist, got no file"):
        make(store=str(tmp_path / "no.db"), names=["*"])
    monkeypatch.setenv("SHORT", "abc")
    with pytest.raises(UsageError, match="'SHORT' must hold the key of a tenant"):
        make(store=place, tenants=[{"key_env": "SHORT", "names": ["wages"]}])
