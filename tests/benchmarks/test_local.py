"""The measurement of the local model works; what it finds is no matter of a test."""

from importlib.util import find_spec

import anyio
import pytest
from interwhen import UsageError
from interwhen.models import open_local
from tests.benchmarks.local import FORKS, local, stream_beside

needs_server = pytest.mark.skipif(find_spec("xllamacpp") is None, reason="xllamacpp is not installed")


@needs_server
def test_a_small_run_gives_a_whole_report():
    report = anyio.run(lambda: local(tokens=48, pairs=2, starts=1))
    assert report.subject == "local:tiny"
    assert len(report.observations) == 2 * len(FORKS)
    assert report.value("from start to first token") > 0
    assert report.value("one stream") > 0
    for forks in ("0 forks", "1 fork", "2 forks"):
        p50, p99, largest = (report.value(f"{forks} at a time: gap, {name}") for name in ("p50", "p99", "largest"))
        assert p50 <= p99 <= largest
    assert "over no fork" in report.row("2 forks at a time: gap, p99")
    assert report.value("1 fork at a time: answered, a stream") >= 0


class WaitingForForks:
    """A local model whose stream stops before its last text until *forks* forks were answered."""

    # Without the wait, a fast machine ends the stream before the first answer. If the server answered forks only after
    # the stream, the wait would run into its timeout.

    def __init__(self, model, forks):
        self.model, self.left, self.answered = model, forks, anyio.Event()

    async def complete(self, request):
        done = await self.model.complete(request)
        self.left -= 1
        if not self.left:
            self.answered.set()
        return done

    async def stream(self, request):
        self.open, self.read = await self.model.stream(request), 0
        return self

    async def receive(self):
        chunks = await self.open.receive()
        self.read += sum(chunk.tokens for chunk in chunks)
        if self.left > 0 and (self.read > 100 or not chunks):
            with anyio.fail_after(100):
                await self.answered.wait()
        return chunks

    async def aclose(self):
        await self.open.aclose()


@needs_server
@pytest.mark.parametrize("forks", [0, 2])
def test_forks_run_concurrently_with_the_stream(forks):
    async def once():
        async with open_local(slots=3) as model:
            return await stream_beside(WaitingForForks(model, forks), "What is 37 * 46?", forks, 300)

    stream = anyio.run(once)
    assert 250 < stream.tokens <= 300  # a token that ends a turn is no text
    assert len(stream.gaps) > 20
    assert sum(stream.gaps) < stream.seconds
    assert stream.answered >= forks
    assert (stream.answered > 0) == (forks > 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"model": "acme"},
            "--model must be 'local' or 'local:PATH.gguf', because only a local model is measured; got 'acme'",
        ),
        ({"pairs": 0}, "--pairs must be a whole number of at least 1, got 0"),
        ({"starts": 0}, "--starts must be a whole number of at least 1, got 0"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        anyio.run(lambda: local(**options))
