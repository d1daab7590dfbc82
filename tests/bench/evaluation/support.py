"""Servers without sockets for evaluations, whose answer depends on the prompt alone."""

import json
from contextlib import asynccontextmanager, contextmanager

from anyio.from_thread import start_blocking_portal
from interwhen.bench.evaluation._evaluation import Evaluation
from interwhen.bench.evaluation._fleet import Endpoint, Fleet
from interwhen.bench.evaluation._prompts import open_prompts
from interwhen.bench.evaluation._results import Manifest, Results
from interwhen.models import ChatModel
from interwhen.registry import load_monitors
from interwhen.testing.server import Disconnect, Head, ScriptedServer, ScriptedTransport, Send, Sleep, events


def written(folder, count, name="prompts.jsonl"):
    path = folder / name
    rows = [{"prompt": f"Double {number}.", "answer": str(2 * number)} for number in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def asked(request):
    return int(request.json["messages"][0]["content"].split()[1].rstrip("."))


def doubling(request, pause=0.0):
    number = asked(request)
    texts = [f"2 * {number} =", f" {2 * number}\n", f"Answer: {2 * number}"]
    return [Head(), *([Sleep(pause)] if pause else []), *events(texts, api="chat")]


def refusing(status, **headers):
    return lambda request: [Head(status, headers={"content-length": "2", **headers}), Send(b"{}"), Disconnect()]


@asynccontextmanager
async def evaluation(folder, scripts, *, count=None, shard_size=10, limit=4, monitors=(), out="out", **options):
    """Yield an evaluation of ``prompts.jsonl`` in *folder*, with a scripted server for each of *scripts*.

    *limit* is the first limit of each server. The results are in the folder *out* in *folder*. *options* are those of
    :class:`Evaluation`, and ``patience`` of the fleet.
    """
    prompts = open_prompts(str(folder / "prompts.jsonl"), count=count)
    endpoints = [Endpoint(f"http://server{number}/v1", limit=limit) for number in range(len(scripts))]
    transports = {one.url: ScriptedTransport(script) for one, script in zip(endpoints, scripts, strict=True)}
    models = {url: ChatModel(url, "scripted", transport=transport) for url, transport in transports.items()}
    manifest = Manifest(task="t", digest=prompts.digest, model="scripted", api="chat", shard_size=shard_size)
    watching = load_monitors(monitors)
    with Results(folder / out, manifest) as results:
        made = Evaluation(
            prompts=prompts,
            results=results,
            fleet=Fleet(endpoints, options.pop("patience", 60.0)),
            models=models,
            monitors=lambda more: watching,
            **options,
        )
        yield made


@contextmanager
def serving(script=doubling):
    scripted = ScriptedServer(script)
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(scripted) as server:
        yield server.base_url
