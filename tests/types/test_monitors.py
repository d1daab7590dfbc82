"""A monitor that cannot work is refused where it is made."""

import interwhen
import pytest
from interwhen import Claim, Fork, Monitor, Pass, UsageError


@interwhen.verifier(name="v", worker="inline")
def check(claim: Claim) -> Pass:
    return Pass(claim.key)


def nothing(_segment):
    return ()


@pytest.mark.parametrize(
    "options",
    [
        {"delivery": "later"},
        {"level": "all"},
        {"phase": "none"},
        {"unproven": "maybe"},
        {"extractor": 3},
        {"trigger": "Lines"},
        {"trigger": interwhen.Lines},
        {"remedy": "feedback"},
        {"remedy": interwhen.Feedback},
        {"verifier": len},
        {"verifier": interwhen.verifier(name="v", version=2)(nothing)},
        {"verifier": interwhen.verifier(name=3)(nothing)},
        {"required": "no"},
        {"required": None},
        {"prepare_deadline": "1"},
        {"prepare_deadline": float("nan")},
        {"trigger": interwhen.Lines(every="2")},
        {"trigger": interwhen.Lines(joins=["so"])},
        {"trigger": interwhen.triggers.EveryChars(1.5)},
        {"trigger": interwhen.triggers.Markers(words="Wait")},
        {"trigger": interwhen.ToolCalls(opening=5)},
        {"remedy": interwhen.Repair(otherwise="feedback")},
        {"remedy": interwhen.Feedback(place="before")},
    ],
    ids=" ".join,
)
def test_a_monitor_that_cannot_work_is_refused(options):
    with pytest.raises(UsageError, match="monitor 'm'"):
        Monitor(**{"name": "m", "verifier": check, "extractor": nothing, **options})


def test_the_parts_of_a_monitor_refuse_wrong_values():
    with pytest.raises(UsageError, match=r"Fork: parse must be a function or Tracker\(...\), got None"):
        Fork(prompt="?", parse=None)
    with pytest.raises(UsageError, match=r"Polls: least must be a whole number, got 1\.5"):
        interwhen.triggers.Polls(least=1.5)


def test_a_fork_is_an_extractor():
    assert Monitor(name="m", verifier=check, extractor=Fork(prompt="?", parse=lambda _reply, _segment: ())).required


@pytest.mark.parametrize("name", [3, None, ""])
def test_the_name_of_a_monitor_is_a_text(name):
    with pytest.raises(UsageError, match=f"monitor {name!r}: name must be a text that is not empty"):
        Monitor(name=name, verifier=check, extractor=nothing)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prompt": None}, "prompt must be a text"),
        ({"max_tokens": 0}, "max_tokens must be a whole number of at least 1"),
        ({"max_tokens": 1.5}, "max_tokens must be a whole number of at least 1"),
        ({"deadline": 0}, "deadline must be positive"),
        ({"deadline": float("nan")}, "deadline must be positive"),
        ({"stop": "abc"}, "stop must be a tuple, each item a text"),
        ({"scores": 1.5}, "scores must be a whole number from 0 to 20"),
        ({"scores": 21}, "scores must be a whole number from 0 to 20"),
        ({"local": 5}, "local must be a function"),
    ],
)
def test_a_fork_that_cannot_work_is_refused(options, said):
    with pytest.raises(UsageError, match=f"Fork: {said}"):
        Fork(**{"prompt": "?", "parse": nothing} | options)
