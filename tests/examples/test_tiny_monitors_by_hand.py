"""Lines written by hand, for each family: right, wrong (where, why, witness, repair), and not understood."""

from __future__ import annotations

import pytest
from examples.tiny_monitors import FAMILIES, monitors_for
from interwhen import Auto, Feedback, Pass, Unknown
from tests.examples.tiny import is_pass, judge, last, refuted

CHAIN = "Start with 64. Add 29. Then multiply by 23. Take away 9. What is the result?"
SUM = "Compute 8421 - 700 × 3."
WEEKS = "It is 900 now. Take away 25 each week. What is left after 3 weeks?"
STORY = "Ann has 12 shells, finds 30 more, gives away 7 and buys 5. How many has Ann now?"
SHORT = "Take 64, plus 29, minus 3. Where do you end?"
COUNTDOWN = "Use 4, 13, 9 and 4 to make 24."
MAZE = "Doors: A-B, C-A, B-D, D-E, C-F. Start: A. Exit: E."
ORDERING = "Who is the second tallest? Ann is taller than Bob. Cid is shorter than Bob. Ann is taller than Cid."
LOOSE = "Ann is older than Bob. Cid is younger than Ann. Name the youngest."
STOCK = "Policy: order below 50, fill to 120, at most 40 an order, approval above 150. Item: cups. Stock: 42. Price: 3."
FULL = "Item cups, price 3, stock 60. Rules: minimum 50, target 120, largest order 40, approval over 150."

RIGHT = [
    ("totals", CHAIN, ["64 + 29 = 93", "93 × 20 = 1860", "93 × 3 = 279", "1860 + 279 = 2139", "2139 - 9 = 2130"]),
    ("totals", CHAIN, ["29 + 64 = 93", "93 × 3 = 279", "93 × 20 = 1860", "279 + 1860 = 2139", "2139 - 9 = 2130"]),
    ("totals", CHAIN, ["64 + 29 = 93", "93 × 23 = 2139", "2139 - 9 = 2130"]),
    (
        "totals",
        CHAIN,
        ["64 + 20 = 84", "84 + 9 = 93", "90 × 23 = 2070", "3 × 23 = 69", "2070 + 69 = 2139", "2139 - 9 = 2130"],
    ),
    ("totals", SUM, ["700 × 3 = 2100", "8421 - 2000 = 6421", "6421 - 100 = 6321"]),
    ("totals", SUM, ["700 × 3 = 2100", "8421 - 2100 = 6321"]),
    ("totals", WEEKS, ["900 - 25 = 875", "875 - 25 = 850", "850 - 25 = 825"]),
    ("totals", STORY, ["12 + 30 = 42", "42 - 7 = 35", "35 + 5 = 40"]),
    ("totals", SHORT, ["64 + 29 = 93", "93 - 3 = 90"]),
    (
        "countdown",
        COUNTDOWN,
        ["13 - 9 = 4, left 4 4 4", "4 × 4 = 16, left 4 16", "16 + 4 = 20, left 20", "20 is not 24, again"],
    ),
    ("countdown", COUNTDOWN, ["4 - 9 = -5, left 13 4 -5", "13 + 4 = 17", "17 + -5 = 12, left 12"]),
    (
        "maze",
        MAZE,
        ["A to C", "C to F", "F is a dead end, back to C", "C is a dead end, back to A", "A to B", "B to D", "D to E"],
    ),
    ("ordering", ORDERING, ["Bob > Cid", "Ann > Cid", "Ann > Bob > Cid"]),
    (
        "stock",
        STOCK,
        ["42 < 50, order", "120 - 42 = 78", "78 > 40, take 40", "40 × 3 = 120", "120 <= 150, no approval"],
    ),
    ("stock", FULL, ["60 >= 50, wait"]),
]

ANSWERS = [
    ("totals", CHAIN, ["64 + 29 = 93", "93 × 23 = 2139", "2139 - 9 = 2130"], "Answer: 2130"),
    ("countdown", COUNTDOWN, [], "Answer: 13 - 9 = 4, 4 + 4 = 8, 4 × 8 = 32"),
    ("maze", MAZE, [], "Answer: A B D E"),
    ("ordering", ORDERING, [], "Answer: Bob"),
    (
        "stock",
        STOCK,
        [],
        '<tool_call>{"name": "order", "arguments": {"item": "cups", "quantity": 40, "approval": false}}</tool_call>',
    ),
    ("stock", FULL, [], '<tool_call>\n{"name": "wait", "arguments": {"item": "cups"}}\n</tool_call>'),
]

WRONG = [
    ("totals", CHAIN, ["64 + 29 = 95"], ("95", "64 + 29 is not 95", "64 + 29 is 93, not 95", "93")),
    (
        "totals",
        CHAIN,
        ["64 + 28 = 92"],
        ("+ 28", "the next step is not 64 + 28", "the next step is 64 + 29, not 64 + 28", "+ 29"),
    ),
    (
        "totals",
        CHAIN,
        ["65 + 29 = 94"],
        ("65", "the next step is not 65 + 29", "the next step is 64 + 29, not 65 + 29", "64"),
    ),
    (
        "totals",
        CHAIN,
        ["5 - 4 = 1"],
        ("5 - 4", "the next step is not 5 - 4", "the next step is 64 + 29, not 5 - 4", "64 + 29"),
    ),
    (
        "totals",
        CHAIN,
        ["64 + 29 = 93", "92 × 20 = 1840"],
        ("92", "the value before is not 92", "the value before is 93, not 92", "93"),
    ),
    (
        "totals",
        CHAIN,
        ["64 + 29 = 93", "93 - 9 = 84"],
        ("- 9", "the next step is not 93 - 9", "the next step is 93 × 20, not 93 - 9", "× 20"),
    ),
    ("totals", SHORT, ["64 + 29 = 93", "93 - 3 = 90", "90 - 3 = 87"], ("90 - 3 = 87", "all steps are done", "", None)),
    (
        "totals",
        SUM,
        ["8421 - 700 = 7721"],
        ("8421 - 700", "the next step is not 8421 - 700", "the next step is 700 × 3, not 8421 - 700", "700 × 3"),
    ),
    ("countdown", COUNTDOWN, ["13 - 9 = 3, left 4 4 3"], ("3", "13 - 9 is not 3", "13 - 9 is 4, not 3", "4")),
    (
        "countdown",
        COUNTDOWN,
        ["13 - 9 = 4, left 4 4"],
        ("4 4", "the numbers left are not 4 4", "the numbers left are 4 4 4", "4 4 4"),
    ),
    (
        "countdown",
        COUNTDOWN,
        ["13 + 13 = 26, left 9 4 26"],
        ("13", "there is no 13 left", "the numbers left are 4 13 9 4", None),
    ),
    ("countdown", COUNTDOWN, ["9 / 4 = 2, left 13 4 2"], ("2", "9 / 4 is not 2", "9 / 4 is not a whole number", None)),
    (
        "countdown",
        COUNTDOWN,
        ["13 - 9 = 4, left 4 4 4", "9 + 4 = 13, left 4 13"],
        ("9", "there is no 9 left", "the numbers left are 4 4 4", None),
    ),
    (
        "countdown",
        COUNTDOWN,
        ["13 - 9 = 4, left 4 4 4", "5 is not 24, again"],
        ("5", "the last value is not 5", "the last value is 4, not 5", "4"),
    ),
    (
        "countdown",
        COUNTDOWN,
        ["13 - 9 = 4, left 4 4 4", "4 is not 25, again"],
        ("25", "the target is not 25", "the target is 24, not 25", "24"),
    ),
    ("countdown", COUNTDOWN, ["4 is not 24, again"], ("4", "the last value is not 4", "no value is made yet", None)),
    (
        "countdown",
        "Numbers: 20 4. Target: 24.",
        ["20 + 4 = 24, left 24", "24 is not 24, again"],
        ("24 is not 24, again", "24 is the target", "", None),
    ),
    ("maze", MAZE, ["A to D"], ("A to D", "there is no door from A to D", "A has doors to B, C", None)),
    ("maze", MAZE, ["B to D"], ("B", "you are not in B", "you are in A, not in B", "A")),
    ("maze", MAZE, ["A to B", "B to A"], ("B to A", "A was visited before", "A was visited before", None)),
    (
        "maze",
        MAZE,
        ["A to C", "C is a dead end, back to A"],
        ("C is a dead end", "C is not a dead end", "C has a door to F", None),
    ),
    (
        "maze",
        MAZE,
        ["A to C", "C to F", "F is a dead end, back to A"],
        ("back to A", "you did not come to F from A", "you came to F from C", "back to C"),
    ),
    ("maze", MAZE, ["A to Z"], ("A to Z", "there is no door from A to Z", "A has doors to B, C", None)),
    (
        "ordering",
        ORDERING,
        ["Bob > Ann"],
        ("Bob > Ann", "the clues do not say Bob > Ann", "the clues say Ann > Bob, not Bob > Ann", "Ann > Bob"),
    ),
    (
        "ordering",
        ORDERING,
        ["Ann > Cid > Bob"],
        ("Cid > Bob", "the clues do not say Cid > Bob", "the clues say Bob > Cid, not Cid > Bob", "Bob > Cid"),
    ),
    ("ordering", LOOSE, ["Bob > Cid"], ("Bob > Cid", "the clues do not say Bob > Cid", "", None)),
    (
        "ordering",
        LOOSE,
        ["Ann > Zed"],
        ("Ann > Zed", "the clues do not say Ann > Zed", "the clues do not name Zed", None),
    ),
    ("stock", STOCK, ["42 >= 50, wait"], ("42 >= 50", "42 >= 50 is not true", "42 < 50, not 42 >= 50", "42 < 50")),
    ("stock", STOCK, ["43 < 50, order"], ("43", "the stock is not 43", "the stock is 42, not 43", "42")),
    ("stock", STOCK, ["42 < 60, order"], ("60", "the minimum is not 60", "the minimum is 50, not 60", "50")),
    (
        "stock",
        STOCK,
        ["42 < 50, wait"],
        ("wait", "the policy does not say wait", "the policy says order, not wait", "order"),
    ),
    ("stock", STOCK, ["120 - 42 = 79"], ("79", "120 - 42 is not 79", "120 - 42 is 78, not 79", "78")),
    ("stock", STOCK, ["100 - 42 = 58"], ("100", "the target is not 100", "the target is 120, not 100", "120")),
    (
        "stock",
        STOCK,
        ["78 > 40, take 78"],
        ("take 78", "the policy does not say take 78", "the policy says take 40, not take 78", "take 40"),
    ),
    ("stock", STOCK, ["78 × 3 = 234"], ("78", "the quantity is not 78", "the quantity is 40, not 78", "40")),
    (
        "stock",
        STOCK,
        ["120 > 150, approval"],
        ("120 > 150", "120 > 150 is not true", "120 <= 150, not 120 > 150", "120 <= 150"),
    ),
    ("stock", FULL, ["120 - 60 = 60"], ("120 - 60 = 60", "the policy says wait", "the policy says wait", None)),
]

CALL = '{{"name": "order", "arguments": {{"item": {}, "quantity": {}, "approval": {}}}}}'
WRONG_ANSWERS = [
    ("totals", SHORT, ["64 + 29 = 93"], "Answer: 90", "not all steps are done"),
    ("totals", SHORT, ["64 + 29 = 93", "93 - 3 = 90"], "Answer: 91", "the last line does not say so"),
    ("countdown", COUNTDOWN, [], "Answer: 13 - 9 = 4, 4 + 4 = 8", "it does not use 4"),
    ("countdown", COUNTDOWN, [], "Answer: 13 - 9 = 4, 4 + 4 = 8, 8 + 4 = 12", "that makes 12, not 24"),
    ("countdown", COUNTDOWN, [], "Answer: 13 - 9 = 5", "13 - 9 is not 5"),
    ("countdown", COUNTDOWN, [], "Answer: 20 + 4 = 24", "there is no 20 left"),
    ("maze", MAZE, [], "Answer: A D E", "there is no door from A to D"),
    ("maze", MAZE, [], "Answer: B D E", "the way does not start in B"),
    ("maze", MAZE, [], "Answer: A B D", "D is not the exit"),
    ("ordering", ORDERING, [], "Answer: Ann", "Ann is not the second tallest"),
    ("ordering", LOOSE, [], "Answer: Ann", "Ann is not the youngest"),
    ("ordering", LOOSE, [], "Answer: Zed", "Zed is not the youngest"),
    ("stock", STOCK, [], CALL.format('"pens"', 40, "false"), "the item is not pens"),
    ("stock", STOCK, [], CALL.format('"cups"', 41, "false"), "the policy does not order 41"),
    ("stock", STOCK, [], CALL.format('"cups"', "40.0", "false"), "the policy does not order 40.0"),
    ("stock", STOCK, [], CALL.format('"cups"', '"40"', "false"), "the policy does not order 40"),
    ("stock", STOCK, [], CALL.format('"cups"', 40, "true"), "the cost needs no approval"),
    ("stock", STOCK, [], CALL.format('"cups"', 40, "0"), "the cost needs no approval"),
    ("stock", STOCK, [], CALL.format('"cups"', '40, "quantity": 41', "false"), "the call is not valid JSON"),
    ("stock", STOCK, [], '{"name": "order"', "the call is not valid JSON"),
    ("stock", STOCK, [], "[" * 400, "the call is not valid JSON"),
    ("stock", STOCK, [], "[]", "the call needs a name and arguments"),
    ("stock", STOCK, [], '{"name": "sell", "arguments": {}}', "the call is neither order nor wait"),
    ("stock", STOCK, [], '{"name": "order", "arguments": {"item": "cups"}}', "order needs item, quantity, approval"),
    ("stock", STOCK, [], '{"name": "wait", "arguments": {"item": "cups"}}', "the stock is below the minimum"),
    ("stock", FULL, [], CALL.format('"cups"', 40, "false"), "the policy says wait"),
]


@pytest.mark.parametrize(("family", "prompt", "lines"), RIGHT)
def test_right_lines_pass(family, prompt, lines):
    assert all(map(is_pass, judge(family, prompt, lines)))


@pytest.mark.parametrize(("family", "prompt", "lines", "answer"), ANSWERS)
def test_right_answers_pass(family, prompt, lines, answer):
    if family == "countdown":
        prompt = prompt.replace("24", "32")
    assert is_pass(last(family, prompt, lines, answer))


@pytest.mark.parametrize(("family", "prompt", "lines", "expected"), WRONG)
def test_wrong_lines_are_refuted(family, prompt, lines, expected):
    *before, verdict = judge(family, prompt, lines)
    assert all(map(is_pass, before))
    assert refuted(verdict, lines[-1]) == expected


@pytest.mark.parametrize(("family", "prompt", "lines", "answer", "why"), WRONG_ANSWERS)
def test_wrong_answers_are_refuted_without_the_right_one(family, prompt, lines, answer, why):
    text = f"<tool_call>{answer}</tool_call>" if family == "stock" else answer
    _, said, witness, repair = refuted(last(family, prompt, lines, text), text)
    assert (said, witness, repair) == (why, "", None)


@pytest.mark.parametrize(
    ("family", "prompt", "line"),
    [
        ("totals", CHAIN, "64 + 29 is about 95"),
        ("totals", CHAIN, "64 + 29 = 93.5"),
        ("totals", CHAIN, f"64 + {'9' * 5000} = 1"),
        ("countdown", COUNTDOWN, "13 / 9 = 1.4, left 4 4 1.4"),
        ("countdown", COUNTDOWN, "13 - 9 = 4, left 4 four 4"),
        ("maze", MAZE, "A to B to D"),
        ("ordering", ORDERING, "Ann > bob"),
        ("stock", STOCK, "42 is below 50"),
        ("stock", STOCK, "42 + 50 = 92"),
    ],
)
def test_unread_line_is_unknown(family, prompt, line):
    assert isinstance(last(family, prompt, [line]), Unknown)


@pytest.mark.parametrize(
    ("family", "prompt", "lines", "third"),
    [
        ("totals", CHAIN, ["64 plus 29 is 93", "93 × 20 = 1860", "93 × 3 = 278"], "93 × 3 is not 278"),
        ("countdown", COUNTDOWN, ["13 less 9 is 4", "4 + 4 = 8, left 4 8", "4 + 8 = 13, left 13"], "4 + 8 is not 13"),
        ("maze", MAZE, ["A, then B", "B to D", "D to F"], "there is no door from D to F"),
    ],
)
def test_only_self_contained_error_is_refuted_after_gap(family, prompt, lines, third):
    first, second, verdict = judge(family, prompt, lines)
    assert isinstance(first, Unknown)
    assert isinstance(second, Unknown)
    assert refuted(verdict, lines[2])[1] == third


@pytest.mark.parametrize(
    ("family", "prompt", "line"),
    [
        *(
            (family, prompt, line)
            for family, prompt, _ in RIGHT
            for line in ("let me think.", "Wait, 64 > 29 and A, B.")
        ),
        ("ordering", ORDERING, "Ann is first"),
    ],
)
def test_remarks_make_no_claim(family, prompt, line):
    assert last(family, prompt, [line]) is None


def test_the_clues_may_leave_the_answer_open():
    assert isinstance(last("ordering", LOOSE, [], "Answer: Cid"), Unknown)
    assert isinstance(last("ordering", LOOSE.replace("youngest", "oldest"), [], "Answer: Ann"), Pass)


@pytest.mark.parametrize(("family", "prompt"), [("totals", SHORT), ("maze", MAZE), ("ordering", ORDERING)])
def test_an_answer_that_is_not_understood_is_unknown(family, prompt):
    assert isinstance(last(family, prompt, [], "Answer: maybe 5, who knows"), Unknown)
    assert last(family, prompt, [], "So be it") is None


@pytest.mark.parametrize(
    ("family", "prompt"),
    [
        ("chess", "Mate in two."),
        *((family, "What is the meaning of it all?") for family in FAMILIES),
        ("totals", "Start with 64. Double it. What is the result?"),
        ("totals", "Start with 64. Add 29. What is half of the result?"),
        ("totals", "What is 3 × 4 + 5?"),
        ("maze", "Doors: A-B. Start: A. Exit: C."),
        ("ordering", "Ann is taller than Bob. Bob is taller than Ann. Who is the tallest?"),
        ("ordering", "Ann is taller than Bob. Cid is older than Bob. Who is the tallest?"),
        ("ordering", "Ann is taller than Bob. Who is the oldest?"),
        ("ordering", "Ann is taller than Bob."),
    ],
)
def test_a_problem_that_is_not_understood_is_refused(family, prompt):
    with pytest.raises(ValueError, match=family):
        monitors_for(family, prompt)


def test_the_options_reach_both_monitors():
    for monitor in monitors_for("maze", MAZE, remedy=Feedback(), level="locate", delivery="gate"):
        assert (monitor.remedy, monitor.level, monitor.delivery) == (Feedback(), "locate", "gate")
    assert all(monitor.remedy == Auto() for monitor in monitors_for("maze", MAZE))
