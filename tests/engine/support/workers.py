"""Verifiers for worker processes, which must be able to import them."""

import ctypes
import os
import sys
import threading
import time

from interwhen import Claim, Pass, verifier
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


def make_local():
    """Return a verifier that no other process can find."""

    @verifier(name="local", worker="process")
    def local(claim):
        return judge(claim)

    return local


@verifier(name="hangs", worker="process", deadline=0.3)
def hangs(claim):
    if claim.left == 1:
        time.sleep(1000)
    return Pass(str(os.getpid()))
