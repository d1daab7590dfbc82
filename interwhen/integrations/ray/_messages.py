"""What the pool and an actor send each other, and the verifiers that both find by name."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping
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
from interwhen._version import __version__
from interwhen.registry import load_monitors, load_verifier, source_of


class CodeDiffers(InterwhenError):
    """Raised on the cluster if the code of a verifier there differs from the code in the program."""


class NamedVerifier(msgspec.Struct, frozen=True):
    """Names a verifier, so that an actor can make it: the plug-in, its options, and the code that it must have.

    *index* is the verifier's place among those of the plug-in, from 0.
    """

    name: str
    options: dict[str, Any]
    index: int
    version: str
    code: str = ""
    """What :func:`code_of` returns for the plug-in."""
    prompt: Prompt | None = None
    """The task from which the value of ``prepare`` is computed; ``None``: the monitor has no ``prepare``."""

    @property
    def key(self) -> str:
        """A text that identifies the verifier. It is the same for all tasks."""
        return f"{self.name}#{self.index}@{self.version}{msgspec.json.encode(self.options).decode()}"


class CheckItem(msgspec.Struct, frozen=True, array_like=True):
    """One check for an actor: its id, its verifier, its claim and its time limit."""

    id: int
    target: bytes
    """The digest of the encoded :class:`NamedVerifier`."""
    claim: bytes
    """The pickled claim, which has data but no code."""
    seconds: float
    """How long the check may take."""


class ActorRequest(msgspec.Struct, frozen=True, array_like=True):
    """One message to an actor: the checks to run, the verifiers for them, and the checks to cancel."""

    items: list[CheckItem] = []
    targets: list[bytes] = []
    """Encoded verifiers that this actor has not got yet."""
    cancelled: list[int] = []
    """The ids of the checks to cancel."""
    forgets: bool = False
    """Whether the actor must forget the verifiers that it got before."""


class CheckResult(msgspec.Struct, frozen=True, array_like=True):
    """The result of one check: a verdict, an error (*failure*), or that its time was over (*is_late*)."""

    id: int
    verdict: Verdict | None = None
    failure: str | None = None
    is_late: bool = False
    spent: float = 0.0
    """The CPU seconds of the check; 0 if they were not measured."""


class ActorReply(msgspec.Struct, frozen=True, array_like=True):
    """What an actor sends: the results that are ready, each of them once."""

    results: list[CheckResult]


class Greeting(msgspec.Struct, frozen=True):
    """Which code an actor runs (version and digest of interwhen, version of Python), and where it listens."""

    version: str
    code: str
    python: str
    host: str = ""
    port: int = 0

    def difference(self, other: Greeting) -> str:
        """Return the first difference of *other*, the greeting of an actor, as a sentence; empty if there is none."""
        for label, mine, theirs in (
            ("interwhen", self.version, other.version),
            ("Python", self.python, other.python),
            ("the code of interwhen", self.code, other.code),
        ):
            if mine != theirs:
                return f"{label} must be {mine} on each node as in this program, got {theirs}"
        return ""


def own_greeting() -> Greeting:
    """Return the versions of interwhen and Python and the digest of its code here, to compare with another machine."""
    return Greeting(__version__, digest_of_package("interwhen"), ".".join(map(str, sys.version_info[:2])))


@cache
def digest_of_package(name: str) -> str:
    """Return a digest of all Python files of the top-level package or module *name*; empty if it has none."""
    spec = importlib.util.find_spec(name)
    if spec is None:
        return ""
    roots = [Path(each) for each in spec.submodule_search_locations or ()]
    files = [(root, path) for root in roots for path in sorted(root.rglob("*.py"))]
    if not roots and spec.origin is not None and Path(spec.origin).is_file():
        files = [(Path(spec.origin).parent, Path(spec.origin))]
    if not files:
        return ""
    found = hashlib.blake2b(digest_size=12)
    for root, path in files:
        found.update(f"{path.relative_to(root)}\0".encode())
        found.update(path.read_bytes())
    return found.hexdigest()


@cache
def code_of(name: str) -> str:
    """Return a digest of the whole top-level package that the factory of the plug-in *name* is in.

    Raises :class:`~interwhen.PluginError` if the plug-in cannot be loaded.
    """
    module = inspect.unwrap(load_verifier(name)).__module__
    return digest_of_package(module.partition(".")[0])


def named(verifier: Verifier) -> NamedVerifier | None:
    """Return a record with which another machine can make *verifier*; ``None`` if that is not possible."""
    if isinstance(verifier, BoundVerifier):
        source, task = source_of(verifier.inner, verifier.prepare), verifier.task
        if task is None or is_async(verifier.prepare):
            return None
    else:
        source, task = source_of(verifier), None
    if source is None:
        return None
    options = _plain(source.options)
    if options is None:
        return None
    prompt = None if task is None else task.prompt
    return NamedVerifier(source.name, options, source.index, verifier.version, prompt=prompt)


def _plain(options: Mapping[str, object]) -> dict[str, Any] | None:
    """Return *options* if JSON can carry them unchanged, otherwise ``None``."""
    given = dict(options)
    try:
        found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(given))
    except (TypeError, ValueError, *DECODE_ERRORS):
        return None
    return found if found == given else None


def make(encoded: bytes) -> Verifier:
    """Make the verifier that *encoded*, a :class:`NamedVerifier` as bytes, names. Run its ``prepare`` if it has one.

    Raises :class:`CodeDiffers` if the plug-in cannot be loaded here or differs from that in the program,
    and the errors of making the verifier.
    """
    wanted = msgspec.msgpack.decode(encoded, type=NamedVerifier)
    try:
        code = code_of(wanted.name)
    except InterwhenError as error:
        raise CodeDiffers(f"the plug-in {wanted.name!r} must be installed on each node: {error}") from error
    if code != wanted.code:
        raise CodeDiffers(
            f"the code of the plug-in {wanted.name!r} must have the digest {wanted.code} on each node, as in the "
            f"program, got {code}; install the same version everywhere"
        )
    spec: dict[str, Any] = {**wanted.options, "name": wanted.name}
    monitor = load_monitors([spec])[wanted.index]
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


def encoded_digest(encoded: bytes) -> bytes:
    """Return a digest of *encoded*, an encoded verifier. An actor finds the verifier by it."""
    return hashlib.blake2b(encoded, digest_size=12).digest()
