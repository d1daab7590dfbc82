"""What a soak's model writes: sums of which some are wrong at first, told from any prefix of them."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

from interwhen.spans import Span

_SLIP = 0.15
"""The share of the lines that the model gets wrong at first."""
_NUMBER = re.compile(r"Story (\d+)\.\n")


@dataclass(frozen=True, slots=True)
class Story:
    """Lines of sums; ``told`` is what the model says of itself, ``right`` what is true."""

    number: int
    right: tuple[str, ...]
    told: tuple[str, ...]

    @property
    def text(self) -> str:
        """The text of a run that was put right wherever it was wrong."""
        return "".join(self.right)

    def after(self, prefix: str) -> str:
        """Return what the model says after *prefix*: what stands it takes as it is, then it slips again as ever."""
        lines = prefix.split("\n")
        at, begun = len(lines) - 1, lines[-1]
        if at >= len(self.right):
            return ""
        line = next((line for line in (self.told[at], self.right[at]) if line.startswith(begun)), None)
        if line is None:
            return f"I have lost the thread at {begun!r}\n"
        return line[len(begun) :] + "".join(self.told[at + 1 :])

    def stands(self, text: str, *, checked: bool = True) -> bool:
        """Tell whether *text* is some of this story, right in every line but a last one that nobody has checked.

        Where the reader left before all of it was *checked*, any line may be as the model told it.
        """
        if self.text.startswith(text):
            return True
        *whole, last = text.removesuffix("\n").split("\n")
        if len(whole) >= len(self.told):
            return False
        allowed = zip(self.right, self.right if checked else self.told, strict=True)
        return all(f"{line}\n" in lines for line, lines in zip(whole, allowed, strict=False)) and any(
            line.startswith(last) for line in (self.right[len(whole)], self.told[len(whole)])
        )

    def is_right(self, text: str, span: Span) -> bool:
        """Tell whether *text* says within *span* what is true."""
        # A slip is as long as what it should have been, so the places are the same.
        return text[span.start : span.end] == self.text[span.start : span.end]


def story(number: int) -> Story:
    """Return story *number*, always the same."""
    rng = random.Random(number)  # noqa: S311  (a story, no secret)
    right, told = list[str](), list[str]()
    for _ in range(rng.randint(6, 14)):
        one, other = rng.randint(100, 499), rng.randint(100, 499)
        value = one + other
        slip = value + rng.choice((-10, 1, 2, 10)) if rng.random() < _SLIP else value
        right.append(f"So {one} + {other} = {value}\n")
        told.append(f"So {one} + {other} = {slip if len(str(slip)) == len(str(value)) else value}\n")
    return Story(number, tuple(right), tuple(told))


def prompt_of(number: int) -> str:
    """Return the prompt that asks for story *number*."""
    return f"Story {number}.\n"


def asked(prompt: str) -> tuple[Story, str]:
    """Return the story that *prompt* (of a completion) asks for, and how far it is told already."""
    found = _NUMBER.match(prompt)
    if found is None:
        raise ValueError(f"no story is asked for in {prompt[:80]!r}")
    return story(int(found[1])), prompt[found.end() :]
