"""Sandboxes for untrusted code: an isolated process, and an interpreter without files, network and processes.

`ProcessSandbox` (`_process.py`) runs CPython code or any command; the code in `_inside/` is for the processes between
ours and the program. `MontySandbox` (`_monty.py`) runs small functions and scripts. `_sandbox.py` defines their
guarantees. Why: docs/decisions/sandboxes.md.
"""

from interwhen._types.errors import SandboxUnavailable
from interwhen.sandbox._monty import MontySandbox
from interwhen.sandbox._process import ProcessSandbox
from interwhen.sandbox._sandbox import (
    Call,
    Command,
    Crashed,
    Denied,
    Finding,
    Guarantee,
    Guarantees,
    Json,
    Limited,
    LimitName,
    Limits,
    Outcome,
    Program,
    Record,
    Returned,
    Sandbox,
    Script,
)

__all__ = [
    "Call",
    "Command",
    "Crashed",
    "Denied",
    "Finding",
    "Guarantee",
    "Guarantees",
    "Json",
    "LimitName",
    "Limited",
    "Limits",
    "MontySandbox",
    "Outcome",
    "ProcessSandbox",
    "Program",
    "Record",
    "Returned",
    "Sandbox",
    "SandboxUnavailable",
    "Script",
]
