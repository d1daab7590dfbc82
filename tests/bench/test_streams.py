"""The measured streams: a replay keeps the times of its recording, and both ways of reading see the same."""

from __future__ import annotations

import anyio
from interwhen import Monitor, Pass, verifier
from interwhen.bench._pacer import as_recorded, at_fixed_rate, chunk_texts, read_file
from interwhen.bench._streams import RECORDED, passing, read_bare, read_supervised
from interwhen.models import Chunk, Request
from interwhen.testing import Arrival, Recording, ScriptedModel, load_recordings


def test_a_replay_sends_each_chunk_when_it_came_and_goes_on_after_what_is_kept(tmp_path):
    said = [Chunk("ab"), Chunk("", tokens=0), Chunk("cd"), Chunk("ef"), Chunk("", tokens=0, finish_reason="stop")]
    times = [1.0, 1.5, 2.0, 4.0, 5.0]
    Recording(tuple(Arrival(at, chunk) for at, chunk in zip(times, said, strict=True))).save(tmp_path / "r.jsonl")
    recordings = read_file(tmp_path / "r.jsonl")
    whole = as_recorded(recordings, "0@2", "")
    assert [packet.due for packet in whole] == [0.5, 1.0, 2.0, 2.0]
    assert b'"text":"ab"' in whole[0].data
    assert b"[DONE]" in whole[-1].data
    rest = as_recorded(recordings, "0@2", "abcd")
    assert [packet.due for packet in rest] == [0.0, 0.0]
    assert b'"text":"ef"' in rest[0].data
    assert len(as_recorded(recordings, "0@1:2", "")) == 3
    assert len(as_recorded(recordings, "0@1", "abcdef")) == 1


def test_a_stream_at_a_fixed_rate_is_one_packet_a_chunk_or_all_at_once():
    paced = at_fixed_rate("3@10", "")
    assert [packet.due for packet in paced] == [0.1, 0.2, 0.3, 0.4]
    (whole,) = at_fixed_rate("3@0", "")
    assert whole.data == b"".join(packet.data for packet in paced)
    assert all(text.encode() in packet.data for text, packet in zip(chunk_texts(3), paced, strict=False))


def test_the_recording_that_comes_with_it_is_a_thousand_tokens_long():
    (recording,) = load_recordings(RECORDED)
    assert sum(1 for arrival in recording.arrivals if arrival.chunk.text) == 1000
    assert [arrival.at for arrival in recording.arrivals] == sorted(arrival.at for arrival in recording.arrivals)


def test_both_ways_of_reading_see_the_same_text_and_count_the_same():
    async def once():
        model = ScriptedModel([["one ", "two ", "three"]] * 2)
        return await read_bare(model, Request("")), await read_supervised(model, Request(""), [])

    bare, supervised = anyio.run(once)
    assert bare.text_sha256 == supervised.text_sha256
    assert bare.tokens == supervised.tokens == 3
    assert len(bare.arrivals) == len(supervised.arrivals) == 3
    assert bare.arrivals[-1] <= bare.total
    assert not supervised.why_not


def test_a_monitor_that_holds_the_loop_is_named():
    @verifier(name="v", worker="inline")
    def accept(_claim):
        return Pass()

    def slow(segment):
        sum(range(200_000))
        yield from passing(1)[0].extractor(segment)

    slowly = Monitor(name="slow", verifier=accept, extractor=slow)
    quickly = Monitor(name="quick", verifier=accept, extractor=passing(1)[0].extractor)

    async def once():
        model = ScriptedModel([["a line\n"] * 5])
        return await read_supervised(model, Request(""), [slowly, quickly])

    first, second = anyio.run(once).costs
    assert first.on_loop > second.on_loop > 0
    assert (first.checks, first.open) == (5, 0)
