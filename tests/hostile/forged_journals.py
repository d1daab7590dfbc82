"""Makes forged journals: real ones in which fields were replaced, with all checksums, seals and hashes made right."""

import random
import sys
from pathlib import Path

import anyio
import interwhen
import msgspec
from interwhen._run.run import SyncRun
from interwhen.journal import _rebuilt_run as rebuilt
from interwhen.journal import _records as records
from interwhen.journal._directory import JournalDirectory, JournalSettings
from interwhen.journal._files import frame, frames, preamble
from interwhen.journal._settings import CallHead
from interwhen.testing import ScriptedModel
from tests.view.recorded import PLAIN, REPAIRED, record

for folder in ("journal", "engine"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder / "support"))

REFERENCE, MONITORS = 4, 14
"""The places of the model and the monitors in the record of a header."""
DEEP = msgspec.Raw(b"\x91" * 100_000 + b"\xc0")


def honest(folder):
    import journals

    paths = [
        record(folder / "repaired.journal", REPAIRED),
        record(folder / "plain.journal", PLAIN, ("arithmetic:level=explain", "arithmetic:label=other")),
    ]
    for kind in ("forks", "concludes", "counts", "feedback"):
        paths.append(folder / f"{kind}.journal")
        anyio.run(journals.recorded, journals.KINDS[kind], paths[-1])
    paths.append(record(folder / "resumed.journal", PLAIN))
    data = paths[-1].read_bytes()
    paths[-1].write_bytes(data[: list(frames(data, "run"))[1].end])
    with SyncRun(interwhen.resume(paths[-1], model=ScriptedModel(PLAIN), monitors=["arithmetic"])) as run:
        run.drain()
    calls = JournalDirectory.at(JournalSettings(path=str(folder / "calls"), text="redacted"))
    journal = calls.begin(CallHead("0193" + "0" * 28, "wrap", "chat", "m"), shows_path=True)
    with interwhen.run_sync(ScriptedModel(PLAIN), "Q", monitors=["arithmetic"], journal=journal) as run:
        run.drain()
    journal.slot.called({}, has_problem=False)
    calls.close()
    for path in (*paths, *folder.glob("calls/*.journal")):
        yield [msgspec.msgpack.decode(frame.payload) for frame in frames(path.read_bytes(), str(path))]


def running(touched):
    argv = ["sh", "-c", f"touch {touched}; true {{file}}"]
    own = {"argv": argv, "languages": ["c"], "file": "main.c", "sandbox": "none"}
    return {"name": "command", "label": "terms", **own}


def values(planted, url):
    # `planted` is a folder of files that no reader may open.
    command = running(planted / "touched")
    return [
        f"command:argv=touch {planted / 'touched'},sandbox=none",
        command,
        [command],
        {"name": "json_schema", "schema": str(planted / "schema.json")},
        {"name": "json_schema", "schema": {"$ref": f"{url}/schema"}, "remote": True},
        {"name": "regex", "patterns": ["(a+)+$" + "b" * 1000] * 16},
        {"name": "tool_policy", "policy": str(planted / "policy.toml")},
        {"name": "python", "sandbox": "none"},
        "planted_module:factory",
        "interwhen-none/command",
        url,
        {"spec": url, "name": "m", "api": "chat"},
        {"spec": f"local:{planted / 'model.gguf'}"},
        str(planted / "journal"),
        "../" * 20 + "etc/passwd",
        "os:system",
        "{0.__class__}%s${jndi:ldap://127.0.0.1/}\x1b[2J",
        "A" * 300_000,
        "9" * 5000,
        2**63 - 1,
        -1,
        10**9,
        float("inf"),
        float("nan"),
        1e308,
        None,
        True,
        "",
        [],
        {},
        b"\xff" * 64,
        [0] * 100_000,
        msgspec.Raw(b"\x91" * 200 + b"\xc0"),
        DEEP,
    ]


def nodes(value, place=()):
    if place and place != (0,):
        yield place
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(inner, (*place, key))


def at_place(tree, place):
    for key in place:
        tree = tree[key]
    return tree


def written(trees):
    chains = iter(heads(trees))
    data, chain = preamble()
    digest = b""
    for tree in trees:
        if tree[0] == "seal":
            tree = ["seal", next(chains, tree[1]), digest, b""]  # noqa: PLW2901  (the caller's stays)
        payload = msgspec.msgpack.encode(tree)
        framed, chain = frame(payload, chain)
        digest = records.link(digest, payload)
        data += framed
    return data


def heads(trees):
    chains = []

    class Reading(rebuilt.RebuiltRun):
        __slots__ = ()

        def _compare(self, record):
            if isinstance(record, records.SealRecord):
                chains.append(self.core.checks.chain)

    try:
        header, *rest = [records.decode(msgspec.msgpack.encode(tree)) for tree in trees]
        monitors = records.recorded_monitors(header, "")
        past = Reading(rebuilt.Journaled("", header, tuple(rest), 0, 0, 0), rebuilt.core_of(header, monitors))
        past.take(past.core.begin())
        for one in rebuilt.standing(rest):
            past.read(one)
    except Exception:  # noqa: BLE001  (then the file contradicts itself already)
        pass
    return chains


def forged(folder, planted, url, count, seed=36):
    dice = random.Random(seed)
    files = [msgspec.msgpack.encode(trees) for trees in honest(folder)]
    hostile = values(planted, url)
    wanted = []
    for number, file in enumerate(files):
        trees = msgspec.msgpack.decode(file)
        for at, tree in enumerate(trees):
            kind = (tree[0], tree[3]["type"] if tree[0] == "told" else "")
            wanted += [(number, at, place, (kind, *place[: 2 + (tree[0] == "told")])) for place in nodes(tree)]
    dice.shuffle(wanted)
    seen = set()
    # First each field of each type once, then what is left of the count; a quarter goes to what names code and servers.
    first = [one for one in wanted if not (one[3] in seen or seen.add(one[3]))]
    rest = [one for one in wanted if one[3] not in seen] + wanted
    specs = [(number, 0, (MONITORS, 0, "spec"), ()) for number in range(2)] + [(0, 0, (REFERENCE,), ())]
    for number in range(count):
        file, at, place, _ = specs[number % 3] if number % 4 == 0 else first.pop() if first else rest.pop()
        trees = msgspec.msgpack.decode(files[file])
        fitting = [one for one in hostile if type(one) is type(at_place(trees[at], place))]
        value = dice.choice(fitting if fitting and dice.random() < 0.8 else hostile)
        if number % 4 == 0:
            value = hostile[number // 4 % len(hostile)]
        name = f"{trees[at][0]} {place} = {value!r:.80}"
        at_place(trees[at], place[:-1])[place[-1]] = value
        if dice.random() < 0.5:  # without its end, a run rests on its facts alone
            trees = [tree for tree in trees if tree[0] not in ("ending", "called")]
        yield name, written(trees)
