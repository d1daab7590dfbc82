"""What helper processes of benchmarks have in common: a port of loopback, a core, and an end with their parent."""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Callable


def serve_on_loopback(serve: Callable[[socket.socket], None], *, backlog: int, last_core: bool = True) -> None:
    """Bind to a port the kernel picks, say which, and *serve* until standard input closes.

    The process keeps to the last core, where the system allows it, or to the first.
    """
    if hasattr(os, "sched_setaffinity"):
        cores = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {max(cores) if last_core else min(cores)})
    listener = socket.create_server(("127.0.0.1", 0), backlog=backlog)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    serve(listener)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)
