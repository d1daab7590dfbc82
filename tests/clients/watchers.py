"""Monitors for these tests."""

import anyio
import interwhen
from interwhen import Claim, Feedback, Lines, Monitor, Pass, Repair, ToolCalls, Violation


@interwhen.verifier(name="sound", worker="inline")
def always_right(claim):
    return Pass()


def every_line(segment):
    yield Claim(key=segment.text, span=segment.span)


def passing(**options):
    return Monitor(name="passing", verifier=always_right, extractor=every_line, trigger=Lines(), **options)


def word(bad="BAD", good=None, *, slow=None, **options):
    """Return a monitor that refutes each line with the text *bad*, and repairs it to *good* if that is given.

    *slow* is how long a check takes, in seconds; ``None``: checks are inline and take no time.
    """

    @interwhen.verifier(name="word", worker="async", deadline=120.0)  # not a test of deadlines, on any machine
    async def later(claim):
        await anyio.sleep(slow)
        return judge(claim)

    @interwhen.verifier(name="word", worker="inline")
    def now(claim):
        return judge(claim)

    def judge(claim):
        at = claim.key.find(bad)
        if at < 0:
            return Pass(scope=options.get("scope", "steps"))
        return Violation(why=f"{bad} is no word", where=interwhen.Span(at, at + len(bad)), repair=good)

    options.setdefault("remedy", Repair() if good is not None else Feedback())
    return Monitor(name="word", verifier=now if slow is None else later, extractor=every_line, **options)


def no_call_with(bad="BAD", *, slow=None, **options):
    # `slow` is the same as for `word`.
    @interwhen.verifier(name="calls", worker=options.pop("worker", "inline"))
    def now(claim):
        return Violation(why=f"{bad} must not be touched") if bad in claim.key else Pass()

    @interwhen.verifier(name="calls", worker="async", deadline=120.0)
    async def later(claim):
        await anyio.sleep(slow)
        return Violation(why=f"{bad} must not be touched") if bad in claim.key else Pass()

    options.setdefault("delivery", "gate_tools")
    options.setdefault("level", "explain")
    check = now if slow is None else later
    return Monitor(
        name="calls", verifier=check, extractor=every_line, trigger=ToolCalls(), remedy=Feedback(), **options
    )
