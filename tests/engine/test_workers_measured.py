"""What the workers measure of each check: its CPU time, with that of the programs that it starts."""

import subprocess
import sys
import threading
import time

import anyio
import interwhen
import pytest
from interwhen import Claim, Pass, verifier

pytestmark = pytest.mark.anyio
BURN = "import time\nwhile time.process_time() < {}: pass"
CLAIM = Claim(key="k", span=None)


def burn(seconds):
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


@verifier(name="burns", worker="thread", deadline=120.0)
def burns(claim):
    burn(0.03)
    return Pass()


@verifier(name="starts", worker="thread", deadline=120.0)
def starts(claim):
    subprocess.run([sys.executable, "-c", BURN.format(0.2)], check=True)
    return Pass()


@verifier(name="waits", worker="thread", deadline=120.0)
def waits(claim):
    time.sleep(0.05)
    return Pass()


async def measured(*verifiers):
    timings = []
    pool = interwhen.Workers(when_measured=lambda each, spent: timings.append((each.name, spent)))
    async with pool as workers, anyio.create_task_group() as group:
        for each in verifiers:
            group.start_soon(workers.check, each, CLAIM, anyio.CancelScope(deadline=anyio.current_time() + 120))
    return dict(timings)


async def test_threaded_check_measures_own_cpu_and_subprocesses():
    assert (await measured(burns))["burns"] >= 0.03
    assert (await measured(waits))["waits"] < 0.03
    assert (await measured(starts))["starts"] >= 0.2


async def test_subprocesses_of_concurrent_checks_are_not_attributed():
    both = threading.Barrier(2)

    @verifier(name="together", worker="thread", deadline=120.0)
    def together(claim):
        both.wait(60)
        subprocess.run([sys.executable, "-c", BURN.format(0.05)], check=True)
        both.wait(60)
        return Pass()

    assert await measured(together, together) == {}
