"""``interwhen verifiers new``: a plug-in package that works from the first minute on."""

from __future__ import annotations

import keyword
import re
import shutil
import sys
from importlib.resources import files
from pathlib import Path
from string import Template
from tempfile import mkdtemp

from rich.text import Text

from interwhen import registry
from interwhen._version import __version__
from interwhen.cli import exits
from interwhen.cli.escape import visible
from interwhen.cli.viewers import stdout_console
from interwhen.errors import UsageError

_NAME = re.compile(r"[a-z][a-z0-9]*(?:_[a-z0-9]+)*")
_LONGEST = 30
_PREFIX = "interwhen-"
_FOLDERS = {"src": "src/$module", "tests": "tests", "root": "."}


def new(name: str, /, *, directory: Path | None = None) -> int:
    """Begin a verifier of your own: a package that installs, passes its tests, and checks something already.

    Parameters
    ----------
    name
        What users will write: --monitor NAME. Small letters, digits and underscores.
    directory
        Where the package goes; it must not exist yet. Default: interwhen-NAME, here.
    """
    _vet(name)
    where = directory or Path(_PREFIX + name.replace("_", "-"))
    written = _write(name, where)
    console = stdout_console()
    for path in written:
        console.print(Text(f"  {visible(str(where / path))}"), soft_wrap=True)
    steps = (
        f"cd {where}",
        "pip install -e '.[test]'",
        "pytest",
        f"interwhen verifiers try {name} tests/traces.jsonl",
    )
    console.print("\nNow:")
    for step in steps:
        console.print(Text(f"  {visible(step)}"), soft_wrap=True)
    return exits.OK


def _vet(name: str) -> None:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise UsageError(
            f"{name[:80]!r} is no name for a verifier: take small letters, digits and single underscores, a letter "
            f"first, {_LONGEST} characters at most"
        )
    module = f"interwhen_{name}"
    if keyword.iskeyword(name) or keyword.issoftkeyword(name) or name in sys.stdlib_module_names:
        raise UsageError(f"{name!r} is a word of Python itself: take another name")
    if module in {"interwhen_launcher", "interwhen_pytest", "interwhen_verifiers"}:
        raise UsageError(f"the package {module!r} belongs to interwhen: take another name")
    for plugin in registry.verifiers():
        if plugin.name == name:
            raise UsageError(
                f"{plugin.distribution} offers a verifier {name!r} already: take another name, or users must write "
                f"which one they mean"
            )


def _write(name: str, where: Path) -> list[Path]:
    """Write the package as a whole or not at all; return its files."""
    if where.exists():
        raise UsageError(f"{str(where)!r} is there already, and nothing is overwritten: give another --directory")
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
        raise UsageError(f"{str(where)!r} cannot be written: {error.strerror or error}") from error
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
            # Suffix: so that no tool takes a template for what it describes.
            named = template.name.removesuffix(".txt").replace("NAME", name)
            path = Path(Template(target).substitute(words)) / named
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(Template(text).substitute(words), encoding="utf-8")
            written.append(path)
    return sorted(written)
