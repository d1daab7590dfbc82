"""A repair is read again, in its place, before it is written."""

import itertools
import re
from dataclasses import replace

import anyio
import interwhen
import pytest
from interwhen import Auto, Claim, Fork, Monitor, Pass, Repair, Resample, Span, Tracker, Unknown, Violation, verifier
from interwhen.testing import ScriptedModel, Shift, VirtualWorkers
from sums import Sum, adds_up, judge, slow, sums, supervise, watch

pytestmark = pytest.mark.anyio

REMEDY = Repair(otherwise=Resample())
TRUE = {"Ann": "left midfielder", "Bob": "goalkeeper"}
IS = re.compile(r"(\w+) is the (left midfielder|goalkeeper|left|right)\b")


def positions(segment):
    for match in IS.finditer(segment.text):
        yield Claim(key=match[0], span=segment.at(*match.span()))


def judge_with(names, worker="inline"):
    def check(claim):
        who, what = IS.fullmatch(claim.key).groups()
        if what == TRUE[who]:
            return Pass()
        at = len(f"{who} is the ")
        return Violation("no", where=Span(at, len(claim.key)), repair=names[who])

    return verifier(name="positions", worker=worker)(check)


async def remedies(monitor, *replies):
    result, _ = await supervise(ScriptedModel(list(replies)), monitor)
    return [record.remedy for record in result.violations if record.interrupted], result


@pytest.mark.parametrize("remedy", [REMEDY, Auto()], ids=["repair", "auto"])
@pytest.mark.parametrize("worker", ["inline", "thread"])
async def test_repair_not_read_as_right_claim_is_discarded(worker, remedy):
    for names, expected in (
        ({"Ann": "left midfielder"}, ["repair"]),
        ({"Ann": "left"}, ["resample"]),  # another claim, and a wrong one
        ({"Ann": "midfielder"}, ["resample"]),  # no claim at all
        ({"Ann": "goalkeeper"}, ["resample"]),
    ):
        watcher = Monitor(name="m", verifier=judge_with(names, worker), extractor=positions, remedy=remedy)
        more = "\n" if expected == ["repair"] else "Ann is the left midfielder\n"
        remedy_names, result = await remedies(watcher, "Ann is the goalkeeper\n", more)
        assert remedy_names == expected, names
        assert (result.status, result.text) == ("verified", "Ann is the left midfielder\n")


@pytest.mark.parametrize("remedy", [REMEDY, Auto()], ids=["repair", "auto"])
async def test_repair_depends_on_text_after_number(remedy):
    remedy_names, result = await remedies(watch(remedy=remedy), "2+2=5,\\!000\n", "2+2=4\n")
    assert (remedy_names, result.text) == (["resample"], "2+2=4\n")
    remedy_names, result = await remedies(watch(remedy=remedy), "2+2=5, so\n", "\n")
    assert (remedy_names, result.text) == (["repair"], "2+2=4\n")


@pytest.mark.parametrize("remedy", [REMEDY, Auto()], ids=["repair", "auto"])
@pytest.mark.parametrize("worker", ["inline", "thread"])
@pytest.mark.parametrize(("repair", "expected"), [("1", ["repair"]), ("8", ["resample"])])
async def test_only_the_repaired_value_must_pass(repair, expected, worker, remedy):
    def check(claim):
        left, right, total = map(int, re.split(r"[+=]", claim.key))
        if left != 1:
            return Violation("the left side must be 1", where=Span(0, 1), repair=repair)
        at = claim.key.index("=") + 1
        return Pass() if left + right == total else Violation("no", where=Span(at, len(claim.key)))

    def lines(segment):
        text = segment.text.rstrip()
        if re.fullmatch(r"\d+\+\d+=\d+", text):
            yield Claim(key=text, span=segment.at(0, len(text)))

    watcher = Monitor(name="m", verifier=verifier(name="ones", worker=worker)(check), extractor=lines, remedy=remedy)
    remedy_names, result = await remedies(watcher, "9+2=12\n", "+2=3\n" if expected == ["repair"] else "1+2=3\n")
    assert remedy_names == expected
    assert (result.status, result.text) == ("verified", "1+2=3\n")


async def test_equal_claim_in_another_line_validates_no_repair():
    remedy_names, result = await remedies(watch(remedy=REMEDY), "2+2=5\n", "\n2+2=5,\\!000\n", "2+2=4\n")
    assert remedy_names == ["repair", "resample"]
    assert result.text == "2+2=4\n2+2=4\n"
    remedy_names, _ = await remedies(watch(remedy=REMEDY), "2+2=5\n", "\n2+2=5\n", "\n")
    assert remedy_names == ["repair", "repair"]


async def test_repair_changing_earlier_reading_is_discarded():
    def read(segment):
        if "=4" not in segment.text:
            yield from sums(segment)
        else:  # with this value in it, the line means something else
            yield Claim(key="1", span=segment.at(0, 1))
            yield from sums(segment)

    @verifier(name="odd", worker="inline")
    def check(claim):
        return Pass() if claim.key == "1" else adds_up.check(claim)

    remedy_names, _ = await remedies(watch(check, extractor=read, remedy=REMEDY), "x 2+2=5\n", "3+3=6\n")
    assert remedy_names == ["resample"]


async def test_tracker_reads_repair_in_earlier_state():
    def step(state, segment):
        value = int(segment.text)
        return value, [Claim(key=f"{state} {segment.text}", span=segment.span)]

    @verifier(name="counting", worker="inline")
    def check(claim):
        before, now = map(int, claim.key.split())
        return Pass() if now == before + 1 else Violation("no", repair=str(before + 1))

    watcher = Monitor(name="m", verifier=check, extractor=Tracker(lambda _: 0, step), remedy=REMEDY)
    remedy_names, result = await remedies(watcher, "1\n2\n7\n", "\n4\n")
    assert remedy_names == ["repair"]
    assert (result.status, result.text) == ("verified", "1\n2\n3\n4\n")


async def test_async_verifier_checks_repair_once():
    calls = []

    def function(claim):
        calls.append(claim.key)
        return Violation("no", where=Span(4, 5), repair="4") if claim.total != 4 else Unknown("?")

    remedy_names, result = await remedies(watch(slow(1.0, function=function), remedy=REMEDY), "2+2=5\n", "\n")
    assert remedy_names == ["repair"]
    assert calls == ["2+2=5", "2+2=4"]
    assert result.text == "2+2=4\n"


async def test_repair_check_does_not_wait_for_busy_process():
    workers = VirtualWorkers(lambda _verifier, claim: Shift(4.0 if claim.left == 3 else 1.0), processes=1)
    watcher = watch(verifier(name="sums", worker="process")(judge), remedy=REMEDY)
    model = ScriptedModel(["2+2=5\n3+3=6\n", "2+2=4\n"])
    begun = anyio.current_time()
    async with interwhen.run(model, "Q", monitors=[watcher], workers=workers) as run:
        async for event in run:
            if isinstance(event, interwhen.events.ViolationFound):
                assert anyio.current_time() - begun <= 3.0
    assert [record.remedy for record in run.result.violations if record.interrupted] == ["resample"]


def asked_elsewhere(repair):
    return slow(
        1.0,
        function=lambda claim: Violation("no", where=Span(4, 5), repair=repair) if claim.total == 5 else Pass(),
    )


async def test_repair_is_accepted_when_claims_share_a_key():
    def read(segment):
        for claim in sums(segment):
            yield replace(claim, key="the sum")

    watcher = watch(asked_elsewhere("4"), extractor=read, remedy=REMEDY)
    remedy_names, result = await remedies(watcher, "2+2=5\n", "\n")
    assert (remedy_names, result.text) == (["repair"], "2+2=4\n")


@pytest.mark.parametrize("repair", ["5", "4+0", "x"])
async def test_async_repair_must_be_read_as_intended_claim(repair):
    def read(segment):
        # Another key for each reading, so that keys cannot tell an old claim from a new one.
        for claim in sums(segment):
            yield replace(claim, key=f"{claim.key} {next(readings)}")
        for match in re.finditer(r"4\+0", segment.text):
            yield Sum(key=f"{next(readings)}", span=segment.at(*match.span()), left=4, right=0, total=4)

    readings = itertools.count()
    watcher = watch(asked_elsewhere(repair), extractor=read, remedy=REMEDY)
    remedy_names, result = await remedies(watcher, "2+2=5\n", "3+3=6\n")
    assert (remedy_names, result.text) == (["resample"], "3+3=6\n")


@pytest.mark.parametrize("worker", ["inline", "async"])
async def test_claim_read_only_by_fork_is_not_repaired(worker):
    fork = Fork("Which sums?", lambda reply, segment: list(sums(segment)))
    who = adds_up if worker == "inline" else slow(1.0)
    model = ScriptedModel(["2+2=5\n", "3+3=6\n"], forks=lambda _: "yes")
    result, _ = await supervise(model, watch(who, extractor=fork, remedy=REMEDY))
    assert [record.remedy for record in result.violations] == ["resample"]
    assert result.text == "3+3=6\n"


async def test_fork_with_local_parser_validates_its_repair():
    fork = Fork("Which sums?", lambda reply, segment: (), local=lambda segment: list(sums(segment)))
    remedy_names, result = await remedies(watch(extractor=fork, remedy=REMEDY), "2+2=5\n", "\n")
    assert (remedy_names, result.text) == (["repair"], "2+2=4\n")


async def test_extractor_raising_on_repair_discards_it():
    def read(segment):
        if "=4" in segment.text:
            raise ValueError("no")
        return list(sums(segment))

    remedy_names, _ = await remedies(watch(extractor=read, remedy=REMEDY), "2+2=5\n", "3+3=6\n")
    assert remedy_names == ["resample"]
