"""Timelines from files: whole ones, growing ones, cut and damaged ones, redacted ones, and those of older versions."""

import json
from itertools import pairwise

import interwhen
import pytest
from interwhen.journal import JournalError, TimelineReader
from interwhen.journal._files import frame, frames, preamble
from interwhen.journal._records import OutlineRecord, encode
from interwhen.journal._timeline import KEYED, GrowingNotes, PartMark, RequestTimes, RunNotes, TextCut
from interwhen.testing import End, ScriptedModel
from journals import KINDS, borders, goes_on, recorded, taken_apart
from sums import watch
from tests.resealed import standing

pytestmark = pytest.mark.anyio


def parts_of(data, sizes):
    reader, parts, at = TimelineReader("x"), [], 0
    for size in sizes:
        reader.feed(data[at : at + size])
        at += size
        parts.append(json.loads(reader.part()))
    reader.feed(data[at:])
    parts.append(json.loads(reader.part()))
    return reader, parts


def joined(parts):
    whole = {}
    for part in parts:
        if part["from"] == 0:
            whole = {}
        for name, value in part.items():
            if isinstance(value, list) and name != "monitors":
                whole.setdefault(name, []).extend(value)
            elif name == "text":
                whole[name] = whole.get(name, "") + value
            elif name in KEYED:
                whole.setdefault(name, {}).update(value)
            elif name not in ("from", "offset"):
                whole[name] = value
    return {
        name: [value[index] for index in sorted(value, key=int)] if name in KEYED else value
        for name, value in whole.items()
    }


@pytest.mark.parametrize("name", ["repairs", "gates", "forks", "slow checks"])
async def test_parts_of_growing_journal_form_its_timeline(name, path):
    _, _, data = await recorded(KINDS[name], path)
    path.write_bytes(data)
    whole = json.loads(interwhen.journal.timeline(path).compact)
    for sizes in ([], [7] * (len(data) // 7), [1000] * (len(data) // 1000), [len(data) - 1]):
        reader, parts = parts_of(data, sizes)
        assert reader.offset == len(data)
        assert reader.is_over
        timeline = {**joined(parts), "path": whole["path"], "size": whole["size"]}
        assert timeline == whole
        assert reader.timeline().events == interwhen.journal.timeline(path).events
    for first, second in pairwise(parts):
        assert second["from"] == first["offset"]
    again = json.loads(reader.part(everything=True))
    assert again["from"] == 0
    assert {**joined([again]), "path": whole["path"], "size": whole["size"]} == whole


@pytest.mark.parametrize("name", ["repairs", "slow checks"])
async def test_several_consumers_share_one_reader(name, path):
    _, _, data = await recorded(KINDS[name], path)
    reader, often, seldom = TimelineReader("x"), PartMark(), PartMark()
    parts = {id(often): [], id(seldom): []}
    ends = borders(data)
    for number, (begin, end) in enumerate(pairwise([0, *ends])):
        reader.feed(data[begin:end])
        for mark in (often, seldom) if number % 5 == 0 or end == ends[-1] else (often,):
            parts[id(mark)].append(json.loads(reader.part_after(mark)))
    path.write_bytes(data)
    whole = json.loads(interwhen.journal.timeline(path).compact)
    for each in (*parts.values(), [json.loads(reader.part())]):
        assert {**joined(each), "path": whole["path"], "size": whole["size"]} == whole


def test_parts_are_joined_in_place():
    # Copies of the lists for each part would take quadratic time. The joined parts themselves stay as they are.
    cut, request = TextCut(0.0, 0, 1, None, number=2), RequestTimes(number=1)
    recording = GrowingNotes()
    part = RunNotes(end=1.0, text=["a"], times=[0.5], chars=[1], cuts=[cut], requests={0: request})
    recording.add(part)
    known = recording.notes
    lists = known.text, known.cuts, known.requests
    recording.add(part)
    assert all(one is other for one, other in zip(lists, (known.text, known.cuts, known.requests), strict=True))
    assert (known.text, known.chars, known.cuts, known.requests) == (["a", "a"], [1, 1], [cut, cut], {0: request})
    assert part == RunNotes(end=1.0, text=["a"], times=[0.5], chars=[1], cuts=[cut], requests={0: request})


async def test_truncated_journal_gives_timeline_prefix(path):
    _, _, data = await recorded(KINDS["repairs"], path)
    path.write_bytes(data)
    whole = json.loads(interwhen.journal.timeline(path).compact)
    ends, entries = borders(data), taken_apart(data)
    for size in range(0, len(data), 97):
        path.write_bytes(data[:size])
        if size < ends[0]:
            with pytest.raises(JournalError):
                interwhen.journal.timeline(path)
            continue
        form = json.loads(interwhen.journal.timeline(path).compact)
        assert whole["text"].startswith(form.get("text", ""))
        assert form["size"] == ends[standing(entries[: sum(end <= size for end in ends)]) - 1]


async def test_journal_resumed_after_its_end_restarts_timeline(path):
    kind = KINDS["repairs"]
    async with kind.run(journal=path) as run:
        async for event in run:
            if isinstance(event, interwhen.events.Remedied):
                break
    async with kind.resume(path) as run:
        result = await run.drain()
    data = path.read_bytes()
    whole = json.loads(interwhen.journal.timeline(path).compact)
    assert [one["what"] for one in whole["incidents"]] == ["resumed"]
    assert whole["label"] == result.label
    reader = TimelineReader("x")
    reader.feed(data[: borders(data)[3]])
    before = json.loads(reader.part())
    kinds = [type(one).__name__ for one in taken_apart(data)]
    ended = borders(data)[kinds.index("EndRecord") + 1]  # with its seal
    reader.feed(data[reader.offset : ended])
    assert json.loads(reader.part())["label"] == "unverified"
    reader.feed(data[reader.offset :])
    last = json.loads(reader.part())
    assert last["from"] == 0
    assert {**joined([before, last]), "path": whole["path"], "size": whole["size"]} == whole


async def test_broken_stream_gives_two_requests_and_incident(path):
    from interwhen.models import ConnectError

    model = ScriptedModel([["1+1=2\n", ConnectError("reset")], ["2+2=4\n", End("stop")]])
    async with interwhen.run(model, "Q", monitors=[watch()], journal=path) as run:
        await run.drain()
    line = interwhen.journal.timeline(path)
    assert [(one.how, one.error) for one in line.requests] == [("broken", "reset"), ("ended", "")]
    assert [one.what for one in line.incidents] == ["broken"]


async def test_timeline_contains_refused_request(path):
    from interwhen.models import UpstreamError

    model = ScriptedModel([[UpstreamError("no", status=400)]])
    async with interwhen.run(model, "Q", journal=path) as run:
        await run.drain()
    [request] = interwhen.journal.timeline(path).requests
    assert request.how in ("broken", "refused")
    assert request.error


def test_a_reader_without_a_header_has_no_timeline():
    with pytest.raises(JournalError, match="its header must be read before its timeline"):
        TimelineReader("x").timeline()
    with pytest.raises(JournalError, match="it must begin with"):
        TimelineReader("x").feed(bytes(100))


def test_reader_of_invalid_bytes_keeps_raising():
    start, chain = preamble()
    outline, _ = frame(encode(OutlineRecord(0.0, "{}")), chain)
    for data, why in ((bytes(100), "it must begin with"), (start + outline, "its first record must be the header")):
        reader = TimelineReader("x")
        for more in (data, b"", data):
            with pytest.raises(JournalError, match=rf"^journal 'x': {why}") as error:
                reader.feed(more)
            assert str(error.value).count("journal 'x'") == 1


async def test_unreadable_record_loses_and_duplicates_nothing(path):
    _, _, data = await recorded(KINDS["repairs"], path)
    ends = borders(data)
    good = data[: ends[-3]]
    *_, last = frames(good, "test")
    bad, _ = frame(b"\x81\xa4type\xa7unknown", last.chain)
    whole = TimelineReader("x")
    whole.feed(good)
    reader = TimelineReader("x")
    # The first call takes some records before it meets the bad one.
    with pytest.raises(JournalError, match="one that this version knows") as first:
        reader.feed(good + bad)
    assert reader.offset == len(good)
    for more in (b"", data[ends[-3] :]):
        with pytest.raises(JournalError) as again:
            reader.feed(more)
        assert str(again.value) == str(first.value)
    assert reader.timeline().events == whole.timeline().events
    assert reader.part() == whole.part()
    assert reader.is_over == whole.is_over


async def test_events_are_in_the_order_of_the_run(path):
    async with interwhen.run(goes_on(delay=0.01), "Q", monitors=[watch()], journal=path) as run:
        await run.drain()
    events = interwhen.journal.timeline(path).events
    assert [event.number for event in events] == sorted(event.number for event in events)
    kinds = {type(event).__name__ for event in events}
    assert kinds >= {"RequestTimes", "TextWritten", "CheckTimes", "RemedyTimes", "TextCut", "FrontierStep"}
