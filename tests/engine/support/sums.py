"""A toy domain, ``1+1=2``, and how to watch it; a model that keeps account of its streams."""

import re
from dataclasses import dataclass

import anyio
import interwhen
from interwhen import Claim, Monitor, Pass, Repair, Span, Violation, verifier
from interwhen.testing import ScriptedModel

SUM = re.compile(r"(\d+)\+(\d+)=(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sum(Claim):
    left: int
    right: int
    total: int


def sums(segment):
    for match in SUM.finditer(segment.text):
        left, right, total = map(int, match.groups())
        yield Sum(key=match[0], span=segment.at(*match.span()), left=left, right=right, total=total)


def judge(claim):
    right = claim.left + claim.right
    if claim.total == right:
        return Pass(f"{claim.left}+{claim.right}={right}")
    at = claim.key.index("=") + 1
    return Violation(
        why=f"{claim.key} is wrong",
        witness=f"{claim.left}+{claim.right}={right}",
        where=Span(at, len(claim.key)),
        repair=str(right),
    )


adds_up = verifier(name="sums", version="1", worker="inline")(judge)


def slow(seconds, *, name="slow", deadline=1000.0, function=judge):
    @verifier(name=name, deadline=deadline)
    async def check(claim):
        await anyio.sleep(seconds(claim) if callable(seconds) else seconds)
        return function(claim)

    return check


def watch(who=adds_up, **options):
    options = {"name": "sums", "extractor": sums, "remedy": Repair(), **options}
    return Monitor(verifier=who, **options)


def apply(events):
    text = ""
    for event in events:
        match event:
            case interwhen.Delta(text=new, start=start):
                assert start == len(text)
                text += new
            case interwhen.Retracted(to=to):
                assert to <= len(text)
                text = text[:to]
            case _:
                pass
    return text


async def supervise(model, *monitors, prompt="Q", **options):
    async with interwhen.run(model, prompt, monitors=monitors, **options) as run:
        events = [event async for event in run]
    assert events[-1] == interwhen.events.Finished(run.result)
    return run.result, events


class Accountant(ScriptedModel):
    """A scripted model that notes when each stream was opened and closed, on the loop's clock."""

    def __init__(self, script, *, opening=0.0, closing=0.0, **options):
        super().__init__(script, **options)
        self.log = []
        self._opening = opening
        self._closing = closing

    async def stream(self, request):
        number = len(self.requests) + 1
        stream = await super().stream(request)
        opening = self._opening(number) if callable(self._opening) else self._opening
        if isinstance(opening, Exception):
            raise opening
        await anyio.sleep(opening)
        self.log.append(("opened", number, anyio.current_time()))
        release = stream.release

        async def closed():
            self.log.append(("closing", number, anyio.current_time()))
            await anyio.sleep(self._closing)
            self.log.append(("closed", number, anyio.current_time()))
            await release()

        stream.release = closed
        return stream

    def assert_all_closed_once(self):
        opened = [number for what, number, _ in self.log if what == "opened"]
        assert sorted(number for what, number, _ in self.log if what == "closed") == opened
