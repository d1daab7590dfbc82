"""Public data sets, which are no part of the repository: the variable INTERWHEN_DATA names the folder that has them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

FOLDER = Path(os.environ.get("INTERWHEN_DATA", "INTERWHEN_DATA is not set"))


def public_set(name: str) -> Path:
    if not (FOLDER / name).exists():
        pytest.skip(f"needs the public data set {name!r}: set INTERWHEN_DATA to the folder that has it")
    return FOLDER / name


def needs(name: str) -> pytest.MarkDecorator:
    reason = f"needs the public data set {name!r}: set INTERWHEN_DATA to the folder that has it"
    return pytest.mark.skipif(not (FOLDER / name).exists(), reason=reason)
