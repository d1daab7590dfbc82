"""``interwhen verifiers``: list, describe and try the installed verifiers, and create one."""

from __future__ import annotations

import keyword
import re
import shlex
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from tempfile import mkdtemp
from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.text import Text

from interwhen import Monitor, UsageError, registry
from interwhen._types import __version__
from interwhen.cli import _exits
from interwhen.cli._scopes import scopes_of
from interwhen.cli._text import (
    STYLES,
    joined,
    signs_for,
    stdout_console,
    table,
    visible,
)

app = App(name="verifiers", help="List, describe and try the installed verifiers, or create one.")
# By name, so that the other commands do not wait for the import of these modules.
app.command(
    "interwhen.cli._trials:try_",
    name="try",
    help="Measure a verifier on labelled traces (exit code 1: a bar was missed).",
)
app.command("interwhen.cli._verifiers:new", name="new", help="Create a verifier: a package that works.")


@app.command(name="list")
def list_(*, load: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the installed verifiers, and the scope of each: the answer to the task, or steps on the way.

    The scope is "?" if a verifier does not load. The list waits at most 5 seconds for each.

    Parameters
    ----------
    load
        Show whether each one loads even if all do. Exit code 5 if one does not.
    """
    plugins = scopes_of(registry.verifiers())
    console = stdout_console()
    failed = any(plugin.error for plugin, _ in plugins)

    def cells(plugin: registry.Plugin, scope: str) -> dict[str, Text]:
        row = {"name": Text(joined(plugin.name), style="bold"), "scope": Text(scope), **_origin(plugin)}
        return {**row, "loads": _loads(plugin, console)} if load or failed else row

    _print_plugins(console, "no verifiers are installed", [cells(*each) for each in plugins])
    return _exits.FAILED if load and failed else _exits.OK


def _origin(plugin: registry.Plugin) -> dict[str, Text]:
    texts = {"from": plugin.distribution, "version": plugin.version, "target": plugin.target}
    return {header: Text(joined(text)) for header, text in texts.items()}


def _print_plugins(console: Console, nothing: str, rows: list[dict[str, Text]]) -> None:
    if not rows:
        console.print(nothing)
        return
    shown = table(*rows[0])
    for row in rows:
        shown.add_row(*row.values())
    console.print(shown)


@app.command
def formats() -> int:
    """List the installed readers of labelled traces, for "interwhen verifiers try --format"."""
    rows = [{"name": Text(joined(plugin.name), style="bold"), **_origin(plugin)} for plugin in registry.trace_formats()]
    _print_plugins(stdout_console(), "no readers of traces are installed", rows)
    return _exits.OK


@app.command
def show(name: str) -> int:
    """Describe a verifier: what it checks, its options, and its defaults.

    Parameters
    ----------
    name
        Its name, as "interwhen verifiers list" shows it.
    """
    report = registry.describe(name)
    plugin = report.plugin
    console = stdout_console()
    origin = joined(f"  {plugin.distribution} {plugin.version}  {plugin.target}")
    title = Text.assemble((joined(plugin.name), "bold"), origin)
    console.print(title)
    console.print(Text(visible(f"\n{report.summary}\n" if report.summary else "")))
    _section(console, "options", report.options or ("none of its own",))
    _section(console, "options of every monitor", (", ".join(report.generic),))
    _section(console, "in a file of somebody else", (_FROM_DATA[report.safe_from_data],))
    if not report.monitors:
        console.print(Text("It needs options before it makes a monitor.", style="dim"))
    for monitor in report.monitors:
        of = f" ({joined(monitor.name)})" if len(report.monitors) > 1 else ""
        _section(console, f"without options{of}", _facts(monitor))
    return _exits.OK


_SCOPES = {
    "answer": "answer: it can judge the answer itself",
    "steps": "steps: a pass does not say that the answer is right",
}
_FROM_DATA = {
    True: "used without a question: it is declared safe for any options and any text",
    False: "used only with your consent: -m or --trust",
}
_UNREAD = {
    True: "recognized: text that looks like a claim and cannot be read leaves the run unverified",
    False: "not recognized: text that it cannot read counts as text without claims",
}


def _facts(monitor: Monitor) -> tuple[str, ...]:
    verifier = monitor.verifier
    return (
        f"trigger   {monitor.trigger}",
        f"delivery  {monitor.delivery}",
        f"remedy    {monitor.remedy}",
        f"level     {monitor.level}",
        f"phase     {monitor.phase}",
        f"scope     {_SCOPES[monitor.scope]}",
        f"unread    {_UNREAD[monitor.recognizer is not None]}",
        f"verifier  {verifier.name} {verifier.version}, {verifier.worker}, deadline {verifier.deadline:g} s",
    )


@app.command(name="why-failed")
def why_failed(name: str) -> int:
    """Show why a verifier does not load or work without options, with the place in its code, or that it works.

    Exit codes: 0 (also if it does not work), or 2 if no such verifier is installed.

    Parameters
    ----------
    name
        Its name, as "interwhen verifiers list" shows it.
    """
    stdout_console().print(Text(visible(registry.why_failed(name))), soft_wrap=True)
    plugins = registry.verifiers()
    installed = {plugin.name for plugin in plugins} | {f"{plugin.distribution}/{plugin.name}" for plugin in plugins}
    return _exits.OK if name.partition(":")[0].strip() in installed else _exits.USAGE


def _loads(plugin: registry.Plugin, console: Console) -> Text:
    signs = signs_for(console.encoding)
    if plugin.loaded:
        return Text(signs.passed, style=STYLES["passed"])
    return Text(f"{signs.violated} {joined(plugin.error)}", style=STYLES["violated"])


def _section(console: Console, title: str, lines: tuple[str, ...]) -> None:
    console.print(Text(title, style="dim"))
    for line in lines:
        console.print(Text(f"  {visible(line)}"))
    console.print()


# ``interwhen verifiers new``: a plug-in package that works at once.

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 30
_PREFIX = "interwhen-"
_FOLDERS = {"src": "src/$module", "tests": "tests", "root": "."}


def new(name: str, /, *, directory: Path | None = None) -> int:
    """Create a verifier: a package that installs, passes its tests, and already checks something.

    Parameters
    ----------
    name
        The name that users write: --monitor NAME. Small letters, digits and underscores.
    directory
        The folder of the package; it must not exist yet. Default: interwhen-NAME in the working directory.
    """
    _vet(name)
    where = directory or Path(_PREFIX + name.replace("_", "-"))
    written = _write(name, where)
    console = stdout_console()
    for path in written:
        console.print(Text(f"  {visible(str(where / path))}"), soft_wrap=True)
    steps = (
        f"cd {shlex.quote(str(where))}",
        "pip install -e '.[test]'",
        "pytest",
        f"interwhen verifiers try {name} tests/traces.jsonl",
    )
    console.print("\nNow:")
    for step in steps:
        console.print(Text(f"  {visible(step)}"), soft_wrap=True)
    return _exits.OK


def _vet(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"NAME must be small letters, digits and single underscores, a letter first, at most {_LONGEST} "
            f"of them, got {name[:80]!r}: choose such a name"
        )
    module = f"interwhen_{name}"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in sys.stdlib_module_names:
        raise UsageError(f"NAME must not be a keyword or a module of Python, got {name!r}: choose another name")
    if module in {"interwhen_launcher", "interwhen_pytest", "interwhen_verifiers"}:
        raise UsageError(
            f"NAME must not be that of a package of interwhen, got {name!r} for {module!r}: choose another name"
        )
    for plugin in registry.verifiers():
        if plugin.name == name:
            raise UsageError(
                f"NAME must be new, got {name!r}, which is a verifier of {plugin.distribution}: choose another name"
            )


def _write(name: str, where: Path) -> list[Path]:
    """Write the files of the new package to the folder *where*, and return their paths in it."""
    if where.exists():
        raise UsageError(f"the new folder must not exist yet, got {str(where)!r}, which does: give another --directory")
    try:
        where.parent.mkdir(parents=True, exist_ok=True)
        draft = Path(mkdtemp(prefix=f".{where.name}-", dir=where.parent))
        try:
            written = _fill(name, draft)
            draft.chmod(0o755)
            draft.rename(where)
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    except OSError as error:
        why = error.strerror or error
        raise UsageError(
            f"the new folder must be writable, got {str(where)!r} ({why}): give another --directory"
        ) from error
    return written


def _fill(name: str, root: Path) -> list[Path]:
    words = {
        "name": name,
        "module": f"interwhen_{name}",
        "distribution": _PREFIX + name.replace("_", "-"),
        "title": "".join(part.capitalize() for part in name.split("_")),
        "version": __version__,
    }
    written = []
    templates = files("interwhen.cli") / "_scaffold"
    for folder, target in _FOLDERS.items():
        for template in (templates / folder).iterdir():
            text = template.read_text(encoding="utf-8")
            # The suffix .txt keeps tools from treating a template as Python.
            named = template.name.removesuffix(".txt").replace("NAME", name)
            path = Path(Template(target).substitute(words)) / named
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(Template(text).substitute(words), encoding="utf-8")
            written.append(path)
    return sorted(written)
