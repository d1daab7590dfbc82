"""The compact form: it is enough to see the run again, it is small, and its parts join to the whole."""

import json
import random

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Claim, Delta, Pass, Retracted
from interwhen._core.messages import Check, Ended, Extract, Extracted, Opened, Settled
from interwhen.journal import read_journal, timeline
from interwhen.journal._compact_form import CompactForm, to_json
from interwhen.journal._rebuilt_run import core_of
from interwhen.journal._scribe import Scribe
from interwhen.models import Chunk
from interwhen.results import Judged
from interwhen.testing import ScriptedModel
from journals import CLOCKS, KINDS, recorded, retimed
from sums import watch

pytestmark = pytest.mark.anyio


def played(form, until=None):
    text = form.get("text", "").encode("utf-16-le", "surrogatepass")
    chars = form.get("chars", [])
    known, cuts = dict(form.get("numbers", [])), [*form.get("cuts", [])]
    trace, at, number = b"", 0, 0
    for entry in range(len(chars) + 1):
        number = known.get(entry, number + 1)
        while cuts and (entry == len(chars) or cuts[0]["number"] <= number):
            to = cuts.pop(0)["to"]
            assert 2 * to <= len(trace)
            trace = trace[: 2 * to]
        if entry in (len(chars), until):
            break
        trace += text[2 * at : 2 * (at + chars[entry])]
        at += chars[entry]
    if until is None:
        assert 2 * at == len(text)
    return trace.decode("utf-16-le", "surrogatepass")


async def recorded_in_time(kind, path):
    async with kind.run(journal=path) as run:
        events = [event async for event in run]
    return run.result, events, timeline(path)


@pytest.mark.parametrize("name", KINDS)
async def test_compact_form_replays_to_the_run_text(name, path):
    result, _, line = await recorded_in_time(KINDS[name], path)
    form = json.loads(line.compact)
    assert played(form) == result.text
    assert form["label"] == result.label
    assert form["result"]["ledger"]["kept"] == result.ledger.kept
    assert len(form.get("requests", [])) == result.ledger.requests
    model_tokens = len(form["chars"]) + sum(weight - 1 for _, weight in form.get("weights", []))
    assert model_tokens <= result.ledger.kept + result.ledger.discarded
    # Every check of the result is there, with its outcome, and stands.
    standing = [check for check in line.checks if check.cut is None and check.outcome is not None]
    outcomes = {(check.monitor, check.key, check.span): check.outcome for check in standing}
    for record in result.checks:
        assert outcomes[record.monitor, record.key, record.span] == record.outcome
    assert [one.violation.remedy for one in line.remedies] == [
        record.remedy for record in result.violations if record.remedy is not None
    ]


@pytest.mark.parametrize("name", ["repairs", "gates", "feedback", "slow checks", "tags", "concludes"])
async def test_timeline_shows_what_the_reader_received(name, path):
    _, events, line = await recorded_in_time(KINDS[name], path)
    got = ""
    for event in events:
        if isinstance(event, Delta):
            assert len(got) == event.start
            got += event.text
        elif isinstance(event, Retracted):
            got = got[: event.to]
    final = line.shown[-1].to if line.shown else None
    trace = played(json.loads(line.compact))
    assert got == (trace if final is None else trace[:final])
    if name == "gates":
        assert any(one.to is not None and one.to < len(trace) for one in line.shown)
        held = next(one for one in line.shown if one.to == 0)
        assert any(text.at == held.at for text in line.texts)


async def test_offsets_count_utf16_units(path):
    words = "\U0001f600\U0001f600 so 2+2=5\n"
    model = ScriptedModel(lambda request: [*words] if not request.prefix else ["\n"])
    async with interwhen.run(model, "Q", monitors=[watch()], journal=path) as run:
        await run.drain()
    form = json.loads(timeline(path).compact)
    assert played(form) == run.result.text == "\U0001f600\U0001f600 so 2+2=4\n"
    [check] = [check for check in form["checks"] if check["outcome"] == "violation"]
    before = next(entry for entry, number in form["numbers"] if number == form["cuts"][0]["number"])
    trace = played(form, before - 1) + "5"
    wide = trace.encode("utf-16-le")
    assert wide[2 * check["span"][0] : 2 * check["span"][1]].decode("utf-16-le").strip() in ("2+2=5", "2+2=")


TIMES = {
    "gaps",
    "end",
    "sent",
    "accepted",
    "first",
    "ended",
    "ordered",
    "began",
    "found",
    "closed",
    "written",
}


def timeless(line):
    form = json.loads(line.compact, object_hook=lambda one: {name: one[name] for name in one if name not in TIMES})
    for name in ("cuts", "shown", "frontier", "incidents"):
        form[name] = [{**one, "at": 0} for one in form.get(name, [])]
    form["remedies"] = [{**one, "cut": "cut" in one} for one in form.get("remedies", [])]
    return form, [(type(event).__name__, event.number) for event in line.events]


@pytest.mark.fault(
    "H3", injected="the times of a journal are equal, run backwards or leap", happens="its timeline has the same order"
)
@pytest.mark.parametrize("name", KINDS)
async def test_no_clock_changes_the_order_of_a_timeline(name, path, record_property):
    _, _, data = await recorded(KINDS[name], path)
    path.write_bytes(data)
    usual = timeless(timeline(path))
    for clock in CLOCKS.values():
        path.write_bytes(retimed(data, clock))
        assert timeless(timeline(path)) == usual
    record_property("tries", len(CLOCKS))
    numbers = [number for _, number in usual[1]]
    assert numbers == sorted(numbers)
    assert numbers[0] > 0


async def test_any_times_give_the_same_order(path):
    _, _, data = await recorded(KINDS["slow checks"], path)
    path.write_bytes(data)
    usual = timeless(timeline(path))

    @given(st.lists(st.floats(0, 1e9), min_size=1))
    def same(times):
        path.write_bytes(retimed(data, lambda number: times[number % len(times)]))
        assert timeless(timeline(path)) == usual

    same()


def test_a_lone_surrogate_is_escaped():
    assert json.loads(to_json({"text": "\ud800"})) == {"text": "\ud800"}


async def test_compact_form_of_long_run_is_small(path):
    # The facts are those that an engine would tell.
    spin = random.Random(1)

    def equation(segment):
        if "=" in segment.text:
            yield Claim(key=f"{segment.text}\x1f\x1f=\x1f0,9\x1f12,16", span=segment.span)

    monitor = watch(extractor=equation)
    async with interwhen.run(ScriptedModel(["."]), "Q", monitors=[monitor], journal=path) as run:
        await run.drain()
    header = read_journal(path).header
    core = core_of(header, [monitor])
    scribe = Scribe(core, header)
    at, tokens = 0.0, 0

    def tell(fact):
        scribe.before()
        orders = core.step(fact)
        scribe.after(at, fact, orders)
        core.events.clear()
        for order in orders:
            if isinstance(order, Extract):
                tell(Extracted(order.job, tuple(equation(order.segment))))
            elif isinstance(order, Check):
                tell(Settled(order.job, Judged(Pass("both sides were computed exactly")), 2e-5))

    core.begin()
    tell(Opened(None, seconds=0.5))
    for number in range(1010):
        left, right = spin.randint(100, 999), spin.randint(100, 999)
        words = [f"{left} ", "+ ", f"{right} ", "= ", f"{left + right}\n"]
        words += ["so ", "the ", "next ", "of ", "them ", "is ", "this ", f"one{number % 7}, ", "and "] * 7
        words += ["then ", "\n"] * 2
        for word in words:
            at += spin.uniform(0.0001, 0.0999)
            tokens += 1
            tell(Chunk(word))
    tell(Ended())
    whole = CompactForm(scribe.recording, header).whole("long.journal", 2_000_000)
    assert (len(whole.chars), len(whole.checks)) == (tokens, 1010)
    assert tokens > 72_000
    assert len(to_json(whole)) <= 1_500_000
