"""Judges a proposed text: the engine streams it to the monitors, as if a model were writing it."""

from __future__ import annotations

import enum
import functools
import re
import types
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import AsyncExitStack
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from interwhen._engine.run import Run, RunOptions
from interwhen._engine.workers import Workers
from interwhen._types.budgets import Budgets
from interwhen._types.extensions import WorkerPool
from interwhen._types.models import Capabilities, Chunk, Model, Prompt, Sampling
from interwhen._types.monitors import Monitor
from interwhen._types.remedies import Conclude
from interwhen._types.results import Abstained, CheckRecord, Failed, Result, Unverified, Verified
from interwhen._types.segments import Span
from interwhen.journal._records import describe
from interwhen.models._replay import Recording, ReplayModel
from interwhen.precompute._items import Digest, Proof, digest
from interwhen.precompute._producer import Accepted, Judgement, Rejected, Undecided
from interwhen.registry import MonitorSpec, load_monitors

# Fingerprints of closure variables. Two functions with the same name may have different settings.


class Unseen(Exception):
    """Raised if no fingerprint can be computed, because a value is an object of a class that has none."""


def settings_of(function: object) -> Digest:
    return digest(repr(_settings_seen(function, (), _parts)))


def settings_seen_of(monitor: Monitor) -> Digest:
    # Of an object of an unknown class only the class is included, because its attributes may change during a run. Of
    # the verifier, attributes with plain values (numbers, strings) are included, too.
    own: Mapping[str, object] = getattr(monitor.verifier, "__dict__", {})
    plain = {name: value for name, value in own.items() if isinstance(value, _PLAIN)}
    return digest(repr(_settings_seen((monitor, plain), (), _parts_or_type)))


_PLAIN = (type(None), bool, int, float, complex, str, bytes, range)


def _settings_seen(value: Any, above: tuple[int, ...], parts: Callable[[Any], list[object]]) -> object:
    if isinstance(value, _PLAIN) and not isinstance(value, enum.Enum):
        return type(value).__name__, repr(value)
    if id(value) in above:
        return "again", len(above) - above.index(id(value))
    deeper = (*above, id(value))

    def seen(each: Any) -> object:
        return _settings_seen(each, deeper, parts)

    match value:
        case AbstractSet():
            return "set", sorted(repr(seen(each)) for each in value)
        case Mapping():
            return "mapping", [(seen(key), seen(each)) for key, each in value.items()]
        case Sequence():
            return "list", [seen(each) for each in value]
        case _:
            return [seen(each) for each in parts(value)]


def _parts_or_type(value: Any) -> list[object]:
    try:
        return _parts(value)
    except Unseen:
        return [type(value)]


def _parts(value: Any) -> list[object]:
    match value:
        case enum.Enum():
            return [type(value), value.name]
        case type() | types.BuiltinFunctionType():
            return [value.__module__, value.__qualname__]
        case types.FunctionType():
            cells = [_content(cell) for cell in value.__closure__ or ()]
            return [value.__module__, value.__qualname__, value.__defaults__, value.__kwdefaults__, *cells]
        case types.MethodType():
            return [value.__func__, value.__self__]
        case functools.partial():
            return [value.func, value.args, value.keywords]
        case _ if is_dataclass(value):
            return [type(value), *(getattr(value, field.name) for field in fields(value))]
        case msgspec.Struct():
            return [type(value), *(getattr(value, name) for name in value.__struct_fields__)]
        case re.Pattern():
            return [value.pattern, value.flags]
        case Path():
            return [str(value)]
    raise Unseen(
        f"it holds a {type(value).__name__}, which cannot be compared with another one; use plain values or dataclasses"
    )


def _content(cell: types.CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # not bound yet
        return None


_QUOTED = 120
_SIZE = 64
"""The size of a chunk in characters."""


def _untimed(text: str) -> Recording:
    return Recording.untimed(Chunk(text[at : at + _SIZE], tokens=0) for at in range(0, len(text), _SIZE))


class Judge:
    """Judges texts with *monitors*, which only observe there. In :meth:`supervise`, they interrupt and repair.

    A text is accepted only if the engine verifies it, each line that is not blank has a claim that passed, and claims
    cover at least the share *least_coverage* (0 to 1) of the text. Monitors with the remedy ``Conclude`` do not judge.
    """

    def __init__(
        self, monitors: Sequence[MonitorSpec] = (), *, least_coverage: float = 0.0, workers: WorkerPool | None = None
    ) -> None:
        specs = tuple(monitors)
        self._workers = workers
        self._least_coverage = least_coverage
        loaded = load_monitors(specs)
        self._acting = tuple(each for each in loaded if not isinstance(each.remedy, Conclude))
        self.monitors = tuple(map(_observing, self._acting))
        verifiers, records = describe(loaded, specs)
        settings = map(settings_seen_of, loaded)
        self.digest: Digest = digest(msgspec.msgpack.encode((verifiers, records)), repr(least_coverage), *settings)
        """A fingerprint of the settings of the monitors and the versions of their verifiers, for item keys."""

    async def judge(self, text: str, prompt: Prompt = "", *, forks: Model | None = None) -> Judgement:
        """Let the monitors judge *text*, as if a model had continued *prompt* with it. *forks* answers their forks."""
        if not self.monitors:
            return Undecided("no monitor can verify it")
        if not text.strip():
            return Undecided("the text is empty")
        async with AsyncExitStack() as stack:
            # There is no reader, so a blocked event loop does not matter.
            workers = self._workers or await stack.enter_async_context(Workers(blocked_loop_after=None))
            # Tags in a stored text do not mark reasoning.
            able = Capabilities(resume="prefix", forks=forks is not None, think_tags=None)
            run = Run(
                ReplayModel([_untimed(text)], forks=forks, capabilities=able, name="recited"),
                prompt,
                RunOptions(
                    monitors=self.monitors,
                    budgets=Budgets(failures=None, characters=len(text) + 1),
                    workers=workers,
                ),
            )
            await stack.enter_async_context(run)
            return self._judgement(text, await run.drain())

    async def supervise(self, model: Model, prompt: Prompt, sampling: Sampling) -> Result:
        options = RunOptions(monitors=self._acting, sampling=sampling, workers=self._workers)
        async with Run(model, prompt, options) as run:
            return await run.drain()

    def _judgement(self, text: str, result: Result) -> Judgement:
        if result.violations:
            first = result.violations[0]
            return Rejected(f"{first.monitor}: {first.why}: {first.quote!r:.{_QUOTED}}")
        match result:
            case Verified():
                return self._accepted(text, result)
            case Unverified(unverified_reasons=unverified_reasons) | Abstained(unverified_reasons=unverified_reasons):
                doubt = unverified_reasons[0] if unverified_reasons else None
                return Undecided(f"{doubt.monitor}: {doubt.why}" if doubt else "not verified")
            case Failed(error=error):
                return Undecided(error)

    def _accepted(self, text: str, result: Verified) -> Judgement:
        certificate = result.certificate
        if not certificate.matches(text):
            return Undecided("the certificate is for another text")
        bare = _bare_line(text, certificate.covered)
        if bare is not None:
            return Undecided(f"no claim in this line was checked: {bare!r:.{_QUOTED}}")
        if certificate.coverage < self._least_coverage:
            return Undecided(f"claims cover {certificate.coverage:.0%}, and {self._least_coverage:.0%} is required")
        names = sorted({(check.verifier, check.version) for check in certificate.checks})
        return Accepted(
            Proof(
                basis="judged",
                verifiers=tuple(names),
                verdict=digest(msgspec.msgpack.encode([_identity(check) for check in certificate.checks])),
                text_sha256=certificate.text_sha256,
                prompt_sha256=certificate.prompt_sha256,
                coverage=certificate.coverage,
                evidence=f"{len(certificate.checks)} checks passed",
                scope=certificate.scope,
            )
        )


def _observing(monitor: Monitor) -> Monitor:
    # All violations count here, not only the first, so no monitor may interrupt or hold text.
    return replace(monitor, delivery="observe", unproven="open", on_error=None)


def _identity(check: CheckRecord) -> tuple[object, ...]:
    return check.monitor, check.verifier, check.version, check.key, check.span


def _bare_line(text: str, covered: Sequence[Span]) -> str | None:
    at = 0
    for line in text.splitlines(keepends=True):
        end = at + len(line)
        if line.strip() and not any(span.start < end and at < span.end for span in covered):
            return line.strip()
        at = end
    return None
