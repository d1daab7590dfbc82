"""A run with the remedy ``Auto``: what is cut, what is written, how many requests it costs, and how it ends."""

import pytest
from interwhen import Auto, Budgets, Claim, Pass, Violation
from interwhen._core.messages import Open, Opened, Settled
from interwhen._types.models import Piece
from interwhen.events import Remedied
from interwhen.models import Chunk, Usage
from interwhen.results import Judged
from tests.core.worlds import drive, monitor, parse, plain_summary

TAGS = ("<think>", "</think>")


def auto(**options):
    return monitor(remedy=Auto(**options))


def opened(driver):
    return [order for order in driver.orders if isinstance(order, Open)]


def acts(driver):
    return [(event.violation.remedy, event.violation.cut, event.violation.inserted) for event in driver.of(Remedied)]


def answer(driver, *texts, phase="answer"):
    for text in texts:
        if driver.state == "opening":
            driver.open()
        driver.feed(text, phase=phase)
        driver.settle()


@pytest.mark.fault("G9", injected="a model that always says the same", happens="four requests, then the ladder ends")
@pytest.mark.fault("V11", injected="a model that always says the same", happens="four requests, then the ladder ends")
def test_repeated_words_at_one_place_cost_four_requests():
    driver = drive(auto())
    answer(driver, "1+1=2\n3+2=9\n", *["3+2=9\n"] * 3)
    assert [(name, cut) for name, cut, _ in acts(driver)] == [("resample", 6), ("resample", 6), ("feedback", 6)]
    assert len(opened(driver)) == 4
    assert (driver.summary.status, driver.summary.text) == ("abstained", "1+1=2\nWait, 3+2=9 is wrong.\n")
    assert "not converging" in driver.summary.reason


def test_repairs_come_first_and_again_for_new_words():
    driver = drive(auto())
    answer(driver, "2+2=5\n", "\n4+2=7\n", "\n")
    assert [name for name, *_ in acts(driver)] == ["repair", "repair"]


def test_different_wrong_samples_lead_to_feedback_then_restart():
    driver = drive(auto(samples=2), budgets=Budgets(remedies=99))
    answer(driver, "1+1=2\n", *[f"3+2={value}\n" for value in (7, 8, 9, 6, 4, 3, 2)])
    names = [name for name, *_ in acts(driver)]
    assert names[:5] == ["resample", "resample", "feedback", "feedback", "restart"]


def test_second_feedback_says_more_in_other_words():
    driver = drive(auto(order=("feedback",)))
    answer(driver, "3+2=7\n", "3+2=8\n", "3+2=9\n")
    first, second = (text for _, _, text in acts(driver))
    assert first == "Wait, 3+2=7 is wrong.\n"
    assert second == "That is still not right: it is 5. I will do it another way.\n"
    assert driver.summary.status == "abstained"


def test_feedback_follows_refuted_reasoning_but_replaces_refuted_answers():
    driver = drive(auto(order=("feedback",)))
    answer(driver, "3+2=7\n", phase="reasoning")
    assert acts(driver) == [("feedback", 5, "\nWait, 3+2=7 is wrong.\n")]
    driver = drive(auto(order=("feedback",)))
    answer(driver, "3+2=7\n")
    assert acts(driver) == [("feedback", 0, "Wait, 3+2=7 is wrong.\n")]
    driver = drive(auto(order=("feedback",), place="append"))
    answer(driver, "3+2=7\n")
    assert acts(driver) == [("feedback", 5, "\nWait, 3+2=7 is wrong.\n")]


def test_trouble_is_counted_by_place_whatever_was_inserted():
    driver = drive(auto(order=("feedback", "resample")))
    answer(driver, "1+1=2\n3+2=7\n", "3+2=7\n", "3+2=7\n", phase="reasoning")
    # The refuted line and the feedback on it stand before the second one, and it is at the same place.
    assert [record.place for record in driver.summary.violations] == [5, 5, 5]
    assert [name for name, *_ in acts(driver)] == ["feedback", "resample"]
    assert driver.summary.status == "abstained"


def test_restarts_go_back_halfway_then_to_the_start():
    driver = drive(auto(order=("restart",)))
    steps = [f"{n}+1={n + 1}\n" for n in range(9)]
    answer(driver, "".join(steps) + "3+2=7\n", "".join(steps[4:]) + "3+2=8\n", "\n")
    assert acts(driver) == [("restart", 24, ""), ("restart", 0, "")]
    assert [order.resamples for order in opened(driver)] == [0, 1, 1]


def test_a_restart_goes_back_at_least_several_steps():
    driver = drive(auto(order=("restart",)))
    answer(driver, "1+1=2\n1+2=3\n1+3=4\n3+2=7\n")
    assert acts(driver) == [("restart", 0, "")]


def test_a_restart_returns_to_the_ladders_first_rung():
    driver = drive(auto(order=("resample", "restart")), budgets=Budgets(remedies=99))
    answer(driver, "1+1=2\n3+2=7\n", "3+2=7\n", "1+1=2\n3+2=8\n", "3+2=9\n", "3+2=9\n")
    assert [name for name, *_ in acts(driver)] == ["resample", "restart", "resample", "resample", "restart"]


# ------------------------------------------------------------------------------ an answer rests on the reasoning


def thinking(*, resume="prefix", **options):
    return drive(monitor(remedy=Auto(**options)), think_tags=TAGS, resume=resume)


STEPS = "<think>1+1=2\n1+2=3\n1+3=4\n"


def test_answers_that_differ_are_sampled_alone():
    driver = thinking(samples=20)
    answer(driver, f"{STEPS}</think>", *[f"3+2={value}\n" for value in (7, 8, 7, 8, 9)])
    end = len(f"{STEPS}</think>")
    assert [cut for _, cut, _ in acts(driver)] == [end] * 5


def test_a_repeated_answer_is_resampled_before_cutting_reasoning():
    driver = thinking(order=("resample", "resample", "restart"))
    answer(driver, f"{STEPS}</think>", "3+2=7\n", "3+2=7\n", "3+2=7\n")
    end = len(f"{STEPS}</think>")
    assert [(name, cut) for name, cut, _ in acts(driver)] == [("resample", end), ("resample", end), ("restart", 7)]
    assert opened(driver)[-1].pieces[-1].phase == "reasoning"
    assert driver.core.transcript.phase == "reasoning"


@pytest.mark.parametrize("resume", ["prefill", "turn", None])
def test_without_prefix_resume_resampling_keeps_the_reasoning(resume):
    driver = thinking(resume=resume)
    answer(driver, f"{STEPS}</think>", "3+2=7\n")
    assert acts(driver) == [("resample", len(f"{STEPS}</think>"), "")]


def test_a_restart_cuts_reasoning_in_a_separate_field():
    driver = drive(auto(order=("resample", "restart")), resume="tokens")
    steps = [f"{n}+1={n + 1}\n" for n in range(5)]
    driver.feed("".join(steps), phase="reasoning")
    answer(driver, "3+2=7\n", "3+2=7\n")
    assert acts(driver)[1] == ("restart", 6, "")
    assert opened(driver)[-1].pieces == (Piece("0+1=1\n", phase="reasoning"),)


def test_all_answers_of_a_run_are_one_place():
    driver = thinking(order=("feedback", "restart"))
    answer(driver, f"{STEPS}</think>", "3+2=7\n", "2+1=3\n</think>3+2=8\n", "2+2=4\n</think>3+2=9\n")
    assert [name for name, *_ in acts(driver)] == ["feedback", "feedback", "restart"]
    # The restart removes what the feedback has led to.
    assert "feedback" not in [piece.origin for piece in opened(driver)[-1].pieces][2:]


def test_identical_answers_after_new_reasoning_are_repetitions():
    driver = thinking()
    answer(driver, f"{STEPS}</think>", "3+2=7\n", "3+2=7\n", "3+2=7\n", "2+2=4\n</think>3+2=7\n")
    assert [name for name, *_ in acts(driver)] == ["resample", "resample", "feedback"]
    assert driver.summary.status == "abstained"
    assert len(opened(driver)) == 4


def test_a_second_resample_cuts_at_the_claims_premises():
    def extract(segment):
        for claim in parse(segment):
            at = STEPS.index("1+2")
            yield Claim(key=claim.key, span=claim.span, premises=(segment.span.__class__(at, at + 5),))

    driver = drive(monitor(remedy=Auto(), extractor=extract), think_tags=TAGS, resume="prefix")
    answer(driver, f"{STEPS}</think>", "3+2=7\n", "3+2=7\n")
    assert acts(driver)[1] == ("resample", STEPS.index("1+2"), "")


def test_feedback_on_an_answer_goes_into_the_reasoning():
    driver = thinking(order=("feedback",))
    answer(driver, f"{STEPS}</think>", "3+2=7\n")
    assert acts(driver) == [("feedback", len(STEPS), "Wait, 3+2=7 is wrong.\n")]
    answer(driver, "</think>3+2=5\n")
    driver.end()
    driver.settle()
    assert driver.summary.status == "verified"
    assert driver.summary.answer == "3+2=5\n"


def test_what_a_gate_has_shown_is_not_cut():
    driver = drive(monitor(remedy=Auto(order=("restart",)), delivery="gate"), think_tags=TAGS, resume="prefix")
    answer(driver, f"{STEPS}</think>", "3+2=7\n")
    assert driver.shown.startswith(STEPS)
    assert driver.summary.status == "abstained"


# -------------------------------------------------------------------------------------- temperature and the end


def test_temperature_rises_only_with_resamples_at_one_place():
    driver = drive(auto(), budgets=Budgets(remedies=99))
    answer(driver, "3+2=7\n", "3+2=8\n", "3+2=5\n5+2=8\n", "5+2=7\n2+2=5\n")
    assert [order.resamples for order in opened(driver)] == [0, 1, 2, 1, 0]


def test_runs_may_end_unverified_with_violations_as_reasons():
    driver = drive(auto(end="unverified"))
    answer(driver, "1+1=2\n3+2=9\n", *["3+2=9\n"] * 3)
    assert driver.state == "opening"
    assert driver.summary is None
    answer(driver, "5+2=9\nso it is 9")  # this monitor interrupts no more
    driver.end()
    driver.settle()
    assert driver.summary.status == "unverified"
    assert driver.summary.text == "1+1=2\nWait, 3+2=9 is wrong.\n3+2=9\n5+2=9\nso it is 9"
    reasons = {reason.why for reason in driver.summary.unverified_reasons}
    assert reasons >= {"violation: 3+2=9 is wrong", "violation: 5+2=9 is wrong"}
    assert driver.shown == driver.summary.text


def test_a_gate_never_passes_an_answer_over():
    driver = drive(monitor(remedy=Auto(end="unverified"), delivery="gate"))
    answer(driver, *["3+2=9\n"] * 9)
    assert driver.summary.status == "abstained"


def test_another_monitor_still_interrupts():
    driver = drive(monitor("a", remedy=Auto(order=("feedback",), end="unverified")), monitor("b", remedy=Auto()))
    answer(driver, *["3+2=9\n"] * 9)
    assert driver.summary.status == "abstained"
    assert {event.violation.monitor for event in driver.of(Remedied)} == {"a", "b"}


def test_passing_over_one_monitor_keeps_other_monitors_violations():
    ladder = Auto(order=("feedback",))
    driver = drive(monitor("a", remedy=Auto(order=("feedback",), end="unverified")), monitor("b", remedy=ladder))
    answer(driver, "3+2=9\n", "3+2=9\n")  # both find the second one; b acts on it at once, without more text
    assert [event.violation.monitor for event in driver.of(Remedied)] == ["a", "b"]


def test_feedback_on_an_answer_follows_even_minimal_reasoning():
    driver = drive(auto(order=("feedback",)), resume="prefix")
    driver.feed("x", phase="reasoning")
    answer(driver, "3+2=7\n")
    assert [(name, cut) for name, cut, _ in acts(driver)] == [("feedback", 1)]


def test_passed_over_violations_are_recorded_without_interrupting():
    driver = drive(auto(order=("feedback",), end="unverified"))
    answer(driver, *["3+2=9\n"] * 3)
    driver.end()
    assert driver.summary.status == "unverified"
    assert [(each.remedy, each.interrupted) for each in driver.summary.violations][-1] == (None, False)


def test_an_unverified_run_ends_with_its_last_check():
    driver = drive(auto(order=("feedback",), end="unverified"))
    answer(driver, *["3+2=9\n"] * 2)
    if driver.summary is None and driver.state == "opening":
        driver.open()
    driver.feed("3+2=9\n")
    driver.end()
    driver.settle()
    assert driver.summary.status == "unverified"


def test_the_same_facts_give_the_same_ladder():
    def play():
        driver = drive(auto(samples=2), resume="prefix", think_tags=TAGS)
        answer(driver, f"{STEPS}3+2=7\n", *[f"3+2={n}\n" for n in (8, 8, 9, 7, 6)])
        return driver

    first, second = play(), play()
    assert first.orders == second.orders
    assert [acts(first)] == [acts(second)]


def test_a_cycle_of_repairs_ends():
    driver = drive(monitor(extractor=lambda s: [Claim(key=s.text, span=s.span)], remedy=Auto()))
    other = {"a": "b", "b": "a"}
    driver.feed("sound\na\n")
    for _ in range(40):
        if driver.summary is not None:
            break
        if driver.state == "opening":
            driver.open()
            driver.feed("\n" if driver.of(Remedied)[-1].violation.remedy == "repair" else "a\n")
        driver.extract()
        for job in sorted(driver.pending):
            order = driver.pending.pop(job, None)
            if order is None:
                continue
            wrong = order.claim.key in other
            driver.tell(Settled(job, Judged(Violation("no", repair=other[order.claim.key]) if wrong else Pass("yes"))))
    assert driver.summary.status == "abstained"
    assert len(opened(driver)) <= 8


def test_any_order_of_verdicts_gives_the_same_summary():
    def play(pick):
        driver = drive(auto(), monitor("n", remedy=Auto()), resume="prefix")
        for text in ("1+1=2\n3+2=7\n5+2=8\n", "3+2=8\n", "3+2=5\n", "5+2=7\n"):
            if driver.state == "opening":
                driver.open()
            driver.feed(text)
            driver.settle(pick)
        driver.end()
        driver.settle(pick)
        return plain_summary(driver.summary)

    assert play(min) == play(max)


# ---------------------------------------------------------------------------------------------------- the price


def priced(cached, *texts, resume="prefix", **options):
    driver = drive(auto(**options), budgets=Budgets(remedies=99), prompt_bytes=160, resume=resume)
    for text in texts:
        if driver.state == "opening":
            driver.tell(Opened(resume))
        size = 40 + driver.core.transcript.kept_tokens
        driver.tell(Chunk("", tokens=0, usage=Usage(size, None if cached is None else int(cached * size))))
        driver.chunk(text, tokens=len(text))
        driver.settle()
    return [(name, cut) for name, cut, _ in acts(driver)]


STEP = "1+1=2\n"
OTHERS = ["3+2=8\n", "3+2=9\n", "3+2=7\n"]


def test_without_a_cache_a_second_resume_restarts_instead():
    remedies = priced(0.0, f"{STEP * 9}3+2=7\n", OTHERS[0], f"{STEP * 9}{OTHERS[1]}", OTHERS[2])
    assert remedies == [("resample", 54), ("restart", 0), ("resample", 54), ("restart", 0)]


@pytest.mark.parametrize("cached", [None, 0.95])
def test_resampling_continues_if_caching_works_or_is_unknown(cached):
    assert priced(cached, f"{STEP * 9}3+2=7\n", *OTHERS) == [("resample", 54)] * 4


def test_a_known_repair_is_written_at_any_price():
    remedies = priced(0.0, f"{STEP * 9}2+2=5\n", "\n4+2=7\n", "\n2+2=6\n")
    assert [name for name, _ in remedies] == ["repair"] * 3


def test_a_ladder_without_a_restart_ignores_the_price():
    assert priced(0.0, f"{STEP * 9}3+2=7\n", *OTHERS, order=("resample",)) == [("resample", 54)] * 4


def test_by_an_extra_turn_the_price_changes_nothing():
    remedies = priced(0.0, f"{STEP * 9}3+2=7\n", OTHERS[0], OTHERS[1], resume="turn")
    assert [name for name, _ in remedies] == ["resample", "feedback"]
