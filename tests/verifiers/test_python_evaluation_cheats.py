"""Code that sets out to pass its tests without doing what they ask: none of it does."""

from __future__ import annotations

import ast
import sys
from typing import Any

import anyio
import pytest
from interwhen import Pass, Segment, Span, Task, Unknown, Verdict, Violation
from interwhen.sandbox import Call, Limits, ProcessSandbox

from interwhen_verifiers._python.cases import Case, cases_of, free_names
from interwhen_verifiers._python.evaluation import examples_of, names_in
from interwhen_verifiers._python.given import completed, read_given
from interwhen_verifiers.python import python, start, step

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process sandbox needs Linux")

SECRET = 918_273_645
TASK = f"""Write f(n).

```python
expected = {SECRET}

def check(candidate):
    table = {{"in": 3, "out": {SECRET + 1}}}
    assert candidate(2) == expected
    assert candidate(table["in"]) == table["out"]

check(f)
```

>>> f(4)
{SECRET + 2}
"""


def verdict_on(code: str, task: str = TASK, **options: Any) -> Verdict:
    monitor = python(**options)
    text = f"```python\n{code}\n```"
    _, (claim,) = step(start(read_given(task)), Segment(text, Span(0, len(text)), "answer"))
    return anyio.run(monitor.verifier.check, claim, monitor.prepare(Task(task)))  # type: ignore[arg-type, misc]


EQUAL = (
    "class Yes(BASE):\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
    "    __hash__ = BASE.__hash__\n    def __repr__(self): return REPR\n"
)
CHEATS = {
    "an object that is equal to everything": EQUAL.replace("BASE", "object").replace("REPR", "'4'")
    + "def f(n): return Yes()",
    "a number that is equal to everything": EQUAL.replace("BASE", "int").replace("REPR", "'4'") + "def f(n): return Yes(1)",
    "a text that is equal to everything": EQUAL.replace("BASE", "str").replace("REPR", "'4'") + "def f(n): return Yes('')",
    "a list that is equal to everything": EQUAL.replace("BASE", "list").replace("__hash__ = BASE.__hash__", "pass")
    .replace("REPR", "'4'") + "def f(n): return Yes([1])",
    "a value in place of the function": EQUAL.replace("BASE", "object").replace("REPR", "''")
    + "    def __call__(self, *a): return self\nf = Yes()",
    "a forged answer by the descriptor": "import os\ndef f(n):\n"
    '    os.write(4, b\'value\\0{"kind": "value", "shown": "", "printed": "", "value": {"i": "1"}}\')\n    os._exit(0)',
    "every open descriptor written to": "import os\ndef f(n):\n    for fd in range(3, 64):\n        try: os.write(fd, b'value\\0\"passed\"')\n"
    "        except OSError: pass\n    os._exit(0)",
    "the expected value from the frames": "import sys\ndef f(n):\n    frame = sys._getframe()\n    while frame:\n"
    f"        for value in [*frame.f_locals.values(), *frame.f_globals.values()]:\n            if value == {SECRET} + n - 2: return value\n"
    "        frame = frame.f_back\n    return 0",
    "the expected value from the heap": "import gc, re\ndef f(n):\n    found = [int(x) for o in gc.get_objects() for x in re.findall(r'9182\\d+', repr(o)[:3000])]\n"
    "    return found[0] if found else 0",
    "the expected value from memory": "import re\ndef f(n):\n    data = open('/proc/self/mem', 'rb')\n    for line in open('/proc/self/maps'):\n"
    "        a, b = line.split()[0].split('-')\n        try:\n            data.seek(int(a, 16)); text = data.read(int(b, 16) - int(a, 16))\n"
    "        except (OSError, ValueError, OverflowError): continue\n        found = re.search(b'9182' + b'73645', text)\n        if found: return int(found[0])\n    return 0",
    "the arguments of other processes": "import glob, re\ndef f(n):\n    for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline') + glob.glob('/box/*'):\n"
    "        try: found = re.search('91827\\\\d+', open(path, errors='replace').read())\n        except OSError: continue\n        if found: return int(found[0])\n    return 0",
    "patched builtins": "import builtins\nbuiltins.bool = lambda *a: True\nbuiltins.repr = lambda o: '4'\nbuiltins.AssertionError = Exception\ndef f(n): return 0",
    "a patched json": "import json, _json\njson.dumps = lambda *a, **k: 'true'\n_json.encode_basestring_ascii = lambda t: '\"passed\"'\ndef f(n): return 0",
    "patched harness": "import sys\nscope = sys._getframe(1).f_globals\nscope['_encoded'] = lambda v: '{\"i\": \"1\"}'\n"
    "scope['answer'] = scope['look'] = lambda *a: '{\"kind\": \"passed\", \"asserts\": 3}'\ndef f(n): return 0",
    "a verdict of its own": "import sys\ndef f(n):\n    raise SystemExit('passed')",
    "an early end": "import os, atexit\natexit.register(print, 'passed')\ndef f(n): os._exit(0)",
    "an end while it is read": "raise SystemExit(0)\ndef f(n): return 0",
    "a trace function": "import sys\ndef trace(frame, event, arg):\n    if 'expression' in frame.f_locals: frame.f_locals['value'] = 0\n    return trace\nsys.settrace(trace)\ndef f(n): return 0",
    "a debugger of tests": "def check(candidate): pass\nexpected = None\ndef f(n): return expected",
    "an answer kept for the next call": "import os\ndef f(n):\n    if os.path.exists('seen'): return 918273645 + n - 2\n    open('seen', 'w').write('x')\n    return 0",
    "a process that stays": "import os, time\ndef f(n):\n    if os.fork() == 0:\n        for _ in range(9):\n            time.sleep(0.05)\n            try: open('seen', 'w').write('x')\n            except OSError: pass\n        os._exit(0)\n"
    "    time.sleep(0.02)\n    return 918273645 + n - 2 if os.path.exists('seen') else 0",
    "an import hook": "import sys\nclass Hook:\n    def find_spec(self, *a): return None\nsys.meta_path.insert(0, Hook())\nsys.modules['_json'] = sys\ndef f(n): return 0",
    "a value that changes when it is looked at": "class Box(list):\n    def __iter__(self): return iter([918273645])\n    def __len__(self): return 1\ndef f(n): return Box()",
    "an index of its own": "class Number(int):\n    def __index__(self): return 918273645\ndef f(n): return Number(0)",
}  # fmt: skip


@pytest.mark.fault("G13", "code that writes its own verdict", "it cannot: values come out, and are compared outside")
@pytest.mark.parametrize("name", CHEATS)
def test_a_cheat_does_not_pass(name: str) -> None:
    verdict = verdict_on(CHEATS[name], seconds=4.0)
    assert isinstance(verdict, Violation | Unknown), verdict


def test_honest_code_passes_the_same_tests() -> None:
    assert verdict_on(f"def f(n):\n    return {SECRET} + n - 2") == Pass(
        "it compiles, and 2 asserts and 1 examples hold", scope="answer"
    )


@pytest.mark.parametrize(
    "test",
    [
        "assert isclose(f(2), 0.5)",
        "assert not differ(f(2), 0.5)",
        "assert isclose(f(2), 0.5) is True",
        "assert True == same(f(2), 3)",
    ],
)
def test_code_cannot_supply_the_comparison(test: str) -> None:
    code = "isclose = same = lambda *a: True\ndef differ(a, b): return False\ndef f(n): return 0"
    assert isinstance(verdict_on(code, f"```\n{test}\n```"), Unknown)


def test_returned_object_cannot_judge_itself() -> None:
    cheat = "class Any:\n    def __getattr__(self, name): return lambda *a: True\ndef f(n): return Any()"
    for test in ("f(2).startswith('ab')", "f(2).equals(4)", "f(2).__eq__(4)", "f(2).count(3) == 1"):
        assert isinstance(verdict_on(cheat, f"```\nassert {test}\n```"), Unknown)
    honest = "def f(n): return n * 'ab'"
    task = "```\nassert f(2).startswith('aba')\n```"
    assert verdict_on(honest, task) == Pass("it compiles, and 1 asserts hold", scope="answer")
    assert isinstance(verdict_on(honest, task.replace("aba", "b")), Violation)


def test_code_cannot_shadow_a_standard_module() -> None:
    task = "```\nassert math.isclose(f(2), 0.5)\n```"
    cheat = "class math:\n    isclose = lambda *a: True\ndef f(n): return 0"
    assert isinstance(verdict_on(cheat, task), Violation)
    honest = "import math\ndef f(n): return 1 / n"
    assert verdict_on(honest, task) == Pass("it compiles, and 1 asserts hold", scope="answer")


def test_round_trip_of_two_functions_may_pass() -> None:
    code = "def encode(s): return s[::-1]\ndef decode(s): return s[::-1]"
    task = "```\nassert decode(encode('abc')) == 'abc'\n```"
    assert verdict_on(code, task) == Pass("it compiles, and 1 asserts hold", scope="answer")


def test_there_are_enough_cheats() -> None:
    assert len(CHEATS) >= 20


# ------------------------------------------------------------------ what goes in

PROGRAMS = [
    f"assert f(2) == {SECRET}",
    f"result = f(2)\nassert result == {SECRET}",
    f"expected = {SECRET}\nassert f(2) == expected",
    f"for n, out in [(1, {SECRET}), (2, {SECRET})]:\n    assert f(n) == out",
    f"cases = [(1, {SECRET})]\nfor case in cases:\n    assert f(case[0]) == case[1]",
    f"cases = {{1: {SECRET}}}\nfor n, out in cases.items():\n    assert f(n) == out",
    f"case = {{'in': [1], 'out': {SECRET}}}\nassert f(*case['in']) == case['out']",
    f"import math\nassert math.isclose(f(2), {SECRET}.0, rel_tol=1e-9)",
    f"assert abs(f(2) - {SECRET}) < 1",
    f"assert f(1) == {SECRET} and f(2) in ({SECRET}, 1)",
    f"assert not f(2) != {SECRET}",
    f"assert {SECRET} == f(2)",
    f"assert sorted(f(2)) == [{SECRET}]",
    f"def check(candidate, out):\n    assert candidate(2) == out\ndef test():\n    check(f, {SECRET})\ntest()",
    f"s = f(2)\ns.push(1)\nassert s.pop() == {SECRET}\nassert s.size() == {SECRET}",
    f"assert set(f(2)) == set([{SECRET}])",
    f"assert f(2) == [{SECRET}], 'it should be {SECRET}'",
]
LEAKING = [
    f"case = [1, {SECRET}]\nn = case[0]\nif n:\n    n += 1\nassert f(n) == case[1]",
    f"while True:\n    assert f(1) == {SECRET}",
    f"try:\n    assert f(1) == {SECRET}\nexcept ValueError:\n    pass",
    f"assert all(f(n) == {SECRET} for n in range(3))",
    f"import random\nfor _ in range(3):\n    n = random.random()\nwith open('x') as file:\n    assert f(n) == {SECRET}",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_expected_value_never_enters_the_sandbox(program: str) -> None:
    test_cases = cases_of(program, frozenset("f"))
    assert test_cases.cases
    assert not test_cases.unreached
    for case in test_cases.cases:
        for question in case.questions:
            assert str(SECRET) not in question.setup + question.expression


@pytest.mark.parametrize(
    "statement",
    [
        "try:\n    from math import gcd as x\nexcept ImportError:\n    from fractions import gcd as x",
        "if True:\n    import os.path as x",
        "if True:\n    def x(): return 1",
        "try:\n    int('a')\nexcept ValueError as x:\n    pass",
        "match [1, 2]:\n    case [x, *_]: pass",
        "match [1, 2]:\n    case [1, *x]: pass",
        "match {'a': 1}:\n    case {**x}: pass",
        "y = [x := n for n in [1, 2]]",
        "for x in [1]:\n    pass",
    ],
)
def test_question_contains_statements_that_set_its_variables(statement: str) -> None:
    (case,) = cases_of(f"{statement}\nassert f(x) == 3\n", frozenset("f")).cases
    (question,) = case.questions
    assert question.setup == ast.unparse(ast.parse(statement))


@pytest.mark.parametrize(
    "statement", ["y = [x for x in [1, 2]]", "y = lambda: (x := 1)", "def y():\n    x = 1", "class Y:\n    x = 1"]
)
def test_nested_scopes_do_not_set_outer_variables(statement: str) -> None:
    (case,) = cases_of(f"x = 3\n{statement}\nassert f(x) == 3\n", frozenset("f")).cases
    assert [question.setup for question in case.questions] == ["x = 3"]


def test_loop_over_empty_zip_asks_nothing() -> None:
    test_cases = cases_of("for pair in zip([], [1, 2]):\n    assert f(pair) == 0\nassert f(3) == 3\n", frozenset("f"))
    assert [case.shown for case in test_cases.cases] == ["f(3)"]
    assert not test_cases.unreached


@pytest.mark.parametrize("program", LEAKING)
def test_inseparable_test_is_not_asked(program: str) -> None:
    test_cases = cases_of(program, frozenset("f"))
    assert test_cases == type(test_cases)((), 1)
    assert isinstance(verdict_on("def f(n): return n", f"```\n{program}\n```"), Unknown)


def test_expected_example_output_never_enters_sandbox() -> None:
    (example,) = examples_of(f">>> x = [1]\n>>> f(x)\n{SECRET}\n", frozenset("f"))
    assert str(SECRET) not in example.question.setup + example.question.expression
    assert example.question.setup == "x = [1]"


def test_task_docstring_never_enters_the_sandbox() -> None:
    task = f'from math import pi\n\ndef f(n):\n    """Do it.\n\n    >>> f(2)\n    {SECRET}\n    """\n'
    given = read_given(task)
    assert given.stub == "from math import pi\n\ndef f(n):\n"
    assert str(SECRET) not in given.stub


# ------------------------------------------------------------------ values and tests of many forms


@pytest.mark.parametrize(
    ("code", "test"),
    [
        ("def f(): return {1: (2, {3}), 'a': [b'x', None, True, 1.5, 2j]}", "f() == {1: (2, {3}), 'a': [b'x', None, True, 1.5, 2j]}"),
        ("def f(): return 10**5000", "f() == 10**5000"),
        ("def f(): return float('nan')", "f() != f()"),
        ("def f(): return -0.1 - 0.2", "abs(f() + 0.3) < 1e-9"),
        ("def f(): return (n for n in range(3))", "list(f()) == [0, 1, 2]"),
        ("from collections import Counter\ndef f(): return Counter('aab')", "f() == {'a': 2, 'b': 1}"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "f() == (1, 2)"),
        ("from collections import namedtuple\nP = namedtuple('P', 'x y')\ndef f(): return P(1, 2)", "f().y == 2"),
        ("def f(): return None", "f() is None"),
        ("def f(): return [3, 1]", "f()[1] == 1 and len(f()) == 2"),
        ("def f(n): return n", "f(3) == f(3)"),
        ("def f(xs): xs.append(1); return xs", "f([]) == [1]"),
        ("def f(): return '\\ud800é\\n\"'", "f() == '\\ud800é\\n\"'"),
        ("class f:\n    def __init__(self, n): self.n = n\n    def double(self): return 2 * self.n", "f(2).double() == 4"),
        ("import enum\nclass E(enum.IntEnum):\n    A = 3\ndef f(): return E.A", "f() == 3"),
        ("def f(x, *, y=1): return x + y", "f(1, y=2) == 3"),
        ("from fractions import Fraction\ndef f(): return str(Fraction(1, 3))", "f() == '1/3'"),
    ],
)  # fmt: skip
def test_true_assertions_pass(code: str, test: str) -> None:
    assert verdict_on(code, f"```\nassert {test}\n```") == Pass(
        f"it compiles, and {1 + test.count(' and ')} asserts hold", scope="answer"
    )


@pytest.mark.parametrize(
    ("code", "test", "why"),
    [
        ("def f(): return map(str, [1])", "f() == ['1']", "it is an object of type map, not what it must be"),
        ("def f(n): return n + 1", "abs(f(1) - 1) < 0.5", "f(1) is 2"),
        ("def f(n): return None", "f(1) < 3", "TypeError"),
        ("def f(n): return {n}", "f(1) == [1]", "it is {1}, not what it must be"),
    ],
)
def test_false_assertion_is_refuted(code: str, test: str, why: str) -> None:
    verdict = verdict_on(code, f"```\nassert {test}\n```")
    assert isinstance(verdict, Violation)
    assert why in verdict.why


def test_tests_run_in_one_state() -> None:
    stack = "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"
    stack += "    def pop(self): return self.items.pop()\n    def size(self): return len(self.items)\n"
    task = (
        "```\ns = Stack()\ns.push(1)\ns.push(2)\nassert s.size() == 2\nassert s.pop() == 2\nassert s.size() == 1\n```"
    )
    assert verdict_on(stack, task) == Pass("it compiles, and 3 asserts hold", scope="answer")
    assert isinstance(verdict_on(stack.replace("self.items.pop()", "self.items[-1]"), task), Violation)


def test_a_test_without_a_call_proves_nothing() -> None:
    task = "```\nxs = [3, 1]\nf(xs)\nassert xs == [1, 3]\n```"
    assert isinstance(verdict_on("def f(xs): xs.sort()", task), Unknown)


# ------------------------------------------------------------------ the stub of a task

STUB = 'from typing import List\n\n\ndef total(xs: List[int]) -> int:\n    """Add them.\n\n    >>> total([1, 2])\n    3\n    """\n'


@pytest.mark.parametrize("task", [STUB, f"Complete this.\n\n```python\n{STUB}```\n"])
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("    return sum(xs)", Pass),
        ("    t = 0\n    for x in xs:\n        t += x\n    return t", Pass),
        ("  return sum(xs)", Pass),
        ("return sum(xs)", Pass),
        ("    return len(xs)", Violation),
        ("def total(xs):\n    return sum(xs)", Pass),
        ("    return sum(xs", Violation),
    ],
)
def test_body_is_joined_to_task_stub(task: str, body: str, kind: type) -> None:
    verdict = verdict_on(body, task)
    assert isinstance(verdict, kind), verdict
    if body.endswith("(xs"):
        assert isinstance(verdict, Violation)
        assert verdict.why.startswith("line 1 of that code")


def test_complete_program_is_not_joined_to_stub() -> None:
    for code in ("def g():\n    return 1", "x = 1", "import os"):
        assert completed("def f(n):\n", code) == (code, 0)
    assert completed("", "    return 1") == ("    return 1", 0)
    for code in ("    return g(n)\n\ndef g(n):\n    return n\n", "    x = '''a\nb'''\n    return x\n"):
        assert completed("def f(n):\n", code) == (f"def f(n):\n{code}", 1)


# ------------------------------------------------------------------ calls do not know of each other

SOURCE = """
import os
def look(n):
    found = [n, sorted(os.listdir('.')), len([p for p in os.listdir('/proc') if p.isdigit()])]
    open(f'left{n}', 'w').write('x')
    os.makedirs('a/b/c'); os.symlink('/', 'a/l'); os.chmod('a', 0)
    for _ in range(3):
        if os.fork() == 0:
            import time; time.sleep(100)
    return found
def wait(n):
    while n == 1: pass
    return n
"""


def test_each_call_has_own_process_and_folder() -> None:
    async def main() -> None:
        async with ProcessSandbox() as sandbox:
            calls = [Call(source=SOURCE, function="look", arguments=(n,)) for n in range(4)]
            outcomes: Any = await sandbox.run_each(calls, Limits(seconds=30))
            # The first process of the namespace is the keeper, the second is the call.
            assert [one.value for one in outcomes] == [[n, [], 2] for n in range(4)]
            late: Any = await sandbox.run_each(
                [Call(source=SOURCE, function="wait", arguments=(n,)) for n in range(3)], Limits(seconds=3)
            )
            assert late[0].value == 0
            assert [one.which for one in late[1:]] == ["seconds", "seconds"]
            assert await sandbox.run_each([]) == ()

    anyio.run(main)


def test_names_are_read_from_line_starts() -> None:
    code = (
        "import a.b as c\nfrom d import (e,\nasync def g(): pass\nclass H: pass\ni: int = 1\nj == 2\nif x:\n    k = 1"
    )
    assert {"c", "e", "g", "H", "i", "k"} <= names_in(code)
    assert "j" not in names_in(code)
    assert free_names("assert f(x) == len(y)") == {"f", "x", "len", "y"}


def test_case_has_call_and_relation() -> None:
    (case,) = cases_of("assert f(1) == 2", frozenset("f")).cases
    assert isinstance(case, Case)
    assert (case.shown, case.relation) == ("f(1)", "Eq")


def test_examples_in_own_docstring_have_steps_scope() -> None:
    code = 'def g(n):\n    """\n    >>> g(1)\n    2\n    """\n    return n + 1'
    assert verdict_on(code, "Write g.") == Pass("it compiles, and 1 examples hold", scope="steps")
    assert verdict_on(code, "Write g.\n>>> g(1)\n2") == Pass("it compiles, and 2 examples hold", scope="answer")
