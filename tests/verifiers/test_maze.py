"""Mazes: prompts, moves, turns, counts, ways of writing coordinates, answers, and runs that are interrupted."""

from __future__ import annotations

import warnings
from dataclasses import replace
from itertools import pairwise
from random import Random

import interwhen
import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Feedback, Pass, Segment, Span, Task, Unknown, Verified, Violation
from interwhen.testing import ScriptedModel

from interwhen_verifiers.puzzles._maze.grid import read_problem
from interwhen_verifiers.puzzles._maze.lines import read_line
from interwhen_verifiers.puzzles.maze import maze

GRID = ["#######", "#E#XXS#", "#X#X# #", "#XXX# #", "##### #", "#     #", "#######"]
PROMPT = "# is a wall, S the start, E the exit, X marks the path.\n\n" + "\n".join(GRID) + "\n\n{}\n"
RIGHT = PROMPT.format("How many right turns are there in the provided path from S to E? Available options:\nA. 3\nB. 5\nC. 2\nD. 8.")  # fmt: skip
TOTAL = PROMPT.format("How many total turns are there in the provided path from S to E?")
PLACE = PROMPT.format("Is the exit (E) {} the starting point (S)? Available options:\nA. Yes\nB. No.")
WAYS = ["left", "left", "down", "down", "left", "left", "up", "up"]
CELLS = [(1, 5), (1, 4), (1, 3), (2, 3), (3, 3), (3, 2), (3, 1), (2, 1), (1, 1)]


def judged(prompt, text, phase="answer"):
    watching = maze()
    prepared = watching.prepare(Task(prompt))
    assert prepared is not None
    state, judgements, at = watching.extractor.start(prepared), [], 0
    for line in text.split("\n"):
        if line.strip():
            segment = Segment(line, Span(at, at + len(line)), phase)
            state, claims = watching.extractor.step(state, segment)
            judgements += [
                (text[claim.span.start : claim.span.end], watching.verifier.check(claim, prepared)) for claim in claims
            ]
        at += len(line) + 1
    return judgements


def verdicts(prompt, text, phase="answer"):
    return [verdict for _, verdict in judged(prompt, text, phase)]


def refuted(prompt, text, phase="answer"):
    return [verdict for verdict in verdicts(prompt, text, phase) if isinstance(verdict, Violation)]


# ------------------------------------------------------------------------------------------------- prompts


def test_marked_path_is_read():
    problem = read_problem(RIGHT)
    assert list(problem.maze.path) == CELLS
    assert (problem.asked, problem.options) == ("right turns", {"A": "3", "B": "5", "C": "2", "D": "8"})
    assert problem.maze.turns == ["left", "right", "right"]


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "How much is 2 + 2?",
        "#####\n#S  #\n#####\nHow many right turns?",  # no exit
        "#####\n#S E#\n#S  #\n#####",  # two starts
        "#####\n#SXX#\n# X #\n#XXE#\n#####\nX marks the path.",  # it branches
        "#####\n#SX #\n#   #\n#  E#\n#####\nX marks the path.",  # it does not arrive
    ],
)
def test_prompt_without_maze_is_not_prepared(prompt):
    assert maze().prepare(Task(prompt)) is None


def test_last_maze_of_prompt_is_read():
    example = "#####\n#S E#\n#####\n\n"
    assert read_problem(example + RIGHT).maze.start == (1, 5)


def test_legend_defines_the_signs():
    prompt = (
        "- *: your starting point\n- #: your destination point\n- O: an open cell\n- X: a blocked cell\n\n"
        "Find the shortest path from * to # in the following grid:\n* O X\nX O O\nO X #\n"
    )
    problem = read_problem(prompt)
    assert (problem.maze.start, problem.maze.goal, problem.asked, problem.distance) == ((0, 0), (2, 2), "moves", 4)


def test_x_may_be_a_wall():
    problem = read_problem("S.XX\n...X\nXX.G\nX is blocked. What is the minimum number of steps from S to G?")
    assert (problem.distance, problem.asked, problem.maze.path) == (5, "steps", ())


# --------------------------------------------------------------------------------------------------- moves


def steps(cells, ways, base=0):
    # `base` is the first number.
    lines, right, left, last = [f"S position: ({cells[0][0] + base}, {cells[0][1] + base})"], 0, 0, None
    clockwise = ["up", "right", "down", "left"]
    for number, (way, (one, other)) in enumerate(zip(ways, pairwise(cells), strict=True), 1):
        change = (clockwise.index(way) - clockwise.index(last)) % 4 if last else 0
        right, left = right + (change == 1), left + (change == 3)
        before, after = ((cell[0] + base, cell[1] + base) for cell in (one, other))
        lines += [
            f">>> STEP {number}: Move {way.upper()} from {before} to {after}",
            f"    Current position: {after}",
            f"    Current direction: {way.upper()}",
            f"    Turn type: {('STRAIGHT', 'RIGHT_TURN', '', 'LEFT_TURN')[change]}",
            f"    Running count: Right={right}, Left={left}, Total={right + left}",
        ]
        last = way
    return "\n".join(lines)


@pytest.mark.parametrize("base", [-1, 0, 1])
def test_right_steps_pass_however_they_are_counted(base):
    step_verdicts = verdicts(RIGHT, steps(CELLS, WAYS, base))
    assert [type(verdict) for verdict in step_verdicts] == [Pass] * (1 + 5 * 8)


@pytest.mark.parametrize(
    "text",
    [
        "Path: left, left, down, down, left, left, up, up",
        "west → west → south → south → west → west → north → north",
        "L L D D L L U U",
        "Moves: LLDDLLUU",
        "←←↓↓←←↑↑",
        "Path: left 2, down 2, left x2, up (2 times)",
        "(1,5) → (1,4) → (1,3) → (2,3) → (3,3) → (3,2) → (3,1) → (2,1) → (1,1)",
        "(2, 6) -> (2, 4) -> (4, 4) -> (4, 2) -> (2, 2)",
        "Path: (5,1), (4,1), (3,1), (3,2), (3,3), (2,3), (1,3), (1,2), (1,1)",
        "1. Move left\n2. Move left\n3. Move down\n4. Move down",
        "Move left to (1,4)\nMove left to (1,3)\nThen move down 2 steps\nGo left 2\nGo up 2",
        "Start: (1,5)\n(1,5) → (1,4)\n(1,4) → (1,3)",
    ],
)
def test_right_moves_pass(text):
    move_verdicts = verdicts(RIGHT, text)
    assert move_verdicts
    assert all(isinstance(verdict, Pass) for verdict in move_verdicts), move_verdicts


@pytest.mark.parametrize(
    ("text", "quote", "why"),
    [
        ("Path: left, left, up, down", "up", "that leads into a wall"),
        ("Path: left, left, down, down, left, left, down", "down", "that leads into a wall"),
        ("Path: down, down", "down", "that leaves the marked path"),
        ("Path: left, left, right", "right", "that goes back"),
        (
            "S is at (1,5)\nSTEP 1: Move LEFT from (1,5) to (2,5)",
            "LEFT from (1,5) to (2,5)",
            "that cell is not to the left",
        ),
        ("(1,5) → (1,4) → (2,4)", "(2,4)", "that leads into a wall"),
        ("(1,5) → (1,4) → (2,3)", "(2,3)", "these cells are not in one row or column"),
        ("S: (1,5)\nE: (1,2)", "E: (1,2)", "the exit is not there"),
        ("Turn right\nWest to south: right turn", "West to south: right turn", "from left to down is not a right turn"),
    ],
)
def test_wrong_move_is_refuted_at_its_span(text, quote, why):
    violations = [(claim, verdict) for claim, verdict in judged(RIGHT, text) if isinstance(verdict, Violation)]
    ((claim, verdict),) = violations
    assert verdict.why == why
    where = verdict.where or Span(0, len(claim))
    assert claim[where.start : where.end] == quote


def test_step_must_begin_where_previous_step_ended():
    text = "S is at (1,5)\nStep 1: Move LEFT from (1,5) to (1,4)\nStep 2: Move DOWN from (1,3) to (2,3)"
    (verdict,) = refuted(RIGHT, text)
    assert verdict.why == "the step before does not end there, but at (1, 4)"


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("Turn type: LEFT_TURN", "Turn type: RIGHT_TURN"),
        ("Current direction: DOWN", "Current direction: UP"),
        ("Running count: Right=0, Left=1, Total=1", "Running count: Right=1, Left=0, Total=1"),
        ("Current position: (2, 3)", "Current position: (2, 4)"),
    ],
)
def test_wrong_step_field_is_refuted(line, wrong):
    text = "\n".join(steps(CELLS, WAYS).split("\n")[:16])
    assert line in text
    assert not refuted(RIGHT, text)
    assert len(refuted(RIGHT, text.replace(line, wrong))) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Directions: up, down, left, right",
        "(1,1), (1,3), (2,5)",  # a mere list
        "S is at (9, 9)",  # some other way to count
        "So the path from (1,3) might go down to (2,2)?",
        "If I move up from S, I hit a wall.",
        "Moving up would be wrong",
        "not a right turn: west to south is not a right turn",
        "Is west to south a right turn?",
        "The maze is 7 rows high.",
        "Row 2: # X X S",
        "turn right at the corner",
        "There are two right turns",
        "Turns:\n1. left\n2. right\n3. right",
        "left, right, right",
        "S: (1,5)\nStart: (1,5)\nEnd: (1,3)\nStart: (1,3)\nGoal: (3,3)",
        "Right turns: 0\nThen right turns: 1",
    ],
)
def test_other_texts_are_not_refuted(text):
    assert not refuted(RIGHT, text)


def test_prompt_may_set_the_coordinate_system():
    prompt = "Positions are (row, col), 0-indexed.\n" + RIGHT
    (verdict,) = refuted(prompt, "S is at (2, 6)")
    assert verdict.witness == "the start is at (1, 5)"


def test_reasoning_does_not_advance_walk_of_answer():
    watching = maze()
    prepared = watching.prepare(Task(RIGHT))
    state = watching.extractor.start(prepared)
    for phase, line in (
        ("reasoning", "Move left"),
        ("answer", "Move left"),
        ("answer", "Move left"),
        ("answer", "Move down"),
    ):
        state, (claim,) = watching.extractor.step(state, Segment(line, Span(0, len(line)), phase))
        assert isinstance(watching.verifier.check(claim, prepared), Pass)


# -------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize(
    ("prompt", "text", "kind"),
    [
        (RIGHT, "Answer: C", Pass),
        (RIGHT, "Answer: C. 2", Pass),
        (RIGHT, "The answer is **C**.", Pass),
        (RIGHT, "\\boxed{C}", Pass),
        (RIGHT, "\\boxed{\\text{A}}", Violation),
        (RIGHT, "Answer: A", Violation),
        (RIGHT, "Answer: C. 3", Unknown),
        (RIGHT, "Answer: 2", Pass),
        (RIGHT, ">>> FINAL ANSWER: Right turns = 3", Violation),
        (RIGHT, "The number of right turns is 3.", Violation),
        (RIGHT, "Left turns: 1", Pass),
        (RIGHT, "Right turns: 1", Unknown),  # so far, perhaps
        (RIGHT, "Path: LLDDLLUU\nRight turns: 1", Violation),
        (RIGHT, "Right turns: 3", Violation),
        (RIGHT, "There are 3 turns in the path.", Pass),
        (RIGHT, "Answer: I do not know", Unknown),
        (TOTAL, "Answer: 3", Pass),
        (TOTAL, "Answer: 2", Violation),
        (PLACE.format("directly to the left of"), "Answer: A", Pass),
        (PLACE.format("directly to the left of"), "Answer: No", Violation),
        (PLACE.format("to the top left of"), "Answer: B", Pass),
        (PLACE.format("to the top left of"), "\\boxed{A}", Violation),
        (PLACE.format("directly above"), "Answer: B. No", Pass),
        (RIGHT, "E is to the left of S", Pass),
        (RIGHT, "The exit is directly to the right of the start.", Violation),
        (RIGHT, "E is below S", Violation),
    ],
)
def test_answers_are_judged(prompt, text, kind):
    *_, verdict = verdicts(prompt, text)
    assert isinstance(verdict, kind), verdict


@pytest.mark.parametrize("text", ["Answer: D", "\\boxed{D}", "Answer: **D**", "The answer is **D**."])
def test_an_options_letter_is_no_move(text):
    asked = "Which of these is the sequence of directions from S to E? Available options:\nA. down\nB. right, up\nC. up, up\nD. left 2, down 2, left 2, up 2."  # fmt: skip
    for prompt in (PROMPT.format(asked), PROMPT.format(asked.replace("is the sequence of directions", "fits"))):
        assert {type(verdict) for verdict in verdicts(prompt, text)} <= {Unknown}


def test_counts_are_unknown_without_a_marked_path():
    prompt = "\n".join(row.replace("X", " ") for row in GRID) + "\nHow many right turns are there?"
    (verdict,) = verdicts(prompt, "Answer: 2")
    assert isinstance(verdict, Unknown)


WAY = "\n".join(row.replace("X", " ") for row in GRID) + "\nFind the shortest path: give a sequence of directions."


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Answer: left left down down left left up up", None),
        ("left left down down left left up up", None),
        ("left left down down left left up", "these moves do not end at the exit"),
        ("left right left left down down left left up up", "there is a shorter way"),
        ("left left down down left left left up", "that leads into a wall"),
        ("infeasible", "there is a way"),
    ],
)
def test_path_is_judged_as_a_whole(text, why):
    (verdict,) = verdicts(WAY, text)
    assert (verdict.why if isinstance(verdict, Violation) else None) == why


# -------------------------------------------------------------------------------------- against other code


def wandering(rng, size):
    while True:
        taken, cells = {(1, 1)}, [(1, 1)]
        for _ in range(200):
            row, column = cells[-1]
            step = rng.choice(((0, 2), (2, 0), (0, -2), (-2, 0)))
            there = row + step[0], column + step[1]
            if there in taken or not (0 < there[0] < size and 0 < there[1] < size):
                continue
            taken.add(there)
            cells += [(row + step[0] // 2, column + step[1] // 2), there]
        if len(cells) > 6:
            break
    grid = [["#"] * (size + 1) for _ in range(size + 1)]
    for row, column in cells:
        grid[row][column] = "X"
    grid[cells[0][0]][cells[0][1]], grid[cells[-1][0]][cells[-1][1]] = "S", "E"
    names = {(0, 1): "right", (1, 0): "down", (0, -1): "left", (-1, 0): "up"}
    return ["".join(row) for row in grid], [names[b[0] - a[0], b[1] - a[1]] for a, b in pairwise(cells)], cells


def test_each_single_wrong_move_is_refuted():
    rng = Random(11)
    for _ in range(15):
        grid, ways, cells = wandering(rng, rng.choice((6, 8, 10)))
        prompt = "\n".join(grid) + "\nX marks the path. How many total turns are there?"
        assert not refuted(prompt, steps(cells, ways, rng.choice((0, 1))))
        for at, way in enumerate(ways):
            for other in {"up", "down", "left", "right"} - {way}:
                wrong = [*ways[:at], other, *ways[at + 1 :]]
                (verdict,) = refuted(prompt, "Path: " + ", ".join(wrong))
                assert verdict.where.start == len("".join(f"{each}, " for each in wrong[:at]))


def reasoning_gym():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("reasoning_gym", reason="reasoning-gym is not installed (extra: test)")


def test_step_counts_agree_with_reasoning_gym():
    for entry in reasoning_gym().create_dataset("maze", size=60, seed=5):
        assert [type(v) for v in verdicts(entry["question"], f"Answer: {entry['answer']}")] == [Pass]
        assert [type(v) for v in verdicts(entry["question"], f"Answer: {int(entry['answer']) + 1}")] == [Violation]


def test_reasoning_gym_agrees_on_shortest_paths():
    data = reasoning_gym().create_dataset("shortest_path", size=60, seed=5)
    for entry in data:
        assert [type(v) for v in verdicts(entry["question"], entry["answer"])] == [Pass]
        ways = entry["answer"].split() if entry["answer"] != "infeasible" else []
        for at, way in enumerate(ways):
            for other in {"up", "down", "left", "right"} - {way}:
                text = " ".join([*ways[:at], other, *ways[at + 1 :]])
                kind = Pass if data.score_answer(text, entry) == 1.0 else Violation
                assert [type(v) for v in verdicts(entry["question"], text)] == [kind], (entry["question"], text)


@given(st.text(alphabet="()0123456789, →SEXUDLRrightleftupdown:=.#*", max_size=80))
def test_any_text_is_judged_without_error(text):
    for phase in ("reasoning", "answer"):
        judged(RIGHT, text, phase)
        judged(WAY, text, phase)


# -------------------------------------------------------------------------------------------- whole runs


def test_wrong_move_is_cut_and_run_continues():
    good = "S is at (1,5)\nStep 1: Move LEFT from (1,5) to (1,4)\n"
    replies = [good + "Step 2: Move DOWN from (1,4) to (2,4)\n", "\nStep 2: Move LEFT from (1,4) to (1,3)\nAnswer: C\n"]
    with interwhen.run_sync(ScriptedModel(replies), RIGHT, monitors=[maze()]) as running:
        result = running.drain()
    assert isinstance(result, Verified)
    assert result.violations[0].why == "that leads into a wall"
    assert result.text == good + replies[1]


def test_feedback_does_not_disclose_the_answer():
    talking = replace(maze(), remedy=Feedback("rewind"))
    with interwhen.run_sync(ScriptedModel(["Answer: A\n", "\nAnswer: C\n"]), RIGHT, monitors=[talking]) as running:
        result = running.drain()
    assert isinstance(result, Verified)
    assert "Wait, the marked path does not have 3 right turns." in result.text


@pytest.mark.parametrize("word", ["up", "upward", "upwards", "Upwardward", "upwardswards"])
def test_inflected_directions_are_read(word):
    (moves,) = read_line(f"Move {word} to (1,2)")
    assert moves.steps[0].way == "up"
