"""The child process of the ``local`` model. It runs the HTTP server of llama.cpp and ends when its parent ends.

The parent runs this file by its path. For a fast start, the file imports nothing of this package. The two processes
communicate by:

* stdin, the *lifeline*: the parent writes the settings as one line of JSON, and keeps the pipe open. When the pipe
  closes, this process ends.
* stdout: this process writes one line of JSON, ``{"url": ...}`` when the server answers, or ``{"error": ...}``.
* stderr: the native code writes its log into a temporary file, which the parent provides.
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
"""The size in bytes above which the log is emptied, except on Windows."""

CACHE_MIB = 64
"""Memory in MiB for the cached states of prompts that have no slot. The default of llama.cpp is 8 GiB."""

_CHECK_SECONDS = 1.0
_LOOK_SECONDS, _LOOKS, _QUIET_LOOKS = 0.05, 20, 3
"""After a failed start: seconds between two checks of the log, the most checks, and the checks without growth that end
them."""


def main() -> None:
    # `LocalServer` starts this file as a script, and keeps stdin (the lifeline) open as long as this process must live.
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
    report = os.dup(1)
    os.dup2(2, 1)
    return report


def _serve(settings: dict[str, Any]) -> Any:
    # Loading the weights may hold the GIL, so that no other thread of this process runs.
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
    # If weights and context do not fit on the device, the weights stay in main memory; the context is not reduced.
    params.fit_params_min_ctx = params.n_ctx
    params.cache_prompt = True
    params.cache_ram_mib = CACHE_MIB
    params.endpoint_slots = True
    if settings["shelf"]:
        params.slot_save_path = settings["shelf"] + os.sep
    params.warmup = False
    params.ui = False
    params.verbosity = 2
    return xllamacpp.Server(params)


def _arm(parent: int) -> None:
    # Not PR_SET_PDEATHSIG: it fires when the *thread* that forked this process ends, and trio forks in a worker thread
    # that ends after ten idle seconds. With O_ASYNC the kernel sends SIGIO, which ends a process by default, when the
    # last writer of the pipe is gone.
    if sys.platform != "win32":
        import fcntl

        fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(0, fcntl.F_SETFL, fcntl.fcntl(0, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_watch, args=(parent,), name="lifeline", daemon=True).start()


def _watch(parent: int) -> NoReturn:
    # A process that the parent forked (by multiprocessing) may keep the lifeline open after the parent has ended, so
    # the parent is checked as well.
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
    os.write(report, json.dumps(message).encode() + b"\n")
    os.close(report)


def _await_log() -> None:
    size, quiet = 0, 0
    for _ in range(_LOOKS):
        time.sleep(_LOOK_SECONDS)
        before, size = size, os.fstat(2).st_size
        quiet = quiet + 1 if size == before else 0
        if size and quiet == _QUIET_LOOKS:
            break


def _end(code: int = 0) -> NoReturn:
    os._exit(code)


if __name__ == "__main__":
    main()
