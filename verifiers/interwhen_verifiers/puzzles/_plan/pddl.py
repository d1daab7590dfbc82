"""Planning problems in STRIPS, and their readers: for PDDL, and for blocksworld in English."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Atom: TypeAlias = tuple[str, ...]
"""A predicate and its arguments, such as ``("on", "a", "b")``."""
State: TypeAlias = frozenset[Atom]

ANYTHING = "object"
"""The type of objects for which the problem gives no type."""


@dataclass(frozen=True, slots=True)
class Literals:
    """The facts that a condition demands or an effect adds (``yes``), and those that it forbids or deletes (``no``)."""

    yes: tuple[Atom, ...] = ()
    no: tuple[Atom, ...] = ()


@dataclass(frozen=True, slots=True)
class Operator:
    """An action with parameters, each a variable and its type. ``needs`` is its precondition."""

    name: str
    parameters: tuple[tuple[str, str], ...]
    needs: Literals
    effect: Literals


@dataclass(frozen=True, slots=True)
class Domain:
    """A planning domain: its actions, predicates, types and constants."""

    # `operators` maps the name of each action to the action, `constants` each constant to its type, and `above` each
    # type to all types that it belongs to, itself included.

    name: str
    operators: Mapping[str, Operator]
    predicates: frozenset[str] = frozenset()
    above: Mapping[str, frozenset[str]] = field(default_factory=dict)
    constants: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanningProblem:
    """A domain, the objects with their types, the initial state and the goal."""

    domain: Domain
    objects: Mapping[str, str]
    start: State
    goal: Literals
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Other names of objects, with the names for which they stand."""
    in_words: bool = False
    """Whether the plan may have actions in English, as in blocksworld."""


def show(atom: Atom) -> str:
    return f"({' '.join(atom)})"


def misfit(problem: PlanningProblem, name: str, values: tuple[str, ...]) -> str:
    parameters = problem.domain.operators[name].parameters
    if len(values) != len(parameters):
        count = len(parameters)
        return f"the action {name} takes {count} argument{'' if count == 1 else 's'}, not {len(values)}"
    for value, (_, wanted) in zip(values, parameters, strict=True):
        kind = problem.objects.get(value)
        if kind is None:
            return f"there is no object {value[:60]!r} in this problem"
        if wanted != ANYTHING and wanted not in problem.domain.above.get(kind, (kind,)):
            return f"the action {name} takes a {wanted} where {value} is a {kind}"
    return ""


def unmet(literals: Literals, state: State, bound: Mapping[str, str] | None = None) -> tuple[str, ...]:
    # `bound` maps the variables in `literals` to objects.
    missing = [f"{show(atom)} does not hold" for atom in _ground(literals.yes, bound or {}) if atom not in state]
    return (*missing, *(f"{show(atom)} holds" for atom in _ground(literals.no, bound or {}) if atom in state))


def bind(operator: Operator, values: Iterable[str]) -> dict[str, str]:
    return {variable: value for (variable, _), value in zip(operator.parameters, values, strict=True)}


def after(operator: Operator, state: State, bound: Mapping[str, str]) -> State:
    # As in PDDL, a fact that the action both deletes and adds is true afterwards.
    return (state - frozenset(_ground(operator.effect.no, bound))) | frozenset(_ground(operator.effect.yes, bound))


def _ground(atoms: tuple[Atom, ...], bound: Mapping[str, str]) -> list[Atom]:
    return [(atom[0], *(bound.get(term, term) for term in atom[1:])) for atom in atoms]


Node: TypeAlias = "str | list[Node]"

_TOKEN = re.compile(r"[()]|[^\s();]++|;[^\n]*+")
_KNOWN = {":strips", ":typing", ":negative-preconditions"}
LONGEST = 100_000
"""The most characters of a text that is parsed."""
DEEPEST = 20
"""The deepest nesting of brackets, and of types, that is read."""


class PddlError(ValueError):
    """The text is not PDDL, or uses a part of PDDL that is not supported."""


def read_domain(text: str) -> Domain:
    sections = _sections(text, "domain")
    asked = {str(each) for part in sections.get(":requirements", []) for each in part}
    unknown = (asked - _KNOWN) | (set(sections) - _DOMAIN_PARTS)
    if unknown:
        supported = ", ".join(sorted(_KNOWN | _DOMAIN_PARTS - {"domain"}))
        raise PddlError(f"a domain may have only {supported}; got {', '.join(sorted(unknown))}; remove these")
    above = _above(_typed(_joined(sections, ":types")))
    operators = {one.name: one for one in map(_operator, sections.get(":action", []))}
    if not operators:
        raise PddlError("a domain must have at least one :action, got none; add one")
    return Domain(
        name=_word(sections["domain"][0][0]),
        operators=operators,
        predicates=frozenset(_word(next(iter(_list(each)), [])) for each in _joined(sections, ":predicates")),
        above=above,
        constants=dict(_typed(_joined(sections, ":constants"))),
    )


def read_problem(text: str, domain: Domain) -> PlanningProblem:
    sections = _sections(text, "problem")
    unknown = set(sections) - _PROBLEM_PARTS
    if unknown or not sections.keys() >= {":init", ":goal"}:
        raise PddlError(
            "a problem must have :init and :goal, and may have :domain and :objects; got "
            f"{', '.join(sorted(set(sections) - {'problem'})) or 'none'}; correct it"
        )
    named = _joined(sections, ":domain")
    if named and _word(named[0]) != domain.name:
        raise PddlError(
            f"the problem must be of the domain {domain.name!r}, got {_word(named[0])!r}; give the domain that it names"
        )
    return PlanningProblem(
        domain=domain,
        objects={**domain.constants, **dict(_typed(_joined(sections, ":objects")))},
        start=frozenset(_atom(_list(each)) for each in _joined(sections, ":init")),
        goal=_literals(_one(_joined(sections, ":goal"))),
    )


_DOMAIN_PARTS = {"domain", ":requirements", ":types", ":constants", ":predicates", ":action"}
_PROBLEM_PARTS = {"problem", ":domain", ":requirements", ":objects", ":init", ":goal"}


def parse(text: str) -> list[Node]:
    if len(text) > LONGEST:
        raise PddlError(f"a text must have at most {LONGEST:,} characters, got {len(text):,}; give a shorter one")
    stack: list[list[Node]] = [[]]
    for word in _TOKEN.findall(text.lower()):
        if word == "(":
            stack.append([])
            if len(stack) - 1 > DEEPEST:
                raise PddlError(f"brackets must be at most {DEEPEST} levels deep, got more; nest them less")
        elif word == ")":
            done = stack.pop()
            if not stack:
                raise PddlError(f"each ')' must close a '(', got one that closes none in {text[:60]!r}; remove it")
            stack[-1].append(done)
        elif not word.startswith(";"):
            stack[-1].append(word)
    if len(stack) > 1:
        raise PddlError(
            f"each '(' must be closed, got {len(stack) - 1} that are not in {text[:60]!r}; write a ')' for each"
        )
    return stack[0]


def _sections(text: str, kind: str) -> dict[str, list[list[Node]]]:
    whole = _list(_one(parse(text)))
    if not whole or whole[0] != "define":
        raise PddlError(f"a {kind} must begin with (define ({kind} NAME), got {text[:60]!r}")
    sections: dict[str, list[list[Node]]] = {}
    for each in whole[1:]:
        part = _list(each)
        if part:
            sections.setdefault(_word(part[0]), []).append(part[1:])
    if len(sections.get(kind, [])) != 1 or len(sections[kind][0]) != 1:
        raise PddlError(f"a {kind} must begin with (define ({kind} NAME), got {text[:60]!r}")
    return sections


def _operator(part: list[Node]) -> Operator:
    if not part or len(part) % 2 == 0:
        raise PddlError(f"an action must have a name and parts with a value each, got {str(part)[:80]}")
    parts = {_word(key): value for key, value in zip(part[1::2], part[2::2], strict=True)}
    unknown = set(parts) - {":parameters", ":precondition", ":effect"}
    if unknown or ":effect" not in parts:
        part_names = ", ".join(sorted(parts))[:200] or "none"
        raise PddlError(
            f"the parts of the action {part[0]!r:.80} must be :effect and, if needed, :parameters and :precondition; "
            f"got {part_names}"
        )
    parameters = tuple(_typed(_list(parts.get(":parameters", []))))
    operator = Operator(
        name=_word(part[0]),
        parameters=parameters,
        needs=_literals(parts.get(":precondition", [])),
        effect=_literals(parts[":effect"]),
    )
    _vet(operator)
    return operator


def _vet(operator: Operator) -> None:
    bound = {variable for variable, _ in operator.parameters}
    for literals in (operator.needs, operator.effect):
        free = {term for atom in (*literals.yes, *literals.no) for term in atom[1:] if term.startswith("?")} - bound
        if free:
            raise PddlError(
                f"the action {operator.name} may use only its parameters, got {', '.join(sorted(free))}; "
                "add these to :parameters"
            )


def _literals(node: Node) -> Literals:
    parts = _list(node)
    conjuncts = parts[1:] if parts[:1] == ["and"] else [parts] if parts else []
    lists = [_list(each) for each in conjuncts]
    yes = tuple(_atom(part) for part in lists if part[:1] != ["not"])
    return Literals(yes, tuple(_atom(_list(_one(part[1:]))) for part in lists if part[:1] == ["not"]))


_LOGIC = {"and", "or", "not", "imply", "forall", "exists", "when", "=", "increase", "decrease", "assign"}


def _atom(part: Sequence[Node]) -> Atom:
    words = tuple(_word(each) for each in part)
    if not words or words[0] in _LOGIC:
        raise PddlError(
            "a fact must be (PREDICATE ARGUMENT ...), with 'and' and 'not' around it only; got "
            f"({' '.join(words)[:60]})"
        )
    return words


def _typed(words: Sequence[Node]) -> Iterator[tuple[str, str]]:
    # In PDDL, a name without a type has the type `object`.
    waiting: list[str] = []
    rest = iter(words)
    for node in rest:
        word = _word(node)
        if word != "-":
            waiting.append(word)
            continue
        kind = _word(next(rest, []))
        yield from ((name, kind) for name in waiting)
        waiting = []
    yield from ((name, ANYTHING) for name in waiting)


def _above(types: Iterator[tuple[str, str]]) -> dict[str, frozenset[str]]:
    parents = dict(types)
    above: dict[str, frozenset[str]] = {}
    for kind in parents:
        chain = [kind]
        while chain[-1] in parents and parents[chain[-1]] not in chain:
            chain.append(parents[chain[-1]])
            if len(chain) > DEEPEST:
                raise PddlError(f"types must be at most {DEEPEST} levels deep, got more; remove some")
        above[kind] = frozenset(chain)
    return above


def _joined(sections: dict[str, list[list[Node]]], name: str) -> list[Node]:
    return [each for part in sections.get(name, []) for each in part]


def _one(nodes: Sequence[Node]) -> Node:
    if len(nodes) != 1:
        raise PddlError(f"there must be one expression in brackets, got {len(nodes)}: {str(nodes)[:80]}; write one")
    return nodes[0]


def _list(node: Node) -> list[Node]:
    if isinstance(node, str):
        raise PddlError(f"an expression must be in brackets, got {node[:60]!r}; put it in brackets")
    return node


def _word(node: Node) -> str:
    if not isinstance(node, str):
        raise PddlError(f"a name must stand here, got the expression {str(node)[:60]}; write a name")
    return node


# The built-in domain: blocks on a table and one hand, told in PDDL or in English.

BLOCKSWORLD: Final = read_domain("""
(define (domain blocksworld)
  (:requirements :strips)
  (:predicates (clear ?x) (ontable ?x) (handempty) (holding ?x) (on ?x ?y))
  (:action pick-up :parameters (?x)
    :precondition (and (clear ?x) (ontable ?x) (handempty))
    :effect (and (holding ?x) (not (clear ?x)) (not (ontable ?x)) (not (handempty))))
  (:action put-down :parameters (?x)
    :precondition (holding ?x)
    :effect (and (clear ?x) (handempty) (ontable ?x) (not (holding ?x))))
  (:action stack :parameters (?x ?y)
    :precondition (and (clear ?y) (holding ?x))
    :effect (and (handempty) (clear ?x) (on ?x ?y) (not (clear ?y)) (not (holding ?x))))
  (:action unstack :parameters (?x ?y)
    :precondition (and (on ?x ?y) (clear ?x) (handempty))
    :effect (and (holding ?x) (clear ?y) (not (on ?x ?y)) (not (clear ?x)) (not (handempty)))))
""")

_COLOURS = ["red", "blue", "orange", "yellow", "white", "magenta", "black", "cyan", "green", "violet", "silver", "gold"]
"""The blocks that the letters a, b, c, ... stand for, if the problem has colours and the plan has letters."""
_INITIAL = "as initial conditions i have that"
_GOAL = "my goal is to have that"
LONGEST_STATEMENT = 20_000
_ROW = re.compile(r", and |,| and ")
_FACTS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"the (\w{1,40}) block is clear"), "clear"),
    (re.compile(r"the (\w{1,40}) block is on the table"), "ontable"),
    (re.compile(r"the (\w{1,40}) block is on top of the (\w{1,40}) block"), "on"),
    (re.compile(r"the hand is empty"), "handempty"),
    (re.compile(r"the hand is (?:currently )?holding (?:the )?(\w{1,40}) block"), "holding"),
)
_BLOCK = r"(?:the )?(?:block )?(\w{1,40}+)(?: block)?"
_TELLINGS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(rf"pick up {_BLOCK}(?: from the table)?"), "pick-up"),
    (re.compile(rf"put down {_BLOCK}(?: on(?:to)? (?:the )?table)?"), "put-down"),
    (re.compile(rf"put {_BLOCK} down(?: on(?:to)? (?:the )?table)?"), "put-down"),
    (re.compile(rf"unstack {_BLOCK} from (?:on )?(?:top of )?{_BLOCK}"), "unstack"),
    (re.compile(rf"stack {_BLOCK} (?:on|onto)(?: top of)? {_BLOCK}"), "stack"),
    (re.compile(rf"(?:place|put) {_BLOCK}(?: back)?(?: down)? on(?:to)? the table"), "put-down"),
    (re.compile(rf"place {_BLOCK} on(?:to)?(?: top of)? {_BLOCK}"), "stack"),
    (re.compile(rf"remove {_BLOCK} from (?:on )?(?:(?:the )?top of )?{_BLOCK}"), "unstack"),
)


def read_statement(text: str) -> PlanningProblem | None:
    low = text.lower()
    at = low.rfind(_INITIAL)
    goal_at = low.find(_GOAL, at)
    if at < 0 or goal_at < 0 or goal_at - at > LONGEST_STATEMENT:
        return None
    initial = low[at + len(_INITIAL) : goal_at]
    goal = low[goal_at + len(_GOAL) : goal_at + LONGEST_STATEMENT].split("\n", 1)[0].split(".", 1)[0]
    start, wanted = _facts(initial), _facts(goal)
    if not start or not wanted:
        return None
    blocks = {block: ANYTHING for atom in (*start, *wanted) for block in atom[1:]}
    letters = {chr(ord("a") + at): colour for at, colour in enumerate(_COLOURS)}
    aliases = letters if blocks.keys() <= set(_COLOURS) else {}
    return PlanningProblem(BLOCKSWORLD, blocks, frozenset(start), Literals(wanted), aliases, in_words=True)


def _facts(text: str) -> tuple[Atom, ...]:
    atoms = [_match(_FACTS, each.strip()) for each in _ROW.split(" ".join(text.split()).strip(" .,"))]
    return () if None in atoms else tuple(atom for atom in atoms if atom)


def _match(patterns: tuple[tuple[re.Pattern[str], str], ...], text: str) -> Atom | None:
    matches = ((pattern.fullmatch(text), name) for pattern, name in patterns)
    return next(((name, *match.groups()) for match, name in matches if match), None)


def read_telling(text: str) -> Atom | None:
    return _match(_TELLINGS, text)
