"""What holds for every file of the source, and is read off its syntax tree."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = ("interwhen", "interwhen_launcher", "interwhen_pytest", "verifiers", "examples", "tools", "tests")


def calls(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            first = node.args[0].value if node.args and isinstance(node.args[0], ast.Constant) else None
            yield ast.unparse(node.func), first


def test_no_process_with_threads_is_forked():
    # A fork copies one thread and every lock: Python warns of it from 3.12 on. Sandboxes fork before they have threads.
    forks = [
        f"{path.relative_to(ROOT)}: {name}"
        for folder in FOLDERS
        for path in (ROOT / folder).rglob("*.py")
        if not path.is_relative_to(ROOT / "interwhen" / "sandbox" / "_inside")
        # A program for maintainers, which has one thread: a fork for each mutant saves the import of everything.
        # The same holds for the process that forks the scripts of pages.
        and path not in (ROOT / "tests" / "core" / "mutation.py", ROOT / "tests" / "forked_scripts.py")
        for name, first in calls(ast.parse(path.read_text(encoding="utf-8")))
        if name in {"os.fork", "os.forkpty", "pty.fork"} or (name.endswith("get_context") and first != "spawn")
    ]
    assert forks == []
