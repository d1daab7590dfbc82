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

FOLDER = Path(__file__).parent / "records"
LLAMACPP = {"llamacpp-tags": "tags", "llamacpp-field": "field"}
VLLM = {"vllm-0.32-parser-on": "parser-on", "vllm-0.32-parser-off": "parser-off"}


def file_of(name: str) -> Path:
    """Return the file of the recording *name*."""
    return FOLDER / f"{name}.jsonl.gz"


@contextmanager
def llamacpp(name: str) -> Iterator[str]:
    """Run the server *name*, of `LLAMACPP`, and yield its base URL."""
    tiny = Path(_local.__file__).with_name("tiny.gguf")
    with tempfile.TemporaryDirectory() as home:
        # In its own folder, because the server shows the path to the model, and that is recorded.
        shutil.copy(tiny, home)
        script = Path(__file__).with_name("llamacpp_server.py")
        process = subprocess.Popen(
            [sys.executable, str(script), LLAMACPP[name], tiny.name],
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
