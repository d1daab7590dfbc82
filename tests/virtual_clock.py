"""Virtual time on trio for tests: an hour of waiting takes milliseconds."""

import time

from trio.testing import MockClock, active_thread_count


def virtual_backend():
    # The clock stands still while a thread of `to_thread` works: otherwise a limit of time could be over before the
    # thread has begun, and the test would pass or fail by how busy the machine is.
    clock = MockClock(autojump_threshold=0)
    jump = clock._autojump

    def jump_unless_threads_work():
        if active_thread_count():
            time.sleep(0.0002)
        else:
            jump()

    clock._autojump = jump_unless_threads_work
    return "trio", {"clock": clock}
