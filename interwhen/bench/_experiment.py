"""Runs the arms of a benchmark in turn, and makes a command of a measurement."""

from __future__ import annotations

import inspect
import random
import sys
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, wraps
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Generic, TypeVar, get_type_hints

import anyio
import msgspec
from cyclopts import Parameter

from interwhen import UsageError
from interwhen._engine.run import require_on
from interwhen.bench._pictures import draw, page
from interwhen.bench._report import Report, markdown, show
from interwhen.cli._progress import ProgressLine, note
from interwhen.toolkit import MissingExtraError

A = TypeVar("A")
T = TypeVar("T")


def say(line: str) -> None:
    note(line)


@dataclass(frozen=True, slots=True)
class Experiment(Generic[A]):
    """Compares arms in rounds: every round runs each arm once, in random order."""

    # The speed of a machine drifts during a measurement, so arms are compared only within a round.

    arms: Sequence[A]
    pairs: int
    """How many rounds are counted; fewer if *minutes* have passed."""
    seed: int = 0
    warm_up: int = 1
    """Rounds that run first and are not counted. Their numbers are negative."""
    minutes: float | None = None
    """After this many minutes, no further round begins, but at least one is counted."""

    def rounds(self) -> Iterator[tuple[int, list[A]]]:
        rng = random.Random(self.seed)  # noqa: S311  (an order, not a secret)
        begun = time.monotonic()
        # No thread updates the line between two rounds: it would be measured, too.
        with ProgressLine("rounds", self.warm_up + self.pairs, ticks=False) as progress:
            for number in range(-self.warm_up, self.pairs):
                if self.minutes is not None and number > 0 and time.monotonic() - begun > 60 * self.minutes:
                    say(f"the time is over: {number} of {self.pairs} rounds are counted")
                    return
                yield number, rng.sample(list(self.arms), len(self.arms))
                progress.advance()

    async def run(self, measure: Callable[[A, int], Awaitable[T]]) -> dict[A, list[T]]:
        by_arm: dict[A, list[T]] = {arm: [] for arm in self.arms}
        for number, arms in self.rounds():
            for arm in arms:
                observed = await measure(arm, number)
                if number >= 0:
                    by_arm[arm].append(observed)
        return by_arm


def observations(by_arm: Mapping[Any, Sequence[Any]]) -> tuple[dict[str, Any], ...]:
    rows = (
        {"arm": str(arm), "pair": pair, "value": value}
        for arm, values in by_arm.items()
        for pair, value in enumerate(values)
    )
    return tuple(rows)


_EXTRAS = {"httptools": "fast", "uvloop": "fast", "starlette": "gateway", "uvicorn": "gateway", "openai": "openai"}


def require(command: str, *modules: str) -> None:
    missing = {_EXTRAS[module] for module in modules if find_spec(module) is None}
    if missing:
        advice = " or give it --no-uvloop" if "uvloop" in modules and find_spec("uvloop") is None else ""
        names = ",".join(sorted(missing))
        raise MissingExtraError(command, names, f"pip install 'interwhen[{names}]'{advice}")


@Parameter(name="*")
@dataclass(frozen=True, slots=True)
class Output:
    """Options that select where the report is written."""

    # The hyphen alone is a value: standard output.
    json: Annotated[Path | None, Parameter(allow_leading_hyphen=True)] = None
    """Write the report there as JSON; "-" for standard output, in place of the tables."""
    page: Path | None = None
    """Write the report there as an HTML page that needs no other file."""
    plot: Path | None = None
    """Draw the charts of the report there, as PNG, SVG or PDF (extra ``plots``)."""
    markdown: bool = False
    """Print the tables in Markdown."""

    def check(self, *, has_charts: bool) -> None:
        if self.plot is not None and not has_charts:
            raise UsageError("--plot needs a benchmark with charts, got one without; give --page for its tables")
        if self.plot is not None and find_spec("matplotlib") is None:
            raise MissingExtraError("a plot", "plots")
        check_files(json=self.json, page=self.page, plot=self.plot)

    def keep(self, report: Report) -> None:
        # Some benchmarks call it after each round, so that an interrupted measurement leaves a report.
        if self.json is None or str(self.json) == "-":
            return
        part = self.json.with_name(f"{self.json.name}.part")
        try:
            part.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
            part.replace(self.json)
        except OSError as error:
            raise UsageError(
                f"--json must be a file that can be written, got {str(self.json)!r} ({error.strerror}); "
                "name another file"
            ) from error

    def write(self, report: Report) -> None:
        self.keep(report)
        if str(self.json) == "-":
            sys.stdout.write(msgspec.json.encode(report).decode() + "\n")
        elif self.markdown:
            sys.stdout.write(markdown(report))
        else:
            show(report)
        if self.page is not None:
            try:
                self.page.write_text(page(report), encoding="utf-8")
            except OSError as error:
                raise UsageError(
                    f"--page must be a file that can be written, got {str(self.page)!r} ({error.strerror or error}); "
                    "name another file"
                ) from error
        if self.plot is not None:
            draw(report, self.plot)


def check_files(**paths: Path | None) -> None:
    """Raise :class:`UsageError` if the folder of a file does not exist, or if the file is a folder.

    The file ``-`` is standard output and is ignored.
    """
    for option, path in paths.items():
        if path is None or str(path) == "-":
            continue
        if not path.parent.is_dir():
            raise UsageError(
                f"--{option} must be in a folder that exists, got {str(path)!r}; make {str(path.parent)!r} first"
            )
        if path.is_dir():
            raise UsageError(f"--{option} must be a file, got the folder {str(path)!r}; name a file in it")


def command_of(
    measure: Callable[..., Report | Awaitable[Report]],
    *,
    needs: Sequence[str] = (),
    uvloop: bool | None = None,
    has_charts: bool = False,
) -> Callable[..., int]:
    """Return a function that runs *measure* as a command, with the options of *measure* and of :class:`Output`.

    Its exit code is 0 if the report passed, else 1. *needs* lists modules that extras install. If *uvloop* is not
    ``None``, the command has an option for the event loop, with *uvloop* as its default. A parameter ``keep`` of
    *measure* gets a function that writes an incomplete report as JSON.
    """
    name = measure.__name__
    given = inspect.signature(measure)

    @wraps(measure)
    def command(*, output: Output = Output(), **options: Any) -> int:
        on_uvloop = options.pop("uvloop", uvloop)
        fast = ["httptools"] if options.get("transport", _default(given, "transport")) == "fast" else []
        require(f"interwhen bench {name}", *needs, *fast, *(["uvloop"] if on_uvloop else []))
        output.check(has_charts=has_charts)
        require_on(f"measure {name}")
        if "keep" in given.parameters:
            options["keep"] = output.keep
        begun: Callable[..., Any] = partial(measure, **options)
        if inspect.iscoroutinefunction(inspect.unwrap(measure)):
            begun = partial(anyio.run, begun, backend_options={"use_uvloop": True} if on_uvloop else {})
        report: Report = begun()
        bound = given.bind(**options)
        bound.apply_defaults()
        settings = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in bound.arguments.items()
            if not callable(value)
        } | ({} if uvloop is None else {"uvloop": on_uvloop})
        output.write(msgspec.structs.replace(report, settings=settings))
        return 0 if report.passed else 1

    hints = get_type_hints(measure, include_extras=True)
    hints = {key: hint for key, hint in hints.items() if key not in ("return", "keep")}
    if uvloop is not None:
        hints["uvloop"] = Annotated[bool, Parameter(help="Run on uvloop (extra fast).")]
    parameters = [
        inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=_default(given, key, uvloop), annotation=hint)
        for key, hint in hints.items()
    ]
    output = inspect.Parameter("output", inspect.Parameter.KEYWORD_ONLY, default=Output(), annotation=Output)
    command.__annotations__ = {**hints, "output": Output, "return": int}
    command.__signature__ = inspect.Signature([*parameters, output], return_annotation=int)  # type: ignore[attr-defined]
    return command


def _default(signature: inspect.Signature, name: str, otherwise: Any = None) -> Any:
    parameter = signature.parameters.get(name)
    return otherwise if parameter is None else parameter.default
