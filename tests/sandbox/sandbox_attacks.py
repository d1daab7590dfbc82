"""The escape corpus: programs that try to get out of a sandbox, or to take more of the machine than they were given.

Each prints GAINED if it got anything. ``$canary`` is a file of the host, ``$victim`` a process of it, ``$port`` a
server on its loopback interface, ``$socket`` and ``$abstract`` servers on local sockets, ``$tag`` a number that no
other process has in its arguments.
"""

from dataclasses import dataclass

from interwhen.sandbox import Limits

SHORT = Limits(seconds=1.5, memory_bytes=160 << 20, disk_bytes=4 << 20, files=64, processes=8)
CALM = Limits(seconds=20.0, memory_bytes=160 << 20, disk_bytes=4 << 20, files=64, processes=8)
"""For what ends by itself: on a busy machine an interpreter alone may take a second to start."""


@dataclass(frozen=True)
class Attack:
    """One program, and how it may end: ``denied``, ``limited:WHICH``, ``crashed`` or ``returned``."""

    name: str
    source: str
    ends: frozenset[str]
    why: str = ""
    """Why a program that ended by itself (``returned``) gained nothing."""
    limits: Limits = CALM


def _attack(name, ends, source, *, why="", limits=CALM):
    assert why or "returned" not in ends.split(), name
    return Attack(name, source.strip() + "\n", frozenset(ends.split()), why, limits)


CALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result
X86 = os.uname().machine == "x86_64"
"""

PROCESS = [
    # Files
    _attack("read /etc/shadow", "returned", """
try:
    print("GAINED", open("/etc/shadow").read(10))
except OSError:
    pass
""", why="there is no such file in its file system"),
    _attack("read the canary", "returned", """
import os
for path in ("$canary", "/proc/self/root$canary", "/proc/1/root$canary", "/old$canary", "/../../..$canary"):
    try:
        print("GAINED", open(path).read())
    except OSError:
        pass
""", why="there is no such file in its file system"),
    _attack("write everywhere", "returned", """
import os, sys
for folder in ("/", "/etc", "/usr", "/usr/bin", "/bin", "/lib", "/dev", "/proc", "/root", "/home", "/var/tmp", os.path.dirname(os.__file__)):
    for name in ("pwned", "os.py"):
        try:
            with open(os.path.join(folder, name), "a") as file:
                file.write("x")
            print("GAINED", folder)
        except OSError:
            pass
for path in (os.__file__, sys.executable, "/etc/passwd", "/usr/bin/env"):
    for attempt in (os.unlink, lambda p: os.chmod(p, 0o777), lambda p: os.rename(p, "/tmp/x"), lambda p: os.truncate(p, 0)):
        try:
            attempt(path)
            print("GAINED", path)
        except OSError:
            pass
""", why="all but its own directory is read-only"),
    _attack("write to Python's library", "denied", """
import os
open(os.path.join(os.path.dirname(os.__file__), "pwned.py"), "w")
"""),
    _attack("symbolic and hard links", "returned", """
import os
os.symlink("$canary", "link")
os.symlink("/proc/1/root", "root")
for path in ("link", "root$canary", "root/etc/shadow"):
    for mode in ("r", "w"):
        try:
            open(path, mode)
            print("GAINED", path, mode)
        except OSError:
            pass
for path in ("$canary", "/usr/bin/env", "/etc/passwd"):
    try:
        os.link(path, "hard")
        print("GAINED", path)
    except OSError:
        pass
""", why="a link leads nowhere but where the program could go itself"),
    _attack("devices", "returned", """
for name in ("mem", "kmem", "port", "vda", "sda", "nvme0n1", "kvm", "tty", "console", "net/tun", "fuse", "kmsg"):
    try:
        open("/dev/" + name, "rb+", buffering=0)
        print("GAINED", name)
    except OSError:
        pass
""", why="it has the devices null, zero, full, random and urandom"),
    _attack("make a block device", "denied", """
import os
os.mknod("disk", 0o060600, os.makedev(254, 0))
"""),
    _attack("make a character device", "denied", """
import os
os.mknod("memory", 0o020600, os.makedev(1, 1))
"""),
    _attack("knobs of the kernel", "returned", """
import os
for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper", "/sys/fs/cgroup/cgroup.procs", "/proc/kcore", "/proc/kallsyms", "/proc/config.gz", "/proc/cmdline"):
    for mode in ("r", "w"):
        try:
            open(path, mode)
            print("GAINED", path)
        except OSError:
            pass
""", why="its /proc shows its own processes and nothing else, and it has no /sys"),
    # Network
    _attack("TCP to the loopback interface", "denied", """
import socket
connection = socket.create_connection(("127.0.0.1", $port), timeout=2)
connection.sendall(b"GAINED")
"""),
    _attack("UDP", "denied", """
import socket
socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b"GAINED", ("127.0.0.1", $port))
"""),
    _attack("IPv6", "denied", "import socket\nsocket.socket(socket.AF_INET6)"),
    _attack("raw packets", "denied", "import socket\nsocket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)"),
    _attack("netlink", "denied", "import socket\nsocket.socket(socket.AF_NETLINK, socket.SOCK_RAW)"),
    _attack("a virtual machine's socket", "denied", "import socket\nsocket.socket(socket.AF_VSOCK).connect((2, $port))"),
    _attack("TCP, the error swallowed", "denied", """
import socket
while True:
    try:
        socket.create_connection(("127.0.0.1", $port)).sendall(b"GAINED")
    except BaseException:
        pass
"""),
    _attack("a local socket", "denied", """
import socket
socket.socket(socket.AF_UNIX).connect("$socket")
"""),
    _attack("an abstract socket", "denied", """
import socket
connection = socket.socket(socket.AF_UNIX)
connection.connect("\\0$abstract")
connection.sendall(b"GAINED")
"""),
    _attack("a local socket, the error swallowed", "returned", """
import socket
for address in ("$socket", "\\0$abstract"):
    try:
        socket.socket(socket.AF_UNIX).connect(address)
        print("GAINED")
    except OSError:
        pass
""", why="it is refused the socket, and that is noted"),
    _attack("name resolution", "denied crashed", "import socket\nprint('GAINED', socket.getaddrinfo('example.org', 80))"),
    _attack("a socket by its number", "denied", CALLS + "call(41 if X86 else 198, 2, 1, 0)\nprint('GAINED')"),
    _attack("a socket from a child", "denied", """
import os, time
if os.fork() == 0:
    import socket
    socket.socket()
    print("GAINED")
time.sleep(30)
"""),
    # Processes
    _attack("signals to the host", "returned", """
import os, signal
for pid in ($victim, os.getppid(), 1, -1):
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGSTOP, signal.SIGKILL):
        try:
            os.kill(pid, number)
        except OSError:
            pass
""", why="no process of the host is there to be found, and its keeper cannot be killed from inside"),
    _attack("read other processes", "returned", """
import os
for pid in os.listdir("/proc"):
    if pid.isdigit() and int(pid) != os.getpid():
        for name in ("environ", "mem", "maps", "auxv", "syscall", "fd/0", "fd/1", "fd/5", "cwd/x", "root/etc/shadow"):
            try:
                data = open(f"/proc/{pid}/{name}", "rb", buffering=0)
                data.seek(0x400000) if name == "mem" else None
                if data.read(1):
                    print("GAINED", pid, name)
            except OSError:
                pass
if os.path.exists("/proc/$victim/environ"):
    print("GAINED the victim")
""", why="it sees its keeper and itself, and may not read the keeper"),
    _attack("trace the parent", "denied", CALLS + "call(101 if X86 else 117, 16, os.getppid(), 0, 0)\nprint('GAINED')"),
    _attack("read another's memory", "denied", CALLS + "call(310 if X86 else 270, os.getppid(), None, 0, None, 0, 0)\nprint('GAINED')"),
    _attack("steal a descriptor", "denied", CALLS + "call(438, os.pidfd_open(os.getppid()), 0, 0)\nprint('GAINED')"),
    _attack("fork bomb", "limited:processes", """
import os
while True:
    os.fork()
"""),
    _attack("fork bomb, the error swallowed", "limited:seconds limited:cpu_seconds limited:memory", """
import os
while True:
    try:
        os.fork()
    except OSError:
        pass
""", limits=SHORT),
    _attack("thread bomb", "limited:processes limited:memory", """
import threading, time
while True:
    threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
"""),
    _attack("a daemon", "returned", """
import os, sys
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.execvp("sleep", ["sleep", "$tag"])
    os._exit(0)
os.wait()
""", why="the daemon ends with the run"),
    _attack("daemons faster than they are killed", "limited:seconds limited:cpu_seconds limited:memory", """
import os
while True:
    try:
        if os.fork() == 0:
            os.setsid()
            if os.fork():
                os._exit(0)
            os.execvp("sleep", ["sleep", "$tag"])
        os.waitpid(-1, os.WNOHANG)
    except OSError:
        pass
""", limits=SHORT),
    # The kernel
    _attack("mount", "denied", CALLS + "libc.mount(b'none', b'/tmp', b'tmpfs', 0, None)\nprint('GAINED')"),
    _attack("remount", "denied", CALLS + "libc.mount(None, b'/usr', None, 4096 | 32, None)\nprint('GAINED')"),
    _attack("chroot", "denied", "import os\nos.chroot('/tmp')\nprint('GAINED')"),
    _attack("a user namespace", "denied", CALLS + "libc.unshare(0x10000000)\nprint('GAINED')"),
    _attack("a user namespace by clone", "denied", CALLS + "call(56 if X86 else 220, 0x10000000 | 17, 0, 0, 0, 0)\nprint('GAINED')"),
    _attack("a user namespace by clone3", "crashed", CALLS + """
arguments = (ctypes.c_uint64 * 11)(0x10000000, 0, 0, 0, 17)
call(435, ctypes.byref(arguments), 88)
print("GAINED")
"""),
    _attack("the namespaces of the keeper", "denied crashed", CALLS + "libc.setns(os.open('/proc/1/ns/mnt', os.O_RDONLY), 0)\nprint('GAINED')"),
    _attack("a file by its handle", "denied", CALLS + "call(304 if X86 else 265, -100, None, 0)\nprint('GAINED')"),
    _attack("programs for the kernel", "denied", CALLS + "call(321 if X86 else 280, 0, None, 0)\nprint('GAINED')"),
    _attack("page faults", "denied", CALLS + "call(323 if X86 else 282, 0)\nprint('GAINED')"),
    _attack("keys", "denied", CALLS + "call(250 if X86 else 219, 0, -3, 1)\nprint('GAINED')"),
    _attack("load a module", "denied", CALLS + "call(313 if X86 else 273, 0, b'', 0)\nprint('GAINED')"),
    _attack("another kernel", "denied", CALLS + "call(246 if X86 else 104, 0, 0, None, 0)\nprint('GAINED')"),
    _attack("the clock", "denied", "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)\nprint('GAINED')"),
    _attack("the name of the machine", "denied", "import socket\nsocket.sethostname('pwned')\nprint('GAINED')"),
    _attack("restart", "denied", CALLS + "call(169 if X86 else 142, 0xfee1dead, 672274793, 0)\nprint('GAINED')"),
    _attack("rings that go round the filter", "crashed", CALLS + "call(425, 1, (ctypes.c_char * 120)())\nprint('GAINED')"),
    _attack("another personality", "denied", CALLS + "call(135 if X86 else 92, 0x0040000)\nprint('GAINED')"),
    _attack("keys into a terminal", "denied", "import fcntl\nfcntl.ioctl(0, 0x5412, b'x')\nprint('GAINED')"),
    _attack("the numbers of x32", "denied crashed", CALLS + "call(41 | 0x40000000, 2, 1, 0)\nprint('GAINED')"),
    _attack("the numbers of i386", "denied crashed", CALLS + """
import mmap
assert X86
memory = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
memory.write(b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3")  # mov eax, 20; int 0x80; ret
place = ctypes.addressof(ctypes.c_char.from_buffer(memory))
print("GAINED", ctypes.CFUNCTYPE(ctypes.c_int)(place)())
"""),
    _attack("rights", "returned", CALLS + """
for attempt in (lambda: os.setuid(0), lambda: os.setgid(0), lambda: os.setgroups([0]), lambda: os.nice(-5),
                lambda: os.setpriority(os.PRIO_PROCESS, 0, -10), lambda: call(126 if X86 else 91, b"\\x22\\x05\\x08\\x20" + bytes(4), b"\\xff" * 24)):
    try:
        attempt()
        print("GAINED")
    except OSError:
        pass
if os.geteuid() == 0 or "CapEff:\\t0000000000000000" not in open("/proc/self/status").read():
    print("GAINED")
if libc.prctl(38, 0, 0, 0, 0) == 0 or libc.prctl(39, 0, 0, 0, 0) != 1:
    print("GAINED")
""", why="it has no rights, and no way to any"),
    _attack("setuid programs", "returned", """
import glob, os, shutil, subprocess
for path in glob.glob("/usr/bin/*"):
    if os.stat(path).st_mode & 0o6000:
        done = subprocess.run([path, "--help"], capture_output=True, stdin=subprocess.DEVNULL)
shutil.copy("/usr/bin/id", "mine")
os.chmod("mine", 0o6755)
out = subprocess.run(["./mine", "-u"], capture_output=True, text=True).stdout
if out.strip() == "0":
    print("GAINED", out)
""", why="no_new_privs: a process gains no rights by running a file"),
    _attack("higher limits", "returned", """
import resource
for name in ("AS", "CPU", "NPROC", "NOFILE", "FSIZE"):
    which = getattr(resource, "RLIMIT_" + name)
    try:
        resource.setrlimit(which, (resource.RLIM_INFINITY,) * 2)
        print("GAINED", name)
    except (ValueError, OSError):
        pass
""", why="a limit can be lowered, and not raised"),
    # What it was given
    _attack("secrets of the environment", "returned", """
import os
text = repr(os.environ) + open("/proc/self/environ").read()
if "SECRET" in text or "PYTHONPATH" in text or "USER" in os.environ:
    print("GAINED", text)
""", why="its environment is made for it"),
    _attack("descriptors", "returned", """
import os, stat
listing = os.open("/proc/self/fd", os.O_RDONLY)
for fd in map(int, os.listdir(listing)):
    if fd not in (0, 1, 2, 3, 4, listing):
        try:
            print("GAINED", fd, os.fstat(fd))
        except OSError:
            pass
os.closerange(0, 64)
for fd in range(64):
    try:
        os.fstat(fd)
        os.write(1, b"GAINED")
    except OSError:
        pass
for _ in range(8):
    os.open("/dev/null", os.O_RDWR)
""", why="it has no descriptors but its own"),
    _attack("the classes of the interpreter", "returned", """
for cls in ().__class__.__base__.__subclasses__():
    if cls.__name__ == "_wrap_close":
        system = cls.__init__.__globals__["system"]
        system("cat $canary /etc/shadow 2>/dev/null; echo x > $canary; id -u | grep -qx 0 && echo GAINED")
""", why="all of Python is there, and all of it is inside"),
    # Resources
    _attack("10 GB of memory", "limited:memory", "bytearray(10 << 30)[0]"),
    _attack("10 GB of memory, a little at a time", "limited:memory", """
kept = []
while True:
    kept.append(bytearray(1 << 20))
"""),
    _attack("memory in many processes", "limited:memory", """
import os, time
for _ in range(5):
    if os.fork() == 0:
        kept = bytearray(b"x") * (60 << 20)
        time.sleep(60)
time.sleep(60)
"""),
    _attack("memory that no limit counts", "returned", CALLS + """
for attempt in (lambda: os.memfd_create("x"), lambda: call(29 if X86 else 194, 0, 1 << 30, 0o1600), lambda: call(447, 0)):
    try:
        attempt()
        print("GAINED")
    except OSError:
        pass
""", why="the kernel says that it has none of that"),
    _attack("a bomb of zeros", "limited:memory", """
import zlib
packer = zlib.compressobj(1)
zeros = bytes(1 << 20)
bomb = b"".join(packer.compress(zeros) for _ in range(200)) + packer.flush()
print(len(zlib.decompress(bomb)))
"""),
    _attack("10 GB of output", "limited:output", """
import os
while True:
    os.write(1, b"x" * 65536)
"""),
    _attack("10 GB of errors", "limited:output", """
import os
while True:
    os.write(2, b"x" * 65536)
"""),
    _attack("output from a daemon", "limited:output limited:seconds", """
import os
if os.fork() == 0:
    os.setsid()
    while True:
        os.write(1, b"x" * 65536)
import time
time.sleep(60)
""", limits=SHORT),
    _attack("a huge file", "limited:disk", """
with open("huge", "wb") as file:
    while True:
        file.write(bytes(1 << 16))
"""),
    _attack("a huge file with a hole", "limited:disk", "open('huge', 'wb').truncate(1 << 40)"),
    _attack("files without end", "limited:disk", """
import itertools
for number in itertools.count():
    with open(f"{number}", "wb") as file:
        file.write(bytes(1 << 20))
"""),
    _attack("many files", "limited:files", """
import itertools
for number in itertools.count():
    open(f"{number}", "wb").close()
"""),
    _attack("many descriptors", "limited:open_files", """
import os
while True:
    os.open("/dev/null", os.O_RDONLY)
"""),
    _attack("an endless loop", "limited:seconds limited:cpu_seconds", "while True: pass", limits=SHORT),
    _attack("sleep", "limited:seconds", "import time\ntime.sleep(10 ** 6)", limits=SHORT),
    _attack("deaf to signals", "limited:seconds limited:cpu_seconds", """
import signal, os, time
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 64))
for number in range(1, 65):
    try:
        signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError):
        pass
while True:
    time.sleep(1)
""", limits=SHORT),
    _attack("stop itself", "limited:seconds", "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)", limits=SHORT),
    _attack("the stack", "limited:memory limited:recursion limited:seconds crashed", """
import sys
sys.setrecursionlimit(10 ** 9)
def deeper(): return deeper()
deeper()
"""),
    _attack("a crash", "crashed", "import ctypes\nctypes.string_at(1)"),
    _attack("an early end", "returned", "import os\nos._exit(0)", why="it ended, and nothing says that it was right"),
]  # fmt: skip

MONTY = [
    _attack("read a file", "denied", "open('$canary').read()"),
    _attack("read a file by path", "denied", "from pathlib import Path\nprint('GAINED', Path('$canary').read_text())"),
    _attack("write a file", "denied", "open('$canary', 'w').write('GAINED')"),
    _attack("list the root", "denied", "import os\nprint('GAINED', os.listdir('/'))"),
    _attack("read a file, the error swallowed", "returned", """
try:
    print("GAINED", open("$canary").read())
except OSError:
    pass
""", why="there are no files"),
    _attack("sockets", "denied", "import socket"),
    _attack("processes", "denied", "import subprocess"),
    _attack("memory by address", "denied", "import ctypes"),
    _attack("the environment", "denied crashed", "import os\nprint('GAINED', os.environ['SANDBOX_SECRET'])"),
    _attack("the shell", "denied crashed", "import os\nos.system('echo GAINED')"),
    _attack("the classes of the interpreter", "crashed", "print('GAINED', ().__class__.__base__.__subclasses__())"),
    _attack("the frames of the interpreter", "denied crashed", "import sys\nprint('GAINED', sys._getframe())"),
    _attack("10 GB of memory", "limited:memory", "'x' * 10 ** 10"),
    _attack("a list without end", "limited:memory limited:seconds", "kept = []\nwhile True:\n    kept.append('x' * 1000)"),
    _attack("an endless loop", "limited:seconds", "while True: pass", limits=SHORT),
    _attack("an endless loop, errors swallowed", "limited:seconds", "while True:\n  try:\n    while True: pass\n  except BaseException: pass", limits=SHORT),
    _attack("a power", "limited:seconds limited:memory", "10 ** (10 ** 9) % 7", limits=SHORT),
    _attack("sleep", "limited:seconds", "import time\ntime.sleep(10 ** 6)", limits=SHORT),
    _attack("no end of output", "limited:output", "while True: print('x' * 1000)"),
    _attack("one huge output", "limited:output", "print('x' * 10 ** 7)"),
    _attack("recursion", "limited:recursion", "def deeper(): return deeper()\ndeeper()"),
    _attack("a deeply nested source", "crashed", "(" * 100_000),
    _attack("a value that doubles", "returned limited:seconds limited:memory", "a = [1]\nfor _ in range(60): a = [a, a]\na", why="no value is converted", limits=SHORT),
    _attack("a value that doubles, printed", "limited:seconds limited:output limited:memory", "a = [1]\nfor _ in range(60): a = [a, a]\nprint(a)", limits=SHORT),
    _attack("backtracking", "returned limited:seconds crashed", "import re\nre.match('(a*)*b', 'a' * 5000)", why="its patterns do not run away", limits=SHORT),
]  # fmt: skip
