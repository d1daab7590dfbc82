"""Small defects of resuming that no other test noticed: each test fails where its line is changed in one place."""

from __future__ import annotations

from dataclasses import replace

import interwhen
import msgspec
import pytest
from interwhen import Pass, Span
from interwhen.journal import _records as records
from interwhen.models import Usage
from interwhen.remedies import Retry
from interwhen.testing import ScriptedModel
from interwhen.testing._models import cut_into
from journals import Kind, borders, goes_on, put_together, recorded, rest, taken_apart
from sums import slow, sums, watch

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("other", [{"key": "1+1=2 or so"}, {"span": Span(0, 3)}], ids=["key", "span"])
async def test_different_claim_at_recorded_place_is_not_checked(other, path):
    # `_read_again`: the text must still give the recorded claim, or its check is an error.
    checked = []

    def note(claim):
        checked.append((claim.key, claim.span))
        return Pass()

    def parse(segment):
        claims = sums(segment)
        return claims if working else tuple(replace(each, **other) for each in claims)

    kind = Kind(lambda: goes_on(("1+1=2\n",), delay=0.01), lambda: [watch(slow(50.0, function=note), extractor=parse)])
    working = True
    _, _, data = await recorded(kind, path)
    entries = taken_apart(data)
    first = next(
        at for at, e in enumerate(entries) if isinstance(e, records.FactRecord) and type(e.fact).__name__ == "Extracted"
    )
    path.write_bytes(put_together(entries[: first + 1]))
    working = False
    checked.clear()
    async with kind.resume(path) as run:
        result = await run.drain()
    assert checked == []
    assert result.status == "unverified"
    assert "does not find this claim in the recorded text" in result.unverified_reasons[0].why


async def test_retry_after_resume_gets_the_complete_claim(path):
    seen = []

    def note(claim):
        seen.append(getattr(claim, "total", None))
        if len(seen) == 1:
            raise ValueError("bad luck")
        return Pass()

    def monitors(function=None):
        checks = slow(50.0) if function is None else slow(0.1, function=function)
        return [watch(checks, on_error=Retry(2, pause=0.5)), watch(checks, name="again", on_error=Retry(2, pause=0.5))]

    kind = Kind(lambda: goes_on(("1+1=2\n",), delay=0.01), monitors)
    _, _, data = await recorded(kind, path)
    entries = taken_apart(data)
    last = [
        at for at, e in enumerate(entries) if isinstance(e, records.FactRecord) and type(e.fact).__name__ == "Extracted"
    ]
    path.write_bytes(put_together(entries[: last[-1] + 1]))
    async with interwhen.resume(path, model=kind.model(), monitors=monitors(note)) as run:
        result = await run.drain()
    assert seen == [2, 2]
    assert result.status == "verified"


class Counted(ScriptedModel):
    """The server counts the tokens of each prompt: a number by which each request can be told."""

    async def stream(self, request):
        stream = await super().stream(request)
        fetch, prompt = stream.fetch, 10 ** request.prefix.count("\n")

        async def counted():
            return [
                msgspec.structs.replace(chunk, usage=Usage(prompt, prompt // 10, None))
                if chunk.finish_reason
                else chunk
                for chunk in await fetch()
            ]

        stream.fetch = counted
        return stream


async def test_resumed_ledger_keeps_usage_of_each_request(path):
    def script(request):
        # Each stream ends behind a wrong sum, and is read to its end, with its usage, before the slow check cuts it
        # back.
        text = rest(request.prefix)
        wrong = next((at for at in map(text.find, ("2+2=5", "4+4=9")) if at >= 0), len(text))
        return cut_into(text[: wrong + 5], 1)

    kind = Kind(lambda: Counted(script), lambda: [watch(slow(30.0))])
    result, _, data = await recorded(kind, path)
    expected = (result.ledger.prompt_tokens, result.ledger.cached_tokens)
    assert result.ledger.requests == 3
    assert expected == (1 + 10 + 100, 0 + 1 + 10)
    counted = [
        end
        for end, entry in zip(borders(data), taken_apart(data), strict=True)
        if isinstance(entry, records.ChunkRecord) and entry.chunk.usage is not None
    ]
    assert len(counted) == 3
    for end in (*counted, len(data)):
        path.write_bytes(data[:end])
        async with kind.resume(path) as run:
            ledger = (await run.drain()).ledger
        assert (ledger.prompt_tokens, ledger.cached_tokens) == expected, end
        again = interwhen.replay(path).result
        assert (again.ledger.prompt_tokens, again.ledger.cached_tokens) == expected, end
