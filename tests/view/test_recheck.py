"""The text of a recorded run with the checks of another monitor."""

import json

import interwhen
import pytest
from interwhen._run.consent import monitors_given
from interwhen.testing import Pause, ScriptedModel
from interwhen.view._recheck import recheck_form
from interwhen.view._runs import RunFolder
from tests.view.recorded import REPAIRED, place_of, record, words_of

pytestmark = pytest.mark.anyio


async def rechecked(path, spec):
    return json.loads(await recheck_form(path, monitors_given(spec), spec))


def words(form, check):
    return check["outcome"], words_of(form, check)


async def test_recheck_places_checks_of_monitor_in_time(tmp_path):
    path = record(tmp_path / "bare.journal", REPAIRED[:1], monitors=())
    form = await rechecked(path, "arithmetic")
    assert form["status"] == form["label"] == "rechecked"
    assert [words(form, check) for check in form["checks"]] == [
        ("pass", "39 * 28 = 1092"),
        ("violation", "17 * 164 = 2818"),
        ("pass", "1092 + 2818 = 3910"),
    ]
    at, tape, times = 0, 0, []
    for chars, gap in zip(form["chars"], form["gaps"], strict=True):
        tape, at = tape + chars, at + gap
        times.append((tape, at))
    for check in form["checks"]:
        # The time is that at which the last character of its line was written.
        assert check["ordered"] == next(at for tape, at in times if tape >= place_of(form, check)[1])


async def test_recheck_judges_cut_text_once(tmp_path):
    path = record(tmp_path / "a.journal", REPAIRED)
    recorded = json.loads(interwhen.journal.timeline(path).compact)
    form = await rechecked(path, "arithmetic")

    def places(run_form):
        return [(check["outcome"], check["key"], place_of(run_form, check)) for check in run_form["checks"]]

    # The same monitor says the same of the same places, those of taken back text included.
    assert places(form) == places(recorded)
    assert all(form[name] == recorded[name] for name in ("text", "chars", "gaps", "cuts", "requests"))
    assert not {"remedies", "frontier", "certificate"} & form.keys()
    assert "unverified" not in form["result"]


async def test_line_truncated_by_cut_is_not_judged(tmp_path):
    # The sum of 24 is being written when the first one is refuted. What there is of it, "2 + 2 = 2", is no claim.
    path = tmp_path / "a.journal"
    replies = iter([["1 + 1 = 3\n2 + 2 = 2", Pause(60.0), "4 - 20\n"], ["\n2 + 2 = 4\n"]])
    model = ScriptedModel(lambda _: next(replies))
    async with interwhen.run(model, "Q", monitors=["arithmetic"], journal=path) as run:
        await run.drain()
    form = await rechecked(path, "arithmetic")
    assert "2 + 2 = 2" in form["text"]
    outcomes = [words(form, check) for check in form["checks"]]
    assert ("violation", "1 + 1 = 3") in outcomes
    assert ("violation", "2 + 2 = 2") not in outcomes
    assert ("pass", "2 + 2 = 4") in outcomes


async def test_offsets_count_utf16_units(tmp_path):
    path = record(tmp_path / "a.journal", ["\U0001f600 said 2 + 2 = 5\n", "\n"], monitors=())
    form = await rechecked(path, "arithmetic")
    [check] = form["checks"]
    assert words_of(form, check) == "2 + 2 = 5"


async def test_feedback_that_was_appended_is_in_the_text(tmp_path):
    path = tmp_path / "a.journal"
    model = ScriptedModel(["1 + 1 = 3\n", "So 1 + 1 = 2\n"], size=4)
    monitors = ["arithmetic:remedy=feedback,place=append"]
    async with interwhen.run(model, "Q", monitors=monitors, journal=path) as run:
        await run.drain()
    form = await rechecked(path, "arithmetic")
    outcomes = [words(form, check) for check in form["checks"] if "span" in check]
    assert ("violation", "1 + 1 = 3") in outcomes
    assert ("pass", "1 + 1 = 2") in outcomes
    assert "Wait, 1 + 1 is 2, not 3." in form["text"]


async def test_unknown_recheck_monitor_is_refused(tmp_path):
    path = record(tmp_path / "a.journal", REPAIRED)
    with pytest.raises(interwhen.InterwhenError, match="no_such_monitor"):
        await rechecked(path, "no_such_monitor")


def test_folder_offers_monitors_of_its_journals(tmp_path):
    record(tmp_path / "a.journal", REPAIRED)
    folder = RunFolder([tmp_path])
    assert folder.monitor("arithmetic").name == "arithmetic"
    assert folder.monitor("regex") is None


@pytest.fixture
def anyio_backend():
    return "asyncio"
