"""The soak finds what it is there to find, and its judge knows the truth apart from what it judges."""

from __future__ import annotations

import re

import anyio
import interwhen
import msgspec
import pytest
from interwhen import UsageError
from interwhen.testing import End, ScriptedModel
from interwhen.testing._server_script import ReceivedRequest
from interwhen.testing.server import Send
from tests.benchmarks.soak import judge, slope, soak
from tests.benchmarks.soak_server import FAULTS, Teller, asked, prompt_of, story


def test_story_has_mistakes_at_expected_rate() -> None:
    slips = 0
    for number in range(200):
        told = story(number)
        for right, said in zip(told.right, told.told, strict=True):
            one, other, value = map(int, re.findall(r"\d+", right))
            assert one + other == value
            assert len(said) == len(right)
            slips += said != right
    assert 100 < slips < 600


def test_story_continues_from_any_valid_prefix() -> None:
    told = story(3)
    whole = "".join(told.told)
    for cut in range(len(whole) + 1):
        assert whole[:cut] + told.after(whole[:cut]) == whole
    slip = next(at for at, line in enumerate(told.told) if line != told.right[at])
    mended = "".join(told.told[:slip]) + told.right[slip].removesuffix("\n")
    assert told.after(mended) == "\n" + "".join(told.told[slip + 1 :])
    assert asked(prompt_of(3) + whole[:9]) == (told, whole[:9])


def test_valid_prefix_of_story_is_accepted() -> None:
    told = story(3)
    slip = next(at for at, line in enumerate(told.told) if line != told.right[at])
    before = "".join(told.right[:slip])
    assert told.stands("")
    assert told.stands(told.text)
    assert told.stands(before + told.told[slip])
    assert told.stands(before + told.told[slip][:-3])
    assert not told.stands(before + told.told[slip] + told.right[slip + 1])
    assert not told.stands(before + "So 1")
    assert not told.stands(told.text + "So 1")


def test_early_leaver_may_have_unchecked_text() -> None:
    told = story(3)
    slip = next(at for at, line in enumerate(told.told) if line != told.right[at])
    seen = "".join(told.right[:slip]) + told.told[slip] + told.right[slip + 1][:4]
    assert not told.stands(seen)
    assert told.stands(seen, checked=False)
    assert not told.stands(seen[1:], checked=False)
    assert not told.stands("".join(told.right[:slip]) + told.right[slip + 1], checked=False)
    result = run_of(seen, reason="length", monitors=())
    assert judge(told, result, left=True) is None
    assert (judge(told, result, left=False) or "").startswith("lost")


def test_failed_run_may_end_with_undecided_line() -> None:
    told = story(3)
    slip = next(at for at, line in enumerate(told.told) if line != told.right[at])
    before = "".join(told.right[:slip])
    run = run_of(before, reason="length")
    parts = {name: getattr(run, name) for name in interwhen.Failed.__struct_fields__ if hasattr(run, name)}

    def flaw(text: str) -> str | None:
        return judge(told, interwhen.Failed(**{**parts, "error": "it broke", "text": text}), left=False)

    assert flaw(before + told.told[slip] + "S") is None
    assert flaw(before + told.told[slip] + "So") is None
    assert (flaw(before + told.told[slip] + "So ") or "").startswith("lost")
    assert (flaw(before + told.told[slip] + told.right[slip + 1] + "S") or "").startswith("lost")
    assert (flaw("So 1 + 1 = 3\nS") or "").startswith("lost")


def test_judge_reports_pass_on_false_line() -> None:
    told = story(3)
    slip = next(at for at, line in enumerate(told.told) if line != told.right[at])
    before, after = "".join(told.right[:slip]), "".join(told.right[slip + 1 :])
    result = run_of(before + told.right[slip] + after, reason="length")
    assert judge(told, result, left=True) is None
    forged = msgspec.structs.replace(result, text=before + told.told[slip] + after)
    assert "passed and false" in (judge(told, forged, left=True) or "")


def run_of(text: str, *, reason: str = "stop", monitors: tuple[str, ...] = ("arithmetic",)) -> interwhen.Result:
    model = ScriptedModel(lambda request: () if request.prefix else (text, End(reason)))  # type: ignore[arg-type]
    with interwhen.run_sync(model, "", monitors=monitors) as run:
        return run.drain()


def test_judge_reports_lost_and_wrong_text() -> None:
    told = story(3)
    assert judge(told, run_of(told.text), left=False) is None
    assert judge(told, run_of(told.text[:-9], reason="length"), left=False) is None
    short = judge(told, run_of("".join(told.right[:-1])), left=False)
    assert short is not None
    assert short.startswith("wrong")
    unwatched = judge(told, run_of("".join(told.right[:-1]), monitors=()), left=False)
    assert unwatched is not None
    assert unwatched.startswith("lost")
    hole = judge(told, run_of("".join(told.right[1:]), reason="length"), left=False)
    assert hole is not None
    assert hole.startswith("lost")


def test_the_server_meets_every_fault() -> None:
    teller = Teller(1, 100.0)
    for number in range(1000):
        request = ReceivedRequest(
            number, "POST", "/v1/completions", {}, b"", {"prompt": prompt_of(number)}, 1, received_at=0.0
        )
        assert any(isinstance(step, Send) for step in teller(request)) or teller.injected
    assert min(teller.injected.values()) > 3
    assert set(teller.injected) == set(FAULTS)


def test_slope_is_detected_and_noise_is_not() -> None:
    flat = slope([(at, 100 + (at * 7919 % 13) / 10) for at in range(960)])
    steep = slope([(at, 100 + at / 36 + (at * 7919 % 13) / 10) for at in range(960)])
    assert flat is not None
    assert steep is not None
    assert flat.low is not None
    assert flat.high is not None
    assert flat.low < 0 < flat.high
    assert steep.low is not None
    assert steep.high is not None
    assert 50 < steep.low < 100 < steep.high
    assert slope([(0.0, 1.0)] * 10) is None


@pytest.mark.nightly
def test_a_short_soak_is_clean() -> None:
    pytest.importorskip("httptools", reason="the extra 'fast' is not installed")
    report = anyio.run(lambda: soak(minutes=0.05, streams=8, rate=80.0, seed=5))
    assert report.passed
    assert report.warnings == ()
    assert report.value("runs") >= 8
    assert report.value("requests that met a fault") > 0
    assert report.value("wrong sums that were corrected") > 0


def test_soak_without_streams_is_refused() -> None:
    with pytest.raises(UsageError, match="--streams must be a whole number of at least 1, got 0"):
        anyio.run(lambda: soak(streams=0))
