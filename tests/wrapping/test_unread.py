"""What the reader is given and no monitor reads is never presented as verified."""

import json

import pytest
from both import KINDS, ask, read
from interwhen import wrap
from interwhen.testing.server import delta, events, reply
from responses_writer import Writer
from watchers import passing, word
from wires import MemoryWire, collect, said, texts

pytestmark = pytest.mark.anyio

WHY = "no monitor reads the field {!r} of the answer"
TEXT = {"type": "reasoning.text", "text": "BAD\n"}


@pytest.mark.parametrize("reading", ["live", "gate", "final"])
@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize(
    ("fields", "unread"),
    [
        ({"refusal": "BAD\n"}, "refusal"),
        ({"refusal": "BAD\n", "content": "fine\n"}, "refusal"),
        ({"reasoning_details": [TEXT]}, "reasoning_details"),
        ({"reasoning_details": TEXT}, "reasoning_details"),
        ({"reasoning_details": [TEXT], "reasoning": "hm\n"}, "reasoning_details"),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "BAD\n"}]}, "reasoning_details"),
    ],
)
async def test_text_that_nobody_reads_leaves_a_doubt(fields, unread, stream, reading):
    wire = MemoryWire(lambda *_: [said({"content": "ok\n"}), said(fields), *texts(["yes\n"])])
    parts, result = await collect(wire, [word()], stream=stream, settings={"reading": reading})
    assert result.status == "unverified"
    assert [doubt.why for doubt in result.doubts] == [WHY.format(unread)]
    assert parts[-1].facts.result == result
    field = fields[unread]
    assert field in [part.chunk()["choices"][0]["delta"].get(unread) for part in parts]  # passed on as it is


@pytest.mark.parametrize(
    "fields",
    [
        {"refusal": None},
        {"refusal": ""},
        {"content": '{"refusal": "BAD"}\n'},
        {"reasoning_details": []},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "eJwz"}]},
        {"reasoning_details": [{"type": "reasoning.text", "text": "hm\n"}], "reasoning": "hm\n"},
        {"reasoning_details": [{"type": "reasoning.summary", "summary": "hm\n"}], "reasoning_content": "hm\n"},
    ],
    ids=json.dumps,
)
async def test_what_is_read_or_says_nothing_leaves_none(fields):
    wire = MemoryWire(lambda *_: [said({"content": "ok\n"}), said(fields), *texts(["yes\n"])])
    _, result = await collect(wire, [passing()])
    assert result.status == "verified"


async def test_other_doubts_stay():
    wire = MemoryWire(lambda *_: [said({"content": "ok\n"}), said({"refusal": "no"}), said({}, "length")])
    _, result = await collect(wire, [passing()])
    ended, unread = result.doubts
    assert "length" in ended.why
    assert unread.why == WHY.format("refusal")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_of_the_sdk_says_so_in_both_places(kind, serve, clients):
    server = serve((delta({"content": "ok\n"}), delta({"refusal": "BAD\n"}), *events(["yes\n"], api="chat")))
    stream = await ask(wrap(clients(KINDS[kind], server), [passing()]), stream=True)
    chunks = await read(stream)
    assert chunks[-1].interwhen.result.status == stream.result.status == "unverified"


class Refusing(Writer):
    def refusal(self, text):
        item = {"id": "msg_r", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        place = {"item_id": "msg_r", "output_index": len(self.output), "content_index": 0}
        self.say("response.output_item.added", output_index=len(self.output), item=item)
        self.say("response.content_part.added", **place, part={"type": "refusal", "refusal": ""})
        self.say("response.refusal.delta", **place, delta=text)
        self.say("response.refusal.done", **place, refusal=text)
        part = {"type": "refusal", "refusal": text}
        self.say("response.content_part.done", **place, part=part)
        item = {**item, "status": "completed", "content": [part]}
        self.say("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        return self


@pytest.mark.parametrize("how", ["streamed", "whole", "whole of a server that does not stream"])
async def test_a_refusal_of_the_responses_api_leaves_a_doubt(how, serve, clients):
    def script(_):
        writer = Refusing().text("ok\n").refusal("BAD\n")
        if how.endswith("not stream"):
            return writer.steps() and reply(200, json.dumps(writer.events[-1]["response"]).encode())
        return writer.steps()

    client = wrap(clients(KINDS["async"], serve(script)), [passing()])
    found = await ask(client, "responses", stream=how == "streamed")
    last = (await read(found))[-1] if how == "streamed" else found
    assert last.interwhen.result.status == "unverified"
    assert [doubt.why for doubt in last.interwhen.result.doubts] == [WHY.format("refusal")]
    assert "BAD" in last.to_json()
