"""A verifier that cannot work is refused, and a function runs where it blocks nothing."""

import interwhen
import pytest
from interwhen import Claim, Pass, UsageError
from interwhen.toolkit import Verifier


@interwhen.verifier(name="v", worker="inline")
def check(claim: Claim) -> Pass:
    return Pass(claim.key)


def nothing(_segment):
    return ()


async def waits(_claim):
    return Pass()


class Waits:
    async def __call__(self, _claim):
        return Pass()


@pytest.mark.parametrize(
    ("function", "options", "said"),
    [
        (nothing, {"deadline": 0}, "deadline must be positive"),
        (nothing, {"deadline": float("nan")}, "deadline must be positive"),
        (nothing, {"worker": "async"}, "plain function"),
        (waits, {"worker": "thread"}, "async function"),
        (nothing, {"deadline": "5"}, "deadline must be positive"),
        (nothing, {"worker": "threads"}, "worker must be one of inline, thread, process, async, got 'threads'"),
    ],
)
def test_a_verifier_that_cannot_work_is_refused(function, options, said):
    with pytest.raises(UsageError, match=said):
        interwhen.verifier(name="v", **options)(function)


def test_a_verifier_runs_where_it_does_no_harm():
    assert interwhen.verifier(name="v")(nothing).worker == "thread"
    assert interwhen.verifier(name="v")(waits).worker == "async"
    assert interwhen.verifier(name="v")(Waits()).worker == "async"
    assert isinstance(check, Verifier)
    assert check(Claim(key="k", span=None)) == Pass("k")
