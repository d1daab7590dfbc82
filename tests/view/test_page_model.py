"""The model of the page in Node: what it shows follows the order of the run, whatever its clock says."""

import json
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import interwhen
import pytest
from interwhen import Resample
from interwhen._run.consent import monitors_given
from interwhen.journal._compact_form import to_json
from interwhen.testing import ScriptedModel
from interwhen.view._notebook import form_of_result
from interwhen.view._recheck import recheck_form
from journals import CLOCKS, KINDS, borders, finely, recorded, retimed, taken_apart
from sums import watch
from tests.view.browser import PAGE
from tests.view.recorded import REPAIRED, place_of, record, record_call, tried, words_of
from tests.virtual_clock import virtual_backend

pytestmark = pytest.mark.source


@pytest.fixture
def anyio_backend():
    return virtual_backend()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.journal"


def modelled(*forms):
    # Return what the page's model makes of each of the compact `forms`; skip the test where it cannot be built.
    if shutil.which("node") is None:
        pytest.skip("node is not installed")
    if not (PAGE / "node_modules" / "esbuild").is_dir():
        pytest.skip("esbuild is not installed: run npm ci in interwhen/view/page")
    script = Path(__file__).with_name("page_model.mjs")
    done = subprocess.run(["node", script, PAGE], input=json.dumps(forms), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def form_of(path):
    return json.loads(interwhen.journal.timeline(path).compact)


def under_each_clock(path):
    data = finely(path.read_bytes())
    forms = [form_of(path)]
    for clock in CLOCKS.values():
        path.write_bytes(retimed(data, clock))
        forms.append(form_of(path))
    return forms


def timeless(model):
    return {name: value for name, value in model.items() if name not in ("axis", "cursor")}


def assert_same_under_each_clock(path):
    form, *_ = forms = under_each_clock(path)
    usual, *others = models = modelled(*forms)
    for clock, other in zip(CLOCKS, others, strict=True):
        assert timeless(other) == timeless(usual), clock
    for model in models:
        assert model["axis"] == sorted(model["axis"])
        # Of the moments at one place of the axis, the cursor shows the last.
        last = {at: index for index, at in enumerate(model["axis"])}
        assert model["cursor"] == [last[at] for at in model["axis"]]
    return form, usual


@pytest.mark.fault(
    "H3", injected="the times of a journal are equal, run backwards or leap", happens="the page shows the same"
)
@pytest.mark.parametrize("name", ["repairs", "gates", "feedback", "slow checks", "forks", "tags", "concludes"])
@pytest.mark.anyio
async def test_page_is_equal_under_any_clock(name, path, record_property):
    await recorded(KINDS[name], path)
    assert_same_under_each_clock(path)
    record_property("tries", len(CLOCKS))


@pytest.mark.fault(
    "H3", injected="a run is resumed on a machine whose clock is behind", happens="the page shows the same"
)
@pytest.mark.anyio
async def test_a_run_resumed_on_another_clock_is_shown(path):
    kind = KINDS["repairs"]
    _, _, data = await recorded(kind, path)
    path.write_bytes(data[: borders(data)[len(borders(data)) // 2]])
    before = len(taken_apart(path.read_bytes()))
    async with kind.resume(path) as run:
        await run.drain()
    form = form_of(path)
    assert [one["what"] for one in form["incidents"]] == ["resumed"]
    path.write_bytes(retimed(finely(path.read_bytes()), lambda number: number if number < before else number - before))
    usual, behind = modelled(form, form_of(path))
    assert timeless(behind) == timeless(usual)


@pytest.mark.anyio
async def test_the_page_plays_the_recorded_order(path):
    await recorded(KINDS["slow checks"], path)
    form, model = assert_same_under_each_clock(path)
    for index, (check, page_check) in enumerate(zip(form["checks"], model["checks"], strict=True)):
        first, last = check["number"], check["settled"]
        assert page_check["judged"] == words_of(form, check)
        for moment, chosen in zip(model["moments"], page_check["chosen"], strict=True):
            number = moment["number"]
            known = check["outcome"] if last <= number else "open"
            assert moment["outcomes"][index] == (None if number < first else known)
            # Where the chosen check has no outcome yet, the cursor goes to the end.
            assert chosen == (None if number < last else number)
    cuts = 0
    for before, after in pairwise(model["moments"]):
        if after["cuts"] == before["cuts"]:
            continue
        cut = form["cuts"][cuts]
        cuts += 1
        refuted = form["remedies"][cut["remedy"]]["check"]
        # The check ended before the cut that it led to, while its text still stood.
        assert (after["number"], after["cuts"]) == (cut["number"], cuts)
        assert after["text"].startswith(before["text"][: cut["to"]])
        assert before["outcomes"][refuted] == "violation"
        assert before["text"][slice(*form["checks"][refuted]["span"])] == words_of(form, form["checks"][refuted])
    assert cuts == len(form["cuts"]) > 0


@pytest.mark.fault(
    "H3", injected="six violations on uvloop, whose clock counts milliseconds", happens="each shows what it refuted"
)
def test_each_violation_of_a_gateway_shows_its_text(tmp_path):
    path = record_call(tmp_path / "calls")
    form = form_of(path)
    [model] = modelled(form)
    refuted = [number for number, check in enumerate(form["checks"]) if check["outcome"] == "violation"]
    shown = [model["checks"][number] for number in refuted]
    wrong = [f"{10 + n} + {20 + n} = {31 + 2 * n}" for n in range(1, 7)]
    assert [one["judged"] for one in shown] == wrong
    for number, one in zip(refuted, shown, strict=True):
        assert one["place"] == list(place_of(form, form["checks"][number]))
        assert any(one["place"][0] < dead["b"] and dead["a"] < one["place"][1] for dead in model["dead"])
        [turn] = one["case"]["turns"]
        span = one["case"]["mistake"]["span"]
        assert turn["text"][span["start"] : span["end"]] == one["judged"]
    cases = tmp_path / "cases.jsonl"
    cases.write_text("".join(json.dumps(one["case"]) + "\n" for one in model["checks"]))
    score = tried(cases)
    rates = ("recall", "located", "precision", "false_interrupts")
    assert [(score[name]["hits"], score[name]["of"]) for name in rates] == [(6, 6), (6, 6), (6, 6), (0, 6)]


@pytest.mark.anyio
async def test_cached_violation_keeps_its_span(path):
    line = "\U0001f600 so 1+1=3 \U0001f600"
    model = ScriptedModel([f"{line}\n", f"{line}\n", "1+1=2\n"])
    async with interwhen.run(model, "Q", monitors=[watch(remedy=Resample())], journal=path) as run:
        await run.drain()
    form, model = assert_same_under_each_clock(path)
    violations = [
        (check["worker"], one["judged"], one["case"]["turns"][0]["text"])
        for check, one in zip(form["checks"], model["checks"], strict=True)
        if check["outcome"] == "violation"
    ]
    assert violations == [("inline", "1+1=3", line), ("cache", "1+1=3", line)]


def test_a_result_without_its_journal_is_shown(tmp_path):
    path = record(tmp_path / "a.journal", REPAIRED)
    result = interwhen.journal.read_journal(path).result
    [model] = modelled(json.loads(to_json(form_of_result(result))))
    assert [moment["text"] for moment in model["moments"]] == [result.text]
    assert model["moments"][0]["proven"] == len(result.text)
    assert [one["judged"] for one in model["checks"]] == [
        result.text[check.span.start : check.span.end] for check in result.checks
    ]


@pytest.mark.anyio
async def test_recheck_is_equal_under_any_clock(path):
    model = ScriptedModel(REPAIRED, size=4)
    async with interwhen.run(model, "39 * 28 + 17 * 164?", monitors=["arithmetic"], journal=path) as run:
        await run.drain()
    data = finely(path.read_bytes())
    forms = []
    for clock in (float, *CLOCKS.values()):
        path.write_bytes(retimed(data, clock))
        forms.append(json.loads(await recheck_form(path, monitors_given("arithmetic"), "arithmetic")))
    usual, *others = modelled(*forms)
    assert [timeless(other) for other in others] == [timeless(usual)] * len(others)
    assert [
        (check["outcome"], one["judged"]) for check, one in zip(forms[0]["checks"], usual["checks"], strict=True)
    ] == [
        ("pass", "39 * 28 = 1092"),
        ("violation", "17 * 164 = 2818"),
        ("pass", "17 * 164 = 2788"),
        ("pass", "1092 + 2788 = 3880"),
    ]
