"""The verifier ``python``: what is refuted is wrong, and what is not surely understood is left alone."""

from __future__ import annotations

import sys

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Message, Pass, Segment, Span, Task, Unknown, UsageError, Violation, run
from interwhen.testing import ScriptedModel

from interwhen_verifiers._blocks import read_block
from interwhen_verifiers._python.given import read_given
from interwhen_verifiers.python import python, start, step

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the process sandbox needs Linux")

TASK = "Write double(n).\n\n```python\nassert double(2) == 4\nassert double(5) == 10\n```\n"


def block(code, language="python"):
    return f"```{language}\n{code}\n```"


def claims(texts, task=TASK):
    before = start(read_given(task))
    all_claims = []
    for text in texts:
        before, more = step(before, Segment(text, Span(7, 7 + len(text)), "answer"))
        all_claims += more
    return all_claims


def verdict_on(*codes, task=TASK, **options):
    monitor = python(**options)
    prepared = monitor.prepare(Task(task))
    claim = claims([code if code.startswith("```") else block(code) for code in codes], task)[-1]
    return anyio.run(monitor.verifier.check, claim, prepared), claim


def test_code_passing_its_tests_passes():
    verdict, _ = verdict_on("def double(n):\n    return 2 * n")
    assert verdict == Pass("it compiles, and 2 asserts hold", scope="answer")


def test_failing_assert_reports_value_and_place():
    verdict, claim = verdict_on("import math\n\ndef double(n):\n    return n + 2")
    assert verdict.why == "the test of double(5) fails: it is 7, not what it must be"
    assert verdict.witness == "double(5) is 7, and must be 10"
    assert claim.code.splitlines()[2] == "def double(n):"
    assert (verdict.where.start, verdict.where.end) == (13, 27)


def test_an_exception_is_placed_at_its_line():
    verdict, _ = verdict_on("def double(n):\n    x = n / 0\n    return x")
    assert verdict.why == "the test double(2) fails: ZeroDivisionError: division by zero"
    text = block("def double(n):\n    x = n / 0\n    return x")[10:]
    assert text[verdict.where.start : verdict.where.end] == "    x = n / 0"


def test_humaneval_check_functions_are_read():
    task = "```python\ndef check(candidate):\n    assert candidate(2) == 4\n\ncheck(double)\n```"
    assert verdict_on("def double(n):\n    return n * 2", task=task)[0] == Pass(
        "it compiles, and 1 asserts hold", scope="answer"
    )
    wrong, _ = verdict_on("def double(n):\n    return n * 3", task=task)
    assert wrong.witness == "double(2) is 6, and must be 4"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("def double(n)\n    return n", "line 1 of that code is not valid Python: expected ':'"),
        ("def double(n):\n    return (n", "'(' was never closed"),
        ("x = = 3", "invalid syntax"),
    ],
)
def test_syntax_error_is_refuted(code, message):
    verdict, _ = verdict_on(code)
    assert isinstance(verdict, Violation)
    assert message in verdict.why


@pytest.mark.parametrize(
    "code",
    [
        "    return 2 * n",
        "return 2 * n",
        "def double(n):\n    # your code here",
        ">>> double(2)\n4",
        "!pip install numpy\nimport numpy",
        "await double(2)\nreturn 3",
        "for x in y:",
        "type Number = int | float",
        "def first[T](items: list[T]) -> T: return items[0]",
        'names = {"a": 1}\nf"{names["a"]}"',
    ],
)
def test_fragments_and_newer_syntax_are_not_refuted(code):
    verdict, _ = verdict_on(code)
    assert not isinstance(verdict, Violation), verdict


@pytest.mark.parametrize(
    "code",
    [
        "import numpy as np\ndef double(n): return int(np.multiply(n, 2))",
        "def double(n): return int(open('answers').read())",
        "def double(n): return int(input())",
        "import sys\ndef double(n): sys.exit(1)",
        "def double(n):\n    while True: pass",
        "def double(n): return bytearray(1 << 40)",
        "import random\ndef double(n): return random.random()",
        "import socket\ndef double(n): socket.create_connection(('example.org', 80))",
    ],
)
def test_sandbox_limit_or_chance_is_unknown(code):
    assert isinstance(verdict_on(code, seconds=1.0)[0], Unknown)


@pytest.mark.parametrize(
    "code",
    [
        "def double(n):\n    ...",
        "def double(n): ...",
        "def double(n: int) -> int:\n    # the body comes next\n    ...  # later",
        "def double(n):\n    raise NotImplementedError",
        "def double(n):\n    raise NotImplementedError('later')  # to do",
        "# Wrong:\ndef double(n):\n    return n",
        "# this version does not work\ndef double(n):\n    return n",
    ],
)
def test_skeleton_or_wrong_call_is_unknown(code):
    assert isinstance(verdict_on(code)[0], Unknown)


@pytest.mark.parametrize(
    "code",
    [
        "def double(n):\n    pass",
        "def double(n):\n    return [..., n][1]",
        "# Double the number.\ndef double(n):\n    return n",
        "from typing import overload\n\n@overload\ndef double(n: int) -> int: ...\n\ndef double(n):\n    return n",
    ],
)
def test_code_that_only_resembles_a_skeleton_is_refuted(code):
    assert isinstance(verdict_on(code)[0], Violation)


def test_late_option_makes_timeout_a_violation():
    verdict, _ = verdict_on("def double(n):\n    while True: pass", seconds=1.0, late="violation")
    assert verdict == Violation(why="it does not come to an end in the time that is given")


def test_code_without_the_tested_function_is_unknown():
    verdict, _ = verdict_on("def triple(n):\n    return 3 * n")
    assert verdict == Unknown("it compiles, and does not define what the tests call: double")


def test_names_of_earlier_blocks_are_known():
    helper = "def twice(n):\n    return n + n"
    assert isinstance(verdict_on(helper, "def double(n):\n    return twice(n)")[0], Pass)
    shown, _ = verdict_on("def double(n):\n    return n + n", "print(double(21))")
    assert shown == Unknown("it compiles; there was no test of it, so it was not run")


@pytest.mark.parametrize("code", ["raise ValueError('for example')", "data = json.loads(response)", "1 / 0"])
def test_untested_code_is_not_run(code):
    assert verdict_on(code, task="Explain.")[0] == Unknown("it compiles; there was no test of it, so it was not run")


def test_trailing_error_demonstration_is_not_refuted():
    shows = "\n\ndouble('x', 3)  # an error"
    verdict, _ = verdict_on("def double(n):\n    return n + n" + shows)
    assert isinstance(verdict, Unknown)
    assert verdict.why.startswith("its tests hold, and it cannot be run as it stands: TypeError")
    assert isinstance(verdict_on("def double(n):\n    return n" + shows)[0], Violation)
    assert isinstance(verdict_on("from math import nothing_of_the_kind as double")[0], Unknown)


def test_undefined_name_may_come_from_later_block():
    verdict, _ = verdict_on("def double(n):\n    return twice(n)")
    assert isinstance(verdict, Unknown)
    assert "unless a later block defines" in verdict.why
    forgotten, _ = verdict_on("def double(n):\n    return int(math.ldexp(n, 1))")
    assert forgotten.why == "the test double(2) fails: NameError: name 'math' is not defined"


def test_builtin_can_be_the_tested_function():
    task = "```python\nassert sum(2, 3) == 5\n```"
    assert isinstance(verdict_on("def sum(a, b):\n    return a - b", task=task)[0], Violation)


def test_doctests_of_task_and_code_are_run():
    task = 'Complete it:\n```python\ndef inc(n):\n    """Add one.\n\n    >>> inc(1)\n    2\n    """\n```'
    assert verdict_on("def inc(n):\n    return n + 1", task=task)[0] == Pass(
        "it compiles, and 1 examples hold", scope="answer"
    )
    wrong, _ = verdict_on("def inc(n):\n    return n", task=task)
    assert wrong.why == "the example of inc(1) fails: it is 1, not what it must be"
    own = 'def dec(n):\n    """\n    >>> dec(3)\n    2\n    """\n    return n'
    assert isinstance(verdict_on(own, task="Write dec.")[0], Violation)
    assert isinstance(verdict_on(own, task="Write dec.", doctests=False)[0], Unknown)


@pytest.mark.parametrize(
    ("want", "value"),
    [
        ("0.33", "1 / 3"),
        ("{'b': 1, 'a': 2}", "dict(a=2, b=1)"),
        ("<object>", "object()"),
        ("'x'", '"x"'),
        ("[1,2]", "[1, 2]"),
    ],
)
def test_examples_differing_in_form_are_not_refuted(want, value):
    code = f'def f():\n    """\n    >>> f()\n    {want}\n    """\n    return {value}'
    assert not isinstance(verdict_on(code, task="Write f.")[0], Violation)


@pytest.mark.parametrize(
    ("want", "value"),
    [
        ("0.6", "0.5"),
        ("3.14", "3.15"),
        ("1e-05", "0.9"),
        ("1.5", "float('nan')"),
        ("'a    '", "'a '"),
        ("'a  b'", "'a b'"),
    ],
)
def test_example_output_must_match_exactly(want, value):
    verdict, _ = verdict_on(f"def f():\n    return {value}", task=f">>> f()\n{want}\n")
    assert isinstance(verdict, Violation)


@pytest.mark.parametrize(
    ("example", "code", "kind"),
    [
        ("f(2)\n[0.67, -0.33]", "return [2 / 3, -1 / 3]", Pass),
        ("f(2)\n(1, [0.67])", "return 1, [2 / 3]", Pass),
        ("f(2)\n[0.67, 0.33]", "return [2 / 3, 0.4]", Violation),
        ("f(2)\n[0.67]", "return (2 / 3,)", Violation),
        ("f(2)\n[0.67]", "return [2 / 3, 1]", Violation),
        ("f(2)  # doctest: +ELLIPSIS\n[0, 1, ..., 9]", "return list(range(10))", Unknown),
        ("f(2)  # doctest: +SKIP\n5", "return 4", Unknown),
        ("f(2)\nTraceback (most recent call last):\nValueError: no", "raise ValueError('no')", Pass),
        ("f(2)\nTraceback (most recent call last):\nException: no", "raise Exception('no')", Pass),
        ("f(2)\nTraceback (most recent call last):\nValueError: no", "raise KeyError('no')", Unknown),
        ("f(2)\nValueError: no", "raise ValueError('no')", Unknown),
        ("f(2)\nraises an error", "raise ValueError('no')", Unknown),
        ("f(2)\n4", "raise ValueError('no')", Violation),
    ],
)
def test_examples_support_lists_directives_and_errors(example, code, kind):
    assert isinstance(verdict_on(f"def f(n):\n    {code}", task=f">>> {example}\n")[0], kind)


@pytest.mark.parametrize(
    ("tests", "kind"),
    [
        ("i = 5\nfor i in [1, 2]:\n    assert double(i) == 2 * i\nassert double(i) == 4", Pass),
        ("for x in [1]:\n    assert double(len([x for x in [7, 8]])) == 4", Unknown),
        ("for x in [1]:\n    assert double((lambda x: x + 1)(5)) == 12", Unknown),
        ("x = 1\ndef check(f):\n    x = 3\n    assert f(x) == 6\ncheck(double)\nassert double(x) == 2", Unknown),
        ("def check(f, n):\n    n = n + 1\n    assert f(n) == 4\ncheck(double, 1)", Unknown),
        ("def check(f):\n    assert f(1) == 2\n    return\n    assert f(1) == 9\ncheck(double)", Unknown),
        ("for n in [1, 5]:\n    n += 1\n    assert double(n) in (4, 12)", Unknown),
        ("for n in [1, 'x']:\n    if n == 'x':\n        break\n    assert double(n) == 2", Unknown),
    ],
)
def test_variables_and_jumps_refute_no_right_code(tests, kind):
    verdict, _ = verdict_on("def double(n):\n    return 2 * n", task=f"```python\n{tests}\n```")
    assert isinstance(verdict, kind)


OWN = """class Vector(list):
    def __add__(self, other):
        return Vector(one + two for one, two in zip(self, other))

class Name(str):
    def __eq__(self, other):
        return self.lower() == other.lower()
    __hash__ = str.__hash__
"""


@pytest.mark.parametrize(
    ("test", "kind"),
    [
        ("Vector([1, 2]) + Vector([1, 1]) == Vector([2, 3])", Unknown),
        ("Name('A') == 'a'", Unknown),
        ("Name('A') == 'A'", Pass),
    ],
)
def test_operators_defined_by_the_code_are_unknown(test, kind):
    assert isinstance(verdict_on(OWN, task=f"```python\nassert {test}\n```")[0], kind)


def test_printed_text_with_other_spaces_is_unknown():
    task = ">>> f()\na  b\n"
    assert isinstance(verdict_on("def f():\n    print('a b')", task=task)[0], Unknown)
    assert isinstance(verdict_on("def f():\n    print(' a  b ')", task=task)[0], Pass)


NODES = """class Node:
    def __init__(self, value):
        self.value, self.next = value, None

def values(node):
    return [node.value, *values(node.next)] if node else []

def total(grid):
    return sum(map(sum, grid))
"""


@pytest.mark.parametrize(
    "tests",
    [
        "head = Node(1)\nlast = Node(2)\nhead.next = last\nlast.next = Node(3)\nassert values(head) == [1, 2, 3]",
        "grid = [[0, 0], [0, 0]]\nrow = grid[0]\nrow[1] = 5\nassert total(grid) == 5",
        "grid = [[0, 0], [0, 0]]\nrow = grid[0]\ncells = row\ncells.append(5)\nassert total(grid) == 5",
    ],
)
def test_changes_by_another_name_belong_to_the_arguments(tests):
    assert verdict_on(NODES, task=f"```python\n{tests}\n```")[0] == Pass(
        "it compiles, and 1 asserts hold", scope="answer"
    )


COUNTER = """count = []

def push(value):
    count.append(value)
    return len(count)

def pop():
    return count.pop()
"""


@pytest.mark.parametrize(
    "task",
    [
        "```python\nassert push(7) == 1\nassert push(7) == 2\n```",
        "```python\nimport math\npush(7)\npush(9)\nassert math.isclose(pop(), 9)\n```",
        ">>> push(7)\n1\n>>> push(7)\n2\n",
        "```python\nxs = [push(1), push(2)]\nassert pop() == 2\n```",
    ],
)
def test_stateful_code_is_not_refuted_by_one_call(task):
    assert isinstance(verdict_on(COUNTER, task=task)[0], Unknown)
    wrong, _ = verdict_on(COUNTER.replace("len(count)", "0").replace("count.pop()", "0"), task=task)
    assert isinstance(wrong, Violation)


def test_tests_option_supplies_tests():
    verdict, _ = verdict_on("def f(x):\n    return x", task="Write f.", tests="assert f(2) == 3")
    assert verdict.witness == "f(2) is 2, and must be 3"


def test_code_in_task_is_no_answer():
    task = "What is wrong here?\n```python\ndef f(:\n    pass\n```\n"
    assert claims([block("def f(:\n    pass")], task) == []


def test_python_2_is_not_judged():
    assert isinstance(verdict_on('print "x"', task="Use Python 2.7.")[0], Unknown)


@pytest.mark.parametrize("language", ["", "text", "c", "pycon", "python2"])
def test_blocks_in_other_languages_make_no_claim(language):
    assert claims([block("x = = 3", language)]) == []


def test_the_places_of_lines_survive_an_indented_fence():
    text = "```python\n  def f():\n      return 1\n  ```"
    read = read_block(text)
    assert read.code == "def f():\n    return 1\n"
    assert [text[at:][:3] for at in read.starts] == ["def", "   "]


@pytest.mark.parametrize(
    ("text", "programs"),
    [
        ("Your code should pass: assert f(1) == 2", ()),
        ("Tests:\nassert f(1) == 2\nassert f([1,\n 2]) == 3\nThanks", ("assert f(1) == 2", "assert f([1,\n 2]) == 3")),
        ("assert yourself\nassert", ()),
        ("We assert that\nassert(f(1) == 2)", ("assert(f(1) == 2)",)),
        ("```\nfrom x import f\nassert f(1)\n```", ("from x import f\nassert f(1)\n",)),
    ],
)
def test_tests_are_read_from_task(text, programs):
    task_programs = read_given(text).programs
    assert tuple(one for one in task_programs if "yourself" not in one) == programs


@given(st.text(alphabet="`~ \n>.assert()[]\"'=12", max_size=200))
@settings(max_examples=200)
def test_any_task_and_any_block_can_be_read(text):
    read_given(text)
    read_block(text)
    step(start(read_given(text)), Segment(text, Span(0, len(text)), "answer"))


@pytest.mark.parametrize("part", ["assert (", "```\n", "(", "assert f(1)\n", ">>> ", "[", "\\", "-"])
def test_reading_a_hostile_task_is_linear(part):
    from interwhen.testing.complexity import Bait, assert_linear

    assert_linear(read_given, baits=[Bait(part)], size=2000)


@pytest.mark.parametrize(
    "code",
    ["(" * 5000, "-" * 50_000 + "1", "x = " + "9" * 100_000, "[" * 300 + "]" * 300, "\0", "\ud800 = 1", "a" * 99_000],
)
def test_hostile_code_gets_a_verdict(code):
    verdict, _ = verdict_on(code)
    assert isinstance(verdict, Violation | Unknown | Pass)


@pytest.mark.parametrize("options", [{"late": "never"}, {"seconds": 0.0}, {"tests": "assert ("}])
def test_invalid_options_are_refused(options):
    with pytest.raises(UsageError, match="python: "):
        python(**options)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_run_corrects_a_wrong_answer():
    wrong = "Here it is:\n\n" + block("def double(n):\n    return n + 2") + "\n\nIt adds two.\n"
    right = "Corrected:\n\n" + block("def double(n):\n    return n * 2") + "\n"
    model = ScriptedModel([wrong, right])
    async with run(model, (Message(role="user", content=TASK),), monitors=[python()]) as supervised:
        result = await supervised.drain()
    assert result.status == "verified", result
    assert result.violations[0].remedy == "feedback"
    assert "n + 2" not in result.text
    assert result.text.startswith("Here it is:\n\nWait, double(5) is 7, and must be 10.\nCorrected:")
    assert result.certificate.checks[-1].outcome.verdict == Pass("it compiles, and 2 asserts hold", scope="answer")
