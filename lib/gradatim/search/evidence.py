"""What a search has shown, and what it has not: expected best, optimism, intervals, paired tests, isolation."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from .._check import checked, numbers_in, require, require_sizes, require_type
from .space import Choice, Space, Value
from .study import Objective, Sampler, Study, Trial


@checked
def expected_best(values: Sequence[float], n: int, *, maximize: bool = False) -> float:
    """The expected best of n random trials, estimated from N >= n recorded ones (drawn without replacement).

    With the values sorted from best to worst, v_1, ..., v_N, the best of n drawn ones is v_i with probability

        P(i) = C(N - i, n - 1) / C(N, n)

    It turns one long random search into the whole curve "best against number of trials", without luck in the order.

    Args:
        values: finite results of random trials, N >= 1.
        n: 1 <= n <= N.
        maximize: True where larger is better.

    Returns:
        The expected best value, in the values' unit.

    Raises:
        TypeError: `values` holds something else than numbers.
        ValueError: no values, or one that is not finite; n out of range.

    Source: the estimator of Dodge et al., arXiv:1909.03004v1, without replacement in place of with it.

    >>> expected_best([1.0, 2.0, 3.0], 2)                       # pairs: 1, 1, 2
    1.3333333333333333
    """
    values = numbers_in("expected_best", "values", values, 1)
    count = len(values)
    require(1 <= n <= count, "expected_best", "n", f"from 1 to the number of values, {count}", n)
    require(all(math.isfinite(v) for v in values), "expected_best", "values", "finite", list(values))
    ordered = sorted(values, reverse=maximize)
    ways = [math.comb(count - i, n - 1) for i in range(1, count + 1)]
    return math.fsum(v * (w / math.comb(count, n)) for v, w in zip(ordered, ways, strict=True))


@checked
def expected_optimism(trials: int, noise: float) -> float:
    """By how much the best of `trials` equally good, noisily measured configurations flatters itself.

    The expected largest of k standard normal numbers, times their standard deviation:

        noise * k * integral of z * phi(z) * Phi(z)**(k - 1) dz

    The winner's validation score is too good by that much even though nothing was found at all; hence a test set.

    Args:
        trials: k >= 1.
        noise: standard deviation of one measurement, >= 0.

    Returns:
        The optimism, >= 0, in the unit of `noise`.

    Raises:
        ValueError: `trials` or `noise` out of range.

    >>> round(expected_optimism(2, 1.0), 6)                     # 1 / sqrt(pi)
    0.56419
    """
    require(trials >= 1, "expected_optimism", "trials", ">= 1", trials)
    require(noise >= 0, "expected_optimism", "noise", ">= 0", noise)
    z = np.linspace(-12.0, 12.0, 24_001)
    phi = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi)
    cdf = 0.5 * np.array([math.erfc(-x / math.sqrt(2)) for x in z])
    return noise * float(np.sum(trials * z * phi * cdf ** (trials - 1)) * (z[1] - z[0]))


@checked
def bootstrap_interval(
    values: Sequence[float],
    *,
    statistic: Callable[[np.ndarray], float] = lambda x: float(np.mean(x)),
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of a statistic of a few runs.

    Args:
        values: at least 2 finite numbers, such as one result per seed.
        statistic: maps an array to a number.
        level: in (0, 1).
        resamples: draws with replacement, >= 1.
        seed: of the draws, >= 0.

    Returns:
        (low, high), in the statistic's unit.

    Raises:
        TypeError: `values` holds something else than numbers.
        ValueError: fewer than 2 values, or one that is not finite; a setting out of range.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), section 13.3. With fewer than
    about 10 values it is too short.

    >>> low, high = bootstrap_interval([1.0, 2.0, 3.0, 4.0])
    >>> 1.0 <= low < 2.5 < high <= 4.0
    True
    """
    where = "bootstrap_interval"
    x = np.asarray(numbers_in(where, "values", values, 2), dtype=np.float64)
    require(bool(np.isfinite(x).all()), where, "values", "finite", x.tolist())
    require(seed >= 0, where, "seed", ">= 0", seed)
    require(0 < level < 1, where, "level", "in (0, 1)", level)
    require(resamples >= 1, where, "resamples", ">= 1", resamples)
    draws = np.random.default_rng(seed).integers(0, len(x), (resamples, len(x)))
    found = [statistic(x[row]) for row in draws]
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@checked
def paired_test(a: Sequence[float], b: Sequence[float], *, resamples: int = 10_000, seed: int = 0) -> float:
    """Two-sided sign-flip test: could the differences a - b, seed by seed, be chance?

    If A and B are the same, each difference could as well have had the other sign. The p-value is the share of
    sign patterns whose mean difference is at least as large as the seen one: all 2**n of them up to n = 13,
    else a random sample, in which the seen pattern itself is counted.

    Args:
        a: results, at least 1, finite.
        b: results of the same seeds in the same order.
        resamples: sign patterns that are drawn for more than 13 pairs, >= 1.
        seed: of these draws, >= 0.

    Returns:
        The p-value, in (0, 1]; with n pairs it cannot be below 2**(1 - n).

    Raises:
        TypeError: something else than numbers.
        ValueError: none, not as many in both, or one that is not finite; a setting out of range.

    Source: Fisher, "The Design of Experiments" (1935), section 21.

    >>> paired_test([1.0, 2.0, 3.0], [0.5, 1.0, 2.0])           # all positive: 2 of 8 patterns
    0.25
    """
    where = "paired_test"
    a, b = numbers_in(where, "a", a), numbers_in(where, "b", b)
    require(resamples >= 1, where, "resamples", ">= 1", resamples)
    require(seed >= 0, where, "seed", ">= 0", seed)
    require(len(a) == len(b) and len(a) > 0, where, "a and b", "of one length > 0", (len(a), len(b)))
    d = np.asarray(a, dtype=np.float64) - np.asarray(b, dtype=np.float64)
    require(bool(np.isfinite(d).all()), where, "a and b", "finite", d.tolist())
    n = len(d)
    if n <= 13:
        bits = np.arange(2**n)[:, None] >> np.arange(n) & 1
        extra = 0
    else:
        bits = np.random.default_rng(seed).integers(0, 2, (resamples, n))
        extra = 1
    sums = np.abs((2 * bits - 1) @ d)
    reached = sums >= abs(d.sum()) * (1 - 1e-12)  # the same sum in another order may differ by rounding
    return float((reached.sum() + extra) / (len(bits) + extra))


@checked
def isolation(
    space: Space, trials: Sequence[Trial], name: str, *, bins: int = 8, maximize: bool = False
) -> list[tuple[Value, float | None]]:
    """The best value in each part of one dimension: what an isolation plot shows.

    If the best lies in the first or the last part, the space should be enlarged there.

    Args:
        space: what was searched.
        trials: at one budget.
        name: the dimension.
        bins: parts of a number's range, evenly spread on its own scale, >= 1; a choice has one for each option.
        maximize: True where larger is better.

    Returns:
        For each part, in order, its middle (an option itself) and the best value in it, None without a complete trial.

    Raises:
        TypeError: `trials` holds something else than trials.
        ValueError: a name that the space does not have; bins < 1.
    """
    require(name in space.names, "isolation", "name", f"one of {space.names}", name)
    listed = isinstance(trials, Sequence) and all(isinstance(trial, Trial) for trial in trials)
    require_type(listed, "isolation", "trials", "a sequence of trials", trials)
    require(bins >= 1, "isolation", "bins", ">= 1", bins)
    dimension = space[name]
    parts = len(dimension.options) if isinstance(dimension, Choice) else bins
    best: list[float | None] = [None] * parts
    for trial in trials:
        if trial.value is None or name not in trial.params:
            continue
        part = min(int(dimension.to_unit(trial.params[name]) * parts), parts - 1)
        known = best[part]
        pick = max if maximize else min
        best[part] = trial.value if known is None else pick(known, trial.value)
    return [(dimension.from_unit((i + 0.5) / parts), value) for i, value in enumerate(best)]


@dataclass(frozen=True)
class Comparison:
    """One search method's results over several seeds.

    Args:
        name: the method's.
        best: each seed's best value, without the seeds in which no trial completed.
        curves: each seed's `Study.best_so_far`.
        spent: each seed's `Study.spent`.
        seconds_per_proposal: mean time outside the objective, over all seeds.
    """

    name: str
    best: list[float]
    curves: list[list[float]]
    spent: list[int]
    seconds_per_proposal: float

    def row(self) -> str:
        """Name, median, quartiles, spent budget, milliseconds per proposal."""
        low, middle, high = np.quantile(self.best, [0.25, 0.5, 0.75])
        cost = f"{np.mean(self.spent):.0f}"
        values = f"{middle:>11.4g}{low:>11.4g}{high:>11.4g}"
        return f"{self.name:<24}{values}{cost:>8}{1e3 * self.seconds_per_proposal:>9.1f}"


@checked
def compare(
    objective: Objective,
    space: Space,
    samplers: Mapping[str, Sampler],
    *,
    seeds: Sequence[int],
    trials: int | None = None,
    budget: int | None = None,
    direction: str = "minimize",
) -> list[Comparison]:
    """Run every search method with every seed on equal terms, and time the proposals.

    A peer such as `OptunaSampler` is a method like any other here: same objective, same accounting.

    Args:
        objective: as for `Study.run`.
        space: as for `Study`.
        samplers: name -> method.
        seeds: one study each, integers >= 0, at least one.
        trials: the limit of each study, as in `Study.run`.
        budget: the same.
        direction: as for `Study`.

    Returns:
        One `Comparison` for each method, in order.

    Raises:
        TypeError: seeds that are no integers.
        ValueError: no seed; neither `trials` nor `budget`; a study in which no trial completed.
    """
    require(len(require_sizes("compare", "seeds", seeds)) > 0, "compare", "seeds", "not empty", list(seeds))
    require(trials is not None or budget is not None, "compare", "trials or budget", "given", None)
    found = []
    for name, sampler in samplers.items():
        studies, inside, total = [], 0.0, 0.0
        for seed in seeds:
            study = Study(space, sampler, seed=seed, direction=direction)
            start = perf_counter()
            study.run(objective, trials=trials, budget=budget)
            total += perf_counter() - start
            inside += sum(t.seconds or 0.0 for t in study.trials)
            studies.append(study)
        proposals = sum(len(study.trials) for study in studies)
        best = [study.best.value for study in studies if study.best.value is not None]
        curves = [study.best_so_far() for study in studies]
        found.append(Comparison(name, best, curves, [s.spent for s in studies], (total - inside) / proposals))
    return found
