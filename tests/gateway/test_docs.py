"""What the pages about the gateway say is so."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
from interwhen.gateway import Config, Gateway
from interwhen.gateway.config import SHORTEST_KEY, Limits
from interwhen.gateway.server import _KEEP_ALIVE_SECONDS
from interwhen.testing.server import events
from watchers import word

ROOT = Path(__file__).parents[2]
GATEWAY = (ROOT / "docs" / "gateway.md").read_text()
WRAP = (ROOT / "docs" / "wrap.md").read_text()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_the_example_of_a_file_works(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    config = msgspec.convert(tomllib.loads(blocks(GATEWAY, "toml")[0]), Config)
    gateway = Gateway(config)
    assert set(gateway.chooser.monitors) == {"arithmetic", "strict"}
    assert gateway.upstream_for("gpt-9").url == "https://api.openai.com/v1"


def test_every_code_of_the_source_is_in_the_table():
    source = "\n".join(path.read_text() for path in (ROOT / "interwhen" / "gateway").glob("*.py"))
    codes = set(re.findall(r"Problem\(\s*\d{3},\s*\"(\w+)\"", source)) | {"upstream_unreachable", "upstream_timeout"}
    codes.add("upstream_protocol")
    assert len(codes) > 15
    for code in codes:
        assert f"`{code}`" in GATEWAY, code


def test_the_defaults_are_those_of_the_code():
    limits = Limits()
    for name in (
        "head_seconds",
        "body_seconds",
        "concurrent",
        "waiting",
        "wait_seconds",
        "write_seconds",
        "drain_seconds",
    ):
        value = f"{getattr(limits, name):g}"
        assert re.search(rf"`limits\.{name}`.*\b{value}\b", GATEWAY), name
    assert limits.body_bytes == 16 << 20
    assert limits.head_bytes == 64 << 10
    assert limits.concurrent + limits.waiting == 1200
    assert _KEEP_ALIVE_SECONDS == 75
    assert SHORTEST_KEY == 8


def test_the_client_by_base_url_works_as_shown(upstream, gateway, tmp_path):
    server = upstream(lambda r: events(["17 * 24", " = BAD\n"] if r.number == 0 else ["\n"], api="chat"))
    running = gateway(server, watchers=[word(good="408")])
    script = tmp_path / "page.py"
    code = blocks(WRAP, "py")[0].replace("http://localhost:8400/v1", running.base_url)
    script.write_text(code.replace('/v1"', '/v1", api_key="k"'))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "17 * 24 = 408\nverified\n"
