"""Silence is no agreement: text that looks like a claim and is not read is never verified."""

from __future__ import annotations

import pytest
from tests.verifiers.doubtful_table import ending
from tests.verifiers.doubtful_texts import CASES, RIGHT

pytestmark = pytest.mark.anyio


def _name(case):
    return f"{case.verifier}: {case.text[-40:]!a}"


@pytest.fixture
def anyio_backend():
    return "asyncio"  # checks in threads


@pytest.mark.parametrize("case", CASES, ids=_name)
async def test_text_with_doubtful_statement_is_never_verified(case):
    status, result = await ending(case)
    assert status in ("unverified", "interrupted"), result.checks
    if status == "unverified":
        assert any(doubt.span is not None for doubt in result.unverified_reasons), result.unverified_reasons


@pytest.mark.parametrize("case", RIGHT, ids=_name)
async def test_text_without_anything_wrong_stays_verified(case):
    status, result = await ending(case)
    assert status == "verified", (result.unverified_reasons, result.violations)
