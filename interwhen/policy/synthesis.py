"""Rules from the text of a policy, written by a model and admitted by everything but its word.

Offline: nobody waits for it. Policy and answers are hostile: they are read within limits, and nothing of them is run.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal

import anyio
import anyio.to_thread

from interwhen.errors import UsageError
from interwhen.models.base import Message, Model, Request, Sampling
from interwhen.policy import limits
from interwhen.policy.admission import Admission, admit
from interwhen.policy.clauses import clauses, sentences, squeezed
from interwhen.policy.policies import WrittenPolicy
from interwhen.policy.prompting import first_message, next_message
from interwhen.policy.reading_rules import Surroundings, read_rule, read_toml
from interwhen.policy.rules import Rule

_BLOCK = re.compile(r"```[ \t]*toml[ \t]*\n(.*?)\n[ \t]*```", re.DOTALL)
_NO_RULE = re.compile(r"^[ \t]*NO RULE:[ \t]*(.*)$", re.MULTILINE)
_TOLD = 8
"""The most problems that the model is told at once."""
_SAID = 600
_ANSWER = 20_000
"""The most characters of an answer that are read, and kept."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """What the model answered, and what was wrong with it."""

    answer: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """What became of a clause."""

    number: int
    """Its number among the clauses of the policy, from 1."""
    clause: str
    status: Literal["admitted", "queued", "no rule"]
    """``queued``: for a person to look at; ``no rule``: so says the model, and a person should know."""
    attempts: tuple[Attempt, ...]
    rule: Rule | None = None
    text: str = ""
    """The rule's file, as the model wrote it."""
    reason: str = ""
    """Why there is no rule, in the model's words."""


@dataclass(frozen=True, slots=True)
class Synthesis:
    """What became of a policy."""

    drafts: tuple[Draft, ...]
    admission: Admission
    """Of all rules together, those that were there before among them."""
    policy: WrittenPolicy
    """With the rules that are admitted."""


async def synthesise(
    policy: WrittenPolicy,
    around: Surroundings,
    model: Model,
    *,
    rounds: int = 3,
    seconds: float = 300.0,
    max_tokens: int = 4000,
    done: Callable[[Draft], None] = lambda _draft: None,
) -> Synthesis:
    """Have *model* write a rule for each clause of *policy* that has none, and admit what holds.

    A rule that is not admitted goes back to the model with the reasons, *rounds* times in all; *seconds* is the most
    that one answer may take. *done* is told each draft when it is made. Raises
    :class:`~interwhen.errors.ModelError`; what was drafted until then has been told.
    """
    if rounds < 1:
        raise UsageError(f"rounds={rounds}: the model must be asked at least once")
    drafts: list[Draft] = []
    covered = {part for rule in policy.rules for clause in rule.clauses for part in sentences(clause)}
    for number, clause in enumerate(clauses(policy.text), 1):
        if len(policy.rules) >= limits.RULES or number > limits.RULES:
            break
        if any(part in clause or clause in part for part in covered):
            continue
        drafter = _Drafter(policy, around, model, Sampling(max_tokens=max_tokens, temperature=0.0), seconds)
        draft = await drafter.draft(number, clause, rounds)
        if draft.rule is not None:
            policy = replace(policy, rules=(*policy.rules, draft.rule))
        drafts.append(draft)
        done(draft)
    admission = await anyio.to_thread.run_sync(admit, policy)
    return Synthesis(tuple(drafts), admission, policy)


@dataclass(frozen=True, slots=True)
class _Drafter:
    policy: WrittenPolicy
    around: Surroundings
    model: Model
    sampling: Sampling
    seconds: float

    async def draft(self, number: int, clause: str, rounds: int) -> Draft:
        """Ask for a rule for *clause* until one is admitted, or the rounds are over."""
        messages: tuple[Message, ...] = (first_message(clause, self.policy.text, self.around),)
        attempts: list[Attempt] = []
        for _ in range(rounds):
            answer = await self._ask(messages)
            if answer is None:
                attempts.append(Attempt("", (f"the model gave no answer within {self.seconds:g} s",)))
                break
            block = _BLOCK.search(answer)
            refusal = _NO_RULE.search(answer)
            if block is None and refusal is not None:
                attempts.append(Attempt(answer, ()))
                return Draft(number, clause, "no rule", tuple(attempts), reason=refusal[1][:_SAID])
            text = "" if block is None else block[1]
            rule, problems = await anyio.to_thread.run_sync(judge_candidate, text, clause, self.policy, self.around)
            attempts.append(Attempt(answer, problems))
            if rule is not None and not problems:
                return Draft(number, clause, "admitted", tuple(attempts), rule, text)
            messages = (*messages[:1], Message("assistant", answer), next_message(problems[:_TOLD]))
        return Draft(number, clause, "queued", tuple(attempts), text=_last_text(attempts))

    async def _ask(self, messages: tuple[Message, ...]) -> str | None:
        with anyio.move_on_after(self.seconds):
            found = await self.model.complete(Request(messages, sampling=self.sampling))
            return found.text[:_ANSWER].encode(errors="replace").decode()  # half a character cannot be kept
        return None


def _last_text(attempts: list[Attempt]) -> str:
    blocks = [block[1] for attempt in attempts if (block := _BLOCK.search(attempt.answer))]
    return blocks[-1] if blocks else ""


def judge_candidate(
    text: str, clause: str, policy: WrittenPolicy, around: Surroundings
) -> tuple[Rule | None, tuple[str, ...]]:
    """Return the rule of *text* for *clause*, and why it cannot stand beside the rules of *policy*; blocking."""
    if not text.strip():
        return None, ("there is no block ```toml ... ``` in the answer",)
    try:
        rule = read_rule(text, around)
    except UsageError as error:
        return None, (str(error)[:_SAID],)
    problems = tuple(_misplaced(rule, clause, policy))
    if "origin" in read_toml(text, "the rule"):  # else a model could say that a person has read its rule
        problems = (*problems, "'origin' is not for the author of a rule: leave it out")
    if problems:
        return None, problems
    found = admit(replace(policy, rules=(*policy.rules, rule)))
    return rule, tuple(f"{problem.reason}: {problem.says}"[:_SAID] for problem in found.problems_of(rule.id))


def _misplaced(rule: Rule, clause: str, policy: WrittenPolicy) -> Iterator[str]:
    if any(rule.id == known.id for known in policy.rules):
        yield f"there is a rule {rule.id!r} already: choose another id"
    quoted = [squeezed(part) for words in rule.clauses for part in sentences(words)]
    if not any(part in clause or clause in part for part in quoted):
        yield f"'clause' quotes something else than the clause: {rule.clauses[0][:160]!r}"
