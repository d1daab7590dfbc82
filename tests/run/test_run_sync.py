"""Plain code gets the same events and the same result."""

import subprocess
import sys
import threading

import interwhen
import pytest
from interwhen import UsageError
from interwhen.events import Finished
from interwhen.testing import Pause, ScriptedModel
from interwhen.toolkit import MissingExtraError
from sums import Accountant, apply, watch

TEXT = ["1+1=2\n2+2=5\n", "\n3+3=6\n"]


def threads():
    # Return the threads but the one that watches all loops, which stays. Those of other tests may end meanwhile.
    return {thread for thread in threading.enumerate() if thread.name != "interwhen-loop-watch"}


@pytest.mark.parametrize("uvloop", [True, False])
def test_events_and_result(uvloop):
    before = threads()
    model = Accountant(TEXT)
    with interwhen.run_sync(model, "Q", uvloop=uvloop, monitors=[watch()]) as run:
        events = list(run)
    assert events[-1] == Finished(run.result)
    assert apply(events) == run.result.text == "1+1=2\n2+2=4\n3+3=6\n"
    assert run.result.status == "verified"
    model.assert_all_closed_once()
    assert threads() <= before


def test_drain():
    with interwhen.run_sync(ScriptedModel(TEXT), [{"role": "user", "content": "Q"}], monitors=[watch()]) as run:
        assert run.drain() is run.result


@pytest.mark.parametrize("stop", range(8))
def test_leaving_early(stop):
    model = Accountant([[TEXT[0], "x", "y", Pause(60)], [TEXT[1], Pause(60)]])
    with interwhen.run_sync(model, "Q", monitors=[watch()]) as run:
        for number, _ in enumerate(run):
            if number == stop:
                break
    assert run.result.status == "unverified"
    model.assert_all_closed_once()


def raise_inside(error, run):
    with run:
        next(run)
        raise error


def test_an_exception_inside_the_block_is_raised_unchanged():
    error = ValueError("mine")
    model = Accountant([["x", Pause(60)]])
    run = interwhen.run_sync(model, "Q")
    with pytest.raises(ValueError, match="mine") as caught:
        raise_inside(error, run)
    assert caught.value is error
    assert run.result.status == "unverified"
    model.assert_all_closed_once()


def test_what_cannot_be_done_says_so():
    run = interwhen.run_sync(ScriptedModel(["x"]), "Q")
    with pytest.raises(UsageError, match="must be read inside its block"):
        next(run)
    with pytest.raises(UsageError, match="no result yet"):
        _ = run.result
    with run:
        with pytest.raises(UsageError, match="only once"):
            run.__enter__()
        assert run.drain().text == "x"  # the run has not noticed
        with pytest.raises(StopIteration):
            next(run)
    with pytest.raises(UsageError, match="must be read inside its block"):
        next(run)
    assert run.result.text == "x"


def test_a_missing_uvloop_is_named(monkeypatch):
    monkeypatch.setattr("interwhen._run.run.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"interwhen\[fast\]"):
        interwhen.run_sync(ScriptedModel(["x"]), "Q", uvloop=True).__enter__()


INTERRUPTED = """
import sys, threading, interwhen
from interwhen.testing import Pause, ScriptedModel

class Interrupt:
    def __init__(self, at):
        self.left = at

    def __call__(self, frame, event, argument):
        # A signal is not handled where a `with` of Thread.start leaves its lock, and a trace function is: then the lock
        # stays locked (bpo-29988).
        if event == "line" and (frame.f_code.co_name, frame.f_globals.get("__name__")) != ("start", "threading"):
            self.left -= 1
            if self.left == 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self

def enter(line):
    run = interwhen.run_sync(ScriptedModel([["x", Pause(60)]]), "Q")
    sys.settrace(Interrupt(line))
    try:
        run.__enter__()
    except KeyboardInterrupt:
        return True
    except (RuntimeError, AttributeError):
        return True  # CPython's locks are not safe from it themselves: between two of their lines it may end as this
    finally:
        sys.settrace(None)
    run.__exit__(None, None, None)
    return False

enter(10**9)  # the first start imports asyncio and more: lines of other libraries, thousands of them
line = 1
while enter(line):
    line += 3
assert line > 100
assert all(thread.daemon for thread in threading.enumerate() if thread is not threading.main_thread())
print(line // 3)
"""


@pytest.mark.fault(
    "P3", injected="Ctrl-C at each line of the start of `run_sync`", happens="the run and the process end"
)
def test_interrupting_any_line_of_startup_hangs_nothing(record_property):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    record_property("tries", int(done.stdout))
