"""TPE: densities by hand, draws from the density they claim, the split, and what the search finds."""

import math

import numpy as np
import pytest
from scipy import integrate, stats

from gradatim.search import (
    Choice,
    History,
    Int,
    LogUniform,
    ParzenEstimator,
    Space,
    Study,
    TPESearch,
    Trial,
    Uniform,
)
from gradatim.search.tpe import bandwidths, joint_bandwidths, split_good_bad

UNIT = Space({"x": Uniform(0.0, 1.0)})
MIXED = Space({"x": LogUniform(1e-3, 1.0), "k": Int(1, 6), "o": Choice(["a", "b", "c"])})
SEEN = [{"x": 0.01, "k": 2, "o": "a"}, {"x": 0.3, "k": 5, "o": "b"}, {"x": 0.02, "k": 2, "o": "a"}]


def truncated(x, mu, sigma):
    return stats.truncnorm.pdf(x, -mu / sigma, (1 - mu) / sigma, loc=mu, scale=sigma)


def test_bandwidths_by_hand():
    # Sorted with the prior's 0.5 and the ends: 0, .1, .35, .5, .9, 1; least width 1 / (3 + 2).
    np.testing.assert_allclose(bandwidths(np.array([0.9, 0.1, 0.35])), [0.4, 0.25, 0.25])
    assert (bandwidths(np.full(200, 0.3)) >= 0.01).all()
    assert bandwidths(np.array([])).shape == (0,)


def test_joint_bandwidths_by_hand():
    # Sorted with the prior's 0.5: .1, .35, .5, .9, without the ends; least width 1 / (3 + 1)**2.
    np.testing.assert_allclose(joint_bandwidths(np.array([0.9, 0.1, 0.35])), [0.4, 0.25, 0.25])
    np.testing.assert_allclose(joint_bandwidths(np.array([0.02, 0.03])), [1 / 9, 0.47])
    np.testing.assert_allclose(joint_bandwidths(np.array([0.5])), [1 / 4])
    many = joint_bandwidths(np.full(200, 0.3))
    assert many.min() == 0.03
    assert joint_bandwidths(np.array([])).shape == (0,)


def test_joint_density_by_hand():
    """Two trials and the prior in two dimensions: each kernel a product of two cut-off normals."""
    square = Space({"x": Uniform(0.0, 1.0), "y": Uniform(0.0, 1.0)})
    joint = ParzenEstimator(square, ["x", "y"], [{"x": 0.2, "y": 0.6}, {"x": 0.3, "y": 0.9}])
    # x: 0.2 lies .1 from 0.3, which lies .2 from 0.5; y: 0.6 lies .1 and .3 from 0.5 and 0.9. At least 1/9.
    for x, y in ((0.1, 0.7), (0.77, 0.25)):
        by_hand = truncated(x, 0.2, 1 / 9) * truncated(y, 0.6, 0.3)
        by_hand += truncated(x, 0.3, 0.2) * truncated(y, 0.9, 0.3)
        by_hand += truncated(x, 0.5, 1.0) * truncated(y, 0.5, 1.0)
        found = joint.log_density([{"x": x, "y": y}])[0]
        assert found == pytest.approx(math.log(by_hand / 3), rel=1e-9)


def test_joint_kernels_are_as_wide_as_observations_of_the_same_choice_are_apart():
    space = Space({"x": Uniform(0.0, 1.0), "o": Choice([1, True])})
    seen = [{"x": 0.1, "o": 1}, {"x": 0.3, "o": True}, {"x": 0.8, "o": 1}]
    joint = ParzenEstimator(space, ["x", "o"], seen)
    # Of option 1: 0.1 lies .4 from the prior's 0.5, 0.8 lies .3 from it. The one of option True lies .2, at least 1/4.
    np.testing.assert_allclose(joint.widths["x"], [0.4, 0.25, 0.3, 1.0])


def test_density_ratio_of_two_groups_by_hand():
    """One good trial at 0.2, two bad ones at 0.6 and 0.9: l(x) / g(x) written out."""
    l = ParzenEstimator(UNIT, ["x"], [{"x": 0.2}])
    g = ParzenEstimator(UNIT, ["x"], [{"x": 0.6}, {"x": 0.9}])
    for x in (0.1, 0.25, 0.77):
        # Widths: 0.2 lies .2 from 0 and .3 from .5; 0.6 lies .1 and .3 from its neighbours; 0.9 lies .3 and .1.
        # (At least 1/3 with one observation, 1/4 with two.)
        prior = truncated(x, 0.5, 1.0)
        by_hand_l = (truncated(x, 0.2, 1 / 3) + prior) / 2
        by_hand_g = (truncated(x, 0.6, 0.3) + truncated(x, 0.9, 0.3) + prior) / 3
        found = l.log_density([{"x": x}]) - g.log_density([{"x": x}])
        assert found[0] == pytest.approx(math.log(by_hand_l / by_hand_g), rel=1e-9)


def test_choice_probabilities_by_hand():
    """Three trials a, b, a: p(a) = 1/4 (2 * (1 + w/3)/(1 + w) + (w/3)/(1 + w) + 1/3) with w = 1/4."""
    parzen = ParzenEstimator(MIXED, ["o"], SEEN)
    w = 1 / 4
    hit, miss = (1 + w / 3) / (1 + w), (w / 3) / (1 + w)
    expected = [(2 * hit + miss + 1 / 3) / 4, (hit + 2 * miss + 1 / 3) / 4, (3 * miss + 1 / 3) / 4]
    found = np.exp(parzen.log_density([{"o": o} for o in "abc"]))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert found.sum() == pytest.approx(1.0)


def test_densities_integrate_to_one():
    one = ParzenEstimator(UNIT, ["x"], [{"x": v} for v in (0.05, 0.5, 0.98)])
    assert integrate.quad(lambda x: math.exp(one.log_density([{"x": x}])[0]), 0, 1)[0] == pytest.approx(
        1, abs=1e-8
    )
    integers = ParzenEstimator(MIXED, ["k"], SEEN)
    assert np.exp(integers.log_density([{"k": k} for k in range(1, 7)])).sum() == pytest.approx(1, abs=1e-9)
    joint = ParzenEstimator(MIXED, ["k", "o"], SEEN)
    cells = [{"k": k, "o": o} for k in range(1, 7) for o in "abc"]
    assert np.exp(joint.log_density(cells)).sum() == pytest.approx(1, abs=1e-9)


def test_joint_density_is_a_mixture_of_products_and_not_a_product_of_mixtures():
    joint = ParzenEstimator(MIXED, ["k", "o"], SEEN)
    seen_together = joint.log_density([{"k": 2, "o": "a"}])
    seen_apart = joint.log_density([{"k": 2, "o": "b"}])
    single = {name: ParzenEstimator(MIXED, [name], SEEN) for name in ("k", "o")}
    product = single["k"].log_density([{"k": 2}]) + single["o"].log_density([{"o": "b"}])
    assert seen_together > seen_apart + 1
    assert seen_apart < product


def test_samples_have_the_density():
    rng = np.random.default_rng(0)
    parzen = ParzenEstimator(UNIT, ["x"], [{"x": v} for v in (0.03, 0.4, 0.45)])
    drawn = np.array([p["x"] for p in parzen.sample(rng, 4000)])
    grid = np.linspace(0, 1, 2001)
    density = np.exp(parzen.log_density([{"x": x} for x in grid]))
    cdf = integrate.cumulative_trapezoid(density, grid, initial=0.0)
    assert stats.kstest(drawn, lambda x: np.interp(x, grid, cdf)).pvalue > 1e-6
    mixed = ParzenEstimator(MIXED, ["k", "o"], SEEN)
    cells = [{"k": k, "o": o} for k in range(1, 7) for o in "abc"]
    expected = 4000 * np.exp(mixed.log_density(cells))
    drawn = mixed.sample(rng, 4000)
    counts = [sum(d == c for d in drawn) for c in cells]
    assert stats.chisquare(counts, expected * (sum(counts) / expected.sum())).pvalue > 1e-6


def test_split_takes_the_best_tenth_and_never_a_failure():
    trials = [Trial(i, {"x": 0.0}, 0, state="complete", value=float((7 * i) % 31)) for i in range(31)]
    history = History(trials)
    good, bad = split_good_bad(history, trials, 0.1)
    assert [t.value for t in good] == [0.0, 1.0, 2.0, 3.0]  # ceil(3.1)
    assert len(good) + len(bad) == 31
    failed = [Trial(i, {"x": 0.0}, 0, state="failed", error="nan") for i in range(9)]
    one = Trial(9, {"x": 0.0}, 0, state="complete", value=1.0)
    good, bad = split_good_bad(history, [*failed, one], 0.3)
    assert good == [one]
    assert len(bad) == 9
    many = [Trial(i, {"x": 0.0}, 0, state="complete", value=float(i)) for i in range(1000)]
    assert len(split_good_bad(history, many, 0.1)[0]) == 25


@pytest.mark.parametrize("joint", [True, False])
def test_search_concentrates_where_the_loss_is_small(joint):
    space = Space({"x": Uniform(0.0, 1.0), "y": LogUniform(1e-4, 1.0), "o": Choice(["a", "b", "c"])})

    def loss(trial):
        p = trial.params
        return (p["x"] - 0.3) ** 2 + 0.1 * (math.log10(p["y"]) + 2) ** 2 + (p["o"] != "b")

    study = Study(space, TPESearch(joint=joint), seed=0)
    best = study.run(loss, trials=80)
    late = study.trials[50:]
    assert sum(t.params["o"] == "b" for t in late) > 20  # uniform draws: 10 on average, more than 20 at 1e-4
    assert np.median([t.value for t in late]) < 0.5 * np.median([t.value for t in study.trials[:20]])
    assert best.value < 0.02


def test_running_and_failed_trials_count_as_bad():
    told = [Trial(i, {"x": (i + 0.5) / 10}, 0, state="complete", value=abs(i - 2.0)) for i in range(10)]
    failed = [Trial(10 + i, {"x": 0.25}, 0, state="failed", error="nan") for i in range(8)]
    propose = lambda trials: np.mean(  # noqa: E731
        [
            TPESearch(joint=False).propose(UNIT, History(trials), np.random.default_rng(s)).params["x"]
            for s in range(40)
        ]
    )
    assert abs(propose(told + failed) - 0.25) > abs(propose(told) - 0.25)


def test_trials_of_different_budgets_are_not_mixed():
    """Short trials say that 0.9 is good, long ones that 0.1 is: the long ones count as soon as there are enough."""
    short = [
        Trial(i, {"x": x}, 0, budget=1, state="complete", value=abs(x - 0.9))
        for i, x in enumerate(np.linspace(0, 1, 12))
    ]
    long = [
        Trial(12 + i, {"x": x}, 0, budget=9, state="complete", value=abs(x - 0.1))
        for i, x in enumerate(np.linspace(0, 1, 10))
    ]
    ask = lambda trials: [  # noqa: E731
        TPESearch().propose(UNIT, History(trials), np.random.default_rng(s)).params["x"] for s in range(30)
    ]
    assert np.median(ask(short)) > 0.6
    assert np.median(ask(short + long)) < 0.4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": 0.0}, r"TPESearch: gamma must be in \(0, 1\), got 0.0"),
        ({"startup": 0}, r"TPESearch: startup must be >= 1, got 0"),
        ({"candidates": 0}, r"TPESearch: candidates must be >= 1, got 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        TPESearch(**options)
