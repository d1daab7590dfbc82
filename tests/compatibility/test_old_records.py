"""Journals, stores and configuration that an earlier version wrote are still read.

The files in `records/` were written before the layout of the packages changed and before certificates had a scope,
`redacted.journal` before outlines had numbers. They are never written again: a change of a format must read them as they
are.
"""

import json
import shutil
import sys
from array import array
from pathlib import Path

import interwhen
import msgspec
import pytest
from interwhen._recheck import check_again
from interwhen.gateway._config import load_config
from interwhen.journal import BlockedLoop
from interwhen.journal._rebuilt_run import facts_of
from interwhen.journal._records import TextRecord, decode
from interwhen.precompute import open_store
from interwhen.testing import ScriptedModel

from interwhen_verifiers.arithmetic import check, extract

RECORDS = Path(__file__).parent / "records"
EXPECTED = json.loads((RECORDS / "expected.json").read_text())


@interwhen.verifier(name="arithmetic", version="1", deadline=1.0, worker="inline")
def check_then(claim):
    return check(claim)


THEN = interwhen.Monitor(name="arithmetic", verifier=check_then, extractor=extract)
"""The monitor of the records: the shipped one of today has another verifier, remedy and scope, and is rightly refused."""
FINISHED = ["verified", "repaired", "feedback", "abstained", "unverified", "gated"]


@pytest.mark.parametrize("name", FINISHED)
def test_an_old_journal_gives_the_result_that_was_recorded(name):
    journaled = interwhen.read_journal(RECORDS / f"{name}.journal")
    assert journaled.result is not None
    assert journaled.result.status == EXPECTED[name]["status"]
    assert journaled.result.text == EXPECTED[name]["text"]
    assert len(journaled.result.checks) == EXPECTED[name]["checks"]
    assert len(journaled.result.violations) == EXPECTED[name]["violations"]


def test_a_journal_with_gaps_between_chunks_is_read_as_one_with_times():
    """Schema 2 has the microseconds between chunks, schema 3 the times of all chunks as bytes."""
    found = interwhen.read_journal(RECORDS / "schema2.journal")
    assert (found.schema, found.left_out, found.result.status) == (2, 0, "verified")
    assert interwhen.replay(RECORDS / "schema2.journal").differences == ()
    line = interwhen.timeline(RECORDS / "schema2.journal")
    assert len(line.remedies) == 3
    columns = [record for record in found.records if isinstance(record, TextRecord)]
    assert all(isinstance(record.gaps, tuple) for record in columns)
    assert max(len(record.texts) for record in columns) > 3
    for record in columns:
        times = record.times()
        clock = array("d", [1e5 + time for time in times])
        again = msgspec.structs.replace(record, gaps=clock.tobytes() if sys.byteorder == "little" else b"")
        assert times[0] == record.at
        assert times == sorted(times)
        assert again.times() == pytest.approx(times, abs=2e-6)
        assert [text for _, text in facts_of(again)] == [text for _, text in facts_of(record)]


@pytest.mark.parametrize("name", FINISHED)
def test_an_old_journal_replays_without_a_model(name):
    replay = interwhen.replay(RECORDS / f"{name}.journal")
    assert replay.result is not None
    assert replay.result.text == EXPECTED[name]["text"]


@pytest.mark.parametrize("name", [*FINISHED, "unfinished"])
def test_an_old_journal_has_a_timeline(name):
    line = interwhen.timeline(RECORDS / f"{name}.journal")
    form = json.loads(line.compact)
    assert form["schema"] == 1
    written = sum(text.length for text in line.texts) - sum(cut.length for cut in line.cuts)
    replay = interwhen.replay(RECORDS / f"{name}.journal")
    assert written == len(replay.text)
    checks = [check for check in line.checks if check.cut is None and check.key]
    assert {check.key for check in checks} == {check.key for check in replay.result.checks} if replay.result else True
    # What the old version did not measure is not there, and nothing is made up.
    assert all(request.sent is None for request in line.requests)


def test_an_old_redacted_journal_has_no_numbers():
    line = interwhen.timeline(RECORDS / "redacted.journal")
    form = json.loads(line.compact)
    assert (form["version"], form["label"], form["redacted"]) == (1, "steps verified", True)
    assert [len(part) for part in (line.checks, line.cuts, line.remedies, line.requests)] == [4, 2, 2, 3]
    assert {event.number for event in line.events} == {0}
    assert [event.at for event in line.events] == sorted(event.at for event in line.events)


def test_an_old_journal_keeps_what_its_result_says_under_older_names():
    result = interwhen.read_journal(RECORDS / "unverified.journal").result
    assert isinstance(result, interwhen.Unverified)
    [reason] = result.unverified_reasons
    assert (reason.monitor, reason.why) == ("arithmetic", "found nothing that it could show to be right")


def _with_older_names(result):
    plain = msgspec.to_builtins(result)
    plain["certificate"]["refuted"] = plain["certificate"].pop("refuted")
    plain["timing"]["held"] = plain["timing"].pop("blocked_loop")
    return plain


@pytest.mark.parametrize("text", ["1 + 1 = 2", "1 + 1 = 2 \ud800"])
def test_an_ending_with_older_names_is_read(text):
    certificate = interwhen.Certificate("", "", "", (), (), 0.0, refuted=(interwhen.Span(3, 5),))
    result = interwhen.Verified(
        text=text,
        reasoning="",
        answer=text,
        finish_reason="stop",
        timing=interwhen.Timing(blocked_loop=(BlockedLoop("verifier 'x'", 0.5),)),
        certificate=certificate,
    )
    older = ["ending", 1.0, _with_older_names(result)]
    try:
        payload = msgspec.msgpack.encode(older)
    except UnicodeEncodeError:  # a lone surrogate
        payload = msgspec.msgpack.encode(["escaped", json.dumps(older)])
    assert decode(payload).result == result


@pytest.mark.anyio
async def test_an_old_result_as_json_is_checked_again(tmp_path):
    found = interwhen.read_journal(RECORDS / "verified.journal")
    path = tmp_path / "result.json"
    path.write_bytes(msgspec.json.encode(_with_older_names(found.result)))
    result, checks = await check_again(path, [THEN], prompt=found.header.prompt)
    assert result.status == "verified"
    assert [check.passes for check in checks] == [True]


@pytest.mark.anyio
async def test_an_old_journal_of_a_run_that_was_not_over_is_resumed(tmp_path):
    path = tmp_path / "unfinished.journal"
    shutil.copy(RECORDS / "unfinished.journal", path)
    whole = EXPECTED["unfinished"]["text"]
    standing = interwhen.replay(path).text
    assert whole.startswith(standing)
    assert 0 < len(standing) < len(whole)
    model = ScriptedModel([whole[len(standing) :]])
    async with interwhen.resume(path, model=model, monitors=[THEN]) as run:
        async for _ in run:
            pass
    assert isinstance(run.result, interwhen.Verified)
    assert run.result.text == whole


def test_items_of_an_old_store_are_still_read(tmp_path):
    path = tmp_path / "store.db"
    shutil.copy(RECORDS / "store.db", path)
    store = open_store(str(path))
    assert [item.payload.text for item in store.items() if item.payload.text] == EXPECTED["store"]
    assert store.quarantined() == ()
    store.close()


def test_an_old_configuration_is_still_read():
    config = load_config({}, path=RECORDS / "interwhen.toml", environment={})
    assert config.limits.concurrent == 500
    assert [offer["label"] for offer in config.offers] == ["strict"]


def test_a_setting_that_was_renamed_is_still_read_by_its_old_name(tmp_path):
    path = tmp_path / "interwhen.toml"
    path.write_text('tell = "full"\n[[models]]\nmatch = "m"\ntell = "off"\n')
    config = load_config({}, path=path, environment={})
    assert (config.detail, config.models[0].detail) == ("full", "off")
    assert load_config({}, environment={"INTERWHEN_TELL": "off"}).detail == "off"
