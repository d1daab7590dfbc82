"""The shipped verifier ``command``: an external checker, such as a compiler or a prover, judges what the model wrote.

**It runs programs on text that a model wrote**: see ``docs/verifiers/command.md``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from interwhen import (
    Answer,
    CodeBlocks,
    Feedback,
    Monitor,
    Pass,
    Segment,
    Tracker,
    Unknown,
    UsageError,
    Verdict,
    verifier,
)
from interwhen.toolkit import Delivery, FunctionVerifier, Level, PhaseFilter, Scope

from interwhen_verifiers._blocks import LONGEST, Source, block_source, digest, doubtful_source, read_block
from interwhen_verifiers._command.checker import PRESETS, Checker, need_pattern
from interwhen_verifiers._command.runs import Ran, judge, read_apart, run_inside, run_outside
from interwhen_verifiers._factories import require_choice, require_positive, require_texts

Preset: TypeAlias = Literal["gcc", "gcc-run", "coq", "lean", "mypy", "script"]
Where: TypeAlias = Literal["process", "none"]

SCOPE: Scope = "answer"
"""The widest scope that a pass can have; it needs the option ``scope="answer"``."""
_MOST_EARLIER = 16
_TOO_LONG = f"a text of more than {LONGEST:,} characters is not checked"
_STARTING = 5.0


def _blocks(checker: Checker) -> Tracker[tuple[str, ...]]:
    def step(earlier: tuple[str, ...], segment: Segment) -> tuple[tuple[str, ...], Iterable[Source]]:
        if len(segment.text) > LONGEST:
            return earlier, (doubtful_source(segment, _TOO_LONG),)
        block = read_block(segment.text)
        if block is None or block.language not in checker.languages:
            return earlier, ()
        return (*earlier, block.code)[-_MOST_EARLIER:], (block_source(segment, block, block.code, earlier),)

    return Tracker(lambda _prepared: (), step)


def _whole(segment: Segment) -> Iterable[Source]:
    if len(segment.text) > LONGEST:
        return (doubtful_source(segment, _TOO_LONG),)
    starts, at = [], 0
    for line in segment.text.split("\n"):
        starts.append(at)
        at += len(line) + 1
    return (Source(key=digest(segment.text), span=segment.span, code=segment.text, starts=tuple(starts)),)


def _verifier(
    checker: Checker, sandbox: Where, seconds: float, directory: str | None, readable: tuple[str, ...], scope: Scope
) -> FunctionVerifier:
    async def run(text: str) -> Ran:
        data = text.encode("utf-8", "replace")
        if sandbox == "process":
            ran = await run_inside(checker, data, seconds=seconds, readable=readable)
        else:
            ran = await run_outside(checker, data, seconds=seconds, directory=directory)
        return await read_apart(checker, ran)

    @verifier(name=f"command-{checker.name}", version="1", deadline=2 * seconds + _STARTING)
    async def check(claim: Source) -> Verdict:
        if claim.doubt:
            return Unknown(claim.doubt)
        verdict = judge(checker, await run(claim.code), claim.starts, claim.size, before=0, scope=scope)
        if claim.earlier and not isinstance(verdict, Pass):
            # The earlier blocks may define names that this block uses.
            before = "".join(claim.earlier)
            ran = await run(before + claim.code)
            verdict = judge(checker, ran, claim.starts, claim.size, before=before.count("\n"), scope=scope)
        return verdict

    return check


def command(
    *,
    preset: Preset | None = None,
    argv: tuple[str, ...] = (),
    languages: tuple[str, ...] | None = None,
    file: str = "",
    pattern: str = "",
    refutes: tuple[int, ...] | None = None,
    sandbox: Where | None = None,
    directory: str = "",
    readable: tuple[str, ...] = (),
    seconds: float = 10.0,
    scope: Scope = "steps",
    level: Level = "witness",
    delivery: Delivery = "interrupt",
    phase: PhaseFilter = "answer",
) -> Monitor:
    """Make a monitor that runs an external checker on the text. Raises :class:`UsageError` on a wrong option value.

    A block that is not accepted alone is checked again together with the blocks before it, at most 16.

    ``preset``: the name of a known checker; ``argv``: the command of any other checker, or another command for the
    preset, with ``{file}`` in place of the file. ``languages``: the languages of the code blocks that are checked, by
    default those of the preset; without any, the whole answer is checked. ``file``: the name of the file. ``pattern``:
    a regular expression that finds errors in the output, with the groups ``line``, ``column`` and ``message``.
    ``refutes``: the exit codes which mean that the file is wrong (0 means that it is right; other codes prove nothing).
    ``sandbox``: ``process`` (the default), or ``none`` (the default of ``lean``) to run with all rights of this
    process, in a scratch directory or in ``directory``. ``readable``: further paths that the sandbox shows. ``scope``:
    ``answer`` if a text that the command accepts is a right answer. ``seconds``: the time limit for one run of all
    commands. ``level``, ``delivery`` and ``phase`` are those of :class:`~interwhen.Monitor`.
    """
    require_positive("command", seconds=seconds)
    require_texts("command", argv=argv, readable=readable)
    if languages is not None:
        require_texts("command", languages=languages)
    checker = _checker(preset, argv, languages, file, pattern, refutes)
    where: Where = sandbox or ("none" if checker.name == "lean" else "process")
    require_choice("command", get_args(Where), sandbox=where)
    if directory and where != "none":
        raise UsageError(
            f"command: directory={directory!r} needs sandbox='none', got {where!r}; give this, or "
            "show the sandbox more by readable="
        )
    if directory and not Path(directory).is_dir():
        raise UsageError(f"command: directory must be a folder, got {directory!r}; correct it")
    if readable and where != "process":
        raise UsageError(
            f"command: readable={readable!r:.100} needs sandbox='process', got {where!r}; leave readable= out, since "
            "the command can read everything"
        )
    return Monitor(
        name=f"command-{checker.name}",
        trigger=CodeBlocks() if checker.languages else Answer(),
        extractor=_blocks(checker) if checker.languages else _whole,
        verifier=_verifier(checker, where, seconds, directory or None, readable, scope),
        delivery=delivery,
        remedy=Feedback(place="rewind"),
        level=level,
        phase=phase,
        scope=scope,
    )


def _checker(
    preset: Preset | None,
    argv: tuple[str, ...],
    languages: tuple[str, ...] | None,
    file: str,
    pattern: str,
    refutes: tuple[int, ...] | None,
) -> Checker:
    known = "script" if preset is None else preset
    require_choice("command", PRESETS, preset=known)
    checker = PRESETS[known]
    if not checker.steps and not argv:
        raise UsageError(
            "command: must have a preset or argv, got no preset and no argv; give one, for example "
            'argv=("checker", "{file}")'
        )
    if argv and not any("{file}" in part for part in argv):
        raise UsageError(f"command: argv must contain the file as {{file}}, got {argv!r}; write {{file}} in its place")
    if file and ("/" in file or file.startswith(".") or "\0" in file):
        raise UsageError(
            f"command: file must be a file name without a folder, got {file!r}; write its name alone, and no dot first"
        )
    changes: dict[str, object] = {"steps": (argv,)} if argv else {}
    if languages is not None:
        changes["languages"] = frozenset(language.lower() for language in languages)
    if file:
        changes["file"] = file
    if pattern:
        need_pattern(pattern)
        changes["own_pattern"] = pattern
    if refutes is not None:
        if not isinstance(refutes, Collection) or not all(isinstance(code, int) for code in refutes):
            raise UsageError(f"command: refutes must be a list of exit codes, got {refutes!r:.100}; give whole numbers")
        if 0 in refutes:
            raise UsageError(
                "command: refutes must not hold 0, which is the exit code for a correct file; got "
                f"{refutes!r}; leave 0 out"
            )
        changes["refutes"] = frozenset(refutes)
    return replace(checker, **changes)  # type: ignore[arg-type]
