"""The servers whose contract is recorded, and the files of the recordings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from interwhen.models import _local
from interwhen.models._questions import QUESTIONS, Diagnosis

FOLDER = Path(__file__).parent / "records"
LLAMACPP = {"llamacpp-tags": "tags", "llamacpp-field": "field"}
KINDS = {**LLAMACPP, "llamacpp-closes": "closes"}
VLLM = {"vllm-0.32-parser-on": "parser-on", "vllm-0.32-parser-off": "parser-off"}


_LLAMACPP = {"tool calls": "absent"}
EXPECTED: dict[str, dict[str, str]] = {
    "llamacpp-tags": _LLAMACPP,
    "llamacpp-field": _LLAMACPP,
    "vllm-0.32-parser-on": {"reasoning: prefill": "absent", "answer: prefill": "absent"},
    "vllm-0.32-parser-off": {},
}
"""The lines of the contract that do not hold, for each recorded server.

llama.cpp reads tool calls only in the form that the chat template shows, and the template of the tiny model shows none.
With its reasoning parser on, vLLM renders kept reasoning by the chat template, which drops
it, and takes the continuation of an answer for reasoning.
"""


WAYS = {
    "llamacpp-tags": "in the answer by prefill (llamacpp",
    "llamacpp-field": "in the reasoning by prefill (llamacpp",
    "vllm-0.32-parser-on": "in the reasoning by tokens (the server sends token ids",
    "vllm-0.32-parser-off": "in the answer by tokens (the server sends token ids",
}
"""What the doctor says about the way of resuming, for each recorded server. Reasoning between tags is answer text."""


def assert_diagnosed(name: str, diagnosis: Diagnosis) -> None:
    way = diagnosis["way of resuming"]
    assert way.mark == "ok", way
    assert WAYS[name] in way.detail, way
    assert "turn" not in way.detail, way
    in_field = "parser-on" in name or "field" in name
    assert diagnosis["resume in reasoning"].mark == ("ok" if in_field else "unknown"), diagnosis["resume in reasoning"]
    # The probes fit the 1,024 tokens of the model.
    assert "1024" in diagnosis["context length"].detail, diagnosis["context length"]
    for question in ("reachable", "model list", "completions API", "chat API", "usage in streams", "cached tokens"):
        assert diagnosis[question].mark == "ok", diagnosis[question]
    assert diagnosis["abort"].mark != "no" or _is_busy(), diagnosis["abort"]


def _is_busy() -> bool:
    return os.getloadavg()[0] > 2 * (os.cpu_count() or 1)


def expected_of(name: str) -> dict[str, str]:
    # Return the mark of each line of the contract, by the line's name, that the server `name` must have.
    return {row.contract.name: "holds" for row in QUESTIONS if row.contract} | EXPECTED[name]


def assert_kept(name: str, report: Diagnosis) -> None:
    # On a busy machine, "abort" may differ.
    marks = {line.name: line.mark for line in report.findings}
    # On a busy machine, a generation may end before it can be stopped, or stop too late.
    assert marks.pop("abort") in {"holds", "unknown", *(["absent"] if _is_busy() else [])}, report["abort"]
    assert marks == {line: mark for line, mark in expected_of(name).items() if line != "abort"}, report


def file_of(name: str) -> Path:
    return FOLDER / f"{name}.jsonl.gz"


def doctor_file_of(name: str) -> Path:
    return FOLDER / f"{name}-doctor.jsonl.gz"


@contextmanager
def llamacpp(name: str) -> Iterator[str]:
    tiny = Path(_local.__file__).with_name("tiny.gguf")
    with tempfile.TemporaryDirectory() as home:
        # In its own folder, because the server shows the path to the model, and that is recorded.
        shutil.copy(tiny, home)
        script = Path(__file__).with_name("llamacpp_server.py")
        process = subprocess.Popen(
            [sys.executable, str(script), KINDS[name], tiny.name],
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ},
        )
        try:
            assert process.stdin
            assert process.stdout
            url = next((line.split()[1].decode() for line in process.stdout if line.startswith(b"URL ")), None)
            if url is None:
                raise RuntimeError(f"llama.cpp ended with code {process.wait()}")
            yield f"{url}/v1"
        finally:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
