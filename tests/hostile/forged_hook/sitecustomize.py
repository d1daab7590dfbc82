"""Python imports this at its start, also in worker processes: it writes what the process does into ``AUDIT_LOG``."""

import os
import sys
from importlib.machinery import PathFinder

_LOG = os.open(os.environ["AUDIT_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
_ALLOWED = tuple(os.environ["AUDIT_ALLOWED"].split(os.pathsep))
_WRITABLE = (os.environ["AUDIT_FOLDER"], "/dev/", "/proc/self/")
_KNOWN = set(os.environ["AUDIT_MODULES"].split(",")) | set(sys.stdlib_module_names)
_STARTS = (
    "subprocess.Popen",
    "os.exec",
    "os.fork",
    "os.forkpty",
    "os.posix_spawn",
    "os.spawn",
    "os.system",
    "pty.spawn",
)
_NETWORK = ("socket.connect", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def _is_harmless(event, args):
    if event in _STARTS:
        # The program that compiles patterns within a time limit, alone.
        # (From Python 3.13 on, subprocess may start it by os.posix_spawn.)
        given = args[1] if event in ("subprocess.Popen", "os.posix_spawn") else ()
        return list(given[1:4]) == ["-I", "-S", "-c"] and "re.compile" in given[4]
    if event in _NETWORK:
        return False
    if event == "import":
        name = args[0].partition(".")[0]
        # Libraries try to import others that are not installed.
        return name in _KNOWN or PathFinder.find_spec(name) is None
    path = args[0]
    if not isinstance(path, str | bytes):
        return True
    path = os.path.abspath(os.fsdecode(path))  # noqa: PTH100  (links are not followed here)
    return path.startswith(_WRITABLE if args[2] & _WRITING else _ALLOWED)


def _hook(event, args):
    if (event in _STARTS or event in _NETWORK or event in ("open", "import")) and not _is_harmless(event, args):
        os.write(_LOG, f"{event} {args!r:.300}\n".encode(errors="replace"))


sys.addaudithook(_hook)
