"""What the pool and an actor send each other, and the verifiers that both find by name."""

from __future__ import annotations

import hashlib
import inspect
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from interwhen._engine.monitors import BoundVerifier
from interwhen._types.errors import DECODE_ERRORS, InterwhenError
from interwhen._types.extensions import Task
from interwhen._types.models import Prompt
from interwhen._types.verdicts import Verdict
from interwhen._types.verifiers import Verifier, is_async
from interwhen.registry import load_monitors, load_verifier, source_of


class CodeDiffers(InterwhenError):
    """Raised on the cluster if the code of a verifier there differs from the code in the program."""


class NamedVerifier(msgspec.Struct, frozen=True):
    """Names a verifier, so that an actor can make it.

    *index* is the verifier's place among those of the plug-in, from 0.
    """

    name: str
    options: dict[str, Any]
    index: int
    version: str
    code: str = ""
    """What :func:`code_of` returns for the plug-in: the actor must have the same code."""
    prompt: Prompt | None = None
    """The task from which the value of ``prepare`` is computed; ``None``: the monitor has no ``prepare``."""

    @property
    def key(self) -> str:
        # Without the prompt: the checks of all tasks count for one measured cost.
        return f"{self.name}#{self.index}@{self.version}{msgspec.json.encode(self.options).decode()}"


class CheckItem(msgspec.Struct, frozen=True, array_like=True):
    id: int
    claim: bytes
    """The pickled claim, which has data but no code."""
    seconds: float
    """How long the check may take."""


class CheckRequest(msgspec.Struct, frozen=True, array_like=True):
    """What one call to an actor carries: an encoded :class:`NamedVerifier`, and checks by it."""

    target: bytes
    items: list[CheckItem]


class CheckResult(msgspec.Struct, frozen=True, array_like=True):
    id: int
    verdict: Verdict | None = None
    failure: str | None = None
    is_late: bool = False
    spent: float = 0.0
    """The CPU seconds of the check; 0 if they were not measured."""


@cache
def code_of(name: str) -> str:
    # A digest of the code of interwhen and of the top-level package of the plug-in `name`, to compare two machines. It
    # reads all files of the packages, so the event loop must not call it.
    hasher = hashlib.blake2b(repr(sys.version_info[:2]).encode(), digest_size=12)
    for package in ("interwhen", inspect.unwrap(load_verifier(name)).__module__.partition(".")[0]):
        loaded = sys.modules[package]
        for root in map(Path, getattr(loaded, "__path__", None) or [loaded.__file__ or ""]):
            for path in sorted(root.rglob("*.py")) or [root]:
                hasher.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return hasher.hexdigest()


def named(verifier: Verifier) -> NamedVerifier | None:
    source, prompt = source_of(verifier), None
    if isinstance(verifier, BoundVerifier):
        if verifier.task is None or is_async(verifier.prepare):
            return None
        source, prompt = source_of(verifier.inner, verifier.prepare), verifier.task.prompt
    with suppress(TypeError, ValueError, *DECODE_ERRORS):  # options that JSON cannot carry unchanged
        if source is not None and msgspec.json.decode(msgspec.json.encode(source.options)) == source.options:
            return NamedVerifier(source.name, dict(source.options), source.index, verifier.version, "", prompt)
    return None


def encode(verifier: NamedVerifier) -> bytes:
    # Reads the files of the plug-in, so the event loop must not call it.
    return msgspec.msgpack.encode(msgspec.structs.replace(verifier, code=code_of(verifier.name)))


def make(encoded: bytes) -> Verifier:
    wanted = msgspec.msgpack.decode(encoded, type=NamedVerifier)
    try:
        code = code_of(wanted.name)
    except InterwhenError as error:
        raise CodeDiffers(f"the plug-in {wanted.name!r} must be installed on each node: {error}") from error
    if code != wanted.code:
        raise CodeDiffers(
            f"Python, interwhen and the package of the plug-in {wanted.name!r} must have the digest {wanted.code} on "
            f"each node, as in the program, got {code}; install the same versions everywhere"
        )
    monitor = load_monitors([{**wanted.options, "name": wanted.name}])[wanted.index]
    verifier = monitor.verifier
    if verifier.version != wanted.version:
        raise CodeDiffers(
            f"the verifier {verifier.name!r} must have the version {wanted.version} on each node, as in the program, "
            f"got {verifier.version}; install the same version everywhere"
        )
    if wanted.prompt is None:
        return verifier
    assert monitor.prepare is not None
    return BoundVerifier(verifier, monitor.prepare(Task(wanted.prompt)))
