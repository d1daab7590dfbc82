"""Parses Python source that a model or a user wrote, without warnings about it."""

from __future__ import annotations

import ast
import threading
import warnings

_PARSING = threading.Lock()


def parse_python(text: str) -> ast.Module:
    # Raises what `ast.parse` raises; warnings about invalid escapes are not shown. It may be called in several threads.
    # catch_warnings replaces the filters of the whole process, and puts back those that it found. Where a second thread
    # enters before the first one leaves, it would put back the filters of the first one, which ignore all warnings.
    with _PARSING, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return ast.parse(text)
