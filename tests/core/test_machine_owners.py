"""One object owns each part of the core's state: the others ask it, and change nothing inside it."""

import ast
from pathlib import Path

import pytest

CORE = Path(__file__).parents[2] / "interwhen" / "_core"
MUTATORS = frozenset(
    (
        "append",
        "appendleft",
        "extend",
        "pop",
        "popleft",
        "popitem",
        "clear",
        "update",
        "setdefault",
        "remove",
        "discard",
    )
)
"""Methods of lists, dicts, sets and deques that change them."""


def _foreign(node: ast.AST) -> bool:
    while isinstance(node, ast.Subscript):
        node = node.value
    return isinstance(node, ast.Attribute) and not (isinstance(node.value, ast.Name) and node.value.id == "self")


def _targets(node: ast.AST):
    match node:
        case ast.Assign(targets=targets) | ast.Delete(targets=targets):
            nodes = targets
        case ast.AugAssign(target=target) | ast.AnnAssign(target=target):
            nodes = [target]
        case _:
            return
    while nodes:
        target = nodes.pop()
        if isinstance(target, ast.Tuple | ast.List):
            nodes.extend(target.elts)
        else:
            yield target


def trespasses(source: str) -> list[str]:
    lines = []
    for node in ast.walk(ast.parse(source)):
        changed = [target for target in _targets(node) if _foreign(target)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATORS:
            changed += [node.func.value] if _foreign(node.func.value) else []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("setattr", "delattr"):
            changed.append(node)
        lines += [f"line {one.lineno}: {ast.unparse(one)}" for one in changed]
    return lines


@pytest.mark.source
@pytest.mark.parametrize("path", sorted(CORE.glob("*.py")), ids=lambda path: path.name)
def test_core_objects_never_change_parts_of_each_other(path):
    assert trespasses(path.read_text()) == []


@pytest.mark.parametrize(
    "statement",
    [
        "self.gates.frontier = 3",
        "self.tally.late += 1",
        "job.tries = 2",
        "a, home.clear = 1, True",
        "self._work.records[key] = record",
        "del self._work.records[key]",
        "self._violations.candidates.append(one)",
        "job.refs.clear()",
        "setattr(job, 'tries', 2)",
    ],
)
def test_a_change_of_another_objects_part_is_seen(statement):
    assert len(trespasses(statement)) == 1


@pytest.mark.parametrize(
    "statement",
    ["self.released = 3", "self._jobs[number] = job", "found.append(one)", "gates.retract(3)", "self._looks.append(x)"],
)
def test_a_change_of_its_own_state_is_allowed(statement):
    assert trespasses(statement) == []
