"""Virtual time stands still while a thread works, and jumps when none does."""

import threading
import time

import anyio
import anyio.to_thread
import pytest
from tests.virtual_clock import virtual_backend


@pytest.fixture
def anyio_backend():
    return virtual_backend()


@pytest.mark.anyio
async def test_virtual_hour_takes_no_real_time():
    before = time.monotonic()
    await anyio.sleep(3600.0)
    assert time.monotonic() - before < 60.0


@pytest.mark.anyio
async def test_virtual_deadline_waits_for_thread_to_start():
    begun = threading.Event()

    def work():
        time.sleep(0.05)  # as on a machine that is busy with something else
        begun.set()

    with anyio.move_on_after(1.0) as limit:
        await anyio.to_thread.run_sync(work, abandon_on_cancel=True)
    assert begun.is_set()
    assert not limit.cancelled_caught


@pytest.mark.anyio
async def test_abandoned_thread_does_not_delay_virtual_time():
    release = threading.Event()
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: anyio.to_thread.run_sync(release.wait, abandon_on_cancel=True))
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
        await anyio.sleep(3600.0)
    finally:
        release.set()
