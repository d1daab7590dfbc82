"""What the pages about the gateway say is so."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import msgspec
import page
import pytest
from interwhen.gateway import Config
from interwhen.gateway._config import SHORTEST_KEY, GatewayLimits
from interwhen.gateway._gateway import Gateway
from interwhen.gateway._server import _KEEP_ALIVE_SECONDS

ROOT = Path(__file__).parents[2]
GATEWAY = (ROOT / "docs" / "gateway.md").read_text()


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.MULTILINE | re.DOTALL)


def test_the_example_of_a_file_works(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    config = msgspec.convert(tomllib.loads(blocks(GATEWAY, "toml")[0]), Config)
    gateway = Gateway(config)
    assert set(gateway.chooser.monitors) == {"arithmetic", "strict"}
    assert gateway.upstream_for("gpt-9").url == "https://api.openai.com/v1"


def test_documentation_lists_every_error_code():
    source = "\n".join(path.read_text() for path in (ROOT / "interwhen" / "gateway").glob("*.py"))
    codes = set(re.findall(r"HttpError\(\s*\d{3},\s*\"(\w+)\"", source)) | {"upstream_unreachable", "upstream_timeout"}
    codes.add("upstream_protocol")
    assert len(codes) > 15
    for code in codes:
        assert f"`{code}`" in GATEWAY, code


def test_documented_defaults_match_the_code():
    limits = GatewayLimits()
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
    assert f"{limits.body_values:,}" in GATEWAY
    assert limits.bytes_in_flight == 256 << 20
    assert limits.concurrent + limits.waiting == 1200
    assert _KEEP_ALIVE_SECONDS == 75
    assert SHORTEST_KEY == 8


OURS, THEIRS = "http://localhost:8400/v1", "http://localhost:8000/v1"


def at(code, url, expected=OURS):
    assert expected in code
    return code.replace(expected, url)


def test_a_client_by_base_url_works_as_shown(upstream, gateway, tmp_path):
    running = gateway(upstream(page.mistaken), monitors=("arithmetic",))
    [code] = page.blocks("For one request")
    shown = page.run(at(code, running.base_url), tmp_path)
    assert shown.split() == ["17", "*", "24", "=", "408", "verified"]


def test_an_agent_by_base_url_works_as_shown(upstream, gateway, tmp_path):
    pytest.importorskip("agents", reason="openai-agents is not installed")
    running = gateway(upstream(page.mistaken), monitors=("arithmetic",))
    [command] = page.blocks("An agent library", "sh")
    assert f"OPENAI_BASE_URL={OURS} python agent.py" in command
    before = page.blocks("An agent library")[0]
    assert before.startswith("# before: agent.py")
    assert page.run(before, tmp_path, running.base_url).rstrip() == "17 * 24 = 408"


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
def test_curl_works_as_shown(upstream, gateway, tmp_path):
    server = upstream(page.mistaken)
    before, after = page.blocks("curl", "sh")
    assert "= 418" in curl(at(before, server.base_url, THEIRS), tmp_path)
    running = gateway(upstream(page.mistaken), monitors=("arithmetic",))
    answer = msgspec.json.decode(curl(at(after, running.base_url), tmp_path))
    assert answer["choices"][0]["message"]["content"].rstrip() == "17 * 24 = 408"
    assert answer["interwhen"]["result"]["type"] == "verified"


def curl(command, folder):
    script = command.replace("curl ", "curl --silent --show-error --fail --max-time 20 --noproxy '*' ")
    done = subprocess.run(["bash", "-euc", script], cwd=folder, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_llama_cpp_server_continues_the_turn(upstream, gateway, tmp_path):
    server = upstream(page.mistaken, owned_by="llamacpp")
    serving = page.blocks("A llama.cpp server", "sh")[-1]
    assert serving == "interwhen serve --upstream http://localhost:8080/v1 --monitor arithmetic\n"
    running = gateway(server, monitors=("arithmetic",))
    before = page.blocks("A llama.cpp server")[0]
    shown = page.run(at(before, running.base_url, "http://localhost:8080/v1"), tmp_path)
    assert shown.rstrip() == "17 * 24 = 408"
    assert server.posts[-1].json["continue_final_message"] is True
