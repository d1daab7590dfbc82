"""What a verifier's code is, as one hash: its version is a promise, and this is what it was when it judged."""

from __future__ import annotations

import functools
import hashlib
import inspect
import sys
from pathlib import Path
from typing import Any


def code_digest(verifier: Any) -> str:
    """Return the SHA-256 of the module file that *verifier*'s check is written in; empty where there is none.

    The whole file counts, since a check uses what stands beside it. What the module imports does not.
    """
    check = inspect.unwrap(getattr(verifier, "check", verifier))
    check = getattr(check, "func", check)  # of a partial
    module = getattr(check, "__module__", None) or type(verifier).__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    return _of_file(file) if isinstance(file, str) else ""


@functools.lru_cache(maxsize=256)
def _of_file(file: str) -> str:
    try:
        return hashlib.sha256(Path(file).read_bytes()).hexdigest()
    except OSError:
        return ""
