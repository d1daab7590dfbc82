"""The filter of system calls: the forbidden calls, and the BPF program for the kernel.

It lists forbidden calls, not allowed ones: compilers, provers and interpreters need most of the kernel. Calls that are
newer than the list fail with ENOSYS.
"""

from __future__ import annotations

import ctypes
import errno

from interwhen.sandbox._inside import syscalls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Answer = Literal["deny", "refuse", "absent"]
    """``deny`` ends the program or the process; ``refuse``: the call fails with EACCES, and a listener records it;
    ``absent``: it fails with ENOSYS."""

# System call: its number on x86_64, and on aarch64.
_NUMBERS: dict[str, tuple[int | None, int | None]] = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "adjtimex": (159, 171),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "clone": (56, 220),
    "clone3": (435, 435),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "ioperm": (173, None),
    "iopl": (172, None),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "mknod": (133, None),
    "mknodat": (259, 33),
    "modify_ldt": (154, None),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "mq_open": (240, 180),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "nfsservctl": (180, 42),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmget": (29, 194),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
_LAST_KNOWN = 470

# Absent: memory that no limit counts (memfd, System V), and interfaces that bypass this filter (io_uring) or
# whose flags it cannot see (clone3; the C library then uses clone).
_ABSENT = frozenset({"clone3", "io_uring_enter", "io_uring_register", "io_uring_setup"})
_ABSENT |= {"memfd_create", "memfd_secret", "mq_open", "msgget", "semget", "shmget"}
# Refused: calls that honest programs try, but do not need.
_REFUSED = ("kcmp", "modify_ldt", "name_to_handle_at", "perf_event_open", "personality", "process_madvise", "syslog")
_BY_ARGUMENT = ("clone", "ioctl", "mknod", "mknodat", "socket", "socketpair")

_NEW_NAMESPACES = (
    syscalls.CLONE_NEWNS
    | syscalls.CLONE_NEWCGROUP
    | syscalls.CLONE_NEWUTS
    | syscalls.CLONE_NEWIPC
    | syscalls.CLONE_NEWUSER
    | syscalls.CLONE_NEWPID
    | syscalls.CLONE_NEWNET
)
_AF_UNIX, _AF_NETLINK = 1, 16
_S_IFMT, _S_IFCHR, _S_IFBLK = 0o170000, 0o020000, 0o060000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C

_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}

_LD, _JEQ, _JGT, _JSET, _AND, _RET = 0x20, 0x15, 0x25, 0x45, 0x54, 0x06
_KILL_PROCESS, _ERRNO, _NOTIFY, _ALLOW = 0x80000000, 0x00050000, 0x7FC00000, 0x7FFF0000
_NR, _ARCH, _ARGUMENTS = 0, 4, 16

Instruction = tuple[int, int, int, int]


class SyscallRule:
    __slots__ = ("answer", "name")

    def __init__(self, name: str, answer: Answer) -> None:
        self.name = name
        self.answer = answer


def rules() -> dict[int, SyscallRule]:
    # A call that is forbidden only with some arguments has the answer `deny`. The machine must be supported.
    column, _ = _ARCHITECTURES[syscalls.MACHINE]
    syscall_rules: dict[int, SyscallRule] = {}
    for name, numbers in _NUMBERS.items():
        number = numbers[column]
        if number is not None:
            answer: Answer = "absent" if name in _ABSENT else "refuse" if name in _REFUSED else "deny"
            syscall_rules[number] = SyscallRule(name, answer)
    return syscall_rules


def judge(number: int, first_argument: int) -> SyscallRule:
    rule = rules().get(number, SyscallRule(f"system call {number}", "deny"))
    if rule.name == "socket":
        # Libraries look for local services (accounts, logs, interfaces); any other socket is an attempt to use the
        # network.
        family = first_argument & 0xFFFFFFFF
        return SyscallRule(f"socket(family {family})", "refuse" if family in {_AF_UNIX, _AF_NETLINK} else "deny")
    return rule


def supported() -> bool:
    return syscalls.MACHINE in _ARCHITECTURES


def program(*, notify: bool) -> list[Instruction]:
    # With `notify`, the kernel asks a listener about each call whose answer is `deny` or `refuse`; without it, the
    # kernel applies these answers. A call of another architecture (x32 is one) kills the process. The machine must be
    # supported.
    _, architecture = _ARCHITECTURES[syscalls.MACHINE]
    deny = _NOTIFY if notify else _KILL_PROCESS
    refuse = _NOTIFY if notify else _ERRNO | errno.EACCES
    answers = {"deny": deny, "refuse": refuse, "absent": _ERRNO | errno.ENOSYS}
    code: list[Instruction] = [
        (_LD, 0, 0, _ARCH),
        (_JEQ, 1, 0, architecture),
        (_RET, 0, 0, _KILL_PROCESS),
        (_LD, 0, 0, _NR),
        # Larger numbers are x32 calls, which would bypass the rest of the filter.
        (_JGT, 0, 1, 0x3FFFFFFF),
        (_RET, 0, 0, _KILL_PROCESS),
        (_JGT, 0, 1, _LAST_KNOWN),
        (_RET, 0, 0, _ERRNO | errno.ENOSYS),
    ]
    for number, rule in rules().items():
        body = _by_argument(rule.name, deny, refuse) if rule.name in _BY_ARGUMENT else []
        body = body or [(_RET, 0, 0, answers[rule.answer])]
        code += [(_JEQ, 0, len(body), number), *body]
    return [*code, (_RET, 0, 0, _ALLOW)]


def _by_argument(name: str, deny: int, refuse: int) -> list[Instruction]:
    allow = (_RET, 0, 0, _ALLOW)
    match name:
        case "clone":
            return [_argument(0), (_JSET, 0, 1, _NEW_NAMESPACES), (_RET, 0, 0, deny), allow]
        case "socket":
            local = [(_JEQ, 1, 0, _AF_UNIX), (_JEQ, 0, 1, _AF_NETLINK), (_RET, 0, 0, refuse)]
            return [_argument(0), *local, (_RET, 0, 0, deny)]
        case "socketpair":
            return [_argument(0), (_JEQ, 1, 0, _AF_UNIX), (_RET, 0, 0, deny), allow]
        case "ioctl":
            return [_argument(1), (_JEQ, 1, 0, _TIOCSTI), (_JEQ, 0, 1, _TIOCLINUX), (_RET, 0, 0, deny), allow]
        case _:  # mknod and mknodat
            mode = _argument(1 if name == "mknod" else 2)
            test = [(_JEQ, 1, 0, _S_IFCHR), (_JEQ, 0, 1, _S_IFBLK), (_RET, 0, 0, deny), allow]
            return [mode, (_AND, 0, 0, _S_IFMT), *test]


def _argument(index: int) -> Instruction:
    return (_LD, 0, 0, _ARGUMENTS + 8 * index)


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p))


def install(*, notify: bool) -> int | None:
    # The filter cannot be removed from this process. The result is the descriptor of the listener, if there is one.
    # Raises OSError if the kernel refuses the filter.
    packed = b"".join(
        code.to_bytes(2, "little") + bytes((yes, no)) + value.to_bytes(4, "little")
        for code, yes, no, value in program(notify=notify)
    )
    buffer = ctypes.create_string_buffer(packed, len(packed))
    filter_ = _Filter(len(packed) // 8, ctypes.addressof(buffer))
    new_listener = 8
    descriptor = syscalls.seccomp(1, new_listener if notify else 0, filter_)
    return descriptor if notify else None
