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
        {"extractor": Fork(prompt="?", parse=None)},
        {"trigger": "Lines"},
        {"trigger": interwhen.Lines},
        {"remedy": "feedback"},
        {"remedy": interwhen.Feedback},
        {"verifier": len},
    ],
    ids=repr,
)
def test_a_monitor_that_cannot_work_is_refused(options):
    with pytest.raises(UsageError, match="monitor 'm'"):
        Monitor(**{"name": "m", "verifier": check, "extractor": nothing, **options})


def test_a_fork_is_an_extractor():
    assert Monitor(name="m", verifier=check, extractor=Fork(prompt="?", parse=lambda _reply, _segment: ())).required
