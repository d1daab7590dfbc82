"""The kill switch: supervision off at once, and seen to be off."""

import logging

import interwhen
import pytest
from interwhen import _run
from interwhen.testing import ScriptedModel


@interwhen.verifier(name="never", worker="inline")
def never(claim):
    return interwhen.Violation(why="no")


def monitor(**options):
    return interwhen.Monitor(
        name="never",
        verifier=never,
        extractor=lambda segment: [interwhen.Claim(key=segment.text, span=segment.span)],
        remedy=interwhen.Abstain(),
        **options,
    )


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(_run.VARIABLE, raising=False)
    monkeypatch.setattr(_run._Switch, "told", None)
    monkeypatch.setattr(_run._Switch, "logged", None)


def status(**options):
    with interwhen.run_sync(ScriptedModel(["a line\n"]), "Q", monitors=[monitor(**options)]) as run:
        return run.drain().status


@pytest.mark.parametrize("value", ["1", "true", "yes", "YES", "please"])
def test_the_environment_takes_all_monitors_away_and_nothing_is_verified(monkeypatch, caplog, value):
    assert status(delivery="gate") == "abstained"
    monkeypatch.setenv(_run.VARIABLE, value)
    with caplog.at_level(logging.WARNING, "interwhen"):
        assert status(delivery="gate") == status() == "unverified"
    assert caplog.text.count("supervision.switched") == 1


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_a_value_that_says_no_changes_nothing(monkeypatch, value):
    monkeypatch.setenv(_run.VARIABLE, value)
    assert status() == "abstained"


def test_a_program_decides_over_the_environment(monkeypatch, caplog):
    monkeypatch.setenv(_run.VARIABLE, "1")
    _run.switch(False)
    assert status() == "abstained"
    _run.switch(True)
    assert status() == "unverified"
    _run.switch(None)
    monkeypatch.delenv(_run.VARIABLE)
    with caplog.at_level(logging.WARNING, "interwhen"):
        assert status() == "abstained"
    assert "off=False" in caplog.text


def test_a_guarded_function_runs_unchecked(monkeypatch):
    @interwhen.guard(calls=[monitor(delivery="gate_tools", trigger=interwhen.ToolCalls())], results=[monitor()])
    def act(on):
        return on

    with pytest.raises(interwhen.Refused):
        act("x")
    monkeypatch.setenv(_run.VARIABLE, "1")
    assert act("x") == "x"
