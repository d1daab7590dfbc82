"""Reads each journal in a folder with every command and function that reads one, and writes what went wrong as JSON."""

import contextlib
import io
import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path

import anyio
import httpx2
import interwhen
from forged_journals import forged
from interwhen._run.recheck import check_again
from interwhen._run.run import SyncRun
from interwhen.cli._main import main
from interwhen.journal import TimelineReader
from interwhen.precompute._questions import read_questions
from interwhen.testing import ScriptedModel
from interwhen.training._attempts import read_attempts
from interwhen.view._app import PageServer, gateway_pages, loopback_only
from interwhen.view._notebook import notebook_frame
from interwhen.view._runs import RunFolder

SECONDS = 5.0
MEMORY = 4 << 30
GROUP = 20


def command(*arguments):
    def run(path):
        words = [str(path if word is ... else path.parent if word is Path else word) for word in arguments]
        words = [word.replace("OUT", str(path.with_suffix(".html"))) for word in words]
        try:
            main(words)
        except SystemExit as end:
            if end.code not in range(6):
                raise RuntimeError(f"the command ended with {end.code!r}") from end

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
        with SyncRun(interwhen.resume(path, model=ScriptedModel(lambda _: ["2 + 2 = 4\n"]))) as run:
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
    anyio.run(asked, PageServer(RunFolder([path]), loopback_only, verify=True, any_monitor=True).app())


def gateway_page(path):
    anyio.run(asked, gateway_pages([str(path)], "", lambda: False), "/ui")


def notebook(path):
    notebook_frame(interwhen.replay(path))
    if (result := interwhen.journal.read_journal(path).result) is not None:
        notebook_frame(result)


READERS = {
    "recheck": command("recheck", ...),
    "resume": command("resume", ..., "--json"),
    "view --plain": command("view", ..., "--plain"),
    "verify": command("verify", ..., __file__),
    "the page": local_page,
    "the page of the gateway": gateway_page,
    "a page of a growing run": grown,
    "notebook": notebook,
    "read_journal": interwhen.journal.read_journal,
    "timeline": interwhen.journal.timeline,
    "questions": read_questions,
    "attempts": read_attempts,
    "interwhen.recheck": lambda path: anyio.run(interwhen.recheck, path, ["arithmetic"]),
    "interwhen.resume": resumed,
    "check_again": lambda path: anyio.run(check_again, path),
}

READERS_OF_MANY = {
    "view --html": command("view", Path, "--html", "OUT"),
    "view --json": command("view", Path, "--json"),
    "doctor": command("doctor", "--journals", Path),
}
"""What reads all journals of a folder."""


def read(path, name, what=""):
    # Return what is wrong with reading `path` by the reader `name`; empty if nothing is. `what` was forged in it.
    mark = f"--- {path.parent.name} {name}: {what}\n"
    log = Path(os.environ["AUDIT_LOG"])
    begun, cpu, size = time.monotonic(), time.process_time(), log.stat().st_size
    wrong = ""
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
            (READERS | READERS_OF_MANY)[name](path)
    except interwhen.InterwhenError:
        pass
    except BaseException as error:  # noqa: BLE001  (each one is a finding)
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


def read_all(folder, planted, count, seed):
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))  # a fault must not take the machine
    folder = Path(folder)
    (folder / "honest").mkdir(parents=True)
    outcomes, groups, warm = [], {}, False
    for number, (what, data) in enumerate(
        forged(folder / "honest", Path(planted), "http://127.0.0.1:9/v1", count, seed)
    ):
        if not warm:  # the first use of a command imports more, whatever it reads
            for name in (*READERS, *READERS_OF_MANY):
                read(folder / "honest" / "plain.journal", name)
            warm = True
        path = folder / str(number // GROUP) / f"{number:03}.journal"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        groups.setdefault(path.parent, []).append(what)
        outcomes += [read(path, name, what) for name in READERS]
    for group, whats in groups.items():
        outcomes += [read(group / "all", name, "; ".join(whats)) for name in READERS_OF_MANY]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    sys.stdout.write(
        json.dumps({"wrong": [each for each in outcomes if each], "read": len(outcomes), "memory": memory})
    )
