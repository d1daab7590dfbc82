"""State of the whole process is changed in few places, since checks and runs share it across threads."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("interwhen", "interwhen_pytest", "interwhen_launcher", "verifiers/interwhen_verifiers")
SHARED = {
    "catch_warnings",
    "simplefilter",
    "filterwarnings",
    "setrecursionlimit",
    "set_int_max_str_digits",
    "chdir",
    "fchdir",
    "umask",
    "setlocale",
    "getcontext",
    "setcontext",
    "field_size_limit",
    "putenv",
    "unsetenv",
    "set_param",
    "main_ctx",
}
"""Functions that change the state of the process, or a default that all threads of Z3 or ``decimal`` share."""
DELIBERATE = {
    "interwhen/_types/python_source.py": "one lock is around the filters of warnings",
    "interwhen/sandbox/_inside/confinement.py": "the process of a sandbox",
    "interwhen/sandbox/_inside/keeper.py": "the process of a sandbox",
    "interwhen/sandbox/_inside/mounts.py": "the process of a sandbox",
    "verifiers/interwhen_verifiers/_python/harness.py": "a program that runs in a sandbox",
}


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            if name in SHARED or (name == "seed" and ast.unparse(node.func) == "random.seed"):
                yield node.lineno, name


@pytest.mark.source
def test_process_state_changes_only_in_listed_places():
    changes = {}
    for path in (path for folder in PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))):
        if "node_modules" in path.parts:
            continue
        if listed := list(calls(ast.parse(path.read_text(encoding="utf-8")))):
            changes[path.relative_to(ROOT).as_posix()] = listed
    unexpected = {path: listed for path, listed in changes.items() if path not in DELIBERATE}
    assert unexpected == {}, "pass the setting as an argument, or use a lock and name the place here"
    assert DELIBERATE.keys() <= changes.keys()
