"""Scripts in processes of their own, forked from one that has already imported what most of them import.

A page of the documentation takes milliseconds and its imports take a second. :func:`run_script` does what
``subprocess.run([sys.executable, path])`` does, from the second script on without the imports: the script is
``__main__``, with a folder, an environment, an output and an exit code of its own, and its process ends as any other.
"""

import atexit
import importlib
import json
import os
import random
import runpy
import select
import subprocess
import sys
import tempfile
import warnings
from contextlib import suppress
from pathlib import Path


class _Parent:
    """The process from which scripts are forked, one at a time."""

    def __init__(self):
        # In a process group of its own, so that a script that does not end can be killed with it.
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
        )

    def run(self, request, seconds):
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        if not select.select([self.process.stdout], [], [], seconds)[0]:
            self.close()
            raise subprocess.TimeoutExpired(request["path"], seconds)
        answer = self.process.stdout.readline()
        assert answer, "the process that forks scripts has died"
        return int(answer)

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
        self.process.communicate()


_parents = []


def _close():
    for parent in _parents:
        parent.close()


def run_script(path, *, cwd=None, env=None, timeout=100, warn=None):
    """Run the script at *path* and return a ``CompletedProcess`` with its exit code and its output as text.

    *warn* is the action for all warnings, as in ``python -W``.
    """
    if not _parents or _parents[0].process.poll() is not None:
        if not _parents:
            atexit.register(_close)
        _parents[:] = [_Parent()]
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder) / "out", Path(folder) / "err"
        request = {
            "path": str(path),
            "cwd": str(cwd or Path.cwd()),
            "env": dict(os.environ if env is None else env),
            "warn": warn,
            "out": str(out),
            "err": str(err),
        }
        code = _parents[0].run(request, timeout)
        return subprocess.CompletedProcess(
            [str(path)], code, out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
        )


# In the process that forks.


def _fork_scripts():
    # Read requests from the standard input, and write an exit code for each. In a child, return its request.
    for line in sys.stdin.buffer:
        request = json.loads(line)
        child = os.fork()
        if not child:
            return request
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.stdout.write(f"{code}\n")
        sys.stdout.flush()
    return None


def _run(request):
    for number, name, mode in ((0, os.devnull, os.O_RDONLY), (1, request["out"], None), (2, request["err"], None)):
        opened = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC if mode is None else mode, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    random.seed()
    if request["warn"]:
        warnings.simplefilter(request["warn"])
    sys.argv = [request["path"]]
    sys.path[0] = str(Path(request["path"]).parent)
    runpy.run_path(request["path"], run_name="__main__")


_IMPORTED = (
    "interwhen.clients",
    "interwhen.models",
    "interwhen.testing",
    "interwhen_verifiers.arithmetic",
    "openai.resources.chat.completions",
    "openai.resources.responses",
    "httpcore2",
    "h11",
)

if __name__ == "__main__":
    for each in _IMPORTED:
        with suppress(ImportError):
            importlib.import_module(each)
    if asked := _fork_scripts():
        _run(asked)
