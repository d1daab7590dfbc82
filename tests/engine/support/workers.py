"""Verifiers for worker processes, which must be able to import them."""

import ctypes
import os
import pathlib
import signal
import stat
import subprocess
import sys
import threading
import time

from interwhen import Claim, Monitor, Pass, Violation, verifier
from interwhen.toolkit import time_left
from sums import judge


class Unpicklable(Pass):
    def __reduce__(self):
        raise RuntimeError("this does not pickle")


class FailsToLoad(Claim):
    """A claim that can be written and not be read."""

    def __reduce__(self):
        return _fail, ()


def _fail():
    raise LookupError("cannot be loaded")


@verifier(name="process", worker="process", deadline=30.0)
def in_process(claim):
    """Do what the left number of the sum says."""
    match claim.left:
        case 10:
            os._exit(7)
        case 11:
            ctypes.string_at(0)
        case 12:
            raise RuntimeError("bad luck")
        case 13:
            return Unpicklable()
        case 14:
            return threading.Lock()
        case 15:
            sys.exit(3)
        case 16:
            return Pass(str(os.getpid()))
    return judge(claim)


@verifier(name="endless", worker="process", deadline=float("inf"))
def endless(_claim):
    """Pass if the CPU time of the process has no limit, or only that of the system."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    return Pass() if soft == hard else Violation(f"at most {soft} s")


@verifier(name="prepared", worker="process")
def prepared(_claim, value):
    return Pass(str(value))


@verifier(name="short", worker="process", deadline=0.1)
def short(_claim):
    return Pass()


@verifier(name="far", worker="process", deadline=1e19)
def far(_claim):
    return Pass()


@verifier(name="farther", worker="process", deadline=1e308)
def farther(_claim):
    return Pass()


def make_local():
    @verifier(name="local", worker="process")
    def local(claim):
        return judge(claim)

    return local


@verifier(name="hangs", worker="process", deadline=1.0)
def hangs(claim):
    time.sleep(1000)


def read_limit(task):
    return int(task.text.rsplit(" ", 1)[-1])


def numbers(segment, limit):
    if segment.text.isdecimal():
        yield Claim(key=segment.text, span=segment.span)


def within(claim, limit):
    return Pass() if int(claim.key) <= limit else Violation(why="too much", repair=str(limit))


limited_in_process = verifier(name="limited", worker="process", deadline=30.0)(within)
limited_in_thread = verifier(name="limited", worker="thread")(within)
within = limited_in_process  # a worker process finds it by the name of its function


def limited(worker="thread"):
    who = limited_in_process if worker == "process" else limited_in_thread
    return Monitor(name="limited", verifier=who, extractor=numbers, prepare=read_limit)


@verifier(name="faulty", worker="process", deadline=30.0)
def faulty(claim):
    """Fail in the way that the left number says."""
    match claim.left:
        case 20:
            bytearray(1 << 40)
        case 21:
            held = []
            while True:
                held.append(bytearray(1 << 24))
        case 22:
            _write_to_the_pipe(b"garbage that is no message at all")
        case 23:
            _write_to_the_pipe(b"iw1\n\xff\xff\xff\xff")
        case 24:
            _write_to_the_pipe(b"iw1\n\x00\x00\x00\x05nonse")
        case 25:
            return Pass("x" * (65 << 20))
        case 26:
            for _ in range(200):
                os.write(1, b"flood " * 10_000)
                print("flood " * 10_000)  # noqa: T201
        case 27:
            signal.raise_signal(signal.SIGXCPU)
        case 28:
            raise RecursionError
        case 29:
            return "pass"
    return judge(claim)


def _write_to_the_pipe(data):
    for number in range(3, 64):
        try:
            if stat.S_ISSOCK(os.fstat(number).st_mode):
                os.write(number, data)
        except OSError:
            continue


@verifier(name="spins", worker="process", deadline=1.0)
def spins(claim):
    while True:
        pass


def _have_a_child():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    pathlib.Path(os.environ["FAMILY_FILE"]).write_text(f"{os.getpid()} {child.pid}")


@verifier(name="family", worker="process", deadline=100.0)
def family(claim):
    """Start a child, say its number in a file, and die, or hang if the left number is 1."""
    _have_a_child()
    if claim.left == 1:
        time.sleep(600)
    os._exit(5)


@verifier(name="family_until_killed", worker="process", deadline=1.0)
def family_until_killed(claim):
    """Start a child, say its number in a file, and hang until the deadline."""
    _have_a_child()
    time.sleep(600)


@verifier(name="exits", worker="process", deadline=30.0)
def exits(claim):
    os._exit(5)


@verifier(name="left", worker="process", deadline=30.0)
def left(claim):
    return Pass(f"{time_left():.0f}")
