"""Makes the package page of README and changelog, and the links to a public host, when the package is built.

A package page has no files beside it. With a host in pyproject.toml, relative links and pictures lead there; without
one, a link becomes its text with the path in the source distribution, and pictures are left out.
"""

from __future__ import annotations

import re
from pathlib import Path

from hatchling.metadata.plugin.interface import MetadataHookInterface

RELATIVE = r"\((?!https?://|#)([^)\s]+)\)"
NOTE = "\nPaths such as `docs/wrap.md` are those of the source distribution.\n"


def package_page(readme: str, changelog: str, host: str, version: str) -> str:
    # `host` is the address of the repository, laid out as on GitHub, or empty.
    page = f"{readme}\n## Changes\n{changelog.partition('<!-- towncrier release notes start -->')[2]}"
    if host:
        page = re.sub(rf"(!\[[^\]]*\]){RELATIVE}", rf"\1({host}/raw/v{version}/\2)", page)
        return re.sub(rf"(\[[^\]]+\]){RELATIVE}", rf"\1({host}/blob/v{version}/\2)", page)
    page = re.sub(rf"!\[[^\]]*\]{RELATIVE}\n*", "", page)
    page = re.sub(rf"\[([^\]]+)\]{RELATIVE}", r"\1 (`\2`)", page)
    title, rest = page.split("\n", 1)
    return f"{title}\n{NOTE}{rest}"


class PackagePage(MetadataHookInterface):
    """The hook that hatchling calls."""

    def update(self, metadata: dict) -> None:
        root, host = Path(self.root), self.config["host"].rstrip("/")
        readme, changelog = ((root / name).read_text(encoding="utf-8") for name in ("README.md", "CHANGELOG.md"))
        version = re.search(r'__version__ = "(.+)"', (root / "interwhen/_types/__init__.py").read_text())[1]
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": package_page(readme, changelog, host, version),
        }
        metadata["urls"] = {}
        if host:
            changes = f"{host}/blob/v{version}/CHANGELOG.md"
            metadata["urls"] = {"Source": host, "Documentation": f"{host}/tree/v{version}/docs", "Changelog": changes}
