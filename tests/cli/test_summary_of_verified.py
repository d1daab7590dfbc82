"""The summary of a verified run says what no check has passed."""

import io

import interwhen
import msgspec
import pytest
from interwhen.cli._summary import summary
from interwhen.cli._text import signs_for
from interwhen.testing import ScriptedModel
from rich.console import Console


@pytest.mark.parametrize("hidden", [False, True])
def test_a_verified_answer_names_its_hidden_reasoning(hidden):
    with interwhen.run_sync(ScriptedModel(["17 * 24 = 408"]), "What is 17 * 24?", monitors=["arithmetic"]) as run:
        result = run.drain()
    ledger = msgspec.structs.replace(result.ledger, reasoning_tokens=128 if hidden else 0)
    result = msgspec.structs.replace(result, hidden_reasoning=hidden, ledger=ledger)
    console = Console(file=io.StringIO(), width=160)
    console.print(summary(result, signs_for("utf-8")))
    shown = console.file.getvalue()
    assert "answer verified" in shown
    assert ("the reasoning of the model was not sent, so no check has seen it" in shown) == hidden
    assert ("tokens of reasoning" in shown) == hidden


@pytest.mark.parametrize("refuted", [(), (interwhen.Span(0, 4),)], ids=["none", "one"])
def test_verified_summary_names_refuted_reasoning(refuted):
    with interwhen.run_sync(ScriptedModel(["17 * 24 = 408"]), "What is 17 * 24?", monitors=["arithmetic"]) as run:
        result = run.drain()
    result = msgspec.structs.replace(result, certificate=msgspec.structs.replace(result.certificate, refuted=refuted))
    console = Console(file=io.StringIO(), width=200)
    console.print(summary(result, signs_for("utf-8")))
    assert ("the text has refuted reasoning, with feedback after it" in console.file.getvalue()) == bool(refuted)
