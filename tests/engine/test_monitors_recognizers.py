"""Recognizers in a run: what they find and no claim covers, and what happens when they fail."""

import re
from dataclasses import dataclass

import interwhen
import msgspec
import pytest
from interwhen import Claim, Fork, Pass, Segment, Span, Unknown, verifier
from interwhen._engine.monitors import parse, recognize
from interwhen.results import Errored, Judged
from interwhen.testing import ScriptedModel
from sums import supervise, watch

pytestmark = pytest.mark.anyio

LOOKS = re.compile(r"\S+=\S+")


def looks_like_a_sum(segment):
    return [segment.at(*match.span()) for match in LOOKS.finditer(segment.text)]


async def test_unclaimed_recognized_text_is_unverified():
    result, _ = await supervise(ScriptedModel(["1+1=2\n1 plus=3\n"]), watch(recognizer=looks_like_a_sum))
    assert result.status == "unverified"
    [doubt] = result.unverified_reasons
    assert result.text[doubt.span.start : doubt.span.end] == "plus=3"
    [unread] = [check for check in result.checks if not isinstance(check.outcome.verdict, Pass)]
    assert isinstance(unread.outcome.verdict, Unknown)


async def test_recognized_and_claimed_text_is_verified():
    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(recognizer=looks_like_a_sum))
    assert result.status == "verified"


async def test_recognizer_gets_prepared_value():
    seen = []

    def find(segment, prepared):
        seen.append(prepared)
        return ()

    def none(segment, prepared):
        return ()

    async def ask(task):
        return task.text

    await supervise(ScriptedModel(["1+1=2\n"]), watch(extractor=none, recognizer=find, prepare=ask), prompt="p")
    assert seen == ["p"]


@pytest.mark.parametrize(
    "broken", [lambda segment: 1 / 0, lambda segment: ["x"], lambda segment: [Span(0, 999)], lambda segment: None]
)
async def test_failing_recognizer_leaves_run_unverified(broken):
    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(recognizer=broken))
    assert result.status == "unverified"
    assert any("recognizer of 'sums'" in doubt.why for doubt in result.unverified_reasons), result.unverified_reasons


async def test_recognizer_works_with_fork_extractor():
    fork = Fork("Which sums?", lambda reply, segment: [], max_tokens=4)
    model = ScriptedModel(["1+1=2\n"], forks=lambda request: "none")
    result, _ = await supervise(model, watch(extractor=fork, recognizer=looks_like_a_sum))
    assert any("could not be read" in doubt.why for doubt in result.unverified_reasons), result.unverified_reasons


def test_partly_covered_span_stays_recognized():
    segment = Segment("1+1=2 or 2", Span(10, 20), "answer")
    claims = (Claim(key="a", span=Span(10, 15)),)
    recognized = recognize("m", lambda _: [Span(10, 13), Span(12, 18), Span(10, 15), Span(19, 19)], segment, claims)
    assert recognized == ((Span(12, 18),), ())


# ---------------------------------------------------------------------- claims that cannot be told apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum(Claim):
    value: int


def clash(*claims):
    return parse("sums", lambda _: claims, Segment("1+1=2", Span(0, 5), "answer"))


def test_equal_key_with_other_content_is_an_error():
    failure = clash(Sum(key="k", span=Span(0, 5), value=1), Sum(key="k", span=Span(0, 5), value=2))
    assert isinstance(failure, Errored)
    assert "extractor of 'sums'" in failure.error
    assert "'k'" in failure.error
    assert "value" in failure.error


def test_equal_key_with_other_type_is_an_error():
    assert isinstance(clash(Claim(key="k", span=None), Sum(key="k", span=None, value=2)), Errored)


def test_equal_claims_and_other_spans_do_not_clash():
    same = Sum(key="k", span=Span(0, 5), value=1)
    assert len(clash(same, same, Sum(key="k", span=Span(0, 5), value=1), Sum(key="k", span=Span(0, 4), value=3))) == 4


async def test_clashing_claims_leave_the_run_unverified():
    def twice(segment):
        yield Sum(key="k", span=segment.span, value=1)
        yield Sum(key="k", span=segment.span, value=2)

    @verifier(name="any", worker="inline")
    def check(claim):
        return Pass()

    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(check, extractor=twice))
    assert result.status == "unverified"
    assert "two claims with the key 'k'" in result.unverified_reasons[0].why


# ---------------------------------------------------------------------- scope


async def test_scope_comes_from_verdict_and_monitor():
    @verifier(name="knows", worker="inline")
    def check(claim):
        return Pass("it is", scope="answer")

    model = ScriptedModel(["1+1=2\n"])
    result, _ = await supervise(model, watch(check, scope="answer"))
    assert result.certificate.scope == "answer"
    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(check))
    assert result.certificate.scope == "steps"


async def test_invalid_scope_is_no_verdict():
    @verifier(name="odd", worker="inline")
    def check(claim):
        return Pass("it is", scope="everything")

    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(check, scope="answer"))
    assert result.status == "unverified"
    assert not any(isinstance(record.outcome, Judged) for record in result.checks)


def test_a_monitor_refuses_another_scope_and_another_recognizer():
    with pytest.raises(interwhen.UsageError, match="scope must be one of answer, steps, got 'all'"):
        watch(scope="all")
    with pytest.raises(interwhen.UsageError, match="recognizer must be a function or None, got 'x'"):
        watch(recognizer="x")


# ---------------------------------------------------------------------- coverage


async def test_min_coverage_survives_replay_and_resume(tmp_path):
    path = tmp_path / "run.journal"
    model = ScriptedModel(["1+1=2\nand much more text\n"])
    async with interwhen.run(model, "p", monitors=[watch()], min_coverage=0.9, journal=path) as run:
        result = await run.drain()
    assert result.status == "unverified"
    assert "90.0% is required" in result.unverified_reasons[-1].why
    assert interwhen.replay(path).result.unverified_reasons == result.unverified_reasons
    async with interwhen.resume(path, monitors=[watch()]) as run:
        assert (await run.drain()).unverified_reasons == result.unverified_reasons


@pytest.mark.parametrize("share", [-0.1, 1.1, "half", float("nan")])
def test_invalid_min_coverage_is_refused(share):
    with pytest.raises(interwhen.UsageError, match="min_coverage"):
        interwhen.run(ScriptedModel([""]), "p", min_coverage=share)
    with pytest.raises(interwhen.UsageError, match="min_coverage"):
        interwhen.wrap(object(), monitors=[], min_coverage=share)


# ---------------------------------------------------------------------- what a result is called


async def test_no_result_is_called_verified_without_its_scope():
    @verifier(name="knows", worker="inline")
    def check(claim):
        return Pass("it is", scope="answer")

    answer, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch(check, scope="answer"))
    steps, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch())
    doubtful, _ = await supervise(ScriptedModel(["1+1=2\n"]))
    assert [each.label for each in (answer, steps, doubtful)] == ["answer verified", "steps verified", "unverified"]
    assert [each.answer_verified for each in (answer, steps, doubtful)] == [True, False, False]


async def test_older_certificates_decode_with_steps_scope():
    result, _ = await supervise(ScriptedModel(["1+1=2\n"]), watch())
    old = msgspec.to_builtins(result.certificate)
    del old["scope"]
    for check in old["checks"]:
        del check["outcome"]["verdict"]["scope"]
    assert msgspec.convert(old, interwhen.results.Certificate) == result.certificate
