"""Tests wait for what must happen: not for a time, and not less than a busy machine takes."""

import ast

import pytest
from tests.architecture import patience

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

ALLOWED: dict[str, str] = {
    # A test, as file::function, and why it cannot wait for an event, count steps or read time.thread_time().
}


def test_tests_do_not_depend_on_machine_load():
    impatience = {
        f"{each.file}::{each.function}": f"line {each.line}: {each.what}" for each in patience.impatient_places()
    }
    more = {test: what for test, what in impatience.items() if test not in ALLOWED}
    assert more == {}, "wait for an event, count steps, or read time.thread_time()"
    assert impatience.keys() == ALLOWED.keys(), "rows that nothing needs"


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("assert time.monotonic() - began < 1.5", "elapsed"),
        ("took = time.perf_counter() - began\n    assert took <= 0.05", "elapsed"),
        ("took = time.perf_counter() - began\n    assert 0.1 > took, took", "elapsed"),
        ("assert time.monotonic() - began < limit", "elapsed"),
        ("assert time.monotonic() - began < 30", ""),
        ("assert time.monotonic() - began > 0.9", ""),
        ("assert time.monotonic() < until", ""),
        ("assert time.thread_time() - began < 0.5", ""),
        ("time.sleep(2)", "long sleep"),
        ("with anyio.fail_after(5):\n        ...", "less than 30 s"),
        ("with anyio.fail_after(60):\n        ...", ""),
        ("with anyio.move_on_after(5):\n        ...", ""),
        ("assert done.wait(10)", "less than 30 s"),
        ("assert not done.wait(0.1)", ""),
        ("subprocess.run(command, timeout=20)", "less than 30 s"),
        ("subprocess.run(command, timeout=None)", ""),
        ("until = time.monotonic() + 10", "less than 30 s"),
        ("until = time.monotonic() + 60", ""),
        ("time.sleep(0.3)\n    assert done", "assert straight after"),
        ("while not done:\n        time.sleep(0.01)\n    assert done", ""),
        ("assert page.locator('a').count() == 1", "count()"),
        ("assert text.count('a') == 1", ""),
        ("expect(page.locator('a')).to_have_count(1)", ""),
    ],
)
def test_load_dependent_patterns_are_detected(code, what):
    (function,) = ast.parse(f"def test():\n    {code}").body
    patterns = [what for _, what in patience.judge(function, "view/test_page.py")]
    assert [what in each for each in patterns] == [True] * bool(what)
