"""``import interwhen`` is light, and its names are what it says they are."""

import subprocess
import sys
import types

import interwhen

HEAVY = ("httpx2", "httptools", "rich", "cyclopts", "structlog", "multiprocessing", "trio", "uvloop", "openai")


def test_importing_the_package_imports_nothing_heavy():
    code = f"import interwhen, sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout.split() == []


def test_all_is_what_is_there():
    there = {
        name
        for name, value in vars(interwhen).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    # A function may have the name of its module.
    assert set(interwhen.__all__) - {"__version__"} == there
    assert list(interwhen.__all__) == sorted(set(interwhen.__all__))
