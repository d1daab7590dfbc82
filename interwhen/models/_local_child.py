"""The child process of the ``local`` model: the HTTP server of llama.cpp, which ends when its parent does.

The file is run by its path and imports nothing of this package, only the standard library and ``xllamacpp``, so that
the server starts fast.

The interface between the two processes:

* stdin is the *lifeline*. The parent writes one line, the settings as JSON, and keeps the pipe open as long as it needs
  the server. When the pipe closes, for any reason, this process ends.
* stdout returns one line of JSON: ``{"url": ...}`` once the server answers, or ``{"error": ...}``.
* stderr is the log of the native code; the parent provides an unnamed file.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from typing import Any, NoReturn

LOG_LIMIT = 1 << 20
"""Bytes after which the log is emptied."""

CACHE_MIB = 64
"""Memory for prompts without a slot. The default of llama.cpp is 8 GiB, which fills up over many runs."""

_CHECK_SECONDS = 1.0
_LOOK_SECONDS, _LOOKS, _QUIET_LOOKS = 0.05, 20, 3
"""The log of a failed start is awaited for at most a second, and until it has not grown for three checks."""


def main() -> None:
    """Read the settings, watch the lifeline, start the server, report its URL, and wait for the end."""
    parent = os.getppid()
    report = _claim_stdout()
    line = sys.stdin.buffer.readline()
    if not line:
        _end()
    _arm(parent)
    try:
        server = _serve(json.loads(line))
    except Exception as error:  # noqa: BLE001  # the parent raises its own exception for any of them
        _await_log()
        _tell(report, {"error": f"{type(error).__name__}: {error}"})
        _end(1)
    _tell(report, {"url": server.listening_address})
    while True:
        time.sleep(3600)


def _claim_stdout() -> int:
    """Keep the pipe to the parent for the report, and redirect printed text to the log."""
    report = os.dup(1)
    os.dup2(2, 1)
    return report


def _serve(settings: dict[str, Any]) -> Any:
    """Load the weights and start the server on a free port. Blocks, and holds the GIL meanwhile."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = settings["model"]
    params.port = 0
    params.api_keys = [settings["api_key"]]
    params.n_parallel = settings["slots"]
    # The server divides its context among the slots; the setting is per slot.
    params.n_ctx = settings["slots"] * settings["context"]
    params.n_batch = params.n_ubatch = settings["batch"]
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = settings["threads"]
    # If the weights do not fit on the device with the context, they stay in memory; the context is never reduced.
    params.fit_params_min_ctx = params.n_ctx
    params.cache_prompt = True
    params.cache_ram_mib = CACHE_MIB
    if settings["shelf"]:
        params.slot_save_path = settings["shelf"] + os.sep
        params.endpoint_slots = True
    params.warmup = False
    params.ui = False
    params.verbosity = 2
    return xllamacpp.Server(params)


def _arm(parent: int) -> None:
    """End this process when the lifeline closes, also while native code holds the GIL."""
    # Not PR_SET_PDEATHSIG: it fires when the *thread* that forked this process ends, and trio forks in a worker thread
    # that ends after ten idle seconds. With O_ASYNC the kernel sends SIGIO, which ends a process by default, when the
    # last writer of the pipe is gone.
    if sys.platform != "win32":
        import fcntl

        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> NoReturn:
    """End with the lifeline if there is no SIGIO or it came too early, and with the parent in any case."""
    # A process that the parent forked (by multiprocessing) may keep the lifeline open after the parent has ended.
    if sys.platform == "win32":
        sys.stdin.buffer.read()
        _end()
    while os.getppid() == parent:
        ready, _, _ = select.select([0], [], [], _CHECK_SECONDS)
        if ready and not os.read(0, 4096):
            break
        if os.fstat(2).st_size > LOG_LIMIT:
            os.ftruncate(2, 0)
    _end()


def _tell(report: int, message: dict[str, str]) -> None:
    """Send the line that the parent waits for."""
    os.write(report, json.dumps(message).encode() + b"\n")
    os.close(report)


def _await_log() -> None:
    """Wait for the error log of the native code, which writes it in a separate thread."""
    size, quiet = 0, 0
    for _ in range(_LOOKS):
        time.sleep(_LOOK_SECONDS)
        before, size = size, os.fstat(2).st_size
        quiet = quiet + 1 if size == before else 0
        if size and quiet == _QUIET_LOOKS:
            break


def _end(code: int = 0) -> NoReturn:
    """End now: there is nothing to save, and destructors of native code would take time."""
    os._exit(code)


if __name__ == "__main__":
    main()
