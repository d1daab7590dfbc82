"""The contract with servers that keep it, lack something, or break it."""

import anyio
import pytest
from interwhen.models import _questions as probing
from interwhen.models._questions import QUESTIONS, check_contract
from interwhen.testing.server import ScriptedTransport, reply
from tests.contract_server import ANSWER, THOUGHT, ContractServer
from tests.token_server import Vllm, ids_of

NAMES = [row.contract.name for row in QUESTIONS if row.contract]


def examine(server):
    return anyio.run(lambda: check_contract("http://host/v1", "m", api_key="k", transport=server))


def marks_of(report):
    return {line.name: line.mark for line in report.findings}


LACKS = {
    "reasoning: tokens": "absent",
    "answer: tokens": "absent",
    "completions: prefix": "absent",
    "logprobs": "absent",
}
"""What the server above never has."""
ALL = dict.fromkeys(NAMES, "holds") | LACKS


def test_progress_has_one_step_for_each_contract_line():
    seen = []
    server = ContractServer()
    report = anyio.run(
        lambda: check_contract("http://host/v1", "m", transport=server, on_progress=lambda *step: seen.append(step))
    )
    assert seen == [(number, len(report.findings)) for number in range(1, len(report.findings) + 1)]


@pytest.mark.parametrize("tags", [False, True])
def test_a_server_that_keeps_the_contract(tags):
    report = examine(ContractServer(tags=tags))
    assert marks_of(report) == ALL
    assert report.is_kept
    assert report.usable
    assert report.server == "llamacpp 9.8.7"
    assert ("'</think>'" if tags else "a field of its own") in report["reasoning"].detail
    assert "assistant prefill: the first" in report["reasoning: chosen way"].detail


@pytest.mark.parametrize(
    ("flaw", "broken"),
    [
        ("stream", {"stream", "length limit"}),
        ("length limit", {"length limit"}),
        ("stop", {"stop"}),
        ("restarts", {"reasoning: chosen way", "answer: chosen way"}),
        ("closes unseen", {"reasoning: chosen way"}),
        ("json", {"tool calls"}),
        ("too long", {"too long"}),
    ],
)
def test_a_server_that_breaks_one_line(flaw, broken):
    report = examine(ContractServer(flaw))
    assert {line.name for line in report.findings if line.mark == "broken"} == broken
    assert not report.is_kept
    assert report.usable


@pytest.mark.parametrize(
    "delta",
    [
        "x",
        {"content": 5},
        {"content": [{"type": "text", "text": "x"}]},
        {"tool_calls": 5},
        {"tool_calls": ["x"]},
        {"tool_calls": [{"function": "x"}]},
    ],
)
def test_a_malformed_delta_breaks_the_tool_calls_line(delta):
    class Other(ContractServer):
        def call(self):
            return self.events([delta], "tool_calls")

    line = examine(Other())["tool calls"]
    assert line.mark == "broken"
    assert line.detail.startswith("an event has another form than that of the API: ")


def test_tool_call_arguments_may_be_a_json_object():
    class Other(ContractServer):
        def call(self):
            call = {"function": {"name": "order", "arguments": {"item": "bolts"}}}
            return self.events([{"tool_calls": [call]}], "tool_calls")

    line = examine(Other())["tool calls"]
    assert line.mark == "holds"
    assert '{"item":"bolts"}' in line.detail


def test_a_refused_prefill_is_no_prefill():
    report = examine(ContractServer("refuses"))
    assert report["answer: prefill"].mark == "absent"
    assert "refuses" in report["answer: prefill"].detail


def test_reasoning_closed_by_template_resumes_with_extra_turn():
    report = examine(ContractServer("closes"))
    assert report["reasoning: prefill"].mark == "absent"
    assert report["reasoning: chosen way"].detail.startswith("an extra turn")
    assert report["answer: chosen way"].detail.startswith("assistant prefill")
    assert report.is_kept


@pytest.mark.parametrize(
    ("flaw", "name", "mark"),
    [
        ("usage", "usage", "absent"),
        ("cached", "cached tokens", "absent"),
        ("at once", "stream", "absent"),
        ("calls", "tool calls", "unknown"),
    ],
)
def test_servers_lacking_an_optional_feature_keep_the_contract(flaw, name, mark):
    report = examine(ContractServer(flaw, tags=True))
    assert report[name].mark == mark
    assert report.is_kept


def test_without_prefill_an_extra_turn_keeps_the_contract():
    report = examine(ContractServer("restarts", owner="somebody"))
    assert report["answer: prefill"].mark == report["reasoning: prefill"].mark == "absent"
    assert report["answer: chosen way"].mark == report["reasoning: chosen way"].mark == "holds"
    assert "extra turn" in report["answer: chosen way"].detail
    assert report.is_kept


def test_token_ids_are_the_chosen_way_of_vllm():
    text = f"<think>\n{THOUGHT}</think>\n\n{ANSWER}"
    report = examine(ScriptedTransport(Vllm(text=text), owned_by="vllm"))
    for name in ("reasoning: tokens", "answer: tokens", "reasoning: chosen way", "answer: chosen way"):
        assert report[name].mark == "holds", report[name]
        assert "token ids" in report[name].detail
    assert report["reasoning: prefill"].mark == "absent"


def test_token_ids_that_continue_elsewhere_break_the_contract():
    class Forgetful(Vllm):
        def __call__(self, request):
            if request.path.endswith("/v1/completions") and not isinstance(request.json["prompt"], str):
                return self.stream([({"text": char}, ids_of(char)) for char in "Something else."], asked=True)
            return super().__call__(request)

    report = examine(ScriptedTransport(Forgetful(text=f"<think>\n{THOUGHT}</think>\n\n{ANSWER}"), owned_by="vllm"))
    assert report["answer: chosen way"].mark == "broken"
    assert not report.is_kept


def test_without_a_server_nothing_else_is_asked():
    server = ContractServer("server")
    report = examine(server)
    assert marks_of(report) == dict.fromkeys(NAMES, "unknown") | {"server": "broken"}
    assert not report.usable
    assert len(server.requests) == 1


def test_a_generation_that_goes_on_is_seen(monkeypatch):
    monkeypatch.setattr(probing, "_ABORT_SECONDS", 0.05)
    server = ContractServer()
    pages = server.page

    def page(request):
        return reply(200, b'[{"is_processing": true}]') if request.path == "/slots" else pages(request)

    server._pages = page
    assert examine(server)["abort"].mark in {"absent", "unknown"}


def test_names_are_unique_and_promises_are_said():
    assert len(set(NAMES)) == len(NAMES)
    assert all(row.contract.good for row in QUESTIONS if row.contract)
