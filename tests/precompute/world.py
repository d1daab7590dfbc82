"""People who report to one another, and the monitor that knows from the prompt who is above whom."""

import re
from dataclasses import dataclass

from interwhen import Claim, Lines, Monitor, Pass, Unknown, Violation, verifier

STATEMENT = re.compile(r"(\d+) steps? above (\w+) is (\w+)\.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Above(Claim):
    steps: int
    low: str
    high: str


def prepare(task):
    asked = re.fullmatch(r"Who is (\d+) steps? above (\w+)\?", task.text.rstrip().rpartition("\n")[2])
    return dict(re.findall(r"(\w+) reports to (\w+)\.", task.text)), (asked[2], int(asked[1])) if asked else None


def extract(segment, _known):
    for match in STATEMENT.finditer(segment.text):
        span = segment.at(*match.span())
        yield Above(key=match[0], span=span, steps=int(match[1]), low=match[2], high=match[3])


@verifier(name="above", version="1", worker="inline")
def check(claim, known):
    above, asked = known
    right = claim.low
    for _ in range(claim.steps):
        right = above.get(right)
    if right is None:
        return Unknown("the text does not say enough to work it out")
    if right == claim.high:
        return Pass("worked out from the text", scope="answer" if asked == (claim.low, claim.steps) else "steps")
    return Violation("it does not follow from the text", repair=f"{claim.key.rpartition(' ')[0]} {right}.")


def sources():
    return Monitor(name="above", trigger=Lines(), extractor=extract, verifier=check, prepare=prepare, scope="answer")
