"""Sandboxes for untrusted code: an interpreter without a machine, and a process without a world."""

from interwhen.errors import SandboxUnavailable
from interwhen.sandbox.base import Sandbox
from interwhen.sandbox.guarantees import Finding, Guarantee, Guarantees
from interwhen.sandbox.limits import LimitName, Limits
from interwhen.sandbox.monty import MontySandbox
from interwhen.sandbox.outcomes import Crashed, Denied, Limited, Outcome, Record, Returned
from interwhen.sandbox.process import ProcessSandbox
from interwhen.sandbox.programs import Call, Command, Json, Program, Script

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
