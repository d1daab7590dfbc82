"""The filter, run in an interpreter of its own: what it answers to every number and argument."""

import errno

import pytest
from interwhen.sandbox._inside import seccomp, syscalls

ALLOW, NOTIFY, KILL = 0x7FFF0000, 0x7FC00000, 0x80000000
ENOSYS, EACCES = 0x50000 | errno.ENOSYS, 0x50000 | errno.EACCES


@pytest.fixture(params=["x86_64", "aarch64"])
def machine(request, monkeypatch):
    monkeypatch.setattr(syscalls, "MACHINE", request.param)
    return request.param


def number_of(name, machine):
    return seccomp._NUMBERS[name][0 if machine == "x86_64" else 1]


def verdict(code, number, arguments=(0,) * 6, architecture=None, *, machine):
    # Only the instructions that the filter uses are implemented.
    if architecture is None:
        architecture = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}[machine]
    data = number.to_bytes(4, "little") + architecture.to_bytes(4, "little") + bytes(8)
    data += b"".join((argument & (1 << 64) - 1).to_bytes(8, "little") for argument in arguments)
    accumulator, at = 0, 0
    while True:
        operation, yes, no, value = code[at]
        at += 1
        match operation:
            case 0x20:
                accumulator = int.from_bytes(data[value : value + 4], "little")
            case 0x54:
                accumulator &= value
            case 0x15:
                at += yes if accumulator == value else no
            case 0x25:
                at += yes if accumulator > value else no
            case 0x45:
                at += yes if accumulator & value else no
            case 0x06:
                return value


def test_filter_jumps_stay_in_range(machine):
    for notify in (False, True):
        code = seccomp.program(notify=notify)
        assert len(code) < 4096
        for at, (operation, yes, no, _) in enumerate(code):
            if operation not in (0x20, 0x54, 0x06):
                assert max(yes, no) < 256
                assert at + 1 + max(yes, no) < len(code)


def test_unlisted_calls_are_allowed_and_unknown_ones_absent(machine):
    code = seccomp.program(notify=True)
    named = seccomp.rules()
    for number in range(1200):
        got = verdict(code, number, machine=machine)
        if number > seccomp._LAST_KNOWN:
            assert got == ENOSYS
        elif number not in named:
            assert got == ALLOW


def test_each_forbidden_call_is_answered(machine):
    expected = {
        True: {"deny": NOTIFY, "refuse": NOTIFY, "absent": ENOSYS},
        False: {"deny": KILL, "refuse": EACCES, "absent": ENOSYS},
    }
    for notify, answers in expected.items():
        code = seccomp.program(notify=notify)
        for number, rule in seccomp.rules().items():
            if rule.name not in seccomp._BY_ARGUMENT:
                assert verdict(code, number, machine=machine) == answers[rule.answer], rule


@pytest.mark.parametrize(
    ("name", "arguments", "notified", "cut_off"),
    [
        ("socket", (2,), NOTIFY, KILL),
        ("socket", (10,), NOTIFY, KILL),
        ("socket", (1,), NOTIFY, EACCES),
        ("socket", (16,), NOTIFY, EACCES),
        ("socket", (1 | 1 << 40,), NOTIFY, EACCES),  # the kernel reads an int
        ("socketpair", (1,), ALLOW, ALLOW),
        ("socketpair", (2,), NOTIFY, KILL),
        ("clone", (0x003D0F00,), ALLOW, ALLOW),  # a thread
        ("clone", (17,), ALLOW, ALLOW),  # a fork
        ("clone", (0x10000000 | 17,), NOTIFY, KILL),
        ("clone", (0x40000000,), NOTIFY, KILL),
        ("ioctl", (0, 0x5401), ALLOW, ALLOW),
        ("ioctl", (0, 0x5412), NOTIFY, KILL),
        ("ioctl", (0, 0x5412 | 1 << 32), NOTIFY, KILL),
        ("ioctl", (0, 0x541C), NOTIFY, KILL),
        ("mknodat", (0, 0, 0o010600), ALLOW, ALLOW),  # a FIFO
        ("mknodat", (0, 0, 0o020600), NOTIFY, KILL),
        ("mknodat", (0, 0, 0o060600), NOTIFY, KILL),
    ],
)
def test_argument_dependent_calls_are_filtered(machine, name, arguments, notified, cut_off):
    number = number_of(name, machine)
    padded = (*arguments, *(0,) * (6 - len(arguments)))
    assert verdict(seccomp.program(notify=True), number, padded, machine=machine) == notified
    assert verdict(seccomp.program(notify=False), number, padded, machine=machine) == cut_off


def test_other_architectures_and_x32_are_killed(machine):
    code = seccomp.program(notify=True)
    assert verdict(code, 0, architecture=0x40000003, machine=machine) == KILL
    assert verdict(code, 41 | 0x40000000, machine=machine) == KILL
    assert verdict(code, 0xFFFFFFFF, machine=machine) == KILL


def judged(number, first):
    rule = seccomp.judge(number, first)
    return rule.name, rule.answer


def test_listener_decodes_each_system_call(machine):
    assert judged(number_of("socket", machine), 2) == ("socket(family 2)", "deny")
    assert judged(number_of("socket", machine), 1) == ("socket(family 1)", "refuse")
    assert judged(number_of("ptrace", machine), 0) == ("ptrace", "deny")
    assert judged(number_of("personality", machine), 0) == ("personality", "refuse")
    assert judged(123456, 0) == ("system call 123456", "deny")
