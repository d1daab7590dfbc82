"""Recording streams, for a replay."""

from __future__ import annotations

from pathlib import Path

from interwhen.bench.penalty_sources import Source, open_source
from interwhen.testing.replay import RecordingModel


async def record_streams(source: Source, path: Path, seed: int = 0) -> int:
    """Append one stream of each request of *source* to the file at *path*, and return how many these are."""
    async with open_source(source, seed) as opened:
        for number, (model, _) in enumerate(opened.asked):
            _, request = opened.pair(number)
            recorder = RecordingModel(model)
            stream = await recorder.stream(request)
            while await stream.receive():
                pass
            await stream.aclose()
            recorder.recordings[0].save(path)
    return len(opened.asked)
