"""``interwhen verifiers``: what is installed, what it takes, and why it does not load; to try one and to begin one."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter
from rich.console import Console
from rich.table import Table
from rich.text import Text

from interwhen import registry
from interwhen.cli import exits
from interwhen.cli.escape import joined, visible
from interwhen.cli.signs import STYLES, signs_for
from interwhen.cli.viewers import stdout_console
from interwhen.errors import PluginError
from interwhen.monitors import Monitor

app = App(name="verifiers", help="List, describe and try the installed verifiers, or begin one of your own.")
# Imported when they are called, so that they do not slow down the others.
app.command(
    "interwhen.cli.trying:try_",
    name="try",
    help="See how a verifier does on labelled traces (exit code 1: a bar was missed).",
)
app.command("interwhen.cli.scaffold:new", name="new", help="Begin a verifier of your own: a package that works.")


@app.command(name="list")
def list_(*, load: Annotated[bool, Parameter(negative="")] = False) -> int:
    """List the installed verifiers, and the scope that each can reach: the answer to the task, or steps on the way.

    Parameters
    ----------
    load
        Also say whether each one loads. Exit code 5 if one does not.
    """
    console = stdout_console()
    plugins = registry.verifiers(load=load)
    if not plugins:
        console.print("no verifiers are installed")
        return exits.OK
    table = Table(box=None, header_style="dim", pad_edge=False)
    for header in ("name", "scope", "from", "version", "target", *(("loads",) if load else ())):
        table.add_column(header, overflow="fold")
    for plugin in plugins:
        origin = (_scope(plugin), plugin.distribution, plugin.version, plugin.target)
        cells = [Text(joined(plugin.name), style="bold"), *(Text(joined(each)) for each in origin)]
        table.add_row(*cells, *((_loads(plugin, console),) if load else ()))
    console.print(table)
    return exits.FAILED if any(plugin.loaded is False for plugin in plugins) else exits.OK


def _scope(plugin: registry.Plugin) -> str:
    try:
        return registry.scope_of(plugin.name)
    except PluginError:
        return "?"  # it does not load: --load and why-failed say why


@app.command
def formats() -> int:
    """List the installed readers of labelled traces, for "interwhen verifiers try --format"."""
    console = stdout_console()
    plugins = registry.trace_formats()
    if not plugins:
        console.print("no readers of traces are installed")
        return exits.OK
    table = Table(box=None, header_style="dim", pad_edge=False)
    for header in ("name", "from", "version", "target"):
        table.add_column(header, overflow="fold")
    for plugin in plugins:
        origin = (plugin.distribution, plugin.version, plugin.target)
        table.add_row(Text(joined(plugin.name), style="bold"), *(Text(joined(each)) for each in origin))
    console.print(table)
    return exits.OK


@app.command
def show(name: str) -> int:
    """Describe a verifier: what it checks, its options, and what it does unless told otherwise.

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
    if not report.monitors:
        console.print(Text("It needs options before it makes a monitor.", style="dim"))
    for monitor in report.monitors:
        of = f" ({joined(monitor.name)})" if len(report.monitors) > 1 else ""
        _section(console, f"without options{of}", _facts(monitor))
    return exits.OK


_SCOPES = {
    "answer": "answer: it can judge the answer itself",
    "steps": "steps: a pass does not say that the answer is right",
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
    """Say why a verifier does not load or work, with the place in its code.

    Parameters
    ----------
    name
        Its name, as "interwhen verifiers list" shows it.
    """
    stdout_console().print(Text(visible(registry.why_failed(name))), soft_wrap=True)
    installed = {plugin.name for plugin in registry.verifiers()}
    return exits.OK if name.rpartition("/")[2] in installed else exits.USAGE


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
