"""Premises: formulas against Z3, classes against every world, and the words for both."""

from __future__ import annotations

from itertools import product

import pytest
import z3
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Pass, Task, Unknown, Violation
from tests.verifiers.logic_support import judged, kinds, refuted

from interwhen_verifiers.puzzles._logic.premises import ClassStatement as Said
from interwhen_verifiers.puzzles._logic.premises import (
    make_world,
    read_formula,
    read_premises,
    read_statement,
)
from interwhen_verifiers.puzzles.logic import logic

# ------------------------------------------------------------------------------------------------- formulas

SIGNS = {"and": "∧", "or": "∨", "if": "→", "iff": "↔"}
CONDITIONS = {"and": z3.And, "or": z3.Or, "if": z3.Implies, "iff": lambda one, other: one == other}
FORMULAS = st.recursive(
    st.sampled_from("PQRS"),
    lambda inner: st.one_of(st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(sorted(SIGNS)), inner, inner)),
    max_leaves=5,
)


def written(tree):
    if isinstance(tree, str):
        return tree
    if tree[0] == "not":
        return f"¬{written(tree[1])}"
    return f"({written(tree[1])} {SIGNS[tree[0]]} {written(tree[2])})"


def condition(tree):
    if isinstance(tree, str):
        return z3.Bool(tree)
    if tree[0] == "not":
        return z3.Not(condition(tree[1]))
    return CONDITIONS[tree[0]](condition(tree[1]), condition(tree[2]))


def can_hold(*conditions):
    solver = z3.Solver()
    solver.add(*conditions)
    return solver.check() == z3.sat


@settings(deadline=None, max_examples=60)
@given(st.lists(FORMULAS, min_size=1, max_size=4), FORMULAS)
def test_formulas_are_decided_as_z3_decides_them(premises, conclusion):
    # Each letter is there, in a premise that says nothing.
    known = [*premises, *(("or", letter, ("not", letter)) for letter in "PQRS")]
    world = make_world(tuple(read_formula(written(each)) for each in known))
    given_ = [condition(each) for each in premises]
    assert (world is not None) == can_hold(*given_)
    if world is not None:
        follows = not can_hold(*given_, z3.Not(condition(conclusion)))
        contradicts = not can_hold(*given_, condition(conclusion))
        wanted = "follows" if follows else "contradicts" if contradicts else "open"
        assert world.status(read_formula(written(conclusion))) == wanted


@pytest.mark.parametrize(
    ("text", "signs"),
    [
        ("if it rains, then the road is wet", "A → B"),
        ("The road is wet if it rains", "A → B"),
        ("it rains only if the road is wet", "A → B"),
        ("It rains if and only if the road is wet.", "A ↔ B"),
        ("either it rains or the road is wet", "A ∨ B"),
        ("it rains and the road is not wet", "A ∧ ¬B"),
        ("it does not rain", "¬A"),
        ("It is not the case that it rains", "¬A"),
        ("It doesn't rain or the road isn't wet", "¬A ∨ ¬B"),
        ("either it rains or the road is wet, but not both", "(A ∨ B) ∧ ¬(A ∧ B)"),
        ("if it rains and the road is wet, then it rains", "(A ∧ B) → A"),
        ("A -> B", "A → B"),
        ("~A | B", "A → B"),
        ("A <-> B", "A ↔ B"),
        ("A -> B -> A", "A → (B → A)"),
    ],
)
def test_words_and_signs_read_as_equal_formulas(text, signs):
    names = {"it rain": "A", "the road is wet": "B", "A": "A", "B": "B"}

    def renamed(formula):
        return formula._replace(name=names.get(formula.name, ""), parts=tuple(map(renamed, formula.parts)))

    world = make_world((read_formula("A ∨ ¬A"), read_formula("B ∨ ¬B")))
    assert world.mask(renamed(read_formula(text))) == world.mask(read_formula(signs))


@pytest.mark.parametrize(
    "text", ["", "all cats are grey", "(A", "A ∧", "A B ∧", "¬" * 90 + "A", "if , then", "x" * 900]
)
def test_invalid_formula_is_not_read(text):
    assert read_formula(text) is None


# ------------------------------------------------------------------------------------------------- classes

TERMS = ("cat", "dog", "pet")
QUANTITIES = ("all", "no", "some", "some not", "is", "is not")
STATEMENTS = st.builds(
    lambda quantity, one, other: Said(quantity, "Tom" if quantity.startswith("is") else one, other),
    st.sampled_from(QUANTITIES), st.sampled_from(TERMS), st.sampled_from(TERMS),
)  # fmt: skip
KINDS = [frozenset(term for term, has in zip(TERMS, bits, strict=True) if has) for bits in product((0, 1), repeat=3)]


def holds(said, world, tom):
    match said.quantity:
        case "all":
            return all(said.other in kind for kind in world if said.one in kind)
        case "no":
            return not any(said.other in kind for kind in world if said.one in kind)
        case "some":
            return any(said.other in kind for kind in world if said.one in kind)
        case "some not":
            return any(said.other not in kind for kind in world if said.one in kind)
        case "is":
            return said.other in tom
        case _:
            return said.other not in tom


WORLDS = [
    (world, tom)
    for bits in product((0, 1), repeat=8)
    for world in [[kind for kind, has in zip(KINDS, bits, strict=True) if has]]
    for tom in world
]


@settings(deadline=None, max_examples=40)
@given(st.lists(STATEMENTS, min_size=1, max_size=4), STATEMENTS)
def test_classes_are_decided_as_in_every_world(premises, conclusion):
    known_world = make_world(tuple(premises))
    left = [(world, tom) for world, tom in WORLDS if all(holds(each, world, tom) for each in premises)]
    assert (known_world is not None) == bool(left)
    if known_world is None or not conclusion.names <= set(known_world.names):
        return
    if conclusion.quantity not in {"is", "is not"} or conclusion.one in dict(known_world.people):
        held = {holds(conclusion, world, tom) for world, tom in left}
        assert known_world.status(conclusion) == (
            "open" if len(held) > 1 else "follows" if held.pop() else "contradicts"
        )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("All cats are pets.", ("all", "cat", "pet")),
        ("Every cat is a pet", ("all", "cat", "pet")),
        ("No men are mice", ("no", "man", "mouse")),
        ("Some witches are not ladies", ("some not", "witch", "lady")),
        ("Some glasses are full", ("some", "glass", "full")),
        ("Tom is a cat", ("is", "Tom", "cat")),
        ("Tom is not mortal", ("is not", "Tom", "mortal")),
        ("most cats are pets", None),
        ("cats are pets", None),
    ],
)
def test_statements_are_read(text, said):
    assert read_statement(text) == said


def test_a_class_may_be_empty_or_not():
    text = "Premises: All cats are pets. All cats are mammals.\nDoes it follow that some pets are mammals?"
    for answer in ("yes", "no"):
        [(_, verdict)] = judged(text, [f"Answer: {answer}"])[0]
        assert verdict == Unknown("schools of logic differ on whether it follows")
    [(_, verdict)] = judged(RAIN, ["Answer: No."])[0]
    assert verdict == Pass("so the premises say", scope="answer")


# ------------------------------------------------------------------------------------------------- texts

RAIN = (
    "Premises:\n1. If it rains, then the road is wet.\n2. If the road is wet, then Tom does not run.\n3. It rains.\n\n"
    "Does it follow that Tom runs?"
)
CATS = "Facts: All cats are mammals. No mammals are reptiles. Tom is a cat. Is it true that Tom is a reptile?"


@pytest.mark.parametrize(
    ("text", "line", "kind"),
    [
        (RAIN, "Therefore, the road is wet.", Pass),
        (RAIN, "So Tom does not run, so the road is wet.", Pass),
        (RAIN, "Thus we can conclude that Tom runs.", Violation),
        (RAIN, "It follows that it is not the case that the road is wet.", Violation),
        (RAIN, "If Tom runs, then the road is not wet.", Pass),
        (RAIN, "Answer: yes", Violation),
        (RAIN, "Answer: No.", Pass),
        (RAIN, "Answer: perhaps", Unknown),
        (CATS, "So Tom is a mammal.", Pass),
        (CATS, "Some cats are not reptiles", Pass),
        (CATS, "Hence, all cats are reptiles.", Violation),
        (CATS, "Answer: True", Violation),
        (CATS, "Answer: False", Pass),
        (CATS, "Answer: unknown", Violation),
    ],
)
def test_conclusions_and_answers_are_judged(text, line, kind):
    verdicts = [verdict for _, verdict in judged(text, [line])[0]]
    assert verdicts
    assert {type(verdict) for verdict in verdicts} == {kind}


@pytest.mark.parametrize(
    "line",
    ["Does it rain?", "Perhaps Tom runs.", "Maybe the road is not wet", "Eve runs.", "Because of that, Tom runs fast."],
)
def test_other_lines_make_no_claim(line):
    assert kinds(RAIN, line) == []


def test_lines_under_supposition_are_not_judged():
    lines = [
        "Suppose Tom runs.",
        "Then the road is not wet.",
        "So it does not rain.",
        "That contradicts a premise.",
        "Answer: yes",
    ]
    assert refuted(RAIN, lines) == [4]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "If you like, then come. It rains.",
        "Premises: It rains. It does not rain. If it rains, then it rains.",
        "Facts: it rains. The road is wet.",
        "Premises: " + " ".join(f"If a{at} is b, then c{at} is d." for at in range(12)),
    ],
    ids=["empty", "no premises", "contradiction", "nothing to connect", "too many"],
)
def test_unsupported_prompt_is_not_read(text):
    assert read_premises(text) is None


def test_conclusions_agree_with_z3_on_reasoning_gym():
    import reasoning_gym  # takes seconds, which the collection of every worker would pay

    seen = 0
    for item in reasoning_gym.create_dataset("propositional_logic", size=80, seed=7):
        problem = logic().prepare(Task(item["question"]))
        answer = item["metadata"]["example_answer"]
        if problem is None or not read_formula(answer).names <= set(problem.world.names):
            continue
        seen += 1
        names = {name: z3.Bool(name) for name in "PQRSTUVWXYZ"}
        parsed = [conditioned(read_formula(each), names) for each in [*item["metadata"]["premises"], answer]]
        follows = not can_hold(*parsed[:-1], z3.Not(parsed[-1]))
        assert kinds(item["question"], f"Answer: {answer}") == ["Pass" if follows else "Violation"]
    assert seen > 30


def conditioned(formula, names):
    if formula.op == "atom":
        return names[formula.name]
    parts = [conditioned(part, names) for part in formula.parts]
    return z3.Not(parts[0]) if formula.op == "not" else CONDITIONS[formula.op](*parts)
