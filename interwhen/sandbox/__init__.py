"""Sandboxes for untrusted code: an isolated process, and an interpreter without files, network and processes.

`ProcessSandbox` (`_process.py`) runs CPython code or any command; the code in `_inside/` is for the processes between
ours and the program. `MontySandbox` (`_monty.py`) runs small functions and scripts. `_sandbox.py` defines their
guarantees. Why: docs/decisions/sandboxes.md.
"""

from typing import TYPE_CHECKING

from interwhen._types import lazy_names
from interwhen._types.errors import SandboxUnavailable
from interwhen.sandbox._monty import MontySandbox
from interwhen.sandbox._process import ProcessSandbox
from interwhen.sandbox._sandbox import (
    Call,
    Command,
    Crashed,
    Denied,
    Json,
    Limited,
    Limits,
    Outcome,
    Returned,
    Sandbox,
    Script,
)

__all__ = [
    "Call",
    "Command",
    "Crashed",
    "Denied",
    "Json",
    "Limited",
    "Limits",
    "MontySandbox",
    "Outcome",
    "ProcessSandbox",
    "Returned",
    "Sandbox",
    "SandboxUnavailable",
    "Script",
]

if not TYPE_CHECKING:  # a type checker would take every name for one of this module
    __getattr__ = lazy_names(__name__)
