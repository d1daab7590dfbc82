"""What may resume a run: the models, monitors and settings."""

import interwhen
import pytest
from interwhen._run.run import SyncRun
from interwhen.journal import JournalError
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
