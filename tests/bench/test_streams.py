"""The measured streams: both ways of reading see the same."""

from __future__ import annotations

import anyio
from interwhen import Monitor, Pass, verifier
from interwhen.bench._streams import RECORDED, passing, read_bare, read_supervised
from interwhen.models import Request, load_recordings
from interwhen.testing import ScriptedModel, _trials


def test_shipped_recording_has_a_thousand_tokens():
    (recording,) = load_recordings(RECORDED)
    assert sum(1 for arrival in recording.arrivals if arrival.chunk.text) == 1000
    assert [arrival.at for arrival in recording.arrivals] == sorted(arrival.at for arrival in recording.arrivals)


def test_bare_and_supervised_readers_see_same_text():
    async def once():
        model = ScriptedModel([["one ", "two ", "three"]] * 2)
        return await read_bare(model, Request("")), await read_supervised(model, Request(""), [])

    bare, supervised = anyio.run(once)
    assert bare.text_sha256 == supervised.text_sha256
    assert bare.tokens == supervised.tokens == 3
    assert len(bare.arrivals) == len(supervised.arrivals) == 3
    assert bare.arrivals[-1] <= bare.total
    assert not supervised.why_not


def test_loop_time_is_attributed_to_its_monitor(monkeypatch):
    @verifier(name="v", worker="inline")
    def accept(_claim):
        return Pass()

    def slow(segment):
        clock.now += 1.0
        yield from passing(1)[0].extractor(segment)

    slowly = Monitor(name="slow", verifier=accept, extractor=slow)
    quickly = Monitor(name="quick", verifier=accept, extractor=passing(1)[0].extractor)

    class Clock:
        """The time of the wall, in which nothing else holds the loop."""

        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(_trials, "time", clock)

    async def once():
        model = ScriptedModel([["a line\n"] * 5])
        return await read_supervised(model, Request(""), [slowly, quickly])

    first, second = anyio.run(once).costs
    assert first.on_loop >= 5.0 > second.on_loop
    assert (first.checks, first.open) == (5, 0)
