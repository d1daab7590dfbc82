"""``import interwhen`` is light, and its names are what it says they are."""

import subprocess
import sys
import types

import interwhen

HEAVY = ("httpx2", "httptools", "rich", "cyclopts", "structlog", "multiprocessing", "trio", "uvloop", "openai")
# Modules of the standard library, which are together as slow as all of our own modules, and modules of ours that not
# every run needs. The code that needs one of them imports it then.
LATER = (
    "asyncio",
    "concurrent.futures",
    "logging",
    "urllib.request",
    "http.client",
    "email",
    "ssl",
    "hashlib",
    "traceback",
    "pathlib",
    "urllib.parse",
    "ipaddress",
    "json",
    "interwhen._core.written_calls",
    "interwhen.clients",
    "interwhen.journal._directory",
    "interwhen.journal._timeline",
    "interwhen.models._chunks",
    "interwhen.models._transport",
    "interwhen.models._token_stream",
)
ANNEXES = (
    "bench",
    "cli",
    "gateway",
    "integrations",
    "policy",
    "precompute",
    "sandbox",
    "strategies",
    "testing",
    "training",
)


def test_package_import_loads_no_heavy_module():
    # Which modules, and not how long: that depends on the machine and on what else it does. What the two dependencies
    # import themselves is theirs: anyio before 4.13 imports ssl and logging at once.
    code = (
        f"import sys, anyio, msgspec; theirs = set(sys.modules); import interwhen; "
        f"print(*[name for name in {(*HEAVY, *LATER)!r} if name in sys.modules and name not in theirs])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=True)
    assert done.stdout.split() == []


# A frozen dataclass with slots takes about 0.5 ms to define, because its methods are compiled; a msgspec struct a 20th of that.
MOST_DATACLASSES = 17
MOST_MODULES = 55


def test_package_import_defines_few_dataclasses_and_modules():
    code = """if True:
        import dataclasses, sys, interwhen
        ours = {name: module for name, module in sys.modules.items() if name.split(".")[0] == "interwhen"}
        classes = {each for module in ours.values() for each in vars(module).values() if isinstance(each, type)}
        records = [each for each in classes if each.__module__ in ours and dataclasses.is_dataclass(each)]
        print(len(ours), len(records))
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=True)
    modules, records = map(int, done.stdout.split())
    assert 20 < modules <= MOST_MODULES
    assert 5 < records <= MOST_DATACLASSES, "make a record that only our code makes a msgspec.Struct"


def test_package_import_loads_no_optional_package():
    code = (
        "import interwhen, sys; print(*{name.split('.')[1] for name in sys.modules if name.startswith('interwhen.')})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=110, check=True)
    assert set(done.stdout.split()) & set(ANNEXES) == set()


def test_facade_all_equals_its_public_names():
    for name in interwhen.__all__:
        getattr(interwhen, name)  # some are imported now
    there = {
        name
        for name, value in vars(interwhen).items()
        if not name.startswith("_") and not isinstance(value, types.ModuleType)
    }
    # A function may have the name of its module.
    assert set(interwhen.__all__) - {"__version__"} == there
    assert list(interwhen.__all__) == sorted(set(interwhen.__all__))
