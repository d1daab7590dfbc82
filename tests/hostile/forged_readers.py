"""Reads each journal in a folder with every command and function that reads one, and writes what went wrong as JSON."""

import contextlib
import io
import json
import os
import sys
import time
from pathlib import Path

import anyio
import httpx2
import interwhen
from interwhen._recheck import check_again
from interwhen.cli._main import main
from interwhen.gateway import Config, Gateway
from interwhen.gateway._config import UiConfig
from interwhen.journal import TimelineReader
from interwhen.precompute._questions import read_questions
from interwhen.testing import ScriptedModel
from interwhen.training._attempts import read_attempts
from interwhen.view._app import PageServer, loopback_only
from interwhen.view._notebook import notebook_frame
from interwhen.view._runs import RunFolder

SECONDS = 5.0


def command(*arguments):
    def run(path):
        words = [str(path if word is ... else path.parent if word is Path else word) for word in arguments]
        words = [word.replace("OUT", str(path.with_suffix(".html"))) for word in words]
        try:
            main(words)
        except SystemExit as end:
            assert end.code in (0, 1, 2, 3, 4, 5), end.code

    return run


def grown(path):
    reader = TimelineReader(str(path))
    data = path.read_bytes()
    try:
        for at in range(0, len(data), 700 + len(data) // 5):
            reader.feed(data[at : at + 700 + len(data) // 5])
            reader.part()
    finally:
        with contextlib.suppress(interwhen.InterwhenError):
            reader.timeline()
            reader.part(everything=True)


def resumed(path):
    data = path.read_bytes()
    try:
        with interwhen.resume_sync(path, model=ScriptedModel(lambda _: ["2 + 2 = 4\n"])) as run:
            run.drain()
    finally:
        path.write_bytes(data)


async def asked(app, prefix=""):
    transport = httpx2.ASGITransport(app, client=("127.0.0.1", 50000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://127.0.0.1:8400") as http:
        headers = {"x-interwhen": "page"}
        for row in (await http.get(f"{prefix}/runs")).json()["runs"]:
            run = f"{prefix}/runs/{row['id']}"
            await http.get(f"{run}/timeline")
            await http.post(f"{run}/verify", json={"check": 0}, headers=headers)
            for monitor in (row.get("monitors") or [])[:3]:
                await http.post(f"{run}/recheck", json={"monitor": monitor}, headers=headers)


def local_page(path):
    anyio.run(asked, PageServer(RunFolder([path.parent]), loopback_only, verify=True, any_monitor=True).app())


def gateway_page(path):
    ui = UiConfig(journals=(str(path.parent),))
    anyio.run(asked, Gateway(Config(upstreams=("http://127.0.0.1:9/v1",), ui=ui)).pages, "/ui")


def notebook(path):
    notebook_frame(interwhen.replay(path))
    notebook_frame(interwhen.read_journal(path).result)


READERS = {
    "recheck": command("recheck", ...),
    "resume": command("resume", ..., "--json"),
    "replay": command("replay", ...),
    "verify": command("verify", ..., __file__),
    "view --html": command("view", ..., "--html", "OUT"),
    "view --json": command("view", ..., "--json"),
    "doctor": command("doctor", "--journals", Path),
    "the page": local_page,
    "the page of the gateway": gateway_page,
    "a page of a growing run": grown,
    "notebook": notebook,
    "read_journal": interwhen.read_journal,
    "timeline": interwhen.timeline,
    "questions": read_questions,
    "attempts": read_attempts,
    "interwhen.recheck": lambda path: anyio.run(interwhen.recheck, path, ["arithmetic"]),
    "interwhen.resume": resumed,
    "check_again": lambda path: anyio.run(check_again, path),
}


def read(path, name):
    """Return what is wrong with reading *path* by the reader *name*; empty if nothing is."""
    mark = f"--- {path.parent.name} {name}\n"
    log = Path(os.environ["AUDIT_LOG"])
    begun, cpu, size = time.monotonic(), time.process_time(), log.stat().st_size
    wrong = ""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            READERS[name](path)
    except interwhen.InterwhenError:
        pass
    except BaseException as error:
        import traceback

        wrong = f"{type(error).__name__}: {error!s:.300} {traceback.format_exc()[-900:]}"
    if "Traceback" in out.getvalue():
        wrong += out.getvalue()[-500:]
    spent = time.process_time() - cpu
    waited = time.monotonic() - begun
    # A machine with other work may wait long, but computes no longer.
    if spent > SECONDS or waited > 6 * SECONDS:
        wrong += f"took {waited:.1f} s, of which {spent:.1f} s computing"
    with log.open("rb") as file:
        file.seek(size)
        wrong += file.read().decode()
    return mark + wrong if wrong else ""


if __name__ == "__main__":
    begun, slowest = time.process_time(), {}
    found = []
    for path in sorted(Path(sys.argv[1]).glob("*/run.journal")):
        for name in READERS:
            at = time.process_time()
            found.append(read(path, name))
            slowest[name] = slowest.get(name, 0) + time.process_time() - at
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "wrong": [each for each in found if each],
                "read": len(found),
                "memory": usage.ru_maxrss,
                "seconds": time.process_time() - begun,
                "by": {name: round(seconds, 1) for name, seconds in slowest.items()},
            }
        )
    )
