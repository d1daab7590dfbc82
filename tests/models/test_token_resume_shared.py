"""What two prefixes have in common, found by halving."""

from hypothesis import given
from hypothesis import strategies as st
from interwhen.models._token_resume import shared


@given(st.text("ab"), st.text("ab"))
def test_texts_share_what_they_have_in_common(one, other):
    size = shared(one, other)
    assert one[:size] == other[:size]
    assert size in {len(one), len(other)} or one[size] != other[size]
