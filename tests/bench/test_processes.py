"""The processes of a benchmark: helpers end with it, and this process keeps to its core."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from interwhen import UsageError
from interwhen.bench._processes import child, memory_of, pinned

COMMAND = [sys.executable, "-c", "import sys; print('serving http://here', flush=True); sys.stdin.read()"]


def test_child_process_ends_with_its_block():
    with child(COMMAND, r"serving (\S+)") as (process, url):
        assert url == "http://here"
        assert process.poll() is None
    assert process.poll() is not None


def test_failing_helper_start_is_an_error():
    command = [sys.executable, "-c", "print('no luck')"]
    with (
        pytest.raises(UsageError, match="must print its address first, got 'no luck'"),
        child(command, r"(http://\S+)"),
    ):
        raise AssertionError


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system does not pin processes")
def test_pinning_selects_cores_and_restores_them():
    before = os.sched_getaffinity(0)
    with pinned():
        assert os.sched_getaffinity(0) == {min(before)}
        with pinned(last=True):
            assert os.sched_getaffinity(0) == {max(before)}
        assert os.sched_getaffinity(0) == {min(before)}
    assert os.sched_getaffinity(0) == before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
def test_memory_is_read_where_the_system_shows_it():
    resident, peak = memory_of()
    assert resident is not None
    assert peak is not None
    assert 5 < resident <= peak
    assert memory_of(os.getpid()).peak == pytest.approx(peak, rel=0.5)
    assert memory_of(2**30) == (None, None)
