"""A plug-in for the tests: checks that cost as much as their claims say."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from interwhen import Claim, Monitor, Pass, Unknown, Violation, verifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Claim):
    """A claim that needs *ms* of CPU time; *say* is the verdict."""

    ms: float = 0.0
    say: str = "pass"


def burn(ms):
    # Not process_time(): it may stand still for 4 ms in a process whose CPU time is limited, as that of our workers.
    until = time.thread_time() + ms / 1000
    while time.thread_time() < until:
        pass


def verdict(claim):
    burn(claim.ms)
    match claim.say:
        case "pass":
            return Pass(f"pid {os.getpid()}")
        case "wrong":
            return Violation("it is wrong")
        case "hang":
            time.sleep(60)
        case "raise":
            raise ValueError("broken")
        case "exit":
            os._exit(3)
        case "long":
            return Pass("x" * 1000)
        case "mock":
            return Pass(Text("forged"))
    return Unknown("unsaid")


class Text(str):
    __slots__ = ()


@verifier(name="work", worker="process", deadline=20.0)
def check(claim):
    return verdict(claim)


@verifier(name="in_thread", worker="thread", deadline=20.0)
def check_in_thread(claim):
    return verdict(claim)


@verifier(name="prepared", worker="process", deadline=20.0)
def check_prepared(claim, prepared):
    burn(claim.ms)
    return Pass(f"{prepared} {os.getpid()}")


def nothing(_segment, *_more):
    return ()


def work() -> Monitor:
    return Monitor(name="work", verifier=check, extractor=nothing)


def in_thread() -> Monitor:
    return Monitor(name="in_thread", verifier=check_in_thread, extractor=nothing)


def prepared(*, folder: str = "", prefix: str = "") -> Monitor:
    def prepare(task):
        if folder:
            (Path(folder) / f"{os.getpid()}-{time.time_ns()}").touch()
        return prefix + task.question

    return Monitor(name="prepared", verifier=check_prepared, extractor=nothing, prepare=prepare)


def lines(segment):
    return [Work(key=f"{segment.text}{segment.span.start}", span=segment.span, ms=9)]


def speaking() -> Monitor:
    return Monitor(name="speaking", verifier=check_in_thread, extractor=lines)


def sized(*, ms: float) -> Monitor:
    @verifier(name=f"sized-{ms:g}", worker="thread", deadline=20.0)
    def check_sized(claim):
        return verdict(claim)

    return Monitor(name=f"sized-{ms:g}", verifier=check_sized, extractor=nothing)
