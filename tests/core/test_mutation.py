"""The list of mutants without effect names mutants that exist."""

from __future__ import annotations

import pytest
from tests.core.mutation import mutants, without_effect


@pytest.mark.source
def test_the_mutants_without_effect_are_mutants():
    # A mutant whose function was rewritten must be looked at again.
    assert set(without_effect()) <= {mutant.key for mutant in mutants()}
    assert all(without_effect().values())
