"""The types of the page's data are those of the structs."""

import pytest
from tests.view.page_types import FILE, page_types

pytestmark = pytest.mark.source


def test_page_types_match_the_structs():
    assert FILE.read_text() == page_types(), "run python -m tests.view.page_types"
