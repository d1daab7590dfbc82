from __future__ import annotations

import statistics

import pytest
from interwhen.bench._allocation import (
    Maker,
    MeanScore,
    TaskWorld,
    accuracy_at,
    adaptive,
    allocation,
    shuffled,
    tokens_for,
    uniform_curves,
)


def best_of(count):
    """Return best-of-N: a function that solves a puzzle with *count* samples, and returns whether it is right and its tokens.

    The answer is the first sample that is verified, or else the first one.
    """

    def solve(puzzle):
        tries = puzzle.samples[:count]
        return next((one for one in tries if one.passes), tries[0]).right, sum(one.tokens for one in tries)

    return solve


def stop_on_verified(count):
    """Return stop-on-verified, as :func:`best_of`, but without the samples after the first one that is verified."""

    def solve(puzzle):
        tries = puzzle.samples[:count]
        taken = next((at for at, one in enumerate(tries, start=1) if one.passes), count)
        chosen = tries[taken - 1] if tries[taken - 1].passes else tries[0]
        return chosen.right, sum(one.tokens for one in tries[:taken])

    return solve


def uniform(puzzles, solve):
    right, tokens = zip(*map(solve, puzzles), strict=True)
    return MeanScore(statistics.fmean(right), statistics.fmean(tokens))


@pytest.fixture(scope="module")
def puzzles():
    return Maker(TaskWorld(), 7).puzzles(800)


def test_a_seed_makes_the_same_tasks_again(puzzles):
    assert Maker(TaskWorld(), 7).puzzles(800) == puzzles
    assert Maker(TaskWorld(), 8).puzzles(800) != puzzles


def test_shuffling_changes_the_classes_and_nothing_else(puzzles):
    mixed = shuffled(puzzles, 1)
    assert [one.samples for one in mixed] == [one.samples for one in puzzles]
    assert sorted(one.key for one in mixed) == sorted(one.key for one in puzzles)
    assert [one.key for one in mixed] != [one.key for one in puzzles]


def test_stopping_gives_the_answers_of_best_of_n_for_fewer_tokens(puzzles):
    flat, stopping = uniform(puzzles, best_of(6)), uniform(puzzles, stop_on_verified(6))
    assert stopping.accuracy == flat.accuracy
    assert stopping.tokens < flat.tokens


def test_allocating_beats_both_uniform_ways_where_classes_differ(puzzles):
    flat, stopping = uniform_curves(puzzles, 40)
    budget = stopping[7].tokens
    score = adaptive(puzzles, budget, ("sample",))
    assert score.tokens == pytest.approx(budget, rel=0.03)
    assert tokens_for(flat, score.accuracy) > 2.3 * score.tokens
    assert score.tokens < 0.9 * tokens_for(stopping, score.accuracy)


def test_useless_features_cost_at_most_a_point_against_uniform_sampling(puzzles):
    flat, _ = uniform_curves(puzzles, 40)
    for number in range(2):
        score = adaptive(shuffled(puzzles, number), uniform(puzzles, stop_on_verified(5)).tokens, ("sample",))
        assert score.accuracy > accuracy_at(flat, score.tokens) - 0.01


def test_curves_in_one_go_are_those_of_each_number(puzzles):
    flat, stopping = uniform_curves(puzzles[:50], 6)
    for count in range(1, 7):
        assert flat[count - 1] == pytest.approx(uniform(puzzles[:50], best_of(count)))
        assert stopping[count - 1] == pytest.approx(uniform(puzzles[:50], stop_on_verified(count)))


def test_curves_are_read_between_their_points():
    curve = [MeanScore(0.4, 100.0), MeanScore(0.6, 300.0), MeanScore(0.7, 900.0)]
    assert tokens_for(curve, 0.5) == pytest.approx(200.0)
    assert accuracy_at(curve, 600.0) == pytest.approx(0.65)
    assert tokens_for(curve, 0.9) == 900.0
    assert tokens_for(curve, 0.1) == 100.0


def test_a_small_simulation_gives_a_whole_report():
    report = allocation(tasks=40, pairs=2, depths=(2,))
    (table,) = report.tables
    assert len(table.rows) == 3 * 3
    row = table.rows[0]
    assert row["N"] == 2
    assert 0 < row["accuracy"].value < 100
    assert row["times fewer"].n == 2
    assert report.subject == "SIMULATION"


def test_the_title_counts_the_draws_that_were_made():
    (table,) = allocation(tasks=20, pairs=3, depths=(2,), minutes=1e-9).tables
    assert table.title == "1 times 20 tasks, seed 0"
