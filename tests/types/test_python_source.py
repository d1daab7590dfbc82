"""Source of others is parsed without warnings, and the filters of the process stay as they are, in threads, too."""

import sys
import threading
import warnings

import pytest
from interwhen._types.python_source import parse_python


def test_invalid_escapes_give_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert parse_python('"\\d"').body


def test_text_that_is_not_python_raises():
    with pytest.raises(SyntaxError):
        parse_python("1 +")


def in_threads(function):
    threads = [threading.Thread(target=function) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_parsing_in_threads_leaves_warning_filters_unchanged():
    before, interval = list(warnings.filters), sys.getswitchinterval()

    def parse():
        for _ in range(200):
            parse_python("f(x=1, y=[2, 3])")

    sys.setswitchinterval(1e-6)
    try:
        for _ in range(8):
            in_threads(parse)
            assert list(warnings.filters) == before
    finally:
        sys.setswitchinterval(interval)
        warnings.filters[:] = before
