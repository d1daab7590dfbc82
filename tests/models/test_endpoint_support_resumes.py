"""What an endpoint was shown to do with kept text decides how a chat continues, and is remembered with care."""

import errno
import json
import os
import time
from pathlib import Path

import anyio
import interwhen
import msgspec
import pytest
from interwhen import Claim, Message, Monitor, Pass, Sampling, Span, UsageError, Violation
from interwhen._types.models import Piece
from interwhen.models import ChatModel, Request, UpstreamError
from interwhen.models import _endpoint_support as proofs
from interwhen.models._chunks import ModelCard
from interwhen.models._endpoint_support import (
    FILE_SECONDS,
    MOST_PROBES,
    PROVEN_SECONDS,
    EndpointProof,
    ResumeProof,
    _StoredProof,
    choose_prefill,
    load_proof,
    save_proof,
    with_tags,
)
from interwhen.testing.server import reply
from tests.contract_server import ContractServer

pytestmark = pytest.mark.anyio

THOUGHT, ANSWER = Piece("so", phase="reasoning"), Piece("It is")
ALL = ResumeProof("s 1", True, True, True, "seen", generated=True)

# ------------------------------------------------------------------------------------------ choosing


def chosen(proof, *pieces, has_field=True, documented=True, by_ids=False):
    way = choose_prefill(
        proof, pieces, has_field=has_field, documented=documented, by_ids=by_ids, why_unproven="never asked"
    )
    assert way.reason
    return way.mode, way.reasoning


@pytest.mark.parametrize(
    ("proof", "pieces", "has_field", "expected"),
    [
        (ALL, (THOUGHT,), True, ("prefill", "field")),
        (ALL, (THOUGHT, ANSWER), True, ("prefill", "field")),
        (ALL, (ANSWER,), True, ("prefill", None)),
        (ALL, (Piece("<think>so"),), False, ("prefill", None)),
        (msgspec.structs.replace(ALL, field=False), (THOUGHT,), True, ("prefill", "tags")),
        # A rendered prompt does not show whether the continuation comes as reasoning.
        (msgspec.structs.replace(ALL, field=False, generated=False), (THOUGHT,), True, ("turn", None)),
        (msgspec.structs.replace(ALL, field=None, tags=None), (THOUGHT,), True, ("turn", None)),
        (msgspec.structs.replace(ALL, answer=False), (THOUGHT,), True, ("prefill", "field")),
        (msgspec.structs.replace(ALL, answer=False), (THOUGHT, ANSWER), True, ("turn", None)),
        (msgspec.structs.replace(ALL, tags=False), (Piece("<think>so"),), False, ("turn", None)),
        (msgspec.structs.replace(ALL, tags=False), (Piece("<think>so</think>It"),), False, ("turn", None)),
        (msgspec.structs.replace(ALL, tags=False), (Piece("It"),), False, ("prefill", None)),
        (None, (ANSWER,), False, ("unproven_prefill", None)),
        (None, (THOUGHT, ANSWER), True, ("unproven_prefill", None)),
        (None, (THOUGHT,), True, ("turn", None)),
    ],
)
def test_only_what_was_shown_is_called_a_prefill(proof, pieces, has_field, expected):
    assert chosen(proof, *pieces, has_field=has_field) == expected


def test_without_proof_or_documentation_a_turn_is_used():
    assert chosen(None, ANSWER, documented=False) == ("turn", None)


def test_token_ids_are_used_only_where_prefill_fails():
    assert chosen(msgspec.structs.replace(ALL, field=False, tags=False), THOUGHT, by_ids=True) == ("tokens", None)
    assert chosen(ALL, THOUGHT, by_ids=True) == ("prefill", "field")


def test_tags_are_written_around_the_reasoning():
    def text(*pieces):
        return "".join(piece.text for piece in with_tags(pieces))

    assert text(THOUGHT) == "<think>so"
    assert text(THOUGHT, Piece(" then", "repair", "reasoning"), ANSWER) == "<think>so then</think>It is"
    assert text(ANSWER) == "It is"


# ------------------------------------------------------------------------------------------ asking


def greedy(**extra):
    return Sampling(max_tokens=60, temperature=0.0, extra=extra)


async def asked(server, probe="auto", model="m"):
    chat = ChatModel("http://h/v1", model, api_key="", transport=server, probe=probe)
    await chat.capabilities()
    tokens = await chat.prove() if chat.needs_proof else None
    return chat._proof.known, tokens


@pytest.mark.parametrize(
    ("flaws", "tags", "expected"),
    [
        ((), False, (True, True, None)),
        ((), True, (True, None, True)),
        (("closes unseen",), False, (True, False, False)),
        (("restarts",), False, (False, False, False)),
        (("restarts",), True, (False, None, False)),
    ],
)
async def test_without_templates_generated_text_shows_which_continuations_work(flaws, tags, expected):
    proof, tokens = await asked(ContractServer(*flaws, owner="sglang", tags=tags))
    assert (proof.answer, proof.field, proof.tags) == expected
    assert proof.generated
    assert tokens > 100


async def test_llama_cpp_is_probed_by_template_without_generating():
    server = ContractServer("closes")
    proof, tokens = await asked(server)
    assert (proof.answer, proof.field, proof.generated, tokens) == (True, False, False, 0)
    assert server.posts == []
    assert [request.path for request in server.requests if request.method == "POST"] == ["/apply-template"] * 4


async def test_hosted_servers_are_probed_only_if_users_ask():
    server = ContractServer(owner="openai")
    assert await asked(server) == (None, None)
    assert [request.path for request in server.requests] == ["/v1/models"]
    proof, tokens = await asked(server, "always")
    assert proof.answer
    assert tokens > 100


@pytest.mark.parametrize("owner", ["llamacpp", "sglang", "openai"])
async def test_never_is_never(owner):
    server = ContractServer(owner=owner)
    chat = ChatModel("http://h/v1", "m", api_key="", transport=server, probe="never")
    stream = await chat.stream(Request("q", (ANSWER,), greedy()))
    await stream.aclose()
    assert not chat.needs_proof
    assert stream.way.mode == ("turn" if owner == "openai" else "unproven_prefill")
    assert [request.path for request in server.requests if "chat" not in request.path] == ["/v1/models"]


def test_a_wrong_option_is_named():
    with pytest.raises(UsageError, match="probe must be one of auto, always, never, got 'sometimes'"):
        ChatModel("http://h/v1", "m", probe="sometimes")
    with pytest.raises(UsageError, match="probe must be one of auto, always, never, got 'sometimes'"):
        interwhen.wrap(__import__("openai").AsyncOpenAI(api_key="k"), [], probe="sometimes")
    with pytest.raises(UsageError, match="resume must be one of auto, tokens, prefill, turn, got 'ids'"):
        ChatModel("http://h/v1", "m", resume="ids")


class Wire:
    """Answers GET requests with a version, and fails on all else after *steps* events."""

    def __init__(self, version="1"):
        self.version = version
        self.chats = 0
        self.gets = 0

    async def get(self, path):
        self.gets += 1
        return json.dumps({"version": self.version}).encode()

    async def post(self, path, body):
        raise UpstreamError("no", status=404)

    async def chat(self, body):
        self.chats += 1
        await anyio.sleep_forever()


CARD = ModelCard("m", "sglang")


async def test_a_resume_waits_only_briefly_for_a_probe():
    proof, wire = EndpointProof("m@h"), Wire()
    async with anyio.create_task_group() as group:
        group.start_soon(proof.learn, wire, "m", CARD, "auto")
        await anyio.wait_all_tasks_blocked()
        began = anyio.current_time()
        await proof.wait()
        assert proofs.WAIT_SECONDS <= anyio.current_time() - began < proofs.WAIT_SECONDS + 60
        # Another run does not begin a second probe meanwhile.
        assert await proof.learn(wire, "m", CARD, "auto") == 0
        assert wire.chats == 1
        group.cancel_scope.cancel()


async def test_probes_repeatedly_cut_short_are_given_up_temporarily(monkeypatch):
    proof, wire = EndpointProof("m@h"), Wire()

    async def learn():
        chats = wire.chats
        async with anyio.create_task_group() as group:

            async def until_it_ends():
                await proof.learn(wire, "m", CARD, "auto")
                group.cancel_scope.cancel()

            group.start_soon(until_it_ends)
            while wire.chats == chats:
                await anyio.sleep(0.001)
            group.cancel_scope.cancel()

    for _ in range(MOST_PROBES + 2):
        await learn()
    assert wire.chats == MOST_PROBES
    assert proof.is_known
    assert proof.known is None
    assert wire.gets == MOST_PROBES + 1  # no request any more, not even for the version
    now = anyio.current_time()
    monkeypatch.setattr(proofs.anyio, "current_time", lambda: now + PROVEN_SECONDS + 1)
    await learn()
    assert wire.chats == MOST_PROBES + 1


async def test_a_missing_template_without_generation_proves_nothing():
    proof, wire = EndpointProof("m@h"), Wire()
    assert await proof.learn(wire, "m", ModelCard("m", "llamacpp"), "auto", generates=False) == 0
    assert not proof.is_known
    assert wire.chats == 0


async def test_a_proof_is_believed_for_a_while(monkeypatch):
    server = ContractServer(owner="sglang")
    chat = ChatModel("http://h/v1", "m", api_key="", transport=server)
    await chat.capabilities()
    assert await chat.prove() > 0
    asked = len(server.posts)
    assert not chat.needs_proof
    assert await chat.prove() == 0
    assert len(server.posts) == asked
    now = anyio.current_time()
    monkeypatch.setattr(proofs.anyio, "current_time", lambda: now + PROVEN_SECONDS + 1)
    assert chat.needs_proof


# ------------------------------------------------------------------------------------------ in a run


def refuting():
    left = [1]

    @interwhen.verifier(name="once", worker="inline")
    def judge(claim):
        if not left[0] or "579" not in claim.key:
            return Pass()
        left[0] = 0
        return Violation(why="no", where=Span(len(claim.key) - 4, len(claim.key) - 1), repair="570")

    def extract(segment):
        yield Claim(key=segment.text, span=segment.span)

    return Monitor(name="once", verifier=judge, extractor=extract, phase="both", remedy=interwhen.Repair())


async def corrected(server, **options):
    async with ChatModel("http://h/v1", "m", api_key="", transport=server, **options) as model:
        results = []
        for _ in range(2):
            question = (Message("user", "Start with 64."),)
            async with interwhen.run(model, question, monitors=[refuting()], sampling=greedy()) as run:
                results.append(await run.drain())
        return results


async def test_probing_beside_the_first_stream_is_paid_once():
    server = ContractServer(owner="sglang")
    first, second = await corrected(server)
    assert first.ledger.probe_tokens > 100
    assert second.ledger.probe_tokens == 0
    assert (second.resume.mode, second.resume.reasoning) == ("prefill", "field")
    assert second.resume.reason.startswith("sglang: a probe cut a text")
    assert server.posts[0].json["messages"] == [{"role": "user", "content": "Start with 64."}], "the run comes first"


async def test_a_hosted_run_sends_only_its_own_requests():
    server = ContractServer(owner="openai")
    first, second = await corrected(server)
    assert (first.resume.mode, second.resume.mode) == ("turn", "turn")
    assert "probe='always'" in second.resume.reason
    assert {request.path for request in server.requests} == {"/v1/models", "/v1/chat/completions"}
    asked = {"role": "user", "content": "Start with 64."}
    assert all(post.json["messages"][0] == asked for post in server.posts)
    assert first.ledger.probe_tokens == 0


async def test_llama_cpp_support_is_proven_without_spending_tokens():
    server = ContractServer()
    for result in await corrected(server):
        assert (result.resume.mode, result.resume.reasoning) == ("prefill", "field")
        assert result.ledger.probe_tokens == 0
    assert len(server.posts) == 4


async def test_a_wrong_option_is_not_called_proven():
    result, _ = await corrected(ContractServer("closes unseen"), resume="prefill")
    assert result.resume.mode == "unproven_prefill"
    assert result.resume.reason == "the option resume='prefill'"


# ------------------------------------------------------------------------------------------ the file


def stored(place="m@h", until=60.0, server="s 1", form=1):
    return _StoredProof(form, place, time.time() + until, msgspec.structs.replace(ALL, server=server))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "proof.json"


def test_a_file_is_read_as_it_was_written(path):
    one = stored()
    save_proof(path, one)
    assert load_proof(path) == one
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("bad", [{"until": -1}, {"until": FILE_SECONDS + 60}, {"form": 2}], ids=str)
def test_files_with_bad_expiry_or_format_are_ignored(path, bad):
    save_proof(path, stored(**bad))  # made here: its times count from now
    assert load_proof(path) is None


def test_a_truncated_or_corrupt_proof_file_is_ignored(path):
    save_proof(path, stored())
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert load_proof(path) is None
    for noise in (b"\xff" * 9, b"[" * 100_000, b"{}", data[:-1] + b',"more":1}', data + b" " * 9000):
        path.write_bytes(noise)
        assert load_proof(path) is None


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="files have no owner here")
def test_a_proof_file_others_could_write_is_ignored(path, monkeypatch):
    save_proof(path, stored())
    for mode in (0o620, 0o602):
        path.chmod(mode)
        assert load_proof(path) is None
    path.chmod(0o600)
    assert load_proof(path) is not None
    monkeypatch.setattr(proofs.os, "getuid", lambda: path.stat().st_uid + 1)
    assert load_proof(path) is None


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes here")
def test_links_pipes_and_folders_are_ignored(path):
    save_proof(path, stored())
    link = path.with_name("link.json")
    link.symlink_to(path)
    pipe = path.with_name("pipe.json")
    os.mkfifo(pipe, 0o600)
    assert [load_proof(each) for each in (link, pipe, path.parent, path / "below")] == [None] * 4


def test_a_full_disk_leaves_nothing_blocking_later_saves(path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        save_proof(path, stored())
    assert list(path.parent.iterdir()) == []
    save_proof(path, one := stored())
    assert load_proof(path) == one


def test_an_unwritable_proof_folder_is_no_error(tmp_path):
    (tmp_path / "file").write_text("")
    save_proof(tmp_path / "file" / "proof.json", stored())


class Sglang(ContractServer):
    """SGLang, with its version."""

    def __init__(self, *flaws, version="0.5"):
        super().__init__(*flaws, owner="sglang")
        self.version = version

    def page(self, request):
        if request.path == "/server_info":
            return reply(200, json.dumps({"version": self.version}).encode())
        return super().page(request)


async def test_a_file_saves_the_next_process_the_probe(tmp_path, monkeypatch):
    monkeypatch.setenv(proofs.FOLDER_VARIABLE, str(tmp_path / "cache"))
    first, tokens = await asked(Sglang())
    assert tokens > 0
    (file,) = (tmp_path / "cache").iterdir()
    assert await asked(Sglang()) == (first, 0)
    # Not for another version, another model, or another address in the file.
    for again in (await asked(Sglang(version="0.6")), await asked(Sglang(), model="n")):
        assert again[1] > 0
    content = json.loads(file.read_bytes())
    for name, value in (("place", "other"), ("proof", {**content["proof"], "server": "other 1"})):
        file.write_bytes(json.dumps({**content, name: value}).encode())
        file.chmod(0o600)
        assert (await asked(Sglang()))[1] > 0


async def test_without_folder_variable_or_version_nothing_is_saved(tmp_path, monkeypatch):
    monkeypatch.delenv(proofs.FOLDER_VARIABLE, raising=False)
    await asked(Sglang())
    monkeypatch.setenv(proofs.FOLDER_VARIABLE, str(tmp_path))
    await asked(ContractServer(owner="sglang"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("owner", [None, "my lab"])
async def test_a_space_in_a_name_is_no_version(owner, tmp_path, monkeypatch):
    monkeypatch.setenv(proofs.FOLDER_VARIABLE, str(tmp_path))
    proof, _ = await asked(ContractServer(owner=owner), probe="always")
    assert proof is not None
    assert list(tmp_path.iterdir()) == []
