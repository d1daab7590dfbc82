"""The same facts make the same run; other verifiers may look at the same text."""

import interwhen
import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interwhen import Budgets, Feedback, Repair, Resample, Unknown
from interwhen.journal import JournalError
from interwhen.journal import _records as records
from interwhen.models import Capabilities, ConnectError, UpstreamError
from interwhen.remedies import Abstain, Stop
from interwhen.testing import End, Say, ScriptedModel
from interwhen.testing._models import cut_into
from journals import KINDS, borders, fork, goes_on, put_together, recorded, taken_apart, without
from sums import apply, judge, slow, sums, watch

pytestmark = pytest.mark.anyio

PIECES = st.sampled_from(
    ["1+1=2\n", "2+2=5\n", "so 4+4=8", " and 3+3=7\n", "\n", "\n\n", "<think>", "</think>", "</th", "Wait, ", "9+9=0\n"]
)


def unsure(claim):
    return Unknown("a zero") if claim.total == 0 else judge(claim)


@st.composite
def monitors(draw):
    made = []
    for number in range(draw(st.integers(0, 3))):
        inline = draw(st.booleans())
        who = slow(draw(st.sampled_from([0.0, 0.05, 0.4])), function=unsure)
        options = {
            "delivery": draw(st.sampled_from(["interrupt", "interrupt", "gate", "observe", "final"])),
            "remedy": draw(st.sampled_from([Repair(), Feedback(), Feedback("rewind"), Resample(), Stop(), Abstain()])),
            "unproven": draw(st.sampled_from(["open", "open", "closed"])),
            "required": draw(st.booleans()),
            "extractor": fork() if draw(st.integers(0, 3)) == 0 else sums,
        }
        made.append(watch(name=f"m{number}", **options) if inline else watch(who, name=f"m{number}", **options))
    return made


@st.composite
def replies(draw):
    steps = cut_into("".join(draw(st.lists(PIECES, max_size=8))), draw(st.sampled_from([1, 3, 8])))
    if draw(st.integers(0, 3)) == 0:
        steps.insert(0, Say("5+5=11\n", "reasoning"))
    match draw(st.integers(0, 7)):
        case 0:
            steps.append(ConnectError("reset"))
        case 1:
            steps.append(UpstreamError("no", status=400))
        case 2:
            steps.append(End("length"))
        case _:
            steps.append(End())
    return steps


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(
    monitors=monitors(),
    script=st.lists(replies(), min_size=1, max_size=3),
    tags=st.sampled_from([None, ("<think>", "</think>")]),
    budgets=st.builds(Budgets, remedies=st.sampled_from([2, 9]), forks=st.sampled_from([1, 9]), reconnects=st.just(2)),
    leave=st.sampled_from([None, None, 5]),
)
async def test_a_replay_gives_the_same_run(monitors, script, tags, budgets, leave, tmp_path_factory):
    path = tmp_path_factory.mktemp("journal") / "j"
    able = Capabilities(resume="prefix", think_tags=tags)
    model = ScriptedModel(script, capabilities=able, delay=0.01, forks=lambda request: "a sum")
    seen = []
    async with interwhen.run(model, "Q", monitors=monitors, budgets=budgets, journal=path) as run:
        async for event in run:
            seen.append(event)
            if leave is not None and len(seen) > leave:
                break
    again = interwhen.replay(path)
    assert again.differences == ()
    assert without(again.result) == without(run.result)
    assert again.text == run.result.text
    if leave is None:
        assert again.events[:-1] == tuple(seen[:-1])
    else:
        assert again.events[: len(seen) - 1] == tuple(seen[:-1])
    timing, was = again.result.timing, run.result.timing
    assert (timing.first_token, timing.close_latency, timing.checking) == (
        was.first_token,
        was.close_latency,
        was.checking,
    )
    # The record takes its times when facts come, the result when the run ends: a turn of the loop apart.
    assert timing.total == pytest.approx(was.total, abs=0.05)


@pytest.mark.parametrize("name", KINDS)
async def test_unfinished_run_replays_up_to_its_end(name, path):
    _, events, data = await recorded(KINDS[name], path)
    lengths = []
    for end in borders(data):
        path.write_bytes(data[:end])
        again = interwhen.replay(path)
        lengths.append(len(again.events))
        assert again.events[: len(again.events) - (again.result is not None)] == tuple(
            events[: len(again.events) - (again.result is not None)]
        )
    assert lengths == sorted(lengths)


async def test_record_inconsistent_with_core_is_refused(path):
    _, _, data = await recorded(KINDS["repairs"], path)
    entries = taken_apart(data)
    at = next(at for at, e in enumerate(entries) if isinstance(e, records.FactRecord) and e.length > 9)
    entries[at] = msgspec.structs.replace(entries[at], length=entries[at].length + 1)
    path.write_bytes(put_together(entries))
    with pytest.raises(JournalError, match="use that version"):
        interwhen.replay(path)
    with pytest.raises(JournalError, match="use that version"):
        interwhen.resume(path, model=goes_on(), monitors=[watch()])


async def test_replay_reports_differing_result(path):
    _, _, data = await recorded(KINDS["repairs"], path)
    *entries, ending, seal = taken_apart(data)
    other = msgspec.structs.replace(ending.result, answer="x", timing=interwhen.results.Timing())
    path.write_bytes(put_together([*entries, msgspec.structs.replace(ending, result=other), seal]))
    assert interwhen.replay(path).differences == ("answer",)


# ---------------------------------------------------------------------- other monitors


async def test_recheck_reports_findings_of_other_monitors(path):
    await recorded(KINDS["no monitors"], path)
    report = await interwhen.recheck(path, [watch(), watch(name="looks on", delivery="observe")])
    assert [(f.request, f.violation.monitor, f.violation.key, f.would_act) for f in report.findings] == [
        (1, "looks on", "2+2=5", False),
        (1, "sums", "2+2=5", True),
        (1, "looks on", "4+4=9", False),
        (1, "sums", "4+4=9", True),
    ]
    assert report.traces == (interwhen.replay(path).text,)
    assert report.unproven == ()


@pytest.mark.parametrize("name", ["repairs", "feedback", "tags", "fields", "forks"])
async def test_recheck_judges_cut_text_exactly_once(name, path):
    result, _, _ = await recorded(KINDS[name], path)
    seen = []
    report = await interwhen.recheck(path, [watch(name="again")], on_progress=lambda *step: seen.append(step))
    assert seen == sorted(seen)
    wrong = [violation.key for violation in result.violations if violation.monitor == "sums"]
    assert [finding.violation.key for finding in report.findings] == wrong
    assert [finding.request for finding in report.findings] == list(range(1, len(wrong) + 1))
    assert report.traces[-1] == result.text


async def test_recheck_ignores_inserted_feedback(path):
    template = interwhen.remedies.FeedbackTemplate(witness="Wait, 1+1=3.")
    kind = goes_on()
    async with interwhen.run(kind, "Q", monitors=[watch(remedy=Feedback())], feedback=template, journal=path) as run:
        result = await run.drain()
    assert "1+1=3" in result.text
    report = await interwhen.recheck(path, [watch()])
    assert {finding.violation.key for finding in report.findings} == {"2+2=5", "4+4=9"}


async def test_a_record_answers_no_forks(path):
    await recorded(KINDS["no monitors"], path)
    report = await interwhen.recheck(path, [watch(extractor=fork())])
    assert report.findings == ()
    assert len(report.unproven) == 4
    assert "cannot answer the fork" in report.unproven[0].outcome.error


async def test_recheck_requires_a_list_of_monitors(path):
    with pytest.raises(interwhen.UsageError, match="must be a list of monitors"):
        await interwhen.recheck(path, "arithmetic")


def test_events_of_a_replay_can_be_shown(path):
    with interwhen.run_sync(goes_on(), "Q", monitors=[watch()], journal=path) as run:
        text = run.drain().text
    assert apply(interwhen.replay(path).events) == text
