"""The pytest plug-in of interwhen: fixtures for those who write verifiers.

A package of its own, which imports nothing until a fixture is asked for: pytest loads every installed plug-in, and a
suite that has nothing to do with interwhen pays no more than this file.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from interwhen.testing import ScriptedModel, TrialAssertion

__all__ = ["assert_trial", "interwhen_seed", "rechunked_model", "scripted_model"]

_OPTION = "--interwhen-seed"
_SEEDS = 2**32


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a failure be repeated."""
    parser.getgroup("interwhen").addoption(
        _OPTION,
        type=int,
        default=None,
        metavar="N",
        help="cut recorded streams into the same chunks as in a run that showed this seed",
    )


@pytest.fixture
def interwhen_seed(request: pytest.FixtureRequest) -> int:
    """Return the seed that chooses the chunks of this test; it is shown where the test fails."""
    given: int | None = request.config.getoption(_OPTION)
    seed = random.SystemRandom().randrange(_SEEDS) if given is None else given
    request.node.add_report_section("setup", "interwhen", f"chunks of seed {seed}; the same again: {_OPTION} {seed}")
    return seed


@pytest.fixture
def scripted_model() -> Callable[..., ScriptedModel]:
    """Return a function that makes a model of replies: ``scripted_model("first stream", "after the first remedy")``.

    A reply is a text or a list of steps (texts, pauses, tool calls, errors); it takes the options of
    :class:`interwhen.testing.ScriptedModel`.
    """
    from interwhen.testing import ScriptedModel

    def make(*replies: object, **options: object) -> ScriptedModel:
        return ScriptedModel(replies, **options)  # type: ignore[arg-type]  # passed on as they are

    return make


@pytest.fixture
def rechunked_model(interwhen_seed: int) -> Callable[..., ScriptedModel]:
    """Return a function that makes a model of recorded texts, cut into random chunks: what a verifier must not notice.

    ``rechunked_model("what it wrote", "what it wrote after the first remedy")``.
    """
    from interwhen.testing import ScriptedModel, recut

    def make(*texts: str, **options: object) -> ScriptedModel:
        cut = [recut(text, f"{interwhen_seed}:{number}") for number, text in enumerate(texts)]
        return ScriptedModel(cut, **options)  # type: ignore[arg-type]  # passed on as they are

    return make


@pytest.fixture
def assert_trial(interwhen_seed: int) -> TrialAssertion:
    """Return :func:`interwhen.testing.assert_trial` with this test's seed: bars for a verifier on labelled traces."""
    from interwhen.testing import assert_trial as harness

    return partial(harness, seed=interwhen_seed)
