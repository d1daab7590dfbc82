"""The core, driven by hand, with whatever verifiers its monitors have; and the events that a reader got."""

from dataclasses import dataclass

from interwhen import Delta, Retracted
from interwhen._core.machine import Core
from interwhen._core.messages import Extract, Extracted, Settled
from interwhen.results import Judged
from tests.core.worlds import Driver


@dataclass
class Run(Driver):
    """Answers each job as the monitor's own extractor and verifier would."""

    def answer(self, job):
        order = self.pending.pop(job)
        who = self.core.monitors[order.monitor]
        if isinstance(order, Extract):
            self.tell(Extracted(job, tuple(who.extractor(order.segment))))
        else:
            self.tell(Settled(job, Judged(who.verifier.check(order.claim))))

    def say(self, text, size=None):
        # Stop when the core closes the stream.
        if self.state == "opening":
            self.open()
        for at in range(0, len(text), size or len(text)):
            if self.state != "streaming":
                return
            self.chunk(text[at : at + (size or len(text))])
            self.settle()

    def shown_by(self, origin):
        parts = []
        for event in self.seen:
            match event:
                case Delta(text=text, start=start):
                    parts.append((start, text, event.origin))
                case Retracted(to=to):
                    parts = [(start, text[: to - start], by) for start, text, by in parts if start < to]
        return "".join(text for _, text, by in parts if by == origin)


def run(*monitors, **options):
    return Run(Core(monitors, **options))
