"""From what was heard of a run to its outcome."""

from __future__ import annotations

import errno
import json
from collections.abc import Sequence
from typing import get_args

from interwhen.sandbox._inside.plan import Answer
from interwhen.sandbox._launching import Heard
from interwhen.sandbox.guarantees import Finding, Guarantee
from interwhen.sandbox.limits import LimitName, Limits
from interwhen.sandbox.outcomes import Crashed, Denied, Limited, Outcome, Record, Returned
from interwhen.sandbox.programs import Call, Command, Json, Program

_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 13: "SIGPIPE"}


def findings_of(answer: Answer) -> tuple[Finding, ...]:
    """Return what the sandbox said of its promises."""
    known: tuple[Guarantee, ...] = get_args(Guarantee)
    rows = {name: (tuple(by), missing) for name, by, missing in answer["findings"]}
    return tuple(Finding(name, *rows.get(name, ((), "not reported"))) for name in known)


def judge(heard: Heard, program: Program, limits: Limits) -> Outcome:
    """Say how the run of *program* ended."""
    return judge_each(heard, (program,), limits)[0]


def judge_each(heard: Heard, programs: Sequence[Program], limits: Limits) -> tuple[Outcome, ...]:
    """Say how the runs of *programs* ended, one after another; what they wrote is that of all of them."""
    answer = heard.answer
    if isinstance(answer, str):
        record = Record(stdout=_text(heard.stdout), stderr=_text(heard.stderr))
        if heard.ended_for == "output":
            return (Limited("output", record),) * len(programs)
        return (Crashed(f"the sandbox could not run it: {answer}", record),) * len(programs)
    answers = [answer, *answer["more"]]
    found = [_judged(one, heard, program, limits) for one, program in zip(answers, programs, strict=False)]
    # The output or the time of all was used up before the others were begun.
    which: LimitName = "output" if heard.ended_for == "output" else "seconds"
    return (*found, *(Limited(which, Record()) for _ in range(len(programs) - len(found))))


def _judged(answer: Answer, heard: Heard, program: Program, limits: Limits) -> Outcome:
    record = Record(
        stdout=_text(heard.stdout),
        stderr=_text(heard.stderr),
        seconds=answer["seconds"],
        cpu_seconds=answer["cpu_seconds"],
        peak_memory_bytes=answer["peak_memory_bytes"],
        refused=tuple(answer["refused"]),
        missing=frozenset(finding.guarantee for finding in findings_of(answer) if not finding.enforced),
    )
    # Whatever else it did, the program was at the forbidden thing first.
    if answer["kind"] == "deny":
        return Denied(answer["what"], record)
    if heard.ended_for == "output":
        return Limited("output", record)
    return _by_end(answer, program, limits, record)


def _by_end(answer: Answer, program: Program, limits: Limits, record: Record) -> Outcome:
    match answer["kind"]:
        case "limit":
            which: LimitName = answer["what"] if answer["what"] in get_args(LimitName) else "seconds"  # type: ignore[assignment]
            return Limited(which, record)
        case "start":
            return Crashed(f"it could not be started: {answer['what']}", record)
        case "signal":
            number = answer["code"]
            return _unless_refused(Crashed(_SIGNALS.get(number, f"signal {number}"), record))
        case _:
            if isinstance(program, Command):
                return _by_code(answer, None, record)
            return _by_report(answer, program, limits, record)


def _by_report(answer: Answer, program: Program, limits: Limits, record: Record) -> Outcome:
    """Judge Python code by what its runner left: nothing, what was raised, or what was returned."""
    if len(answer["value"]) > limits.output_bytes:
        return Limited("output", record)
    word, _, rest = answer["value"].decode(errors="replace").partition("\0")
    if word == "raised":
        raised, _, rest = rest.partition("\0")
        number, _, message = rest.partition("\0")
        return _by_exception(answer, raised, message, number, record)
    if not isinstance(program, Call):
        return _by_code(answer, None, record)
    if word != "value":
        ending = f"it ended with exit code {answer['code']} before {program.function!r} returned"
        return _unless_refused(Crashed(ending, record))
    try:
        value: Json = json.loads(rest)
    except (ValueError, RecursionError):
        return Crashed("it returned something that is no JSON", record)
    return _by_code(answer, value, record)


def _by_code(answer: Answer, value: Json, record: Record) -> Outcome:
    if answer["code"] != 0:
        if record.refused:
            return Denied(record.refused[0], record)
        if answer["full"] in {"disk", "files"}:
            return Limited("disk" if answer["full"] == "disk" else "files", record)
    return Returned(value, answer["code"], record)


def _by_exception(answer: Answer, raised: str, message: str, text: str, record: Record) -> Outcome:
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 4 else None
    limit = _limit_of(answer, raised, message, number)
    if limit is not None:
        return Limited(limit, record)
    if number in {errno.EPERM, errno.EACCES, errno.EROFS}:
        return Denied(record.refused[0] if record.refused else message, record)
    return _unless_refused(Crashed(f"{raised}: {message}" if message else raised, record))


def _limit_of(answer: Answer, raised: str, message: str, number: int | None) -> LimitName | None:
    """Return the limit that an exception tells of; its text is the program's own, so this is no more than a word."""
    if raised == "MemoryError" or number == errno.ENOMEM:
        return "memory"
    if raised == "RecursionError":
        return "recursion"
    if number == errno.EAGAIN or message == "can't start new thread":
        return "processes"
    if number == errno.EMFILE:
        return "open_files"
    if number in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        return "files" if answer["full"] == "files" else "disk"
    return None


def _unless_refused(crashed: Crashed) -> Outcome:
    """Say that a program was denied what it was refused, where it failed after that."""
    refused = crashed.record.refused
    return Denied(refused[0], crashed.record) if refused else crashed


def _text(data: bytes) -> str:
    return data.decode(errors="replace")
