"""The pytest plug-in of interwhen: fixtures for authors of verifiers.

Loading the plug-in does not import ``interwhen``, because pytest loads it in all test suites.
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
    parser.getgroup("interwhen").addoption(
        _OPTION,
        type=int,
        default=None,
        metavar="N",
        help="cut recorded streams into the same chunks as the run that printed this seed",
    )


@pytest.fixture
def interwhen_seed(request: pytest.FixtureRequest) -> int:
    # The report of a failed test shows its seed, so that the test can be repeated with the same chunks.
    given: int | None = request.config.getoption(_OPTION)
    seed = random.SystemRandom().randrange(_SEEDS) if given is None else given
    request.node.add_report_section("setup", "interwhen", f"chunks of seed {seed}; the same again: {_OPTION} {seed}")
    return seed


@pytest.fixture
def scripted_model() -> Callable[..., ScriptedModel]:
    from interwhen.testing import ScriptedModel

    def make(*replies: object, **options: object) -> ScriptedModel:
        return ScriptedModel(replies, **options)  # type: ignore[arg-type]  # checked by ScriptedModel

    return make


@pytest.fixture
def rechunked_model(interwhen_seed: int) -> Callable[..., ScriptedModel]:
    # Each text is one stream. The seed of the test determines how it is cut into chunks.
    from interwhen.testing import ScriptedModel, recut

    def make(*texts: str, **options: object) -> ScriptedModel:
        cut = [recut(text, f"{interwhen_seed}:{number}") for number, text in enumerate(texts)]
        return ScriptedModel(cut, **options)  # type: ignore[arg-type]  # checked by ScriptedModel

    return make


@pytest.fixture
def assert_trial(interwhen_seed: int) -> TrialAssertion:
    from interwhen.testing import assert_trial as harness

    return partial(harness, seed=interwhen_seed)
