"""Pages name files and modules that exist."""

import re
from pathlib import Path

import pytest
from tests.architecture.public_api import ROOT

# They read the source, which is not there beside an installed wheel.
pytestmark = pytest.mark.source

FILE = re.compile(r"`([\w./-]+\.py)`|\]\(([^)#\s]+\.py)\)")
MODULE = re.compile(r"`(interwhen(?:_verifiers|_pytest|_launcher)?(?:\.\w+)+)")
SOURCES = ("interwhen", "interwhen_pytest", "interwhen_launcher", "verifiers", "tests", "tools", "examples", ".ci")
# Files that a reader writes, or that a command makes.
# Fields, headers and loggers, which look like modules.
NAMES = {"interwhen.result", "interwhen.anything"}
OTHERS = {"litellm/proxy/_types.py", "vllm/entrypoints/openai/*/api_router.py", "monitors.py", "my_monitors.py"}


def pages():
    yield from ROOT.glob("*.md")
    yield from (ROOT / "docs").rglob("*.md")


def test_each_file_that_a_page_names_exists():
    files = [str(path.relative_to(ROOT)) for folder in SOURCES for path in (ROOT / folder).rglob("*.py")]
    missing = []
    for page in pages():
        if page.name == "CHANGELOG.md":
            continue
        for short, linked in FILE.findall(page.read_text(encoding="utf-8")):
            name = short or linked
            if linked:
                exists = (page.parent / linked).exists()
            else:
                exists = name in OTHERS or any(f"/{file}".endswith(f"/{name.removeprefix('./')}") for file in files)
            if not exists:
                missing.append((page.name, name))
    assert missing == []


def _exists(module):
    package, *rest = module.split(".")
    base = ROOT / "verifiers" / package if package == "interwhen_verifiers" else ROOT / package
    path = Path(base)
    for part in rest:
        if (path / part).is_dir():
            path = path / part
        else:
            # A name that the module promises, or anything inside of it.
            text = (path / f"{part}.py") if (path / f"{part}.py").exists() else path / "__init__.py"
            return (path / f"{part}.py").exists() or (text.exists() and re.search(rf"\b{part}\b", text.read_text()))
    return True


def test_each_module_that_a_page_names_exists():
    groups = set(re.findall(r'entry-points\."([\w.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8")))
    missing = [
        (page.name, module)
        for page in pages()
        if page.name != "CHANGELOG.md"
        for module in MODULE.findall(page.read_text(encoding="utf-8"))
        if module not in groups | NAMES and not module.endswith((".toml", ".json")) and not _exists(module)
    ]
    assert missing == []


def test_pages_for_users_name_no_private_module():
    private = re.compile(r"interwhen(?:_verifiers)?(?:\.\w+)*\._[a-z]\w*")
    mentions = [
        (page.name, name)
        for page in pages()
        if page.name != "CHANGELOG.md" and page.parent.name != "decisions"
        for name in private.findall(page.read_text(encoding="utf-8"))
    ]
    assert mentions == []


def test_pages_contain_no_merge_markers():
    marked = re.compile(r"^(<{7} |>{7} |={7}$)", re.MULTILINE)
    assert [str(page.relative_to(ROOT)) for page in pages() if marked.search(page.read_text())] == []


def links():
    for page in pages():
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", text):
            yield page, page.parent / target
    for folder in SOURCES:
        for path in (ROOT / folder).rglob("*.py"):
            for target in re.findall(r"\bdocs/[\w/-]+\.md\b", path.read_text(encoding="utf-8")):
                yield path, ROOT / target


def test_each_link_target_exists():
    assert [(path.name, str(target)) for path, target in links() if not target.exists()] == []
