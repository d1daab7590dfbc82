"""Step-labelled data from verdicts, for models of reward."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from interwhen.export.judging import Line, lines_of
from interwhen.export.rows import Steps
from interwhen.export.spliced import OursSpan, within
from interwhen.export.stories import Attempt, Story


def steps(story: Story, left_out: Counter[str]) -> Iterator[Steps]:
    """Yield the judged lines of each attempt of *story*, in runs of lines that follow one another.

    A line that nobody judged is no step: it ends the row, and stands in the prompt of the next one. So does a line in
    which we wrote. An attempt ends with its first wrong line. Empty lines are left out between steps.
    """
    for number, attempt in enumerate(story.attempts):
        for place, row in enumerate(_Rows(story, attempt, f"{story.name}-{number}", left_out).all()):
            yield Steps(f"{row.id}-{place}", row.prompt, row.completions, row.labels, row.prompt_spans)


@dataclass(slots=True)
class _Rows:
    story: Story
    attempt: Attempt
    name: str
    left_out: Counter[str]
    begun: int = 0
    texts: list[str] = field(default_factory=list)
    labels: list[bool] = field(default_factory=list)

    def all(self) -> Iterator[Steps]:
        """Yield the rows of the attempt."""
        for line in lines_of(self.attempt, self.attempt.start):
            text = self.attempt.text[line.start : line.end]
            if not text.strip():
                continue
            if (label := self._label(line)) is None:
                yield from self._close()
                if line.judgement == "wrong":
                    return
                continue
            if not self.texts:
                self.begun = line.start
            self.texts.append(text.rstrip("\n"))
            self.labels.append(label)
            if not label:
                break
        yield from self._close()

    def _label(self, line: Line) -> bool | None:
        # The rest of a line that was cut and put right is not a step of its own.
        if line.is_ours or (line.start > 0 and self.attempt.text[line.start - 1] != "\n"):
            self.left_out["lines in which interwhen wrote"] += 1
            return None
        if line.judgement in ("right", "wrong"):
            return line.judgement == "right"
        self.left_out["lines that are open" if line.judgement == "open" else "lines without a claim"] += 1
        return None

    def _close(self) -> Iterator[Steps]:
        if not self.texts:
            return
        problem = self.story.problem
        spans: tuple[OursSpan, ...] = within(self.attempt.ours, 0, self.begun, len(problem))
        prompt = problem + self.attempt.text[: self.begun]
        yield Steps(self.name, prompt, tuple(self.texts), tuple(self.labels), spans)
        self.texts, self.labels = [], []
