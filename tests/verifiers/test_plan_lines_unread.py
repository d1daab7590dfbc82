"""``plan``: after a line of the plan that is not understood, the state is unknown, and no later action is refuted."""

from __future__ import annotations

import pytest
from interwhen.testing import LabelledTrace, Turn, try_monitor_sync
from interwhen.testing.complexity import Bait, assert_linear, read_and_check

from interwhen_verifiers.puzzles.plan import plan

COLOURS = """[STATEMENT]
As initial conditions I have that, the red block is clear, the yellow block is clear, the hand is empty, \
the red block is on top of the blue block, the yellow block is on the table and the blue block is on the table.
My goal is to have that the blue block is on top of the yellow block.

What is the plan to achieve my goal? Just give the actions in the plan."""
VANS = """
(define (domain vans) (:predicates (at ?v ?p) (road ?p ?q))
  (:action drive :parameters (?v ?p ?q) :precondition (and (at ?v ?p) (road ?p ?q))
   :effect (and (not (at ?v ?p)) (at ?v ?q))))
(define (problem one) (:domain vans) (:objects van1 home shop farm)
  (:init (at van1 home) (road home shop) (road shop farm)) (:goal (at van1 farm)))
"""
REST = ("Put down the red block", "Pick up the blue block", "Stack the blue block on top of the yellow block")


def tried(text, prompt=COLOURS, **options):
    trace = LabelledTrace(name="t", turns=(Turn(prompt=prompt, text=text),), label="unclear")
    [one] = try_monitor_sync(plan(**options), [trace])
    assert one.troubles == ()
    return one


def numbered(steps):
    return "".join(f"{number}. {step}\n" for number, step in enumerate(steps, 1))


@pytest.mark.parametrize(
    "steps",
    [
        ("Unstack red from blue", "Putdown red", "Pickup blue", "Stack blue on yellow"),
        ("Un-stack red from blue", "Put-down red", "Pick-up blue", "Stack blue on yellow"),
        ("Unstack(red, blue)", "PutDown(red)", "PickUp(blue)", "Stack(blue, yellow)"),
        ("`unstack(red, blue)`", "*put_down(red)*", "**pick-up(blue)**", "Action: stack(blue, yellow)"),
        ("unstack a b", "put_down a", "Pick-up b", "stack b d"),
        ("(unstack a b) ; red is held", "(put-down a)", "(pick-up b)", "(stack b d) ; done"),
    ],
)
def test_other_spellings_of_actions_are_read(steps):
    for text in (numbered(steps), "\n".join(steps) + "\n"):
        assert tried(text).passed == 1, tried(text).reasons
        assert tried(text, judge="steps").passed == 4


def test_actions_with_their_number_before_them_are_read():
    text = (
        "- **Action 1:** Unstack the red block from the blue block.\n- *Action 2*: Put down the red block.\n"
        "- Action 3: Pick up the blue block.\n- **Step 4**: Stack the blue block on top of the yellow block.\n"
    )
    assert tried(text).passed == 1


def test_wrong_action_in_other_spelling_is_refuted():
    [violation] = tried("Unstack(red, blue)\nPickUp(blue)\n", judge="steps").violations
    assert violation.quote == "PickUp(blue)"
    [violation] = tried("Unstack red from blue\nPickup blue\n", judge="steps").violations
    assert violation.quote == "Pickup blue"


UNREAD = [
    "Lift the red block off the blue block",
    "Take red from blue",
    "Then unstack the red block from the blue block",
    "Next, unstack red from blue",
    "Finally, the arm unstacks red from blue",
    "Grab red (it stands on blue)",
    "Hebe den roten Block red hoch",
    "Desapila el bloque red de blue",
    "(unstack a b) - red is held now",
    "First (unstack a b)",
    "Take(red)",
    "unstack(red from blue)",
]


@pytest.mark.parametrize("line", UNREAD)
@pytest.mark.parametrize("form", [numbered, lambda steps: "".join(f"- {each}\n" for each in steps), "\n".join])
def test_nothing_is_refuted_after_unread_action(line, form):
    text = form((line, *REST)) + "\n"
    assert tried(text, judge="steps").violations == ()
    assert tried(text).violations == ()
    assert tried(text).passed == 0
    # The same in the middle of the plan: the first steps are judged all the same.
    text = form(
        ("Unstack the red block from the blue block", "Put down the red block", line.replace("red", "blue"), *REST[2:])
    )
    assert tried(text + "\n", judge="steps").violations == ()
    assert tried(text + "\n").violations == ()


IN_OTHER_WORDS = (
    "Remove the red block from the top of the blue block",
    "Place the red block on the table",
    "You pick up the blue block from the table",
    "Place the blue block on top of the yellow block",
)


@pytest.mark.parametrize("form", [numbered, lambda steps: "".join(f"- {each}\n" for each in steps), "\n".join])
def test_known_actions_in_other_words_are_read(form):
    assert tried(form(IN_OTHER_WORDS) + "\n").passed == 1
    assert tried(form(("I then unstack the red block from the blue block", *REST)) + "\n").passed == 1
    # Action by action, in place of the usual words.
    for at, words in enumerate(IN_OTHER_WORDS):
        steps = ["Unstack the red block from the blue block", *REST]
        steps[at] = words
        assert tried(form(steps) + "\n").passed == 1, tried(form(steps) + "\n").reasons


@pytest.mark.parametrize(
    "remark",
    [
        " (now holding the red block)",
        ": Since the red block is clear and your hand is empty, this can be done.",
        ". Now the blue block is clear.",
        ", freeing the blue block",
        " to free up the blue block",
        "; it remains clear.",
        " because the red block is clear",
    ],
)
def test_remark_on_state_may_follow_action(remark):
    first = "Unstack the red block from the blue block"
    assert tried(numbered((first + remark, *REST))).passed == 1
    [violation] = tried(numbered((first + remark, "Pick up the blue block")), judge="steps").violations
    assert violation.quote == "Pick up the blue block"


@pytest.mark.parametrize(
    "rest",
    [
        " (temporary move)",
        " is not possible, so unstack the blue block from the yellow block",
        ". Now put it down on the table.",
        ", since we cannot do that, take yellow",
        " because we lift it, if it is clear",
    ],
)
def test_action_with_unread_ending_is_not_judged(rest):
    text = numbered((f"Unstack the red block from the blue block{rest}", "Pick up the blue block"))
    assert tried(text).violations == ()
    assert tried(text, judge="steps").violations == ()


@pytest.mark.parametrize("mark", ["- ", "   - ", "", "   *"])
@pytest.mark.parametrize("is_numbered", [True, False])
def test_explanation_in_other_words_is_no_action(mark, is_numbered):
    steps = ("Unstack the red block from the blue block", *REST)
    lines = []
    for number, (step, words) in enumerate(zip(steps, IN_OTHER_WORDS, strict=True), 1):
        lines += [f"{number}. **{step}**" if is_numbered else f"**{step}**", f"{mark}{words}"]
    text = "\n".join(lines) + "\n"
    assert tried(text).violations == ()
    assert tried(text, judge="steps").violations == ()
    # An action in other words that does not fit leaves the state open: it may be meant in another way.
    text = (
        f"Unstack red from blue\n{mark}You pick up the red block.\nPut down red\nPick up yellow\nStack yellow on red\n"
    )
    assert tried(text, judge="steps").violations == ()
    assert not tried(text).passed


def test_impossible_uncertain_action_is_unknown():
    one = tried("Place the blue block on the yellow block\n", judge="steps")
    assert (one.passed, one.violated, one.unknown) == (0, 0, 1)
    # Under a numbered action, another one may only explain it; the action itself may be said again.
    one = tried("1. Unstack red from blue\n   - Stack yellow on red\n2. Put down red\n", judge="steps")
    assert (one.passed, one.violated, one.unknown) == (2, 0, 1)
    one = tried("1. Unstack red from blue\n   - Unstack red from blue\n2. Put down red\n", judge="steps")
    assert (one.violated, one.unknown) == (0, 0)


def test_list_item_without_block_leaves_state_unknown():
    text = numbered(("Unstack red from blue", "Set it aside", "Pick up blue", "Stack blue on yellow"))
    assert tried(text, judge="steps").violations == ()
    assert "not understood" in tried(text).reasons[0]


def test_unread_actions_are_unknown_in_custom_domain():
    for line in ("Go with van1 from home to shop", "drive van1 to shop", "Drive van1 from home to shop"):
        text = f"{line}\n(drive van1 shop farm)\n"
        assert tried(text, VANS, judge="steps").violations == ()
        assert tried(text, VANS).violations == ()
    assert tried("drive van1 home shop\ndrive(van1, shop, farm)\n", VANS).passed == 1


@pytest.mark.parametrize(
    "line",
    [
        "The red block is clear now.",
        "Red is in hand.",
        "   - **Reasoning:** The red block is clear and on blue. Picking it up frees blue.",
        "   - Effects: You are now holding the red block; the blue block becomes clear.",
        "   Resulting State: the red block is clear, the hand is empty, the red block is on the table",
        "   - Since the red block is clear and your hand is empty, you can unstack it.",
        "This sequence of actions will result in the blue block on top of the yellow block.",
        "To achieve the goal of having the blue block on yellow, follow these steps:",
        "   - You are holding the red block, so you can put it down on the table.",
    ],
)
def test_remarks_are_no_actions(line):
    plain = ["Unstack the red block from the blue block", *REST]
    text = f"{line}\n1. {plain[0]}\n{line}\n2. {plain[1]}\n{line}\n3. {plain[2]}\n{line}\n4. {plain[3]}\n"
    assert tried(text).passed == 1, tried(text).reasons
    [violation] = tried(f"1. {plain[0]}\n{line}\n2. {plain[2]}\n", judge="steps").violations
    assert violation.quote == plain[2]


@pytest.mark.fault("H6", injected="text after a plan", happens="unverified")
@pytest.mark.parametrize(
    "line",
    [
        "Then unstack everything again.",
        "   - Then unstack everything again.",
        "Afterwards, undo it.",
        "Now clear the table.",
        "Empty the hand.",
        "Red on the table.",
        "Finally, red to the table.",
        "Then the red block goes back on blue.",
        "After this we rearrange the blocks.",
        "Repeat the steps in reverse order.",
        "I am not sure about this plan.",
        "This plan is not valid.",
        "Is this plan valid?",
        "Unstack a block.",
        "5. the same again",
        "Alors, tout défaire.",
        "[PLAN END]\nThen unstack everything again.",
        "[PLAN END]\n(unstack b d)",
    ],
)
def test_unread_text_after_plan_is_unknown(line):
    plain = ["Unstack the red block from the blue block", *REST]
    text = numbered(plain)
    assert tried(text).passed == 1
    assert tried(f"{text}{line}\n").unknown == 1
    assert tried(f"{text}\n{line}\n").unknown == 1


@pytest.mark.parametrize(
    "line",
    [
        "[PLAN END]",
        "   - The hand is empty now, and the red block is no longer clear.",
        "The goal conditions are satisfied in the final state. Hence, the above plan is valid.",
        "This sequence of actions will result in the blue block being on top of the yellow block, achieving your goal.",
        "[PLAN END]\nThis plan achieves the goal.",
    ],
)
def test_a_description_may_follow_a_plan(line):
    assert tried(numbered(["Unstack the red block from the blue block", *REST]) + line + "\n").passed == 1


def test_states_that_are_numbered_are_no_actions():
    text = (
        "1. Current State: the red block is clear, the hand is empty\n   Action: unstack the red block from the blue block\n"
        "   Resulting State: the hand is holding the red block\n2. Current State: the red block is held\n"
        "   Action: pick up the blue block\n"
    )
    [violation] = tried(text, judge="steps").violations
    assert violation.quote == "pick up the blue block"


@pytest.mark.parametrize(
    "bait", ["(unstack a b) x ", "take red ", "stack(", "action 1: ", "- * ` ", "(unstack a b); ", "i put "]
)
def test_reading_is_linear(bait):
    assert_linear(read_and_check(plan(judge="steps"), COLOURS), baits=[Bait(bait), Bait(bait, start="red ", end="x")])
