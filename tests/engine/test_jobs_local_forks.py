"""A fork's own parser is asked before the model is."""

import anyio
import interwhen
import pytest
from interwhen import Fork, Tracker, UsageError
from interwhen.testing import Pause, ScriptedModel
from sums import SUM, Sum, supervise, watch

pytestmark = pytest.mark.anyio
SIDE = "\nState the sums above:"


def sums_in(text, segment):
    for match in SUM.finditer(text):
        left, right, total = map(int, match.groups())
        yield Sum(key=match[0], span=segment.ground(match[0]), left=left, right=right, total=total)


def read(reply, segment):
    yield from sums_in(reply, segment)


def easy(segment):
    return list(sums_in(segment.text, segment)) if SUM.fullmatch(segment.text) else None


def forking(**options):
    return watch(extractor=Fork(SIDE, read, **options))


async def test_fork_runs_only_where_local_parser_cannot_read():
    model = ScriptedModel(["1+1=2\nI add 2+2=4\n"], forks=lambda request: "2+2=4")
    result, _ = await supervise(model, forking(local=easy))
    assert [request.prefix for request in model.fork_requests] == ["1+1=2\nI add 2+2=4"]
    assert (result.status, len(result.checks), result.ledger.forks) == ("verified", 2, 2)


async def test_violation_of_local_parser_interrupts():
    model = ScriptedModel([["1+1=3\n", Pause(1), "on\n"], "\n"], forks=lambda request: "")
    result, _ = await supervise(model, forking(local=easy))
    assert result.text.startswith("1+1=2\n")
    assert result.ledger.remedies == 1


async def test_an_empty_list_is_an_answer():
    model = ScriptedModel(["1+1=3\n"], forks=lambda request: "1+1=3")
    result, _ = await supervise(model, forking(local=lambda segment: []))
    assert not model.fork_requests
    assert result.checks == ()


async def test_raising_local_parser_falls_back_to_fork():
    def broken(segment):
        raise ValueError(segment.text)

    model = ScriptedModel(["1+1=2\n"], forks=lambda request: "1+1=2")
    result, _ = await supervise(model, forking(local=broken))
    assert len(model.fork_requests) == 1
    assert result.status == "verified"


async def test_local_parser_gets_prepared_value():
    async def prepare(task):
        await anyio.sleep(2)
        return "ready"

    seen = []

    def local(segment, prepared):
        seen.append(prepared)
        return []

    monitor = watch(extractor=Fork(SIDE, lambda reply, segment, prepared: (), local=local), prepare=prepare)
    await supervise(ScriptedModel(["1+1=2\n"]), monitor)
    assert seen == ["ready"]


async def test_resume_repeats_local_extraction_without_fork(tmp_path):
    path = tmp_path / "run.journal"

    def monitors():
        return [forking(local=easy)]

    model = ScriptedModel(["1+1=2\n2+2=4\n"], forks=lambda request: "")
    async with interwhen.run(model, "Q", monitors=monitors(), journal=path) as run:
        first = await run.drain()
    whole = path.read_bytes()
    for cut in range(len(whole) // 4, len(whole), 40):
        path.write_bytes(whole[:cut])
        try:
            again = interwhen.resume(
                path, model=ScriptedModel(["1+1=2\n2+2=4\n"], forks=lambda request: ""), monitors=monitors()
            )
        except interwhen.journal.JournalError:
            continue
        async with again as run:
            result = await run.drain()
        # Half a line may stand at the cut: what comes of it is for the model. All else is found again.
        assert all(isinstance(record.outcome, interwhen.results.Judged) for record in result.checks)
    assert first.status == "verified"


def test_tracker_with_local_parser_is_refused():
    tracker = Tracker(start=lambda prepared: 0, step=lambda state, reply, segment: (state, ()))
    with pytest.raises(UsageError, match="tracker"):
        Fork(SIDE, tracker, local=easy)
