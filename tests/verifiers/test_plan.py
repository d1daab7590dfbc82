"""``plan``: plans are carried out as an independent simulator does, and prose that is no action says nothing."""

import gzip
import inspect
import json
import re
import time
from itertools import pairwise

import interwhen
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from interwhen import Pass, Segment, Span, Task, Unknown, UsageError, Violation, load_monitor
from interwhen.registry import PluginError
from interwhen.testing import LabelledTrace, Pause, ScriptedModel, Turn, recut, try_monitor_sync
from interwhen.testing.complexity import assert_linear, assert_quick, read_and_check, suspicious
from tests.public_sets import public_set

from interwhen_verifiers.puzzles import plan as replay
from interwhen_verifiers.puzzles._plan import lines, pddl
from interwhen_verifiers.puzzles._plan.pddl import DEEPEST, PddlError, parse, read_domain, read_problem
from interwhen_verifiers.puzzles.plan import check_whole, plan
from interwhen_verifiers.traces.puzzles import planbench

EXAMPLE = """[STATEMENT]
As initial conditions I have that, the white block is clear, the hand is empty and the white block is on the table.
My goal is to have that the white block is on top of the red block.

My plan is as follows:

[PLAN]
pick up the white block
[PLAN END]

"""
ASKED = """[STATEMENT]
As initial conditions I have that, the red block is clear, the yellow block is clear, the hand is empty, \
the red block is on top of the blue block, the yellow block is on the table and the blue block is on the table.
My goal is to have that the blue block is on top of the yellow block.

What is the plan to achieve my goal? Just give the actions in the plan."""
GOOD = "(unstack a b)\n(put-down a)\n(pick-up b)\n(stack b d)\n"


def tried(text, prompt=ASKED, **options):
    trace = LabelledTrace(name="t", turns=(Turn(prompt=prompt, text=text),), label="unclear")
    [one] = try_monitor_sync(plan(**options), [trace])
    assert one.troubles == ()
    return one


def whys(text, prompt=ASKED, **options):
    return [(violation.quote, violation.why) for violation in tried(text, prompt, **options).violations]


class TestByHand:
    def test_a_plan_that_works(self):
        assert (tried(GOOD).passed, tried(GOOD, judge="steps").passed) == (1, 4)

    @pytest.mark.parametrize("judge", ["steps", "whole"])
    def test_impossible_action_is_refuted_with_missing_condition(self, judge):
        text = "(unstack a b)\n(pick-up d)\n(stack a a)\n"
        why = "action 2, (pick-up yellow), cannot be done: (handempty) does not hold"
        assert whys(text, judge=judge) == [("(pick-up d)", why)]

    def test_unreached_goal_is_refuted(self):
        [(_, why)] = whys("(unstack a b)\n(put-down a)\n")
        assert why == "after the last of 2 actions the goal is not reached: (on blue yellow) does not hold"
        assert whys("(unstack a b)\n(put-down a)\n", judge="steps") == []
        [(_, why)] = whys("[PLAN]\n[PLAN END]\n")
        assert "the last of 0 actions" in why

    @pytest.mark.parametrize("action", ["(stack a)", "(unstack)", "(put-down a b)", "(stack a b c d)", "(pick-up z)"])
    def test_invalid_action_is_refuted(self, action):
        for judge in ("steps", "whole"):
            [(quote, why)] = whys(f"{action}\n", judge=judge)
            assert quote == action
            assert "is none: " in why

    def test_the_last_statement_counts(self):
        assert tried(GOOD, EXAMPLE + ASKED).passed == 1
        assert tried("(pick-up white)\n", EXAMPLE + ASKED).violated == 1

    @pytest.mark.parametrize(
        "prompt",
        ["", "Write a poem.", ASKED.replace("red block is clear", "red block is angry"), ASKED.partition("My")[0]],
    )
    def test_plan_ignores_unrelated_prompt(self, prompt):
        one = tried("(stack a)\n", prompt)
        assert (one.aside, one.violated) == (1, 0)


class TestEnglish:
    TOLD = """Here is the plan:

1. **Unstack the red block from on top of the blue block.**
   - The red block is clear, so this can be done.
2. Put down the red block on the table
3) Pick up the blue block.
4. Action: stack blue on yellow
"""

    def test_a_plan_that_works(self):
        assert (tried(self.TOLD).passed, tried(self.TOLD, judge="steps").passed) == (1, 4)

    def test_repeated_plan_is_judged_once(self):
        twice = self.TOLD + "\n**In short:**\n" + "\n".join(f"- {line}" for line in GOOD.splitlines())
        assert tried(twice).passed == 1
        assert whys(twice, judge="steps") == []

    def test_wrong_action_is_refuted(self):
        [(quote, why)] = whys("1. Pick up the blue block.\n", judge="steps")
        assert quote == "Pick up the blue block"
        assert "(clear blue) does not hold" in why

    @pytest.mark.parametrize(
        "text",
        [
            "Pick up a block",
            "Stack a block on top of another block",
            "I could pick up the blue block.",
            "(on blue red)",
            "(see above)",
            "(clear blue)",
            "Pick up the blue block? That is not possible, since red is on it.",
            "Pick up the blue block, once it is clear.",
            "Stack it on the yellow block.",
            "Pick up the green block.",
            "Wait, that is wrong.\n(pick-up b)",
            "Stacking blue on yellow.",
            "(move a b)\n(pick-up b)",
        ],
    )
    def test_uncertain_action_is_no_violation(self, text):
        for judge in ("steps", "whole"):
            assert whys(text + "\n", judge=judge) == []

    def test_withdrawn_plan_is_unknown(self):
        text = f"1. Pick up the blue block\n\nThis plan is not correct. Here is another:\n\n{GOOD}"
        assert tried(text).unknown == 1

    def test_action_matching_only_the_start_passes_nothing(self):
        text = "Action: unstack red from blue\nThen:\n" + GOOD
        assert tried(text).unknown == 1
        assert whys(text, judge="steps") == []

    def test_explanation_of_action_is_no_second_action(self):
        explained = self.TOLD.replace("   - The red block is clear, so this", "   - Unstack red from blue.\n   - This")
        assert tried(explained).passed == 1
        assert whys(explained, judge="steps") == []

    def test_reasoning_is_not_judged(self):
        text = f"<think>\n(pick-up b)\n</think>\n{GOOD}"
        assert whys(text, judge="steps") == []
        assert tried(text).passed == 1


LOGISTICS = """
(define (domain trips) ; a comment
  (:requirements :strips :typing :negative-preconditions)
  (:types car truck - vehicle vehicle place)
  (:constants depot - place)
  (:predicates (at ?v - vehicle ?p - place) (road ?p ?q - place) (broken ?v - vehicle))
  (:action drive :parameters (?v - vehicle ?p ?q - place)
    :precondition (and (at ?v ?p) (road ?p ?q) (not (broken ?v)))
    :effect (and (at ?v ?q) (not (at ?v ?p)))))
"""
TRIP = """(define (problem one) (:domain trips)
  (:objects c - car home - place)
  (:init (at c home) (road home depot))
  (:goal (and (at c depot))))"""


class TestPddl:
    @pytest.mark.parametrize("where", ["prompt", "options", "domain"])
    def test_pddl_problem_is_read_from_each_place(self, where):
        prompt = {"prompt": f"Solve:\n{LOGISTICS}\n{TRIP}\nPlease.", "options": "Go.", "domain": TRIP}[where]
        given_ = {"prompt": {}, "options": {"domain": LOGISTICS, "problem": TRIP}, "domain": {"domain": LOGISTICS}}
        options = given_[where]
        assert tried("1. (drive c home depot)\n", prompt, **options).passed == 1
        [(_, why)] = whys("(drive c depot home)\n", prompt, **options)
        assert why.endswith("cannot be done: (at c depot) does not hold and (road depot home) does not hold")
        [(_, why)] = whys("(drive home c depot)\n", prompt, **options)
        assert why.endswith("takes a vehicle where home is a place")

    def test_negative_preconditions_are_checked(self):
        broken = TRIP.replace("(at c home)", "(at c home) (broken c)")
        [(_, why)] = whys("(drive c home depot)\n", LOGISTICS + broken)
        assert why.endswith("cannot be done: (broken c) holds")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "(define (domain d))",
            "(define (domain d) (:action a :effect (p)",
            ")",
            "(define (domain d) (:action a :effect (when (p) (q))))",
            "(define (domain d) (:requirements :adl) (:action a :effect (p)))",
            "(define (domain d) (:action a :effect (p ?x)))",
            "(define (domain d) (:action a :precondition (or (p) (q)) :effect (p)))",
            "(define (domain d) (:predicates ()) (:action a :effect (p)))",
            "(define (domain d) (:functions (cost)) (:action a :effect (p)))",
            "(define (domain d) (:types a - (either b c)) (:action a :effect (p)))",
            "(" * 200_000,
            "(" * 50 + ")" * 50,
            "(define x y)",
            "define",
        ],
    )
    def test_unsupported_domain_is_refused(self, text):
        with pytest.raises(PddlError):
            read_domain(text)
        with pytest.raises(UsageError):
            plan(domain=text)

    def test_brackets_may_nest_up_to_stated_limit(self):
        assert parse("(" * DEEPEST + ")" * DEEPEST)
        with pytest.raises(PddlError, match=f"at most {DEEPEST} levels"):
            parse("(" * (DEEPEST + 1) + ")" * (DEEPEST + 1))

    @pytest.mark.parametrize(
        "broken",
        [TRIP[:-1], TRIP.replace("trips", "walks"), TRIP.replace(":goal", ":metric"), TRIP.replace("at", "or")],
    )
    def test_unsupported_problem_is_refused(self, broken):
        with pytest.raises(PddlError):
            read_problem(broken, read_domain(LOGISTICS))
        assert tried("(drive c depot home)\n", LOGISTICS + broken).aside == 1


COLOURS = ["red", "blue", "orange", "yellow"]


def simulate(stacks, actions):
    # Carry `actions` out on lists of blocks; return the stacks, or the index of the first action that cannot be done.
    stacks, hand = [list(stack) for stack in stacks], None
    for index, (verb, *blocks) in enumerate(actions):
        tops = {stack[-1]: stack for stack in stacks}
        stack = tops.get(blocks[0])
        if verb in ("pick-up", "unstack"):
            alone = stack is not None and len(stack) == 1
            fits = alone if verb == "pick-up" else stack is not None and not alone and stack[-2] == blocks[1]
            if hand is not None or not fits:
                return index
            hand = stack.pop()
            stacks = [each for each in stacks if each]
        elif hand != blocks[0] or (verb == "stack" and blocks[1] not in tops):
            return index
        else:
            tops[blocks[1]].append(hand) if verb == "stack" else stacks.append([hand])
            hand = None
    return stacks


def told(stacks, goal):
    facts = [f"the {stack[-1]} block is clear" for stack in stacks] + ["the hand is empty"]
    facts += [f"the {stack[0]} block is on the table" for stack in stacks]
    facts += [f"the {up} block is on top of the {low} block" for s in stacks for low, up in pairwise(s)]
    wanted = f"the {goal[0]} block is on top of the {goal[1]} block"
    return f"As initial conditions I have that, {', '.join(facts)}.\nMy goal is to have that {wanted}.\n"


@st.composite
def worlds(draw):
    stacks = []
    for block in draw(st.permutations(COLOURS)):
        at = draw(st.integers(0, len(stacks)))
        stacks[at].append(block) if at < len(stacks) else stacks.append([block])
    actions = []
    for _ in range(draw(st.integers(0, 8))):
        every = [(v, b) for v in ("pick-up", "put-down") for b in COLOURS]
        every += [(v, b, c) for v in ("stack", "unstack") for b in COLOURS for c in COLOURS]
        able = [one for one in every if not isinstance(simulate(stacks, [*actions, one]), int)]
        actions.append(draw(st.sampled_from(able if able and draw(st.integers(0, 9)) else every)))
    return stacks, actions, draw(st.permutations(COLOURS))[:2]


class TestAgainstASimulator:
    @given(worlds(), st.booleans())
    @settings(max_examples=300, deadline=None)
    def test_verdicts_agree_with_simulated_block_worlds(self, world, letters):
        stacks, actions, goal = world
        names = {colour: "abcd"[at] if letters else colour for at, colour in enumerate(COLOURS)}
        text = "".join(f"({verb} {' '.join(names[block] for block in blocks)})\n" for verb, *blocks in actions)
        monitor = plan()
        problem = monitor.prepare(Task(told(stacks, goal)))
        segment = Segment(text=text, span=Span(0, len(text)), phase="answer")
        [claim] = monitor.extractor(segment, problem)
        verdict = check_whole.check(claim, problem)
        expected = simulate(stacks, actions)
        if isinstance(expected, int):
            assert isinstance(verdict, Violation)
            assert verdict.where.start == sum(len(line) + 1 for line in text.splitlines()[:expected])
        else:
            reached = any(goal[::-1] == s[i : i + 2] for s in expected for i in range(len(s)))
            assert type(verdict) is (Pass if reached else Violation)


class TestRun:
    def test_impossible_action_is_removed_and_plan_continues(self):
        # The answer has no end yet: once it ends, its own check may be the first to find the action.
        first = [*recut("(unstack a b)\n(pick-up d)\n(stack", 3), Pause(60)]
        model = ScriptedModel([first, "(put-down a)\n(pick-up b)\n(stack b d)\n"])
        with interwhen.run_sync(model, ASKED, monitors=[plan(judge="steps"), plan()]) as run:
            result = run.drain()
        assert (result.status, result.ledger.remedies) == ("verified", 1)
        assert result.text.startswith("(unstack a b)\n")
        assert result.text.endswith("(put-down a)\n(pick-up b)\n(stack b d)\n")

    def test_missed_goal_restarts_the_plan(self):
        model = ScriptedModel(["(unstack a b)\n(put-down a)\n", GOOD])
        with interwhen.run_sync(model, ASKED, monitors=[plan()]) as run:
            result = run.drain()
        assert (result.status, result.ledger.remedies) == ("verified", 1)
        assert "the goal is not reached: (on blue yellow) does not hold" in result.violations[0].why
        assert result.text == GOOD

    def test_invalid_options_are_refused(self):
        for options in ("judge=perhaps", "domain=hanoi", 'problem="(define)"'):
            with pytest.raises(PluginError):
                load_monitor(f"plan:{options}")


class TestHostileText:
    @pytest.mark.parametrize("judge", ["steps", "whole"])
    def test_reading_texts_is_linear(self, judge):
        assert_linear(read_and_check(plan(judge=judge), ASKED))
        assert_quick(read_and_check(plan(judge=judge), ASKED), seconds=0.5)

    @pytest.mark.parametrize("unit", ["(unstack a b)\n(put-down a)\n(pick-up a)\n(stack a b)\n", "x\n(unstack a b)\n"])
    def test_long_plans_take_linear_time(self, unit):
        read = read_and_check(plan(), ASKED)
        took = []
        for times in (1000, 2000):
            text = unit * times
            begun = time.thread_time()
            read(text)
            took.append(time.thread_time() - begun)
        assert took[1] < 4 * took[0] + 0.2

    def test_reading_prompts_is_quick(self):
        prepare = plan().prepare
        for bait in (
            "(define (problem ",
            "as initial conditions i have that ",
            "my goal is to have that ",
            "(",
            " and ",
        ):
            begun = time.thread_time()
            assert prepare(Task(bait * (200_000 // len(bait)))) is None
            assert time.thread_time() - begun < 2

    def test_a_long_answer_is_not_carried_out(self):
        assert tried("(pick-up b)\n" * 20_000).reasons[0].startswith("an answer of more than")

    def test_no_regex_backtracks(self):
        patterns = [
            pattern
            for module in (pddl, lines, pddl, replay)
            for _, value in inspect.getmembers(module)
            for pattern in (value if isinstance(value, tuple) else [(value,)])
            if isinstance(pattern, tuple) and isinstance(pattern[0], re.Pattern)
        ]
        assert len(patterns) > 10
        assert [(pattern.pattern, why) for pattern, *_ in patterns if (why := suspicious(pattern))] == []


class TestReader:
    def test_planbench_plans_become_labelled_traces(self, tmp_path):
        records = [
            {"id": "1", "prompt": ASKED, "plan": "(pick-up a)\n(stack a b)", "valid": True},
            {"id": "2", "prompt": ASKED, "plan": ["(pick-up a)", "(unstack)"], "valid": False},
            {"id": "3", "prompt": ASKED, "plan": [], "valid": None},
        ]
        with gzip.open(tmp_path / "a.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
        assert [(trace.turns[0].text, trace.label) for trace in planbench(tmp_path)] == [
            ("(pick-up a)\n(stack a b)\n", "right"),
            ("(pick-up a)\n(unstack)\n", "wrong"),
            ("[PLAN]\n[PLAN END]\n", "unclear"),
        ]

    def test_verdicts_agree_with_planbench_labels(self):
        traces = list(planbench(public_set("planbench")))
        assert len(traces) > 900
        for one in try_monitor_sync(plan(), traces):
            assert (one.passed, one.violated) == ((1, 0) if one.trace.label == "right" else (0, 1)), one.trace.name
        for one in try_monitor_sync(plan(judge="steps"), traces):
            assert one.trace.label == "wrong" or not one.violated


def test_text_without_actions_is_unknown():
    assert isinstance(check_whole.check(_claim("Well."), _problem()), Unknown)


def _problem():
    return plan().prepare(Task(ASKED))


def _claim(text):
    [claim] = plan().extractor(Segment(text=text, span=Span(0, len(text)), phase="answer"), _problem())
    return claim


@pytest.mark.parametrize("options", [{"phase": "x"}, {"domain": None}, {"problem": 5}])
def test_options_of_another_type_are_refused(options):
    with pytest.raises(UsageError, match=f"plan: {next(iter(options))} must be"):
        plan(**options)
