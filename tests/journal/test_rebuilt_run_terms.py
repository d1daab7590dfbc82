"""What may resume a run: the models, monitors and settings."""

import inspect

import interwhen
import pytest
from interwhen._core.machine import Core
from interwhen._engine import run as engine
from interwhen._engine.run import RunOptions
from interwhen._run.run import SyncRun
from interwhen.journal import JournalError
from interwhen.journal._rebuilt_run import core_of, read_journal
from interwhen.journal._records import Header
from interwhen.models import Capabilities
from journals import KINDS, LINES, borders, goes_on, recorded
from sums import slow, watch

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("monitors", "said"),
    [
        ([], "must be those of its run .'sums'., got 0"),
        ([watch(), watch(name="b")], "got 2"),
        ([watch(name="other")], "must have name='sums' as in its run, got 'other'"),
        ([watch(delivery="gate")], "delivery='interrupt' as in its run, got 'gate'"),
        ([watch(slow(1.0))], "must have the verifier 'sums' version '1'"),
        (None, "must say how to make the monitor 'sums'"),
    ],
)
async def test_resume_with_other_monitors_is_refused(monitors, said, path):
    _, _, data = await recorded(KINDS["repairs"], path)
    path.write_bytes(data[: borders(data)[9]])
    with pytest.raises(JournalError, match="(?s)" + said.replace("'", ".")):
        interwhen.resume(path, model=goes_on(), monitors=monitors)


async def test_resume_without_known_model_is_refused(path):
    _, _, data = await recorded(KINDS["repairs"], path)
    path.write_bytes(data[: borders(data)[9]])
    with pytest.raises(JournalError, match="how to open its model 'scripted'"):
        interwhen.resume(path, monitors=[watch()])


async def test_second_writer_of_journal_is_refused(path):
    kind = KINDS["repairs"]
    _, _, data = await recorded(kind, path)
    path.write_bytes(data[: borders(data)[9]])
    first, second, third = kind.resume(path), kind.resume(path), kind.resume(path)
    async with first:
        with pytest.raises(JournalError, match="only one run may write to it"):
            async with second:
                pass
        await first.drain()
    with pytest.raises(JournalError, match="it changed: read it again"):
        async with third:
            pass


def test_sync_run_can_resume(path):
    with interwhen.run_sync(goes_on(), "Q", monitors=[watch()], journal=path) as run:
        for event in run:
            if isinstance(event, interwhen.events.Remedied):
                break
    with SyncRun(interwhen.resume(path, model=goes_on(), monitors=[watch()])) as run:
        assert run.drain().text == "".join(LINES).replace("=5", "=4").replace("=9", "=8")


PARAMETERS = {name for name in inspect.signature(Core).parameters if name != "monitors"}


class _Parameters:
    def __init__(self, _monitors, **given):
        self.names = set(given)


async def test_rebuilt_core_gets_each_parameter_of_live_one(path, monkeypatch):
    await recorded(KINDS["repairs"], path)
    header = read_journal(path).header
    assert core_of(header, [watch()], _Parameters).names == PARAMETERS
    monkeypatch.setattr(engine, "Core", _Parameters)
    assert engine.core_for(None, Capabilities(resume="prefix"), "Q", RunOptions(), None).names == PARAMETERS


async def test_resuming_keeps_each_recorded_option(path):
    # A field that the header of a journal shares with the options of a run, and a value that is not the default.
    changed = {
        "budgets": interwhen.Budgets(remedies=3),
        "min_coverage": 0.5,
        "sampling": interwhen.Sampling(seed=7),
        "starts_in": "reasoning",
    }
    assert set(changed) == set(Header.__struct_fields__) & set(RunOptions.__struct_fields__) - {"monitors"}
    async with interwhen.run(goes_on(), "Q", monitors=[watch()], journal=path, **changed) as run:
        await anext(aiter(run))
    resumed = interwhen.resume(path, model=goes_on(), monitors=[watch()])
    assert {name: getattr(resumed._options, name) for name in changed} == changed
