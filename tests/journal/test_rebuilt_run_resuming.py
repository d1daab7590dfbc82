"""A run that is killed at any point and resumed ends as an unbroken run."""

import interwhen
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interwhen import Answer, Budgets, Lines, Paragraphs, Pass, Sentences, ToolCalls
from interwhen._types.ledger import SkippedEvent
from interwhen.journal import JournalError
from interwhen.journal import _records as records
from interwhen.models import ConnectError, Timeouts, UpstreamError
from interwhen.models._orphans import OrphanedStream
from interwhen.models._token_stream import StreamNotes
from interwhen.results import Judged
from interwhen.testing import Pause, ScriptedModel, VirtualWorkers
from interwhen.testing._models import cut_into
from interwhen.triggers import Markers, ThinkEnd
from journals import KINDS, Kind, borders, finely, goes_on, put_together, recorded, rest, taken_apart
from sums import apply, slow, sums, supervise, watch
from tests.resealed import standing

pytestmark = pytest.mark.anyio

FAULT = pytest.mark.fault(
    "P4", injected="SIGKILL at every record", happens="resume gives the text, status and counts of an unbroken run"
)


def summary(result):
    # What must not depend on when a process ended.
    violations = {(v.monitor, v.key, v.span, v.remedy, v.cut, v.inserted) for v in result.violations}
    checks = [(c.monitor, c.key, c.span, getattr(c.outcome, "verdict", None)) for c in result.checks]
    return result.status, result.text, result.reasoning, result.answer, violations, checks, result.insertions


@FAULT
@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
async def test_run_killed_at_any_record_resumes(kind, path, record_property):
    result, _, data = await recorded(kind, path)
    ends = borders(data)
    record_property("tries", len(ends))
    for end in ends:
        path.write_bytes(data[:end])
        async with kind.resume(path) as run:
            events = [event async for event in run]
        assert summary(run.result) == summary(result), end
        assert apply(events) == (result.text if result.status in ("verified", "unverified") else apply(events))
        assert run.result.ledger.remedies == result.ledger.remedies
        again = interwhen.replay(path)
        assert again.differences == ()
        assert summary(again.result) == summary(result)


@FAULT
@pytest.mark.parametrize("name", ["repairs", "tags", "fields", "no monitors", "gives up"])
async def test_resumed_ledger_loses_and_repeats_no_count(name, path):
    kind = KINDS[name]
    result, _, data = await recorded(kind, path)
    entries = taken_apart(data)
    for count, end in enumerate(borders(data), start=1):
        path.write_bytes(data[:end])
        async with kind.resume(path) as run:
            resumed = await run.drain()
        asked = sum(isinstance(e, records.FactRecord) and type(e.fact).__name__ == "Opened" for e in entries[:count])
        ledger, whole = resumed.ledger, result.ledger
        assert (ledger.remedies, ledger.forks, ledger.reconnects) == (whole.remedies, whole.forks, whole.reconnects)
        # A half-read tag is dropped and written again; all else is one token a character.
        half = 0 if name != "tags" else ledger.discarded - whole.discarded
        assert ledger.kept == whole.kept
        assert ledger.discarded == whole.discarded + half
        assert 0 <= half < len("</think>")
        assert asked <= ledger.requests <= whole.requests + 1


@pytest.mark.fault(
    "P4", injected="the file torn at every byte", happens="the run continues from the longest whole prefix"
)
async def test_run_killed_at_any_byte_resumes(path, record_property):
    kind = Kind(lambda: goes_on(("1+1=3\n", "x\n")), lambda: [watch()])
    result, _, data = await recorded(kind, path)
    ends, entries = borders(data), taken_apart(data)
    record_property("tries", len(data) - ends[0] + 1)
    tried = set()
    for size in range(ends[0], len(data) + 1):
        path.write_bytes(data[:size])
        journal = interwhen.journal.read_journal(path)
        whole = ends[standing(entries[: sum(end <= size for end in ends)]) - 1]
        assert (journal.size, journal.left_out) == (whole, size - whole)
        # A torn record resumes like the whole ones before it; a few bytes of each are enough to see that.
        if (whole, size - whole) not in tried and size - whole in (0, 1, 9, 40):
            tried.add((whole, size - whole))
            async with kind.resume(path) as run:
                assert summary(await run.drain()) == summary(result)
            assert interwhen.journal.read_journal(path).left_out == 0


@FAULT
@settings(max_examples=20, suppress_health_check=list(HealthCheck))
@given(cuts=st.lists(st.floats(0, 1), min_size=1, max_size=4), name=st.sampled_from(sorted(KINDS)))
async def test_a_run_may_be_killed_again_and_again(cuts, name, tmp_path_factory):
    kind, path = KINDS[name], tmp_path_factory.mktemp("journal") / "j"
    result, _, _ = await recorded(kind, path)
    for cut in cuts:
        data = finely(path.read_bytes())
        first = borders(data)[0]
        path.write_bytes(data[: first + int(cut * (len(data) - first))])
        async with kind.resume(path) as run:
            resumed = await run.drain()
        assert summary(resumed) == summary(result)
        assert resumed.journal.incomplete == ""
        assert interwhen.replay(path).differences == ()


async def test_finished_run_resumes_without_calling_model(path):
    result, events, _ = await recorded(KINDS["repairs"], path)
    before = path.read_bytes()
    async with interwhen.resume(path) as run:
        again = [event async for event in run]
    assert again[:-1] == events[:-1]
    assert run.result == result
    assert path.read_bytes() == before
    async with interwhen.resume(path) as run:  # also without a reader
        pass
    assert run.result == result


async def test_resume_restores_lost_last_record(path):
    result, _, data = await recorded(KINDS["repairs"], path)
    path.write_bytes(data[: borders(data)[-2]])
    async with interwhen.resume(path) as run:
        assert summary(await run.drain()) == summary(result)
    assert interwhen.journal.read_journal(path).result is not None


async def test_resume_repeats_no_recorded_verdict(path):
    asked = []

    def note(claim):
        asked.append(claim.key)
        return Pass()

    kind = Kind(goes_on, lambda: [watch(slow(0.0, function=note))])
    _, _, data = await recorded(kind, path)
    for end in borders(data):
        path.write_bytes(data[:end])
        known = {check.key for check in _checks(path) if isinstance(check.outcome, Judged)}
        asked.clear()
        async with kind.resume(path) as run:
            await run.drain()
        assert not known & set(asked)
        assert known | set(asked) == {"1+1=2", "2+2=5", "3+3=6", "4+4=9", "5+5=10"}


def _checks(path):
    return [event.check for event in interwhen.replay(path).events if isinstance(event, interwhen.events.CheckSettled)]


async def test_resumed_verifier_gets_the_complete_claim(path):
    kind = KINDS["slow checks"]
    _, _, data = await recorded(kind, path)
    seen = []

    def note(claim):
        seen.append((claim.left, claim.right, claim.total))
        return Pass()

    entries = taken_apart(data)
    first = next(
        at for at, e in enumerate(entries) if isinstance(e, records.FactRecord) and type(e.fact).__name__ == "Extracted"
    )
    path.write_bytes(put_together(entries[: first + 1]))
    monitors = [watch(slow(0.2, function=note)), watch(name="twice", delivery="final")]
    async with interwhen.resume(path, model=kind.model(), monitors=monitors) as run:
        await run.drain()
    assert seen[0] == (1, 1, 2)


async def test_claim_not_extracted_again_is_no_pass(path):
    kind = Kind(lambda: goes_on(delay=0.01), lambda: [watch(slow(50.0), extractor=parse)])

    def parse(segment):
        return sums(segment) if working else ()

    working = True
    _, _, data = await recorded(kind, path)
    entries = taken_apart(data)
    first = next(
        at for at, e in enumerate(entries) if isinstance(e, records.FactRecord) and type(e.fact).__name__ == "Extracted"
    )
    path.write_bytes(put_together(entries[: first + 1]))
    working = False
    async with kind.resume(path) as run:
        result = await run.drain()
    assert result.status == "unverified"
    assert "does not find this claim in the recorded text" in result.unverified_reasons[0].why


async def test_run_abandoned_by_reader_can_resume(path):
    kind = KINDS["repairs"]
    whole, _ = await supervise(kind.model(), *kind.monitors())
    async with kind.run(journal=path) as run:
        async for event in run:
            if isinstance(event, interwhen.events.Remedied):
                break
    assert interwhen.replay(path).result.unverified_reasons[0].why == "the reader left before the end"
    async with kind.resume(path) as run:
        assert (await run.drain()).text == whole.text
    assert interwhen.replay(path).differences == ()
    assert interwhen.replay(path).result.status == whole.status


async def test_run_with_failed_model_can_resume(path):
    down = ScriptedModel(lambda request: [*rest(request.prefix)[:9], UpstreamError("no", status=400)])
    async with interwhen.run(down, "Q", monitors=[watch()], journal=path) as run:
        assert (await run.drain()).status == "failed"
    for model in (down, goes_on()):
        async with interwhen.resume(path, model=model, monitors=[watch()]) as run:
            result = await run.drain()
        assert interwhen.replay(path).differences == ()
    whole, _ = await supervise(goes_on(), watch())
    assert (result.status, result.text) == (whole.status, whole.text)


async def test_unreachable_model_leaves_journal_unchanged(path):
    class Down(ScriptedModel):
        async def capabilities(self):
            raise ConnectError("not yet")

    kind = KINDS["repairs"]
    result, _, data = await recorded(kind, path)
    path.write_bytes(data[: borders(data)[20]])
    before = path.read_bytes()
    with pytest.raises(ConnectError):
        async with interwhen.resume(path, model=Down([""]), monitors=kind.monitors()):
            pass
    assert path.read_bytes() == before
    async with kind.resume(path) as run:
        assert (await run.drain()).text == result.text


async def test_resume_continues_the_clock(path):
    model = ScriptedModel(
        lambda request: (
            [Pause(4.0), "1+1=2\n", Pause(4.0), "2+2=4\n"] if not request.prefix else [Pause(4.0), "2+2=4\n"]
        )
    )
    kind = Kind(lambda: model, lambda: [watch()], {"budgets": Budgets(seconds=9.0)})
    result, _, data = await recorded(kind, path)
    assert result.status == "verified"
    assert 8 <= result.timing.total < 9
    half = next(
        end for end, e in zip(borders(data), taken_apart(data), strict=True) if isinstance(e, records.TextRecord)
    )
    path.write_bytes(data[:half])
    async with kind.resume(path) as run:
        resumed = await run.drain()
    assert resumed.status == "verified"
    assert 8 <= resumed.timing.total < 9
    assert resumed.timing.first_token == pytest.approx(4.0)
    path.write_bytes(data[:half])
    model._script = lambda _request: [Pause(6.0), "2+2=4\n"]
    async with kind.resume(path) as run:
        assert (await run.drain()).reason == "the time budget of 9 s is spent"


class Odd(ScriptedModel):
    """Each of its streams has something to tell about the wire."""

    async def stream(self, request):
        stream = await super().stream(request)
        notes = StreamNotes(
            2, [SkippedEvent(7, "{", "no JSON")], 1, 3, OrphanedStream(0.0, rate=2.0, left=5, is_stopped=False)
        )
        stream.notes = notes
        return stream


async def test_resume_keeps_wire_anomalies(path):
    kind = Kind(lambda: Odd(lambda request: rest(request.prefix)), lambda: [watch()])
    result, _, data = await recorded(kind, path)
    assert result.wire.skipped_events == 2 * result.ledger.requests
    for end in borders(data):
        path.write_bytes(data[:end])
        async with kind.resume(path) as run:
            wire, ledger = (await run.drain()).wire, run.result.ledger
        streams = wire.replaced_events
        assert ledger.requests <= streams <= ledger.requests + 1  # one may not be known to have been opened
        assert (wire.skipped_events, wire.bytes_after_end, len(wire.skipped)) == (2 * streams, 3 * streams, streams)
        assert ledger.wasted_tokens <= 5 * streams
        assert interwhen.replay(path).differences == ()


async def test_resume_keeps_slow_wire_seconds(path):
    def say(request):
        return [step for piece in cut_into(rest(request.prefix)) for step in (Pause(2.0), piece)]

    kind = Kind(lambda: ScriptedModel(say, timeouts=Timeouts(min_rate=1.0)), lambda: [watch()])
    result, _, data = await recorded(kind, path)
    ends = borders(data)
    for end in ends[:: len(ends) // 6]:
        path.write_bytes(data[:end])
        known = interwhen.replay(path)
        spent = [entry.wire.slow_seconds for entry in known.journaled.records if getattr(entry, "wire", None)]
        async with kind.resume(path) as run:
            wire = (await run.drain()).wire
        assert wire.slowest_rate == pytest.approx(result.wire.slowest_rate, abs=0.1)
        # What was seen after the last fact on file is not known.
        assert max(spent, default=0.0) <= wire.slow_seconds <= result.wire.slow_seconds + 1e-6
        assert wire.slow_seconds > result.wire.slow_seconds - 40
        assert interwhen.replay(path).differences == ()


async def test_monitors_with_any_trigger_can_resume(path):
    triggers = [Lines(2), Paragraphs(), Sentences(), Markers(("Wait", "Hmm")), ThinkEnd(), Answer(), ToolCalls()]
    kind = Kind(goes_on, lambda: [watch(name=f"m{n}", trigger=trigger) for n, trigger in enumerate(triggers)])
    result, _, data = await recorded(kind, path)
    path.write_bytes(data[: borders(data)[9]])
    async with kind.resume(path) as run:
        assert summary(await run.drain()) == summary(result)


async def test_workers_may_be_those_of_other_runs(path):
    kind = Kind(goes_on, lambda: [watch(slow(0.0))])
    _, _, data = await recorded(kind, path)
    path.write_bytes(data[: borders(data)[9]])
    workers = VirtualWorkers()
    async with interwhen.resume(path, model=kind.model(), monitors=kind.monitors(), workers=workers) as run:
        await run.drain()
    assert not workers.closed


class Shelf:
    """A store that is no file system."""

    def __init__(self, data=b""):
        self.data = data

    def read(self, name):
        if name != "here":
            raise FileNotFoundError(2, "nothing of that name")
        return self.data

    def open(self, _name, *, keep, size):
        assert size == len(self.data)
        self.data = self.data[:keep]
        return self

    def write(self, data):
        self.data += data
        return len(data)

    def sync(self):
        pass

    def close(self):
        pass


async def test_journal_may_use_any_store(path):
    kind = KINDS["repairs"]
    result, _, data = await recorded(kind, path)
    shelf = Shelf(data[: borders(data)[9] + 5])
    journal = interwhen.journal.Journal("here", store=shelf)
    assert interwhen.journal.read_journal(journal).left_out == 5
    async with kind.resume(journal) as run:
        assert summary(await run.drain()) == summary(result)
    assert interwhen.replay(journal).differences == ()
    assert interwhen.journal.read_journal(journal).left_out == 0
    with pytest.raises(JournalError, match=r"must be a readable file, and is not .nothing of that name"):
        interwhen.replay(interwhen.journal.Journal("there", store=shelf))


async def test_recheck_reads_text_of_extra_turn(path):
    result, _, _ = await recorded(KINDS["by turn"], path)
    report = await interwhen.recheck(path, [watch()])
    assert report.traces[-1] == result.text
    assert {finding.violation.quote for finding in report.findings} == {"5", "9"}
