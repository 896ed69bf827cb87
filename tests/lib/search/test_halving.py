"""Successive halving, Hyperband and ASHA: the paper's tables, budgets to the unit, ties, failures, waiting."""

import itertools
import math

import pytest

from gradatim.search import (
    ASHA,
    Hyperband,
    Space,
    Study,
    SuccessiveHalving,
    Uniform,
    halving_rungs,
    hyperband_brackets,
)

LINE = Space({"x": Uniform(0.0, 1.0)})


def by_rung(trials):
    rungs = {}
    for t in trials:
        rungs.setdefault((t.memo.get("bracket", 0), t.memo["rung"]), []).append(t)
    return rungs


def test_hyperband_brackets_for_81_and_3_by_the_algorithm():
    assert hyperband_brackets(81, 3) == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(34, 3), (11, 9), (3, 27), (1, 81)],
        [(15, 9), (5, 27), (1, 81)],
        [(8, 27), (2, 81)],
        [(5, 81)],
    ]


def test_hyperband_brackets_for_81_and_3_with_the_other_rounding():
    assert hyperband_brackets(81, 3, rounding="floor") == [
        [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        [(27, 3), (9, 9), (3, 27), (1, 81)],
        [(9, 9), (3, 27), (1, 81)],
        [(6, 27), (2, 81)],
        [(5, 81)],
    ]


@pytest.mark.parametrize("k", range(1, 12))
def test_a_power_of_eta_has_one_more_bracket_than_its_exponent(k):
    """math.log(3**5) / math.log(3) is 4.999...: a floating-point floor loses a bracket."""
    assert len(hyperband_brackets(3**k, 3)) == k + 1
    assert len(hyperband_brackets(3**k - 1, 3)) == k


@pytest.mark.parametrize(("R", "eta"), [(1, 2), (7, 2), (80, 3), (100, 4), (1000, 10)])
def test_every_bracket_ends_at_the_full_budget_and_shrinks(R, eta):
    for rungs in hyperband_brackets(R, eta):
        assert rungs[-1][1] == R
        assert all(n >= 1 and r >= 1 for n, r in rungs)
        assert all(a[0] > b[0] and a[1] < b[1] for a, b in itertools.pairwise(rungs))


def test_halving_rungs_stop_at_the_budget_or_when_nobody_is_left():
    assert halving_rungs(27, 1, 27) == [(27, 1), (9, 3), (3, 9), (1, 27)]
    assert halving_rungs(10, 2, 17) == [(10, 2), (3, 6)]
    assert halving_rungs(4, 1, 1000, eta=2) == [(4, 1), (2, 2), (1, 4)]


def test_successive_halving_promotes_the_best_of_each_rung():
    study = Study(LINE, SuccessiveHalving(27, 1, 27), seed=0)
    study.run(lambda trial: trial.params["x"])
    rungs = by_rung(study.trials)
    assert [len(rungs[0, i]) for i in range(4)] == [27, 9, 3, 1]
    for i in range(1, 4):
        best = sorted(rungs[0, i - 1], key=lambda t: t.value)[: len(rungs[0, i])]
        assert [t.parent for t in rungs[0, i]] == [t.number for t in best]
        assert {t.params["x"] for t in rungs[0, i]} == {t.params["x"] for t in best}
    assert study.best.params["x"] == min(t.params["x"] for t in study.trials)


def test_successive_halving_spends_what_its_docstring_says():
    study = Study(LINE, SuccessiveHalving(27, 1, 27))
    study.run(lambda trial: trial.params["x"])
    assert study.spent == 27 * 1 + 9 * 2 + 3 * 6 + 1 * 18
    assert study.spent_from_scratch == 27 * 1 + 9 * 3 + 3 * 9 + 1 * 27
    assert study.ask() is None


def test_hyperband_runs_its_table_and_spends_its_sum():
    study = Study(LINE, Hyperband(81))
    study.run(lambda trial: trial.params["x"] + 1 / trial.budget)
    brackets = hyperband_brackets(81)
    found = by_rung(study.trials)
    assert {k: (len(v), v[0].budget) for k, v in found.items()} == {
        (b, i): rung for b, rungs in enumerate(brackets) for i, rung in enumerate(rungs)
    }
    scratch = sum(n * r for rungs in brackets for n, r in rungs)
    going_on = sum(
        n * (r - (rungs[i - 1][1] if i else 0)) for rungs in brackets for i, (n, r) in enumerate(rungs)
    )
    assert study.spent_from_scratch == scratch
    assert study.spent == going_on


def test_ties_go_to_the_earlier_trial():
    study = Study(LINE, SuccessiveHalving(9, 1, 9))
    study.run(lambda trial: 0.0)
    assert [t.parent for t in study.trials[9:]] == [0, 1, 2, 9]


def test_failed_trials_are_never_promoted_even_if_a_place_stays_empty():
    study = Study(LINE, SuccessiveHalving(9, 1, 9))
    study.run(lambda trial: 1.0 if trial.number in (4, 6) or trial.budget > 1 else math.nan)
    assert [t.parent for t in study.trials[9:]] == [4, 6, 9]


def test_a_late_bloomer_is_lost_by_the_first_bracket_and_found_by_the_last():
    """The best configurations look worst at a small budget."""

    def loss(trial):
        return trial.params["x"] if trial.budget >= 81 else -trial.params["x"]

    study = Study(LINE, Hyperband(81), seed=0)
    study.run(loss)
    at_full = {
        b: min(t.value for t in trials)
        for (b, _), trials in by_rung(study.trials).items()
        if trials[0].budget == 81
    }
    assert min(at_full, key=at_full.get) == 4
    assert at_full[0] > 0.9


def test_halving_waits_for_a_rung_and_hyperband_starts_the_next_bracket():
    halving, band = Study(LINE, SuccessiveHalving(3, 1, 3)), Study(LINE, Hyperband(3))
    assert [halving.ask() is None for _ in range(4)] == [False, False, False, True]
    memos = [band.ask().memo for _ in range(5)]
    assert [m["bracket"] for m in memos] == [0, 0, 0, 1, 1]
    assert band.ask() is None
    for number in (2, 0, 1):
        band.tell(number, float(number))
    assert band.ask().parent == 0


def test_asha_promotes_as_soon_as_a_third_of_a_rung_is_known():
    study = Study(LINE, ASHA(1, 9))
    values = iter([0.5, 0.2, 0.9])
    first = [study.ask() for _ in range(3)]
    for trial in first:
        study.tell(trial, next(values))
    fourth = study.ask()
    assert (fourth.parent, fourth.budget) == (1, 3)
    fifth = study.ask()  # the promotion is running and no other is due: nobody waits
    assert (fifth.parent, fifth.budget) == (None, 1)


def test_asha_promotes_only_from_the_top_third_as_it_was_then():
    study = Study(LINE, ASHA(1, 27), seed=1)
    study.run(lambda trial: trial.params["x"] + 1 / trial.budget, trials=200)
    for trial in study.trials:
        if trial.parent is not None:
            rung = trial.memo["rung"] - 1
            then = [t for t in study.trials[: trial.number] if t.memo["rung"] == rung]
            better = sum((t.value, t.number) < (study.trials[trial.parent].value, trial.parent) for t in then)
            assert better < len(then) // 3
    counts = {i: len(v) for (_, i), v in by_rung(study.trials).items()}
    # Not exactly a third: who was promoted early may have left the top third since, and others have come in.
    assert all(counts[k] // 3 <= counts[k + 1] <= counts[k] // 2 for k in range(3))
    assert study.best.budget == 27


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: hyperband_brackets(0), r"hyperband_brackets: max_budget must be >= min_budget = 1, got 0"),
        (lambda: hyperband_brackets(9, 1), r"hyperband_brackets: eta must be >= 2, got 1"),
        (lambda: hyperband_brackets(9, rounding="up"), r'rounding must be "ceil" or "floor", got \'up\''),
        (lambda: SuccessiveHalving(0, 1, 9), r"configurations must be >= 1, got 0"),
        (lambda: ASHA(9, 3), r"ASHA: max_budget must be >= min_budget = 9, got 3"),
        (lambda: ASHA(1.5, 3), r"ASHA: min_budget must be an integer, got 1.5"),
        (lambda: Hyperband(9, rounds=0), r"Hyperband: rounds must be >= 1, got 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises((ValueError, TypeError), match=message):
        make()
