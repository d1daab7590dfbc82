"""Real mistakes of the model, found and repaired by the shipped verifier: nothing is injected."""

import re

import pytest
from interwhen import Message, Verified
from interwhen.models import open_local

from .support import play

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


PROBLEMS = tuple(
    f"Start with {start}. Add {start // 2 + 1687}. Multiply by {factor}. Subtract {start - 1408}. Result?"
    for start in range(2719, 9999, 613)
    for factor in (7, 8)
)
"""Larger numbers than it is at home with."""
_EQUATION = re.compile(r"(\d+) ([+×-]) (\d+) = (\d+)")
_APPLY = {"+": int.__add__, "-": int.__sub__, "×": int.__mul__}


def is_wrong(line):
    match = _EQUATION.fullmatch(line.strip())
    return match is not None and _APPLY[match[2]](int(match[1]), int(match[3])) != int(match[4])


async def test_mistakes_are_corrected_in_place_and_none_remain(anyio_backend):
    async with open_local() as model:
        for problem in PROBLEMS:
            played = await play(model, ["arithmetic"], (Message("user", problem),))
            if played.result.violations and isinstance(played.result, Verified):
                break
        else:
            pytest.fail("it made no mistake, or none that a repair sets right: choose other problems")
    result = played.result
    # Python's own arithmetic agrees that what was cut was wrong, and that the remaining text is not.
    for violation in result.violations:
        said = re.search(rf"(\d+ [+×-] \d+) is (\d+), not {violation.quote}$", violation.witness)
        assert is_wrong(f"{said[1]} = {violation.quote}")
        assert not is_wrong(f"{said[1]} = {violation.inserted}")
    assert not [line for line in result.text.splitlines() if is_wrong(line)]
    assert sum(_EQUATION.fullmatch(line) is not None for line in result.text.splitlines()) >= 2
    assert result.certificate.matches(result.text)
    assert played.shown == result.text
