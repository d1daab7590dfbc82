"""Runs ``interwhen eval`` on paced servers, one of them slow and one dying, kills it, and says what was lost.

The servers are processes that answer a fixed number of prompts at a time, each after a fixed pause, so what they can
deliver is known: the time that their places were free to work. Use::

    python -m tests.bench.evaluation.fleet_load --prompts 10000 --kills 5 --dies-after 30
"""

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import anyio
from interwhen.bench.evaluation._results import read_rows

from .support import written

PLACES = 4
"""Prompts that a server answers at the same time."""
PAUSES = (0.1, 0.4, 0.1)
"""Seconds of an answer, for each server: the second one is slow, and the third one dies."""
START = "import sys; from interwhen_launcher.__main__ import main; main(sys.argv[1:])"


class PacedAnswers:
    """A server that answers :data:`PLACES` prompts at a time, each *pause* seconds after it got a place."""

    def __init__(self, pause):
        self.pause, self.places, self.served = pause, anyio.Semaphore(PLACES), 0

    async def handle(self, stream):
        buffered = b""
        async with stream:
            while True:
                while (end := buffered.find(b"\r\n\r\n")) < 0:
                    buffered += await stream.receive()
                length = re.search(rb"content-length: *(\d+)", buffered[:end].lower())
                whole = end + 4 + (int(length[1]) if length else 0)
                while len(buffered) < whole:
                    buffered += await stream.receive()
                body, is_get, buffered = buffered[end + 4 : whole], buffered.startswith(b"GET"), buffered[whole:]
                await stream.send(self.listing() if is_get else await self.answer(json.loads(body)))

    def listing(self):
        return response(b"application/json", json.dumps({"data": [{"id": "m"}], "served": self.served}).encode())

    async def answer(self, request):
        number = int(request["messages"][0]["content"].split()[1].rstrip("."))
        async with self.places:
            await anyio.sleep(self.pause)
        self.served += 1
        texts = (f"2 * {number} =", f" {2 * number}\n", f"Answer: {2 * number}")
        choices = [{"index": 0, "delta": {"content": text}, "finish_reason": None} for text in texts]
        choices.append({"index": 0, "delta": {}, "finish_reason": "stop"})
        chunks = [{"id": "x", "object": "chat.completion.chunk", "choices": [choice]} for choice in choices]
        lines = [f"data: {json.dumps(chunk)}\n\n" for chunk in chunks]
        return response(b"text/event-stream", ("".join(lines) + "data: [DONE]\n\n").encode())


def response(kind, body):
    return b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n%s" % (kind, len(body), body)


async def serve(pause):
    server = PacedAnswers(pause)

    async def handle(stream):
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            await server.handle(stream)

    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    print(listener.extra(anyio.abc.SocketAttribute.local_port), flush=True)
    await listener.serve(handle)


def start_servers():
    command = [sys.executable, "-m", "tests.bench.evaluation.fleet_load", "--serve"]
    processes = [subprocess.Popen([*command, str(pause)], stdout=subprocess.PIPE, text=True) for pause in PAUSES]
    return processes, [f"http://127.0.0.1:{process.stdout.readline().strip()}/v1" for process in processes]


def resident(process):
    try:
        match = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text())
    except OSError:
        return 0.0
    return int(match[1]) * 1024 / 1e6 if match else 0.0


def count_rows(out):
    # Count whole lines, without parsing them, so that counting takes nothing from the command.
    return sum(path.read_bytes().count(b"\n") for path in out.glob("shard-*.jsonl"))


class Load:
    """Starts ``interwhen eval`` again and again with the same prompts and the same folder of results."""

    # `memory` has the resident memory of the command in MB, about once a second.

    def __init__(self, folder, out):
        self.prompts, self.out = folder / "prompts.jsonl", folder / out
        self.memory = []

    def start(self, urls):
        endpoints = [word for url in urls for word in ("--endpoint", url)]
        options = ["--task", str(self.prompts), "--model", "m", "--out", str(self.out), "-m", "arithmetic"]
        return subprocess.Popen(
            [sys.executable, "-c", START, "eval", *options, *endpoints, "--json", "--quiet"],
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, urls, *, kill_at=None, dies=None, dies_after=0.0):
        # With `kill_at`, kill the command when so many rows are written, and return None. `dies` is the process of a
        # server, which is killed `dies_after` seconds after the first row.
        begun, last, process = 0.0, 0.0, self.start(urls)
        while process.poll() is None:
            time.sleep(0.05)
            if not begun and count_rows(self.out):
                begun = time.monotonic()
            now = time.monotonic() - begun if begun else 0.0
            if dies is not None and now >= dies_after and dies.poll() is None:
                dies.kill()
            if kill_at is not None and count_rows(self.out) >= kill_at:
                os.kill(process.pid, signal.SIGKILL)
            if now - last >= 1.0:
                last = now
                self.memory.append(resident(process))
        said = process.stdout.read()
        process.stdout.close()
        if process.returncode == -signal.SIGKILL:
            return None
        assert process.returncode == 0, process.returncode
        return json.loads(said)


def kept(out):
    # Times, servers and attempts are left out.
    return {row.row: (row.name, row.status, row.scope, row.text, row.answer, row.grade) for row in read_rows(out)}


def possible(seconds, dies_after):
    alive = (seconds, seconds, min(seconds, dies_after))
    return sum(PLACES * time_alive / pause for time_alive, pause in zip(alive, PAUSES, strict=True))


def main(prompts, kills, dies_after):
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        written(folder, prompts)
        servers, urls = start_servers()
        try:
            whole = Load(folder, "whole")
            report = whole.run(urls, dies=servers[-1], dies_after=dies_after)
            broken = Load(folder, "broken")
            for number in range(kills):
                assert broken.run(urls[:2], kill_at=prompts * (number + 1) // (kills + 1)) is None
            again = broken.run(urls[:2])
        finally:
            for server in servers:
                server.kill()
                server.wait()
                server.stdout.close()
        twice = sum(1 for _ in read_rows(broken.out)) - len(kept(broken.out))
        memory = [size for size in whole.memory[2:] if size]
        share = prompts / possible(report["seconds"], dies_after)
        is_same = kept(whole.out) == kept(broken.out) and len(kept(whole.out)) == prompts
    growth = memory[-1] - memory[len(memory) // 3] if len(memory) > 3 else 0.0
    print(f"{prompts} rows in {report['seconds']:.1f} s: {share:.1%} of what the servers can deliver")
    print(f"affinity {report['affinity']:.2%}")
    print(f"memory of the driver: {memory[-1]:.1f} MB, {growth:+.1f} MB in the last two thirds of the time")
    spent = again["summary"]["tokens_again"]
    print(f"the same rows after {kills} kills: {is_same}; {twice} rows twice; at least {spent} tokens spent again")
    return is_same and not twice and share >= 0.9 and report["affinity"] >= 0.99 and growth < 5


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--dies-after", type=float, default=30.0, help="seconds until the third server dies")
    parser.add_argument("--serve", type=float, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.serve is not None:
        anyio.run(serve, given.serve)
    sys.exit(0 if main(given.prompts, given.kills, given.dies_after) else 1)
