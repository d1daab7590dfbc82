"""Questions to Z3 about rules: is there a situation in which these conditions hold? (extra ``z3``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import z3

from interwhen.policy.encoding import Encoder, Term, TooLargeError
from interwhen.policy.kinds import Number
from interwhen.policy.nodes import Constant, Node, walk
from interwhen.policy.rules import Rule
from interwhen.policy.schemas import Schema

Answer = Literal["yes", "no", "open"]
"""Whether there is such a situation; ``open``: Z3 came to no answer within its limits."""
_SECONDS = 5.0
_MEGABYTES = 1024
_LONGEST_LIST = 8


def bound_for(nodes: Iterable[Node]) -> int:
    """Return how long lists must be for the numbers in *nodes* to matter: one more than the largest small one."""
    numbers = [
        int(part.value)  # type: ignore[arg-type]
        for node in nodes
        for part in walk(node)
        if isinstance(part, Constant) and isinstance(part.kind, Number) and part.kind.whole
    ]
    return max([3, *(number + 1 for number in numbers if 0 <= number < _LONGEST_LIST)])


class Questions:
    """Questions about the rules over one tool. The formulas of a rule are made once."""

    def __init__(self, schema: Schema, tool: str | None, moment: Any, nodes: Iterable[Node]) -> None:
        self.encoder = Encoder(schema.scope(tool, moment), bound_for(nodes))
        self._made: dict[Node, Term] = {}

    def truth(self, node: Node) -> Term:
        """Return the formula of *node*. Raises :class:`TooLargeError`."""
        if node not in self._made:
            try:
                self._made[node] = self.encoder.truth(node)
            except TooLargeError as error:
                self._made[node] = error
        found = self._made[node]
        if isinstance(found, TooLargeError):
            raise found
        return found

    def negation(self, node: Node) -> Term:
        """Return the formula of the contrary of *node*."""
        return z3.Not(self.truth(node))

    def kept(self, rule: Rule) -> Term:
        """Return the formula of a situation in which *rule* is kept, or does not apply."""
        return z3.Implies(self.truth(rule.when), self.truth(rule.require))

    def broken(self, when: Node, require: Node) -> Term:
        """Return the formula of a situation in which a rule is broken."""
        return z3.And(self.truth(when), z3.Not(self.truth(require)))

    def differ(self, one: Term, other: Term) -> Answer:
        """Ask for a situation in which only one of two formulas holds."""
        return self.ask([z3.Xor(one, other)])

    def lengths(self, called: Mapping[str, bool]) -> list[Term]:
        """Return what it means for tools to have been called, or not to have been, before."""
        found = []
        for tool, was in called.items():
            length = self.encoder.length(self.encoder.calls_of(tool))
            found.append(length >= 1 if was else length == 0)
        return found

    def ask(self, conditions: Sequence[Term]) -> Answer:
        """Ask for a situation in which all *conditions* hold."""
        answer, _ = self.ask_why({str(number): condition for number, condition in enumerate(conditions)})
        return answer

    def ask_why(self, conditions: Mapping[str, Term]) -> tuple[Answer, tuple[str, ...]]:
        """Ask for a situation in which all named *conditions* hold; if there is none, name those that exclude it."""
        solver = self._solver()
        for name, condition in conditions.items():
            solver.assert_and_track(condition, z3.Bool(f"!{name}", self.encoder.context))
        found = solver.check()
        if found == z3.unsat:
            return "no", tuple(sorted(str(label).strip("|!") for label in solver.unsat_core()))
        return ("yes" if found == z3.sat else "open"), ()

    def script(self, conditions: Sequence[Term]) -> str:
        """Return the question as SMT-LIB."""
        solver = self._solver()
        solver.add(*conditions)
        return str(solver.to_smt2())

    def _solver(self) -> Any:
        solver = z3.Solver(ctx=self.encoder.context)
        solver.set("timeout", int(_SECONDS * 1000))
        solver.set("max_memory", _MEGABYTES)
        solver.add(*self.encoder.domain())
        return solver


def smtlib(rule: Rule, schema: Schema) -> str:
    """Return *rule* as SMT-LIB, for each of its tools: satisfiable where a call can break it."""
    scripts = []
    for tool in rule.over():
        questions = Questions(schema, tool, rule.moment, (rule.when, rule.require))
        try:
            script = questions.script([questions.broken(rule.when, rule.require)])
        except TooLargeError as error:
            script = f"; {error}\n"
        scripts.append(
            f"; {rule.id}, over {tool or 'any tool'}; lists of at most {questions.encoder.bound} items\n{script}"
        )
    return "\n".join(scripts)
