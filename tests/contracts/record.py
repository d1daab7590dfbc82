"""Records what real servers send: ``python -m tests.contracts.record [NAME ...]``; without names, llama.cpp alone.

The recordings of vLLM need its environment (``python tests/vllm/environment.py``). Each recording has the requests
of ``interwhen doctor --contract``. A second file has those of ``interwhen doctor``. The fast tests play them back to
our adapters.
"""

from __future__ import annotations

import argparse
from importlib.metadata import version

import anyio
from interwhen.models import probe
from interwhen.models._httpx2_transport import Httpx2Transport
from interwhen.models._questions import Diagnosis, check_contract
from tests.contracts.recorded_http import HttpRecording, RecordingTransport, load_recording, save_recording
from tests.contracts.servers import FOLDER, LLAMACPP, VLLM, doctor_file_of, file_of, llamacpp
from tests.vllm.server import vllm_servers


async def record(name: str, url: str) -> Diagnosis:
    """Check the contract with the server at *url*, and write its recording."""
    transport = RecordingTransport(Httpx2Transport())
    try:
        report = await check_contract(url, "tiny", transport=transport)
    finally:
        await transport.aclose()
    FOLDER.mkdir(exist_ok=True)
    # llama.cpp in this package does not know its own version.
    package = f", xllamacpp {version('xllamacpp')}" if name in LLAMACPP else ""
    save_recording(HttpRecording(f"{report.server}{package}", "tiny", transport.exchanges()), file_of(name))
    return report


async def record_doctor(name: str, url: str) -> Diagnosis:
    """Diagnose the server at *url*, and write the recording."""
    transport = RecordingTransport(Httpx2Transport())
    try:
        diagnosis = await probe(url, "tiny", transport=transport)
    finally:
        await transport.aclose()
    server = load_recording(file_of(name)).server
    save_recording(HttpRecording(server, "tiny", transport.exchanges()), doctor_file_of(name))
    return diagnosis


def record_both(name: str, url: str) -> None:
    show(name, anyio.run(record, name, url))
    for finding in anyio.run(record_doctor, name, url).findings:
        print(f"  {finding.mark:<8} {finding.name:<24} {ascii(finding.detail)[1:-1][:140]}")


def show(name: str, report: Diagnosis) -> None:
    print(f"{name}: {report.server}, {file_of(name).stat().st_size / 1024:.0f} KiB")
    for line in report.findings:
        print(f"  {line.mark:<8} {line.name:<24} {ascii(line.detail)[1:-1][:140]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=f"among {', '.join([*LLAMACPP, *VLLM])}")
    names = parser.parse_args().names or list(LLAMACPP)
    for name in (name for name in names if name in LLAMACPP):
        with llamacpp(name) as url:
            record_both(name, url)
    wanted = [name for name in names if name in VLLM]
    if wanted:
        with vllm_servers([VLLM[name] for name in wanted]) as urls:
            for name in wanted:
                record_both(name, urls[VLLM[name]])


if __name__ == "__main__":
    main()
