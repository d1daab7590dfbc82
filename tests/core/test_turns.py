"""Continuing by an extra turn: nothing is joined inside a line, and what a model repeats counts once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from interwhen import Auto, Budgets, Feedback, Repair, Resample, Retracted
from interwhen._core.messages import Broken, Ended, Open, Opened, Resumed, Splice
from interwhen._core.turns import whole_lines
from interwhen._types.models import Piece
from tests.core.worlds import drive, monitor

CHUNKS = st.integers(1, 12)


def turn(driver, text="", *, size=None, finish=None, phase="answer"):
    driver.tell(Opened("turn"))
    driver.feed(text, size=size, finish=finish, phase=phase)
    driver.settle()


def begun(text, *monitors, **options):
    driver = drive(*(monitors or (monitor(),)), **options)
    driver.feed(text)
    driver.settle()
    return driver


def text(driver):
    return driver.core.transcript.slice(0, driver.core.transcript.length)


def requests(driver):
    return sum(isinstance(order, Open) for order in driver.orders)


def ended(driver):
    driver.end()
    driver.settle()
    return driver.summary


# ------------------------------------------------------------------------------ whole lines


@pytest.mark.fault(
    "H5", injected="a repair in a line, continued by a new turn", happens="the line ends after the repair"
)
@given(CHUNKS)
def test_a_repaired_line_ends_before_a_new_turn(size):
    driver = begun("1+1=2\n2+2=5\n")
    turn(driver, "4+4=8\n", size=size)
    assert text(driver) == driver.shown == "1+1=2\n2+2=4\n4+4=8\n"
    assert ended(driver).status == "verified"


def test_closing_marks_stay_on_a_repaired_line():
    driver = begun("(**2+2=5**).\n")
    turn(driver, "4+4=8\n")
    assert text(driver) == "(**2+2=4**).\n4+4=8\n"


def test_words_after_a_wrong_value_go_with_it():
    driver = begun("2+2=5, so I take 5.\n")
    turn(driver, "4+4=8\n")
    assert text(driver) == "2+2=4\n4+4=8\n"


def test_the_request_has_only_whole_lines():
    driver = begun("1+1=2\n(2+2=5)\n")
    [*_, order] = [order for order in driver.orders if isinstance(order, Open)]
    assert "".join(piece.text for piece in whole_lines(order.pieces)) == "1+1=2\n(2+2=4)\n"


@pytest.mark.parametrize("lost", [Broken("gone", retryable=True), Resumed()], ids=["broken", "resumed"])
def test_a_half_line_is_rewritten_after_a_break(lost):
    driver = begun("1+1=2\n2+2=")
    driver.tell(lost)
    turn(driver, "2+2=4\n")
    assert text(driver) == driver.shown == "1+1=2\n2+2=4\n"


def test_other_ways_continue_inside_the_line():
    driver = begun("2+2=5, so I take 5.\n")
    driver.tell(Opened("prefill"))
    driver.feed(", so I take 4.\n")
    assert text(driver) == "2+2=4, so I take 4.\n"


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b\n", "\n", " ", "c\nd", "e f"]), st.sampled_from(["model", "repair"])))
)
def test_whole_lines_keep_a_prefix_without_partial_lines(parts):
    pieces = [Piece(text, origin) for text, origin in parts]
    kept, given = ("".join(piece.text for piece in group) for group in (whole_lines(pieces), pieces))
    assert given.startswith(kept)
    assert not kept.rpartition("\n")[2].strip()
    assert len(kept) >= given.rfind("\n") + 1
    assert whole_lines(whole_lines(pieces)) == whole_lines(pieces)


# ------------------------------------------------------------------------------ repetitions


@given(CHUNKS)
def test_a_repeated_line_counts_once(size):
    driver = begun("1+1=2\nso 2+2=5\n")
    turn(driver, "so 2+2=4\n4+4=8\n", size=size)
    assert text(driver) == driver.shown == "1+1=2\nso 2+2=4\n4+4=8\n"


@given(CHUNKS)
def test_all_repeated_lines_count_once(size):
    driver = begun("first  1+1=2\nthen\n\n2+2=5\n")
    before = len(driver.of(Retracted))
    turn(driver, "\nfirst 1+1=2 \n\nthen\n2+2=4\n4+4=8\n", size=size)
    assert text(driver) == driver.shown == "first  1+1=2\nthen\n\n2+2=4\n4+4=8\n"
    assert len(driver.of(Retracted)) == before


@given(CHUNKS)
def test_a_repetition_may_end_the_text(size):
    driver = begun("so 1+1=2\n2+2=5\n")
    turn(driver, "so 1+1=2\n2+2=4", size=size)
    assert ended(driver).text == driver.shown == "so 1+1=2\n2+2=4\n"


def test_a_new_start_without_other_text_replaces_nothing():
    driver = begun("first 1+1=2\nthen 3+3=6\nand 2+2=5\n")
    turn(driver, "first 1+1=2\n", size=3)
    assert ended(driver).text == driver.shown == "first 1+1=2\nthen 3+3=6\nand 2+2=4\n"


@pytest.mark.fault("H5", injected="a new turn that starts over", happens="its text replaces what it does not repeat")
@given(CHUNKS)
def test_a_new_start_replaces_the_old_text(size):
    driver = begun("first 1+1=2\nthen 3+3=6\nand 2+2=5\n")
    turn(driver, "first 1+1=2\nso 4+4=8\n", size=size)
    assert text(driver) == driver.shown == "first 1+1=2\nso 4+4=8\n"
    assert ended(driver).status == "verified"


@given(CHUNKS)
def test_a_repeated_refuted_line_has_the_same_place(size):
    driver = begun("first 1+1=2\nso 2+2=5\n")
    turn(driver, "so 2+2=5\n", size=size)
    first, second = driver.core.violations.records()
    assert first.place == second.place
    assert text(driver).count("2+2") <= 1


@given(CHUNKS, st.sampled_from(["up\n", "}\n", "then what\n", "first 1+1=2 too\n", "and 1+2=3\n"]))
def test_other_lines_are_no_repetition(size, line):
    kept = "first 1+1=2\nup\n}\nthen what\nthen what\n"
    driver = begun(f"{kept}2+2=5\n")
    turn(driver, line, size=size)
    assert text(driver) == driver.shown == f"{kept}2+2=4\n{line}"


def test_lines_that_only_begin_alike_are_no_repetition():
    driver = begun("first 1+1=2\nthen 2+2=5\n")
    turn(driver, "then 2+2=4, and more\n", size=1)
    assert text(driver) == "first 1+1=2\nthen 2+2=4\nthen 2+2=4, and more\n"


def test_repeated_middle_lines_that_continue_differently_stay():
    driver = begun("first 1+1=2\nthen 3+3=6\nand 2+2=5\n")
    turn(driver, "then 3+3=6\nso 4+4=8\n", size=1)
    assert text(driver) == "first 1+1=2\nthen 3+3=6\nand 2+2=4\nthen 3+3=6\nso 4+4=8\n"


def test_reasoning_before_a_repetition_stays():
    driver = begun("first 1+1=2\nthen 2+2=5\n")
    driver.tell(Opened("turn"))
    driver.feed("hm\n", phase="reasoning")
    driver.feed("then 2+2=4\n4+4=8\n", size=3)
    driver.settle()
    assert text(driver) == driver.shown == "first 1+1=2\nthen 2+2=4\nhm\n4+4=8\n"


def test_an_answer_that_repeats_reasoning_is_an_answer():
    driver = drive(monitor())
    driver.feed("first 1+1=2\nthen 2+2=5\n", phase="reasoning")
    driver.settle()
    turn(driver, "then 2+2=4\n", size=3)
    assert ended(driver).answer == "then 2+2=4\n"


def test_the_adapter_learns_where_the_new_text_belongs():
    driver = begun("first 1+1=2\nthen 3+3=6\nand 2+2=5\n")
    turn(driver, "first 1+1=2\nso 4+4=8\n", size=5)
    [splice] = [order for order in driver.orders if isinstance(order, Splice)]
    assert splice == Splice(start=len("first 1+1=2\nthen 3+3=6\nand 2+2=4\n"), dropped=12, to=12)


def test_repeated_tokens_are_discarded():
    driver = begun("first 1+1=2\nthen 2+2=5\n")
    turn(driver, "then 2+2=4\n4+4=8\n", size=1)
    counts = driver.core.counts
    assert counts.tokens() == driver.fed
    assert driver.core.transcript.kept_tokens == 1 + len("4+4=8\n")


@pytest.mark.parametrize("fact", [Broken("gone", retryable=True), Resumed()], ids=["broken", "resumed"])
def test_a_break_inside_a_repetition_loses_nothing(fact):
    driver = begun("first 1+1=2\nthen 2+2=5\n")
    turn(driver, "then 2+")
    driver.tell(fact)
    turn(driver, "4+4=8\n")
    assert text(driver) == driver.shown == "first 1+1=2\nthen 2+2=4\n4+4=8\n"
    assert driver.core.counts.tokens() == driver.fed


def test_supervision_may_be_switched_off_inside_a_repetition():
    from interwhen._core.messages import SwitchedOff

    driver = begun("first 1+1=2\nthen 2+2=5\n")
    turn(driver, "then 2+")
    driver.tell(SwitchedOff())
    driver.feed("3=6\n")
    assert driver.shown == "first 1+1=2\nthen 2+2=4\nthen 2+3=6\n"


def test_a_stream_may_end_inside_a_possible_repetition():
    driver = begun("first 1+1=2\nthen 2+2=5\n")
    turn(driver, "then 2+")
    driver.tell(Ended())
    driver.settle()
    assert driver.summary.text == "first 1+1=2\nthen 2+2=4\nthen 2+"


@given(st.lists(st.sampled_from(["a line 1+1=2\n", "another 2+1=3\n", "the last 3+3=6\n", "x\n"]), max_size=6), CHUNKS)
def test_any_chunking_gives_the_same_text(lines, size):
    whole, cut = (begun("a line 1+1=2\nanother 2+1=3\nso 2+2=5\n") for _ in range(2))
    turn(whole, "".join(lines))
    turn(cut, "".join(lines), size=size)
    assert ended(whole).text == ended(cut).text == whole.shown == cut.shown


def test_comparing_takes_linear_time():
    def steps(lines):
        kept = "".join(f"{number:06} is a line with the same beginning\n" for number in range(lines))
        driver = begun(f"{kept}2+2=5\n")
        driver.tell(Opened("turn"))
        driver.feed(kept, size=7)
        return len(text(driver))

    assert steps(2000) == 2000 * len("000000 is a line with the same beginning\n") + len("2+2=4\n")


# ------------------------------------------------------------------------------ two requests for a mistake


@pytest.mark.parametrize("remedy", [Auto(), Repair(), Resample(), Feedback(), Feedback("rewind")], ids=str)
@pytest.mark.parametrize(
    ("wrong", "again"),
    [("2+2=5", "2+2=5"), ("3+2=6", "3+2=6"), ("3+2=6", "3+2=789")],
    ids=["repaired", "not repaired", "other words"],
)
def test_a_mistake_by_turn_costs_two_requests(remedy, wrong, again):
    driver = begun(f"{wrong}\n", monitor(remedy=remedy), budgets=Budgets(repeats=9))
    for number in range(9):
        if driver.summary is None:
            turn(driver, f"{again[:4]}{again[4 + number % (len(again) - 4)]}\n")
    assert driver.summary.status == "abstained"
    assert requests(driver) == 3  # the first one, and two for the mistake


def test_a_model_repeatedly_starting_over_costs_three_requests():
    driver = begun("first 1+1=2\nso 2+2=5\n", monitor(remedy=Auto()))
    for _ in range(9):
        if driver.summary is None:
            turn(driver, "first 1+1=2\nso 2+2=5\n")
    assert driver.summary.status == "abstained"
    assert requests(driver) == 3


def test_the_second_request_by_turn_tells_the_model():
    driver = begun("first 1+1=2\nso 3+2=6\n", monitor(remedy=Auto()))
    turn(driver, "so 3+2=6\n")
    assert [record.remedy for record in driver.core.violations.records()] == ["resample", "feedback"]


def test_other_mistakes_have_requests_of_their_own():
    driver = begun("2+2=5\n", monitor(remedy=Auto()))
    for number in range(3, 9):
        turn(driver, f"{number}+0={number}\n2+{number}=1\n")
        turn(driver, f"2+{number}=3\n" if number > 3 else "fine\n")
        if driver.summary is not None:
            break
    assert requests(driver) > 6
