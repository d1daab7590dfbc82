"""What a result says about its remedies, and the order of the ladder that is learned from it."""

import dataclasses
import random
import sqlite3
import threading
import time

import interwhen
import msgspec
import pytest
from interwhen import Abstained, Auto, Span, Unverified, UsageError, Verified, ViolationRecord
from interwhen.journal import Journal
from interwhen.precompute import StoreError
from interwhen.registry import load_monitors
from interwhen.strategies import RemedyBeliefs
from interwhen.strategies._remedy_beliefs import MEMORY, RemedyUse, RungBelief, VerifierBeliefs, uses_of
from interwhen.testing import ScriptedModel

LADDER = Auto().order
CERTIFICATE = interwhen.Certificate("", "", "", (), (), 0.0)


def act(remedy, place, phase="reasoning"):
    return ViolationRecord("m", "v", "k", Span(0, 1), "", "", "", True, remedy, 0, "", place, phase)


def result(*acts, kind="verified", finish="stop"):
    common = {"text": "", "reasoning": "", "answer": "", "finish_reason": finish, "violations": acts}
    match kind:
        case "verified":
            return Verified(**common, certificate=CERTIFICATE)
        case "abstained":
            return Abstained(**common, reason="no")
        case _:
            return Unverified(**common, unverified_reasons=())


def told(*acts, **options):
    return [(use.rung, use.is_fresh, use.worked) for use in uses_of(result(*acts, **options))]


# ------------------------------------------------------------------------------------------ what a result says


def test_a_remedy_worked_if_the_next_trouble_is_further_on():
    assert told(act("resample", 5), act("resample", 5), act("feedback", 9)) == [
        ("resample", True, False),
        ("resample", False, True),
        ("feedback", True, True),
    ]


def test_trouble_before_the_place_is_that_of_other_remedies():
    assert told(act("resample", 30), act("repair", 10), kind="verified")[0] == ("resample", True, True)
    assert told(act("resample", 30), act("repair", 10), act("resample", 30))[0] == ("resample", True, False)


def test_a_remedy_in_the_answer_worked_if_no_answer_is_refuted_after_it():
    """Feedback makes the reasoning longer, so the place of the next answer is further on, although nothing got better."""
    assert told(act("feedback", 26, "answer"), act("resample", 37, "answer"))[0] == ("feedback", True, False)
    assert told(act("resample", 26, "answer"), act("repair", 10))[0] == ("resample", True, True)
    assert told(act("repair", 10), act("resample", 26, "answer"))[0] == ("repair", True, True)


def test_the_last_remedy_has_the_outcome_of_the_run():
    assert told(act("resample", 5)) == [("resample", True, True)]
    assert told(act("resample", 5), kind="unverified") == [("resample", True, False)]
    assert told(act("resample", 5), act("abstain", 5), kind="abstained", finish=None) == [("resample", True, False)]


def test_a_run_that_used_up_its_tokens_has_failed():
    assert told(act("resample", 5), kind="unverified", finish="length") == [("resample", True, False)]


@pytest.mark.parametrize("finish", ["truncated", None])
def test_a_run_that_was_cut_short_says_nothing_about_its_last_remedy(finish):
    assert told(act("resample", 5), act("feedback", 9), kind="unverified", finish=finish) == [("resample", True, True)]


def test_other_remedies_and_older_records_are_left_out():
    assert told(act("conclude", 5), act("stop", 6), act("repair", None)) == []


# ------------------------------------------------------------------------------------------ beliefs and the order


def test_before_anything_is_known_the_order_is_that_of_the_ladder():
    assert RemedyBeliefs(explore=0).order("m", "v", LADDER) == LADDER
    assert RemedyBeliefs(explore=0).order("m", "v", ("restart",)) == ("restart",)
    assert RemedyBeliefs(explore=0).order("m", "v", ("restart", "feedback")) == ("feedback", "restart")


def test_a_remedy_that_fails_loses_its_place():
    beliefs = RemedyBeliefs(explore=0)
    for _ in range(20):
        beliefs.learn("m", {"v": LADDER}, result(act("resample", 5), act("feedback", 5)))
    assert beliefs.order("m", "v", LADDER)[:2] == ("repair", "feedback")
    assert beliefs.order("m", "other", LADDER) == LADDER
    assert beliefs.order("other", "v", LADDER) == LADDER


def learned_from(*uses, times=20):
    beliefs = VerifierBeliefs()
    for _ in range(times):
        beliefs.saw(RemedyUse("v", rung, True, worked, wasted) for rung, worked, wasted in uses)
        beliefs.saw(RemedyUse("v", rung, False, worked, wasted) for rung, worked, wasted in uses)
    return beliefs


def test_a_remedy_that_costs_less_goes_before_one_that_works_a_little_more_often():
    cheap = [("resample", number == 0, 10) for number in range(4)]
    dear = [("feedback", number == 0, 100) for number in range(3)]
    assert learned_from(*cheap, *dear).order(("feedback", "resample"))[0] == "resample"
    same = [("feedback", number == 0, 10) for number in range(3)]
    assert learned_from(*cheap, *same).order(("feedback", "resample"))[0] == "feedback"


def test_what_a_failed_remedy_wasted_is_the_text_until_the_next_refutation():
    acts = [act("resample", 5), act("feedback", 5)]
    acts[0] = msgspec.structs.replace(acts[0], cut=2, inserted="abc")
    acts[1] = msgspec.structs.replace(acts[1], span=Span(20, 25))
    assert uses_of(result(*acts))[0].wasted == 25 - 2 - 3


def test_a_repair_that_seldom_works_does_not_make_a_restart_the_first_remedy():
    beliefs = learned_from(("repair", False, 10), ("repair", True, 0), ("repair", False, 10), ("feedback", False, 90))
    assert beliefs.order(LADDER)[0] in ("repair", "resample")
    assert next(rung for rung in beliefs.order(LADDER) if rung != "repair") != "restart"


def test_the_same_words_are_sampled_once_more_where_that_has_proved_worth_more():
    assert VerifierBeliefs().order(LADDER) == LADDER
    told = learned_from(("resample", False, 10), ("resample", True, 0), ("feedback", False, 90))
    assert told.order(("resample", "feedback")) == ("resample", "resample", "resample", "feedback")
    deaf = learned_from(("resample", False, 10), ("feedback", True, 0))
    assert deaf.order(("resample", "feedback")) == ("feedback", "resample", "resample")


def test_after_a_change_the_other_remedies_keep_their_shares_with_less_weight():
    beliefs = VerifierBeliefs()
    for worked in [True] * 60 + [False] * 60:
        beliefs.saw([RemedyUse("v", "feedback", True, worked), RemedyUse("v", "restart", True, True)])
        if beliefs.resets:
            break
    assert beliefs.resets == 1
    assert beliefs.fresh["feedback"].uses == pytest.approx(16, abs=1)  # the recent ones
    assert beliefs.fresh["restart"].chance(0.3) > 0.5
    assert beliefs.fresh["restart"].uses <= 5


def test_old_uses_count_less():
    belief = RungBelief()
    for _ in range(500):
        belief.saw(worked=False)
    assert belief.uses == pytest.approx(1 / (1 - MEMORY), rel=0.01)


@pytest.mark.parametrize("explore", [0.0, 0.1, 0.3])
def test_exploration_is_bounded_and_can_be_switched_off(explore):
    beliefs, steady = RemedyBeliefs(explore=explore, seed=3), RemedyBeliefs(explore=0)
    explored = 0
    for _ in range(300):
        order = beliefs.order("m", "v", ("resample", "feedback", "restart"))
        explored += order != steady.order("m", "v", ("resample", "feedback", "restart"))
        found = result(act(order[0], 5), kind="verified" if order[0] == "resample" else "un")
        for each in (beliefs, steady):
            each.learn("m", {"v": order}, found)
    assert explored <= explore * 300 + 2
    assert (explored > 0) is (explore > 0)
    assert beliefs.counts()["m", "v"][:2] == (300, explored)


@pytest.mark.parametrize("explore", [0.1, 0.5])
@pytest.mark.parametrize("at_once", [5, 40])
def test_runs_at_one_time_explore_no_more_than_the_share_together(explore, at_once):
    rungs = ("resample", "feedback", "restart")
    total = 0
    for seed in range(20):
        beliefs, steady = RemedyBeliefs(explore=explore, seed=seed), RemedyBeliefs(explore=0)
        explored = runs = 0
        for _ in range(6):
            best = steady.order("m", "v", rungs)
            orders = [beliefs.order("m", "v", rungs) for _ in range(at_once)]
            explored += sum(order != best for order in orders)
            assert explored < explore * runs + 2
            for order in orders:
                for each in (beliefs, steady):
                    each.learn("m", {"v": order}, result(act(order[0], 5), kind="verified"))
                runs += 1
            assert beliefs.counts()["m", "v"].runs == runs
        total += explored
    assert total


def test_a_run_without_a_remedy_gives_its_try_back():
    """Most runs need no remedy, so they learn nothing about the other order that they have got."""
    rungs = ("resample", "feedback", "restart")
    best = RemedyBeliefs(explore=0).order("m", "v", rungs)
    seed = next(seed for seed in range(100) if RemedyBeliefs(explore=0.5, seed=seed).order("m", "v", rungs) != best)
    beliefs = RemedyBeliefs(explore=0.5, seed=seed)
    other = beliefs.order("m", "v", rungs)
    assert other != best
    assert beliefs.order("m", "v", rungs) == best
    beliefs.learn("m", {"v": other}, result(kind="verified"))
    assert beliefs.order("m", "v", rungs) == other


def test_equal_seeds_give_equal_orders():
    def orders(seed):
        beliefs = RemedyBeliefs(explore=0.3, seed=seed)
        found = []
        for number in range(60):
            found.append(beliefs.order("m", "v", LADDER))
            beliefs.learn("m", {"v": found[-1]}, result(act("resample", 5), *[act("feedback", 5)] * (number % 3)))
        return found

    assert orders(1) == orders(1)
    assert orders(1) != orders(2)


@pytest.mark.parametrize("explore", [-0.1, 0.6, "much"])
def test_a_wrong_share_is_refused(explore):
    with pytest.raises(UsageError, match="explore must be a share"):
        RemedyBeliefs(explore=explore)


class SimulatedModel:
    """A model whose remedies work with known chances. Its places differ: at a hard one, everything works less often."""

    def __init__(self, chances, seed):
        self.chances = chances
        self.rng = random.Random(seed)

    def run(self, order):
        """Return the result of a run with up to four places and eight remedies, in *order* at each place."""
        acts = []
        order = tuple(dict.fromkeys(order))
        for place in range(self.rng.randint(1, 4)):
            ease = self.rng.choice((0.4, 1.0, 1.0))
            tried = 0
            while True:
                rung = order[min(tried // 2, len(order) - 1)]
                acts.append(act(rung, place))
                tried += 1
                if self.rng.random() < self.chances[rung] * ease:
                    break
                if len(acts) >= 8:
                    return result(*acts, act("abstain", place), kind="abstained", finish=None)
        return result(*acts)


WORLDS = [
    {"resample": 0.6, "feedback": 0.15, "restart": 0.4},  # a small model
    {"resample": 0.2, "feedback": 0.7, "restart": 0.3},  # a large one
    {"resample": 0.05, "feedback": 0.5, "restart": 0.3},  # one that always says the same
]
RUNGS = ("resample", "feedback", "restart")


def verified(model, order_of, runs):
    won = 0
    for _ in range(runs):
        order = order_of()
        won += isinstance(model.run(order), Verified)
    return won / runs


def learned(*stages, seed):
    """Return the first remedy that is learned from runs of each of *stages*: the chances, and the number of runs."""
    beliefs = RemedyBeliefs(seed=seed)
    for chances, runs in stages:
        model = SimulatedModel(chances, seed)
        for _ in range(runs):
            order = beliefs.order("m", "v", RUNGS)
            beliefs.learn("m", {"v": order}, model.run(order))
    beliefs.explore = 0.0
    return beliefs.order("m", "v", RUNGS)[0]


@pytest.mark.parametrize("chances", WORLDS)
def test_after_200_runs_the_first_remedy_is_that_of_the_best_measured_arm(chances):
    arms = {
        order: verified(SimulatedModel(chances, seed=99), lambda order=order: order, 3000)
        for order in (("resample", "feedback", "restart"), ("feedback", "resample", "restart"))
    }
    best = max(arms, key=arms.get)[0]
    assert sum(learned((chances, 200), seed=seed) == best for seed in range(20)) >= 19


@pytest.mark.parametrize(("before", "after"), [(WORLDS[0], WORLDS[1]), (WORLDS[1], WORLDS[0])])
def test_a_model_that_changes_is_followed_within_50_runs(before, after):
    best = max(("resample", "feedback"), key=after.get)
    assert sum(learned((before, 200), (after, 50), seed=seed) == best for seed in range(20)) >= 19


def test_a_steady_model_causes_few_resets():
    beliefs = RemedyBeliefs()
    model = SimulatedModel(WORLDS[0], 5)
    for _ in range(400):
        order = beliefs.order("m", "v", RUNGS)
        beliefs.learn("m", {"v": order}, model.run(order))
    assert beliefs.counts()["m", "v"][2] <= 3


# ------------------------------------------------------------------------------------------ the file


def test_several_learners_share_a_file(tmp_path, monkeypatch):
    monkeypatch.setattr("interwhen.strategies._remedy_beliefs._BUSY_SECONDS", 100.0)  # one may be stopped with the lock
    path = tmp_path / "remedies.db"
    with RemedyBeliefs(path, explore=0) as one, RemedyBeliefs(path, explore=0) as other:
        threads = [
            threading.Thread(
                target=lambda who=who: [
                    who.learn("m", {"v": who.order("m", "v", LADDER)}, result(act("resample", 5), act("feedback", 5)))
                    for _ in range(10)
                ]
            )
            for who in (one, other)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.flush()
        other.flush()
    with RemedyBeliefs(path, explore=0) as again:
        assert again.counts()["m", "v"][0] == 20
        assert again.order("m", "v", LADDER)[:2] == ("repair", "feedback")
        assert [belief.rung for belief in again.beliefs()] == list(dict.fromkeys(again.order("m", "v", LADDER)))


def test_a_file_of_another_kind_is_refused(tmp_path):
    path = tmp_path / "remedies.db"
    path.write_text("this is not a database, but long enough to be looked at " * 20)
    with pytest.raises(StoreError, match=r"remedies\.db"):
        RemedyBeliefs(path)


def test_a_file_that_cannot_be_written_loses_no_run(tmp_path):
    path = tmp_path / "remedies.db"
    beliefs = RemedyBeliefs(path)
    path.unlink()
    path.mkdir()
    beliefs.learn("m", {"v": LADDER}, result(act("resample", 5)))
    beliefs.flush()
    assert beliefs.counts() == {("m", "v"): (1, 0, 0)}
    beliefs.close()
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(path).execute("SELECT 1 FROM beliefs")


def test_only_counts_are_stored(tmp_path):
    path = tmp_path / "remedies.db"
    with RemedyBeliefs(path) as beliefs:
        secret = ViolationRecord(
            "m", "v", "secret", Span(0, 1), "secret", "secret", "secret", True, "repair", 0, "secret", 1
        )
        beliefs.learn("m", {"v": LADDER}, result(secret))
    assert b"secret" not in path.read_bytes()


def test_verifiers_have_beliefs_of_their_own():
    known = VerifierBeliefs()
    known.saw([RemedyUse("v", "resample", is_fresh=True, worked=False)] * 10)
    assert known.chance("resample", is_fresh=True) < known.chance("feedback", is_fresh=True)


# ------------------------------------------------------------------------------------------ in a run


def ask(learner, text, **options):
    model = ScriptedModel([text, ", so it is 408.\n"])
    with interwhen.run_sync(
        model, "How much is 17 * 24?\n", monitors=["arithmetic"], learner=learner, **options
    ) as run:
        return run.drain()


def test_a_run_asks_the_learner_and_tells_it_the_result(tmp_path):
    learner = RemedyBeliefs(explore=0)
    found = ask(learner, "17 * 24 = 409, so it is 409.\n")
    assert found.violations[0].remedy == "repair"
    [(model, verifier)] = learner.counts()
    assert (model, verifier) == ("scripted", "arithmetic")
    ask(learner, "17 * 24 = 408, so it is 408.\n")
    assert learner.counts()[model, verifier][0] == 1  # a run without a remedy says nothing


class Backwards:
    """A learner whose order is odd, and never the same twice."""

    def __init__(self):
        self.asked = 0
        self.learned = []

    def order(self, model, verifier, rungs):
        self.asked += 1
        return ("resample", "feedback") if self.asked == 1 else ("restart",)

    def learn(self, model, orders, result):
        self.learned.append((model, dict(orders), result.status))


def test_the_journal_records_the_order_and_a_replay_does_not_ask_again(tmp_path):
    path = tmp_path / "run.journal"
    learner = Backwards()
    found = ask(learner, "17 * 24 = 409, so it is 409.\n", journal=Journal(path))
    assert found.violations[0].remedy == "resample"
    assert learner.learned == [("scripted", {"arithmetic": ("resample", "feedback")}, found.status)]
    replay = interwhen.replay(path)
    assert replay.differences == ()
    assert replay.result.violations == found.violations
    with interwhen.resume_sync(path, model=ScriptedModel([""]), monitors=["arithmetic"]) as run:
        assert run.drain().violations == found.violations
    assert learner.asked == 1


class Broken:
    def order(self, model, verifier, rungs):
        return ("sing",)

    def learn(self, model, orders, result):
        raise RuntimeError("no")


def test_a_broken_learner_changes_nothing():
    found = ask(Broken(), "17 * 24 = 409, so it is 409.\n")
    assert found.violations[0].remedy == "repair"


def test_another_object_is_no_learner():
    with pytest.raises(UsageError, match="learner must have the methods"):
        interwhen.run(ScriptedModel([""]), "", learner=Auto())


class Asked:
    """A learner that notes what it is asked, and may return another order."""

    def __init__(self, order=None):
        self.asked = []
        self.orders = {}
        self._order = order

    def order(self, model, verifier, rungs):
        self.asked.append(rungs)
        return self._order or rungs

    def learn(self, model, orders, result):
        self.orders = dict(orders)


def with_remedy(options):
    remedy = options.pop("remedy")
    [monitor] = load_monitors([options])
    return dataclasses.replace(monitor, remedy=remedy)


@pytest.mark.parametrize("feedback_first", [False, True])
def test_a_ladder_gets_no_rung_that_only_another_monitor_of_its_verifier_has(feedback_first):
    monitors = [
        {"name": "arithmetic", "label": "early", "remedy": Auto(order=("resample", "restart")), "phase": "reasoning"},
        {"name": "arithmetic", "label": "late", "remedy": Auto(order=("feedback",)), "phase": "answer"},
    ]
    learner = Asked()
    made = [with_remedy(spec) for spec in (monitors[::-1] if feedback_first else monitors)]
    model = ScriptedModel(["17 * 24 = 409.\n", "17 * 24 = 408.\n"])
    with interwhen.run_sync(model, "How much is 17 * 24?\n", monitors=made, learner=learner) as run:
        assert [one.remedy for one in run.drain().violations] == ["feedback"]
    assert len(learner.asked) == 2
    assert learner.orders == {"arithmetic": learner.asked[0]}


def test_an_order_with_a_rung_that_the_ladder_does_not_have_is_refused():
    monitor = {"name": "arithmetic", "remedy": Auto(order=("feedback",))}
    model = ScriptedModel(["17 * 24 = 409.\n", "17 * 24 = 408.\n"])
    with interwhen.run_sync(
        model, "How much is 17 * 24?\n", monitors=[with_remedy(monitor)], learner=Asked(("resample",))
    ) as run:
        assert [one.remedy for one in run.drain().violations] == ["feedback"]


def test_runs_of_several_threads_share_one_writer(tmp_path, monkeypatch):
    made = []

    class Slow(threading.Thread):
        def __init__(self, **options):
            made.append(self)
            time.sleep(0.05)  # the other run comes in between
            super().__init__(**options)

    learner = RemedyBeliefs(tmp_path / "remedies.db")
    job = ("m", "v"), (RemedyUse("v", "resample", is_fresh=True, worked=True),), False
    runs = [threading.Thread(target=learner._write, args=(job,)) for _ in range(2)]
    monkeypatch.setattr("interwhen.strategies._remedy_beliefs.threading.Thread", Slow)
    for each in runs:
        each.start()
    for each in runs:
        each.join()
    assert len(made) == 1
    learner.close()


def test_a_path_with_a_null_is_refused(tmp_path):
    with pytest.raises(StoreError, match="cannot be read"):
        RemedyBeliefs(f"{tmp_path}/a\0b")
