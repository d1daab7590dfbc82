"""The script that CI runs: what it finds, what it says, and that no failure is lost."""

import importlib.util
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def pipeline():
    spec = importlib.util.spec_from_file_location("pipeline_of_ci", ROOT / ".ci" / "pipeline.py")
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_failing_python_shim_is_ignored(pipeline, tmp_path):
    shim = tmp_path / "python3.12"
    shim.write_text("#!/bin/sh\nexit 127\n")
    shim.chmod(0o755)
    here = sys.version_info[:2]
    assert pipeline.find_pythons(iter([str(shim), str(tmp_path / "none"), sys.executable])) == {here: sys.executable}
    assert pipeline.find_pythons(iter([str(shim)])) == {}


def test_python_versions_match_the_classifiers(pipeline, project):
    named = [
        tuple(map(int, version.split(".")))
        for version in re.findall(r"Python :: (3\.\d+)", str(project["classifiers"]))
    ]
    assert named == [(3, minor) for minor in range(pipeline.OLDEST[1], pipeline.NEWEST[1] + 1)]
    assert project["requires-python"] == ">=" + ".".join(map(str, pipeline.OLDEST))


def test_every_dependency_of_users_has_a_lower_bound(pipeline, project):
    bounds = pipeline.declared()
    assert {"anyio", "openai", "xllamacpp", "starlette", "pydantic-monty", "huggingface-hub"} <= bounds.keys()
    assert len(bounds) >= 20


@pytest.mark.parametrize(
    ("bound", "installed", "wrong"),
    [
        ("3.13", "3.13.0", False),
        ("3.13", "3.13", False),
        ("2026.6", "2026.6.9538", True),
        ("2026.6.9538", "2026.6.9538", False),
        ("3", "3.12.0", True),
        ("0.45", "0.46", True),
        ("0.45", None, True),
    ],
)
def test_untested_lower_bound_is_reported(bound, installed, wrong, pipeline):
    bounds = pipeline.untested({"one": bound}, {} if installed is None else {"one": installed})
    assert bool(bounds) == wrong
    assert all(line.startswith(f"one>={bound}") for line in bounds)


def test_a_dependency_without_a_lower_bound_is_refused(pipeline, tmp_path):
    file = tmp_path / "pyproject.toml"
    file.write_text('[project]\ndependencies = ["anyio"]\n[project.optional-dependencies]\n')
    with pytest.raises(pipeline.JobError, match="anyio"):
        pipeline.declared(file)


@pytest.mark.parametrize(
    ("line", "closing"),
    [
        ("======= 3 passed in 0.10s =======", "3 passed in 0.10s"),
        (
            "1 failed, 2 passed, 3 skipped, 1 error in 75.00s (0:01:15)",
            "1 failed, 2 passed, 3 skipped, 1 error in 75.00s (0:01:15)",
        ),
        ("two tests passed in 3 rounds", ""),
    ],
)
def test_closing_line_is_extracted(line, closing, pipeline):
    assert pipeline.closing_line(["begin", line, "warnings", ""]) == closing


def test_failed_job_is_reported_without_stopping_others(pipeline, capsys):
    def fails(shell):
        shell.run(sys.executable, "-c", "print('1 failed, 4 passed in 1.00s'); raise SystemExit(1)")

    def works(shell):
        shell.run(sys.executable, "-c", "print('2 passed in 1.00s')")

    def breaks(shell):
        raise OSError("no disk")

    jobs = [
        pipeline.Job("one", "", fails),
        pipeline.Job("two", "", breaks, wide=False),
        pipeline.Job("three", "", works, wide=False),
        pipeline.Job("four", "", works),
    ]
    reports = pipeline.run_jobs(jobs)
    assert [bool(report.error) for report in reports] == [True, True, False, False]
    lines = pipeline.table(reports, 9.0)
    assert "jobs that failed: one, two" in lines
    assert lines[-1] == "1 failed, 8 passed in 9.00s"
    assert [line.split()[0] for line in lines[2:6]] == ["one", "two", "three", "four"]
    assert "OSError: no disk" in "\n".join(lines)
    assert "1 failed, 4 passed" in capsys.readouterr().out


def pytest_output(failures):
    lines = ["tests/test_one.py FFss    [100%]", "=== FAILURES ==="]
    for number in range(failures):
        lines += [
            f"____________ test_wrong[{number}] ____________",
            "",
            "    def test_wrong(number):",
            ">       assert text(number) == 'never'",
            f"E       AssertionError: {'x' * 500}",
            "",
            "tests/test_one.py:7: AssertionError",
        ]
    lines += ["=== short test summary info ===", *(f"SKIPPED [{number}] elsewhere" for number in range(60))]
    lines += [f"FAILED tests/test_one.py::test_wrong[{number}] - AssertionError" for number in range(failures)]
    return [*lines, f"=== {failures} failed, 60 skipped in 1.00s ==="]


def prints(lines, code):
    return lambda shell: shell.run(sys.executable, "-c", f"print(*{lines!r}, sep='\\n'); raise SystemExit({code})")


def test_log_end_explains_each_failed_job(pipeline):
    jobs = [
        pipeline.Job("few", "", prints(pytest_output(1), 1)),
        pipeline.Job("many", "", prints(pytest_output(60), 1)),
        pipeline.Job("build", "", prints([*range(200), "does not compile"], 1)),
        pipeline.Job("good", "", prints(["E   is no error here", *range(200)], 0)),
    ]
    lines = pipeline.table(pipeline.run_jobs(jobs), 9.0)
    few, many, build = (lines.index(f"===== why {name} failed") for name in ("few", "many", "build"))
    shown = [line for line in lines[few + 1 : many] if line]
    assert [line[:40] for line in shown] == [
        "____________ test_wrong[0] ____________",
        "E       AssertionError: xxxxxxxxxxxxxxxx",
        "tests/test_one.py:7: AssertionError",
        "FAILED tests/test_one.py::test_wrong[0] ",
    ]
    assert max(map(len, shown)) <= pipeline.REASON_LENGTH < 500
    assert "FAILED tests/test_one.py::test_wrong[0] - AssertionError" in lines[many:build]
    assert "E   " in "".join(lines[many:build])
    assert lines[build - 2] == "… and 48 more"
    assert "does not compile" in lines[build:]
    assert not any("good failed" in line for line in lines)
    assert lines[-1].endswith(" in 9.00s")


def test_log_end_stays_short_if_all_jobs_fail(pipeline):
    every = [pipeline.Report(f"job {number}", error="wrong") for number in range(16)]
    for report in every:
        report.failure = pytest_output(60)
    lines = pipeline.table(every, 9.0)
    assert all(f"===== why {report.name} failed" in lines for report in every)
    # What shows the log shows its last 12 KB.
    assert len("\n".join(lines)) < 12_000


def test_job_that_cannot_run_is_not_failed(pipeline):
    def cannot(shell):
        shell.run(sys.executable, "-c", "print('no such package'); raise SystemExit(3)")

    reports = pipeline.run_jobs([pipeline.Job("one", "", cannot), pipeline.Job("two", "", lambda shell: None)])
    lines = pipeline.table(reports, 1.0)
    assert lines[2].split(maxsplit=2)[2] == "not run no such package"
    assert "jobs that cannot run on this machine: one" in lines
    assert "every other job passed" in lines
    assert not any(report.error for report in reports)


def test_slow_or_failed_installation_is_an_error(monkeypatch, tmp_path):
    from tests.vllm import environment

    slow = tmp_path / "python3.11"
    slow.write_text("#!/bin/sh\nsleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(environment, "find_python", lambda: str(slow))
    with pytest.raises(environment.CannotInstallError, match="longer than it may"):
        environment.install(tmp_path / "env", 0.1)
    slow.write_text("#!/bin/sh\necho no venv >&2\nexit 1\n")
    with pytest.raises(environment.CannotInstallError, match="no venv"):
        environment.install(tmp_path / "other", 60)


def test_failing_setup_job_gives_exit_code(pipeline, monkeypatch, capsys):
    monkeypatch.setattr(pipeline, "find_pythons", lambda: {sys.version_info[:2]: sys.executable})
    monkeypatch.setattr(pipeline.Pipeline, "jobs", lambda self: [pipeline.Job("set up", "", lambda shell: 1 / 0)])
    assert pipeline.main(["set"]) == 1
    assert "ZeroDivisionError" in capsys.readouterr().out
    assert pipeline.main(["nothing"]) == 2


def test_the_script_lists_its_jobs():
    done = subprocess.run(
        ["bash", ROOT / ".ci" / "run", "--list"], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=True
    )
    names = [line[:22].strip() for line in done.stdout.splitlines()]
    for name in ("style", "types", "lowest versions", "extras", "demo", "vllm"):
        assert name in names
    assert any(name.startswith("suite ") for name in names)
    assert any(name.startswith("wheel ") for name in names)


def test_a_sample_has_a_file_of_each_folder(tmp_path, request):
    [hook] = [plugin for plugin in request.config.pluginmanager.get_plugins() if hasattr(plugin, "FailedAtOnce")]
    paths = [tmp_path / folder / f"test_{name}.py" for folder in "ab" for name in "xyz"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    for sample, kept in ((1, paths), (10**9, paths[::3])):
        config = SimpleNamespace(getoption=lambda _, sample=sample: sample, rootpath=tmp_path)
        assert [path for path in paths if not hook.pytest_ignore_collect(path, config)] == kept


def test_change_of_core_or_dependency_is_detected(pipeline, tmp_path):
    git = ("git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(tmp_path))
    core, docs = tmp_path / "interwhen" / "_core" / "machine.py", tmp_path / "docs" / "page.md"
    for file in (core, docs, tmp_path / "pyproject.toml"):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("one")
    subprocess.run([*git, "init", "--quiet"], check=True)
    for words in (["add", "."], ["commit", "--quiet", "-m", "one"]):
        subprocess.run([*git, *words], check=True)
    docs.write_text("two")
    assert pipeline.centre_changed("HEAD", tmp_path) == ""
    core.write_text("two")
    assert pipeline.centre_changed("HEAD", tmp_path) == "interwhen/_core/machine.py"
    assert pipeline.centre_changed("", tmp_path) == ""
    with pytest.raises(pipeline.JobError, match="'nothing'"):
        pipeline.centre_changed("nothing", tmp_path)


@pytest.mark.source
def test_paths_named_by_jobs_exist(pipeline):
    for path in (*pipeline.LOWEST, *pipeline.CENTRE, *pipeline.PACKAGES, pipeline.EXTRAS, pipeline.VLLM):
        assert (ROOT / path).exists(), path
