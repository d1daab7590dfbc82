"""Plug-ins by name: verifiers and models that any installed distribution offers through entry points."""

from interwhen.registry._making import make
from interwhen.registry._models import Api, load_model
from interwhen.registry._monitors import MonitorSpec, load_monitor, load_monitors
from interwhen.registry._paths import load_monitor_or_path
from interwhen.registry._plugins import (
    MODELS,
    PRODUCERS,
    STRATEGIES,
    TASKS,
    TRACES,
    VERIFIERS,
    Plugin,
    load,
    load_trace_format,
    load_verifier,
    models,
    producers,
    trace_formats,
    verifiers,
)
from interwhen.registry._report import VerifierReport, describe, scope_of, why_failed

__all__ = [
    "MODELS",
    "PRODUCERS",
    "STRATEGIES",
    "TASKS",
    "TRACES",
    "VERIFIERS",
    "Api",
    "MonitorSpec",
    "Plugin",
    "VerifierReport",
    "describe",
    "load",
    "load_model",
    "load_monitor",
    "load_monitor_or_path",
    "load_monitors",
    "load_trace_format",
    "load_verifier",
    "make",
    "models",
    "producers",
    "scope_of",
    "trace_formats",
    "verifiers",
    "why_failed",
]
