"""Tests mirror the source: the test of a module is found by its name."""

from __future__ import annotations

import pytest
from tests.architecture.mirror import importers, modules, named_tests
from tests.architecture.public_api import promised

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

PARTS = {
    # A module, or a package with all that is in it: the module whose tests run it, and why it has none of its own.
    "interwhen.events": ("interwhen._types.results", "promises names that are tested where they are defined"),
    "interwhen.remedies": ("interwhen._types.remedies", "promises names that are tested where they are defined"),
    "interwhen.results": ("interwhen._types.results", "promises names that are tested where they are defined"),
    "interwhen.triggers": ("interwhen._types.triggers", "promises names that are tested where they are defined"),
    "interwhen._core.messages": ("interwhen._core.machine", "records: what goes into the machine and comes out"),
    "interwhen._engine.recorders": ("interwhen.journal._writer", "fills the columns that the writer takes"),
    "interwhen._engine.resumed_runs": ("interwhen.journal._rebuilt_run", "resumes the run that is rebuilt"),
    "interwhen._engine.run_results": ("interwhen._engine.run", "builds the result of a run"),
    "interwhen._engine.worker_child": ("interwhen._engine.workers", "the other end of the pipe to a worker"),
    "interwhen._types.events": ("interwhen._types.results", "records: they hold results, and survive JSON together"),
    "interwhen._types.ledger": ("interwhen._types.results", "records: part of each result"),
    "interwhen._run.consent": ("interwhen.cli._recheck", "the command uses the monitors that are chosen here"),
    "interwhen._engine.loop_thread": (
        "interwhen.clients._openai_client",
        "the loop in which the calls of a client run",
    ),
    "interwhen._run.recheck": ("interwhen.cli._recheck", "the command prints what is found here"),
    "interwhen.bench._cli": ("interwhen.bench._overhead", "declares the commands of all benchmarks"),
    "interwhen.cli._exits": ("interwhen.cli._main", "exit codes"),
    "interwhen.cli._flags": ("interwhen.cli._demo", "options that several commands share"),
    "interwhen.cli._export": ("interwhen.training._export", "tests/training/test_cli.py: the command of this package"),
    "interwhen.cli._policy": ("interwhen.policy._files", "tests/policy/test_cli.py: the command of this package"),
    "interwhen.cli._precompute": ("interwhen.precompute._step", "tests/precompute/test_cli.py: its command"),
    "interwhen.cli._serve": ("interwhen.gateway._config", "tests/gateway/test_cli_process.py: its command"),
    "interwhen.cli._run": ("interwhen.cli._supervise", "the command that this module carries out"),
    "interwhen.clients._responses_fields": ("interwhen.clients._responses_codec", "the events that the codec reads"),
    "interwhen.journal._records": ("interwhen.journal._rebuilt_run", "records: written to a file and rebuilt from it"),
    "interwhen.journal._settings": ("interwhen.journal._files", "the options with which a file is made"),
    "interwhen.models._httpx2_transport": ("interwhen.models._fast_transport", "tests run over each transport"),
    "interwhen.models._local_child": ("interwhen.models._local", "the process that holds the local model"),
    "interwhen.models._local_server": ("interwhen.models._local", "starts and stops that process"),
    "interwhen.policy._kinds": ("interwhen.policy._kind_check", "the kinds that the check compares"),
    "interwhen.policy._limits": ("interwhen.policy._files", "the limits of what is read"),
    "interwhen.precompute._fsspec_shelf": ("interwhen.precompute._shelves", "tests run over each shelf"),
    "interwhen.precompute._items": ("interwhen.precompute._freshness", "records: what may be fresh"),
    "interwhen.precompute._producer": ("interwhen.precompute._step", "the interface of what a step calls"),
    "interwhen.precompute._sqlite_shelf": ("interwhen.precompute._shelves", "tests run over each shelf"),
    "interwhen.sandbox._inside": ("interwhen.sandbox._process", "runs in the sandbox, where no test can be"),
    "interwhen.testing._scores": ("interwhen.testing._trials", "what a trial is worth"),
    "interwhen.testing._server_script": ("interwhen.testing.server", "the steps of a script"),
    "interwhen.training._attempts": ("interwhen.training._export", "the attempts that are exported"),
    "interwhen.training._decontamination": ("interwhen.training._export", "what is left out of an export"),
    "interwhen.view._server": ("interwhen.view._app", "serves this application on this machine"),
    "interwhen.view._verify": ("interwhen.view._app", "what the page asks its server for"),
    "interwhen_verifiers._arithmetic": ("interwhen_verifiers.arithmetic", "its tests give lines and look at verdicts"),
    "interwhen_verifiers._blocks": ("interwhen_verifiers.python", "reads the code block that is checked"),
    "interwhen_verifiers._command": ("interwhen_verifiers.command", "its tests give files and look at verdicts"),
    "interwhen_verifiers._factories": ("interwhen_verifiers.arithmetic", "options that factories share"),
    "interwhen_verifiers._json_schema": ("interwhen_verifiers.json_schema", "its tests give documents"),
    "interwhen_verifiers._re2": ("interwhen_verifiers._patterns", "the regular expressions of these verifiers"),
    "interwhen_verifiers._python": ("interwhen_verifiers.python", "its tests give code and look at verdicts"),
    "interwhen_verifiers._tools": ("interwhen_verifiers.tool_policy", "its tests give conversations"),
    "interwhen_verifiers.puzzles._logic": ("interwhen_verifiers.puzzles.logic", "its tests give lines"),
    "interwhen_verifiers.puzzles._maze": ("interwhen_verifiers.puzzles.maze", "its tests give lines"),
    "interwhen_verifiers.puzzles._plan": ("interwhen_verifiers.puzzles.plan", "its tests give lines"),
    "interwhen_verifiers.puzzles._statements": ("interwhen_verifiers.puzzles._logic.brackets", "lines that state"),
    "interwhen_verifiers.regex": ("interwhen_verifiers._patterns", "tested together with `terms`"),
    "interwhen_verifiers.terms": ("interwhen_verifiers._patterns", "tested together with `regex`"),
    "interwhen_verifiers.traces": ("interwhen_verifiers.traces", "tests read each data set of a kind"),
}
MOST_WITH_ONE_IMPORTER = 20


def _part_of(name: str) -> str | None:
    return next((part for part in PARTS if name == part or name.startswith(f"{part}.")), None)


def test_each_module_has_a_named_test_or_owner():
    missing = [
        name
        for name, module in modules().items()
        if not module.is_package and not named_tests(module) and _part_of(name) is None
    ]
    assert missing == [], "add tests/<package>/test_<module>.py, or a row to PARTS"


@pytest.mark.parametrize("part", PARTS)
def test_each_part_belongs_to_a_tested_module(part):
    owner, why = PARTS[part]
    inside = [name for name, module in modules().items() if _part_of(name) == part and not module.is_package]
    assert inside, f"{part} is gone: remove its row"
    assert inside != [part] or not named_tests(modules()[part]), f"{part} has tests of its name: remove its row"
    assert owner in modules(), f"{owner} is gone: name the module whose tests run {part}"
    assert named_tests(modules()[owner]), f"{owner} has no test of its name"
    assert why
    related = {owner, *_reached_from(owner)}
    for name in inside:
        # A process is started by the path of its program.
        is_named = part.rpartition(".")[2] in modules()[owner].path.read_text()
        is_related = is_named or name.startswith(f"{owner}.") or name in related or owner in _reached_from(name)
        assert is_related or not importers()[name], f"{owner} and {name} do not use one another"


def _reached_from(start: str) -> set[str]:
    reached, open_names = set(), [start]
    while open_names:
        name = open_names.pop()
        for other, who in importers().items():
            if name in who and other not in reached:
                reached.add(other)
                open_names.append(other)
    return reached


def test_untested_single_importer_modules_stay_few():
    single = [
        name
        for name, module in modules().items()
        if not module.is_package
        and len(importers()[name]) == 1
        and not named_tests(module)
        # Users import what a facade promises.
        and not promised(module.path)
    ]
    assert len(single) <= MOST_WITH_ONE_IMPORTER, sorted(single)
