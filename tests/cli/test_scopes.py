"""``interwhen verifiers list``: no plug-in can stop it."""

import importlib

import pytest
from interwhen.cli import _verifiers
from interwhen.cli._main import main
from msgspec.structs import replace

SOURCES = {
    "blocks": "import threading\nthreading.Event().wait()",
    "dies": "import os\nos._exit(7)",
    "leaves": "raise SystemExit('no licence')",
    "works": "from interwhen_verifiers.arithmetic import arithmetic as make",
}


def listed(*options):
    with pytest.raises(SystemExit) as ended:
        main(["verifiers", "list", *options])
    return ended.value.code


def test_broken_plugin_does_not_stop_the_list(tmp_path, monkeypatch, capsys):
    info = tmp_path / "acme-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1\n")
    points = "\n".join(f"acme-{name} = acme_{name}:make" for name in SOURCES)
    (info / "entry_points.txt").write_text(f"[interwhen.verifiers]\n{points}\n")
    for name, source in SOURCES.items():
        (tmp_path / f"acme_{name}.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("COLUMNS", "300")
    importlib.invalidate_caches()
    assert listed("--load") == 5
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "its import took more than 5 s" in rows["acme-blocks"]
    assert "its import ended the process (exit code 7)" in rows["acme-dies"]
    assert "no licence" in rows["acme-leaves"]
    for name in ("acme-works", "arithmetic", "zebralogic"):
        assert "✓" in rows[name]
    assert "answer" in rows["acme-works"]


def test_list_reports_plugins_that_fail_to_load(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.setattr(
        _verifiers, "scopes_of", lambda all_: [(replace(each, loaded=False, error="why"), "?") for each in all_]
    )
    assert listed() == 0
    assert "✗ why" in capsys.readouterr().out
    assert listed("--load") == 5
