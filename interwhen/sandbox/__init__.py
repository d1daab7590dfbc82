"""Sandboxes for untrusted code: an interpreter without a machine under it, and an isolated process.

`ProcessSandbox` (`_process.py`) runs real Python or any command. `_inside/` runs between our process and the program,
with the standard library alone. `MontySandbox` (`_monty.py`) runs small pure functions. `_sandbox.py` defines the
guarantees of both, each with the mechanism that enforces it on this machine. Why: docs/decisions/0015-sandboxes.md.
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
