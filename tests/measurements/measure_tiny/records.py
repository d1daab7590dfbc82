"""The record of each try, from which the tables are made."""

from __future__ import annotations

import msgspec
from interwhen import Result
from interwhen._types.results import Status
from tools.train_tiny.tasks import Problem

from .graders import is_right, judge


class Try(msgspec.Struct, frozen=True, kw_only=True):
    """One try at one problem by one arm."""

    arm: str
    family: str
    split: str
    number: int
    answered: bool
    """Whether an answer was given; not if the arm abstained, or the text broke off before one."""
    right: bool
    """Whether the answer was given and is right."""
    tokens: int
    """All tokens that were generated: kept, discarded, forks."""
    kept: int = 0
    discarded: int = 0
    prompt_tokens: int = 0
    status: Status | None = None
    interrupts: int = 0
    steps: int = 0
    wrong_steps: int = 0
    said: str = ""
    """The text of the answer."""


def split_trace(text: str) -> tuple[list[str], str | None]:
    """Return the lines of reasoning, and the answer after them if there is one."""
    reasoning, closed, answer = text.partition("</think>")
    lines = [line for line in reasoning.removeprefix("<think>").strip("\n").split("\n") if line]
    return lines, answer.strip() if closed and answer.strip() else None


def grade_text(arm: str, problem: Problem, split: str, number: int, text: str, tokens: int, prompt_tokens: int) -> Try:
    """Grade an unsupervised try."""
    lines, answer = split_trace(text)
    verdicts = judge(problem.family, problem.facts, lines)
    return Try(
        arm=arm,
        family=problem.family,
        split=split,
        number=number,
        answered=answer is not None,
        right=answer is not None and is_right(problem.family, problem.facts, answer),
        tokens=tokens,
        kept=tokens,
        prompt_tokens=prompt_tokens,
        steps=len(verdicts),
        wrong_steps=verdicts.count(False),
        said=answer or "",
    )


def grade_result(arm: str, problem: Problem, split: str, number: int, result: Result) -> Try:
    """Grade a supervised run: it answers only if the answer is verified."""
    _, answer = split_trace(result.text)
    answered = result.answer_verified and answer is not None
    ledger = result.ledger
    return Try(
        arm=arm,
        family=problem.family,
        split=split,
        number=number,
        answered=answered,
        right=answered and is_right(problem.family, problem.facts, answer or ""),
        tokens=ledger.total_tokens,
        kept=ledger.kept,
        discarded=ledger.discarded,
        prompt_tokens=ledger.prompt_tokens,
        status=result.status,
        interrupts=sum(violation.interrupted for violation in result.violations),
        said=answer or "",
    )
