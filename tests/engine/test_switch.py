"""The kill switch: supervision off at once, and seen to be off."""

import logging
import threading
import weakref

import anyio
import interwhen
import interwhen.clients
import pytest
from interwhen._engine import run as engine_run
from interwhen.testing import Pause, ScriptedModel


@interwhen.verifier(name="never", worker="inline")
def never(claim):
    return interwhen.Violation(why="no")


def monitor(**options):
    return interwhen.Monitor(
        name="never",
        verifier=never,
        extractor=lambda segment: [interwhen.Claim(key=segment.text, span=segment.span)],
        remedy=interwhen.remedies.Abstain(),
        **options,
    )


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.delenv(engine_run.VARIABLE, raising=False)
    monkeypatch.setattr(engine_run._Switch, "said", None)
    monkeypatch.setattr(engine_run._Switch, "logged", None)
    # A run that another test abandoned may not be collected yet.
    monkeypatch.setattr(engine_run._Switch, "running", weakref.WeakValueDictionary())


def status(**options):
    with interwhen.run_sync(ScriptedModel(["a line\n"]), "Q", monitors=[monitor(**options)]) as run:
        return run.drain().status


@pytest.mark.parametrize("value", ["1", "true", "yes", "YES", "please"])
def test_environment_variable_disables_all_monitors(monkeypatch, caplog, value):
    assert status(delivery="gate") == "abstained"
    monkeypatch.setenv(engine_run.VARIABLE, value)
    with caplog.at_level(logging.WARNING, "interwhen"):
        assert status(delivery="gate") == status() == "unverified"
    assert caplog.text.count("supervision.switched") == 1


@pytest.mark.parametrize("value", ["", "0", "false", "No", "off"])
def test_negative_variable_value_keeps_supervision_on(monkeypatch, value):
    monkeypatch.setenv(engine_run.VARIABLE, value)
    assert status() == "abstained"


def test_a_program_decides_over_the_environment(monkeypatch, caplog):
    monkeypatch.setenv(engine_run.VARIABLE, "1")
    engine_run.switch(False)
    assert status() == "abstained"
    engine_run.switch(True)
    assert status() == "unverified"
    engine_run.switch(None)
    monkeypatch.delenv(engine_run.VARIABLE)
    with caplog.at_level(logging.WARNING, "interwhen"):
        assert status() == "abstained"
    assert "off=False" in caplog.text


def test_a_guarded_function_runs_unchecked(monkeypatch):
    @interwhen.guard(calls=[monitor(delivery="gate_tools", trigger=interwhen.ToolCalls())], results=[monitor()])
    def act(on):
        return on

    with pytest.raises(interwhen.clients.Refused):
        act("x")
    monkeypatch.setenv(engine_run.VARIABLE, "1")
    assert act("x") == "x"


@interwhen.verifier(name="stuck", worker="async", deadline=1e6)
async def stuck(claim):
    await anyio.sleep_forever()


def held(**options):
    return interwhen.Monitor(
        name="stuck",
        verifier=stuck,
        extractor=lambda segment: [interwhen.Claim(key=segment.text, span=segment.span)],
        **{"delivery": "gate", **options},
    )


OFF = "supervision was switched off"


def is_off(result):
    return result.status == "unverified" and any(OFF in reason.why for reason in result.unverified_reasons)


async def switched_off_in_flight(delivery):
    model = ScriptedModel([["held\n", Pause(1.0), "more\n"]])
    shown = []

    async def throw():
        while not engine_run._Switch.running:  # on a real loop, a busy machine may take long to begin the run
            await anyio.sleep(0.01)
        await anyio.sleep(0.2)
        shown.append("|")
        assert engine_run.switch(True) == 1

    async with anyio.create_task_group() as group:
        group.start_soon(throw)
        async with interwhen.run(model, "Q", monitors=[held(delivery=delivery)]) as run:
            async for event in run:
                if isinstance(event, interwhen.Delta):
                    shown.append(event.text)  # noqa: PERF401  the other task appends to it meanwhile
    return "".join(shown), run.result


@pytest.mark.anyio
@pytest.mark.parametrize("delivery", ["gate", "final", "interrupt"])
async def test_switching_off_releases_a_run_in_flight(delivery):
    shown, result = await switched_off_in_flight(delivery)
    assert shown == ("held\n|more\n" if delivery == "interrupt" else "|held\nmore\n")
    assert is_off(result)


@pytest.mark.anyio
async def test_switching_off_releases_a_run_on_asyncio(loop):
    assert is_off((await switched_off_in_flight("gate"))[1])


def test_sync_run_is_switched_off_from_another_thread():
    model = ScriptedModel([["held\n", Pause(0.5), "more\n"]])
    thrown = threading.Timer(0.2, engine_run.switch, [True])
    with interwhen.run_sync(model, "Q", monitors=[held()]) as run:
        thrown.start()
        assert is_off(run.drain())
    thrown.join()


@pytest.mark.anyio
async def test_run_entered_after_switch_is_off():
    run = interwhen.run(ScriptedModel(["a line\n"]), "Q", monitors=[monitor(delivery="gate")])
    engine_run.switch(True)
    async with run:
        assert is_off(await run.drain())


@pytest.mark.anyio
async def test_run_stays_off_after_switching_on_again():
    async with interwhen.run(ScriptedModel(["a line\n"]), "Q", monitors=[monitor(delivery="gate")]) as run:
        engine_run.switch(True)
        engine_run.switch(False)
        assert is_off(await run.drain())
    async with interwhen.run(ScriptedModel(["a line\n"]), "Q", monitors=[monitor(delivery="gate")]) as run:
        assert (await run.drain()).status == "abstained"


@pytest.mark.anyio
async def test_finished_run_keeps_its_result():
    async with interwhen.run(ScriptedModel(["a line\n"]), "Q", monitors=[monitor(delivery="gate")]) as run:
        result = await run.drain()
        engine_run.switch(True)
        await anyio.sleep(1)
        assert run.result == result
        assert result.status == "abstained"
    assert engine_run.switch(True) == 0


@pytest.mark.anyio
async def test_a_resumed_run_passes_unchecked_too(tmp_path, monkeypatch):
    path = tmp_path / "run.journal"
    model = ScriptedModel([["held\n", Pause(5.0), "more\n"]])
    prepared = []
    watcher = held(prepare=prepared.append)
    with anyio.move_on_after(1.0):
        async with interwhen.run(model, "Q", monitors=[watcher], journal=path) as run:
            await run.drain()
    monkeypatch.setenv(engine_run.VARIABLE, "1")
    before = len(prepared)
    async with interwhen.resume(path, model=ScriptedModel(["the rest\n"]), monitors=[watcher]) as run:
        result = await run.drain()
    assert is_off(result)
    assert result.text.endswith("the rest\n")
    assert len(prepared) == before
    assert interwhen.replay(path).result.unverified_reasons == result.unverified_reasons


@pytest.mark.anyio
async def test_run_switched_off_before_entry_checks_nothing():
    run = interwhen.run(ScriptedModel(["a line\n"]), "Q", monitors=[monitor(delivery="gate")])
    run.switch_off()
    async with run:
        assert run.is_switched_off
        assert (await run.drain()).status == "unverified"
    run.switch_off()
    assert run.result.status == "unverified"
