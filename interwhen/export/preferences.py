"""Preference pairs from interrupts: the continuation that was refuted, and the one that stands in its place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from interwhen.export.judging import judge, line_end, line_start
from interwhen.export.rows import Preference
from interwhen.export.spliced import within
from interwhen.export.stories import Attempt, Story
from interwhen.results import ViolationRecord


def preferences(story: Story, left_out: Counter[str]) -> Iterator[Preference]:
    """Yield a pair for each interrupt of *story* whose correction stands at last and passed.

    Both continuations end with the line that decides: the wrong one, and the first one whose claims passed. Feedback
    between the prefix and the correction is left out of it.
    """
    for number, attempt in enumerate(story.attempts):
        violation = attempt.ended_by
        if violation is None:
            continue
        found = _pair(story, attempt, violation, f"{story.name}-{number}")
        if isinstance(found, str):
            left_out[found] += 1
        else:
            yield found


def _pair(story: Story, attempt: Attempt, violation: ViolationRecord, name: str) -> Preference | str:
    """Return the pair, or why there is none."""
    before, last = attempt.text, story.last
    after = last.text
    cut = violation.cut
    if cut is None or violation.remedy in ("conclude", "stop", "abstain"):
        return "interrupts that were not corrected"
    # Feedback that was appended keeps the wrong line, and stands behind it.
    start = cut if cut <= violation.span.start else line_start(before, violation.span.start)
    if after[:cut] != before[:cut]:
        return "interrupts before which something was corrected later"
    begin = _behind_feedback(last, cut)
    end = _right_until(last, begin)
    if end is None:
        return "interrupts whose correction is not verified"
    chosen, rejected = after[begin:end], before[start : line_end(before, violation.span.end)]
    if not chosen.strip() or chosen == rejected:
        return "interrupts that changed nothing"
    problem = story.problem
    return Preference(
        name,
        problem + before[:start],
        chosen,
        rejected,
        before[:start],
        within(attempt.ours, 0, start, len(problem)),
        within(last.ours, begin, end, -begin),
        violation.monitor,
        violation.remedy or "",
    )


def _behind_feedback(last: Attempt, at: int) -> int:
    """Return where the text goes on behind the feedback at *at*, if there is any."""
    for span in last.ours:
        if span.origin == "feedback" and span.start == at:
            at = span.end
    return at


def _right_until(last: Attempt, begin: int) -> int | None:
    """Return where the first line from *begin* on ends that holds a claim, if all claims up to there passed."""
    text, at = last.text, begin
    while at < len(text):
        end = line_end(text, at + 1)
        if any(span.origin == "feedback" for span in within(last.ours, at, end)):
            return None
        # A value that was repaired stands in a line that began before it, and so does its claim.
        match judge(last, line_start(text, at), end):
            case "right":
                return end
            case "plain":
                at = end
            case _:
                return None
    return None
