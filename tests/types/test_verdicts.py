"""Verdicts and outcomes: how often a check that failed is tried again, after which pause, and how that is written."""

import pytest
from interwhen import UsageError
from interwhen._types.verdicts import read_on_error
from interwhen.remedies import Retry


def test_the_spellings_of_on_error():
    assert read_on_error("open") == "open"
    assert read_on_error(" closed ") == "closed"
    assert read_on_error("retry") == Retry(2)
    assert read_on_error("retry:3") == Retry(3)
    assert read_on_error("retry:3:closed") == Retry(3, "closed")
    for text in (
        "",
        "retry:",
        "retry:-1",
        "retry:two",
        "retry:1:ajar",
        "retry:1:open:2",
        "Retry",
        f"retry:{'9' * 5000}",
    ):
        with pytest.raises(UsageError, match="on_error must be open, closed, retry"):
            read_on_error(text)


@pytest.mark.parametrize("options", [{"times": -1}, {"times": 1.5}, {"then": "maybe"}, {"pause": -1}, {"pause": 1e9}])
def test_a_retry_that_cannot_work_is_refused(options):
    with pytest.raises(UsageError, match="Retry: "):
        Retry(**options)


def test_each_pause_doubles_up_to_two_seconds():
    assert [Retry(pause=0.5).before(tries) for tries in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, 2.0]
