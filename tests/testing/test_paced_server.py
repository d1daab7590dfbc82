"""The load generator sends each chunk when it is due, and reports how late it was."""

import json
import time

import anyio
import httpx2
import msgspec
import pytest
from interwhen.models import Chunk, CompletionsModel, Request
from interwhen.models._replay import Recording, TimedChunk
from interwhen.testing._paced_server import (
    TOKEN,
    Load,
    LoadTally,
    SentLog,
    chunk_texts,
    paced_server,
    schedule_page,
    schedule_recording,
)

SAID = [Chunk("ab"), Chunk("", tokens=0), Chunk("cd"), Chunk("ef"), Chunk("", tokens=0, finish_reason="stop")]
TIMES = [1.0, 1.5, 2.0, 4.0, 5.0]
RECORDING = Recording(tuple(TimedChunk(at, chunk) for at, chunk in zip(TIMES, SAID, strict=True)))


def test_fixed_text_has_requested_number_of_chunks():
    texts = chunk_texts(1000)
    assert len(texts) == 1000
    assert {len(text) for text in texts} == {TOKEN}


def test_page_is_paced_or_sent_in_one_packet():
    paced = schedule_page(3, 10.0, "completions")
    assert paced.due == [0.0, 0.1, 0.2, 0.3]
    assert b"[DONE]" in paced.packets[-1]
    at_once = schedule_page(3, 0.0, "completions")
    assert (at_once.due, at_once.packets) == ([0.0], [b"".join(paced.packets)])
    assert b'"delta"' in schedule_page(1, 0.0, "chat").packets[0]


def test_recording_is_paced_and_resumes_after_prefix():
    load = Load([RECORDING])
    whole = load.schedule("0@2", "", "completions")
    assert whole.due == [0.5, 1.0, 2.0, 2.0]
    assert b'"text": "ab"' in whole.packets[0]
    assert b"[DONE]" in whole.packets[-1]
    rest = load.schedule("0@2", "abcd", "completions")
    assert rest.due == [0.0, 0.0]
    assert b'"text": "ef"' in rest.packets[0]
    assert len(load.schedule("0@1:2", "", "completions").packets) == 3
    assert schedule_recording(RECORDING, 1.0, None, "abcdef", "completions").due == [0.0]


async def read(url, model, **options):
    stream = await CompletionsModel(url, model, api_key="", **options).stream(Request(""))
    chunks = []
    while more := await stream.receive():
        chunks += more
    await stream.aclose()
    return chunks


def test_streams_at_once_are_on_time_and_counted():
    async def main():
        with paced_server(stamped=True) as url:
            begun = time.monotonic()
            streams = []

            async def one():
                streams.append(await read(url, "11@50"))

            async with anyio.create_task_group() as group:
                for _ in range(6):
                    group.start_soon(one)
            took = time.monotonic() - begun
            async with httpx2.AsyncClient(timeout=60) as client:
                tally = msgspec.json.decode((await client.get(f"{url}/tally")).content, type=LoadTally)
                log = msgspec.json.decode((await client.get(f"{url}/log")).content, type=SentLog)
                card = (await client.get(f"{url}/models")).json()
            return begun, streams, took, tally, log, card

    begun, streams, took, tally, log, card = anyio.run(main)
    for chunks in streams:
        stamp, _, rest = "".join(chunk.text for chunk in chunks).partition("\n")
        assert begun <= float(stamp)
        assert rest == "".join(chunk_texts(11)[1:])
    assert took >= 11 / 50
    assert (tally.sent, len(log.sent), log.closed) == (6 * 12, 12, None)
    assert log.sent[-1] - begun >= 11 / 50  # never early; how late the first one was depends on the machine
    assert card["data"][0]["owned_by"] == "interwhen"


def test_client_disconnect_is_recorded():
    async def main():
        with paced_server() as url:
            stream = await CompletionsModel(url, "10000@100", api_key="").stream(Request(""))
            await stream.receive()
            await stream.aclose()
            async with httpx2.AsyncClient(timeout=60) as client:
                with anyio.fail_after(60):
                    while True:
                        log = msgspec.json.decode((await client.get(f"{url}/log")).content, type=SentLog)
                        if log.closed is not None:
                            return log

    log = anyio.run(main)
    assert 0 < len(log.sent) < 10000


@pytest.mark.parametrize("path", ["completions", "chat/completions"])
def test_request_without_streaming_gets_empty_answer(path):
    with paced_server() as url:
        body = {"model": "5@0", "prompt": "", "messages": [], "stream": False}
        answer = httpx2.post(f"{url}/{path}", content=json.dumps(body), timeout=60).json()
    assert answer["choices"][0]["finish_reason"] == "stop"
    assert answer["usage"]["completion_tokens"] == 0
