"""Tree-structured Parzen estimator: look where good trials are dense and bad ones are not."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from .._check import check_fields, checked, require, require_type
from .space import Choice, Int, Params, Space, Value
from .study import History, Proposal, Trial


def _normal_cdf(x: np.ndarray) -> np.ndarray:
    return torch.special.ndtr(torch.from_numpy(np.asarray(x, dtype=np.float64))).numpy()


def _normal_quantile(p: np.ndarray) -> np.ndarray:
    return torch.special.ndtri(torch.from_numpy(np.asarray(p, dtype=np.float64))).numpy()


def neighbour_distances(centres: np.ndarray, *, ends: bool) -> np.ndarray:
    """The larger of each centre's distances to its two neighbours on [0, 1].

    The prior's centre 0.5 counts as a neighbour, and the ends 0 and 1 do with `ends`; without, the outermost centre
    has one neighbour.

    Args:
        centres: shape (n), in [0, 1].
        ends: see above.

    Returns:
        Shape (n).

    >>> neighbour_distances(np.array([0.2, 0.3]), ends=True).round(2).tolist()    # max(.2, .1), max(.1, .2)
    [0.2, 0.2]
    >>> neighbour_distances(np.array([0.2, 0.3]), ends=False).round(2).tolist()   # 0.2 has one neighbour, 0.3
    [0.1, 0.2]
    """
    points = np.append(centres, 0.5)
    order = np.argsort(points, kind="stable")
    gaps = np.diff(points[order])
    left = np.append(points[order][0] if ends else 0.0, gaps)
    right = np.append(gaps, 1 - points[order][-1] if ends else 0.0)
    distances = np.empty(len(points))
    distances[order] = np.maximum(left, right)
    return distances[:-1]


def bandwidths(centres: np.ndarray) -> np.ndarray:
    """The kernel width of each centre on [0, 1], where one dimension is modelled by itself.

    The larger of the distances to its two neighbours, the ends counted in, clipped to [1 / min(100, n + 2), 1].

    Args:
        centres: shape (n), in [0, 1].

    Returns:
        Shape (n).

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011, section 4.2: "the
    greater of the distances to the left and right neighbor, but clipped".

    >>> bandwidths(np.array([0.2, 0.3]))                       # max(.2, .1), then max(.1, .2); at least 1/4
    array([0.25, 0.25])
    """
    least = 1 / min(100, len(centres) + 2)
    return np.clip(neighbour_distances(centres, ends=True), least, 1.0)


def joint_bandwidths(centres: np.ndarray) -> np.ndarray:
    """The kernel width of each centre along one of several dimensions that are modelled together.

    The larger of the distances to its two neighbours, clipped to [max(0.03, (n + 1)**-2), 1]. The bound falls faster
    than that of `bandwidths`: among few good trials that one would be the width of every kernel, and in six
    dimensions a product of kernels a third wide is nearly flat.

    Args:
        centres: shape (n), in [0, 1].

    Returns:
        Shape (n).

    Source: Watanabe, "Tree-Structured Parzen Estimator: Understanding Its Algorithm Components and Their Roles for
    Better Empirical Performance", arXiv:2304.11127v4: neighbours' distances for joint kernels, and their lower bound
    ("magic clipping") with a minimum factor of 0.03 and an exponent of 2, among the values studied there.
    Differs from the paper: the ends of the interval are no neighbours, as in Optuna by default.

    >>> joint_bandwidths(np.array([0.2, 0.3])).round(3).tolist()    # .1 and .2; at least 1/9
    [0.111, 0.2]
    """
    least = max(0.03, (len(centres) + 1) ** -2)
    return np.clip(neighbour_distances(centres, ends=False), least, 1.0)


class ParzenEstimator:
    """A density over some dimensions: one product kernel per observation, and one for the prior, of equal weight.

        p(x) = 1/(n+1) * (prior(x) + sum_i prod_d kernel_d(x_d; x_i,d))

    A number, at its coordinate u of the unit interval, has a normal kernel cut off at 0 and 1; its prior is a
    normal of mean 1/2 and standard deviation 1. For an integer the kernel is the probability of the integer's
    interval. A choice among K has the probability (1[same] + w/K) / (1 + w), with w = 1/(n+1), and the prior 1/K.

    The width of a numeric kernel is that of `bandwidths` for one dimension. For several it is that of
    `joint_bandwidths` among the observations that agree in their choices: the others' kernels lie elsewhere.

    Args:
        space: what the names mean.
        names: the dimensions, at least one.
        observed: configurations that have all of them; may be empty.

    Raises:
        TypeError: `observed` is no sequence.
        ValueError: names that the space does not have; a configuration without one of them.
    """

    @checked
    def __init__(self, space: Space, names: Sequence[str], observed: Sequence[Params]) -> None:
        where = "ParzenEstimator"
        named = isinstance(names, Sequence) and len(names) > 0 and all(name in space.names for name in names)
        require(named, where, "names", f"some of {space.names}", names)
        several = isinstance(observed, Sequence) and not isinstance(observed, str)
        require_type(several, where, "observed", "a sequence of configurations", observed)
        for params in observed:
            fits = isinstance(params, Mapping) and all(name in params for name in names)
            require(fits, where, "observed", f"configurations with {list(names)}", params)
        self.space, self.names, self.n = space, list(names), len(observed)
        self.choices: dict[str, np.ndarray] = {}
        self.centres: dict[str, np.ndarray] = {}
        self.widths: dict[str, np.ndarray] = {}
        for name in names:
            dimension = space[name]
            if isinstance(dimension, Choice):
                self.choices[name] = np.array([dimension.index(p[name]) for p in observed], dtype=int)
                continue
            centres = np.array([dimension.to_unit(p[name]) for p in observed], dtype=float)
            self.centres[name] = np.append(centres, 0.5)
            self.widths[name] = np.append(self._widths(centres, observed), 1.0)

    def _widths(self, centres: np.ndarray, observed: Sequence[Params]) -> np.ndarray:
        if len(self.names) == 1:
            return bandwidths(centres)
        choices = [(name, self.space[name]) for name in self.names if isinstance(self.space[name], Choice)]
        chosen = [tuple(choice.index(p[name]) for name, choice in choices) for p in observed]  # type: ignore[union-attr]
        widths = np.empty(len(centres))
        for options in set(chosen):
            agree = np.array([one == options for one in chosen])
            widths[agree] = joint_bandwidths(centres[agree])
        return widths

    def _probabilities(self, name: str) -> np.ndarray:
        """The kernels' probabilities of a choice's options, shape (n + 1, K)."""
        dimension = self.space[name]
        assert isinstance(dimension, Choice)
        k, w = len(dimension.options), 1 / (self.n + 1)
        kernels = (np.eye(k)[self.choices[name]] + w / k) / (1 + w)
        return np.vstack([kernels, np.full((1, k), 1 / k)])

    def log_density(self, configurations: Sequence[Params]) -> np.ndarray:
        """log p(x) of each configuration; integers and choices by their probability.

        Args:
            configurations: M of them, with all the names.

        Returns:
            Shape (M), in nats.
        """
        total = np.zeros((len(configurations), self.n + 1))
        for name in self.names:
            dimension, values = self.space[name], [p[name] for p in configurations]
            if isinstance(dimension, Choice):
                index = [dimension.index(v) for v in values]
                total += np.log(self._probabilities(name).T[index])
                continue
            mu, sigma = self.centres[name], self.widths[name]
            inside = _normal_cdf((1 - mu) / sigma) - _normal_cdf(-mu / sigma)
            if isinstance(dimension, Int):
                low = np.array([dimension.to_unit(v - 0.5) for v in values])[:, None]  # type: ignore[operator]
                high = np.array([dimension.to_unit(v + 0.5) for v in values])[:, None]  # type: ignore[operator]
                mass = _normal_cdf((high - mu) / sigma) - _normal_cdf((low - mu) / sigma)
                total += np.log(np.maximum(mass, 1e-300) / inside)
            else:
                u = np.array([dimension.to_unit(v) for v in values])[:, None]
                z = (u - mu) / sigma
                total += -0.5 * z**2 - np.log(sigma * math.sqrt(2 * math.pi) * inside)
        top = total.max(axis=1, keepdims=True)
        return top[:, 0] + np.log(np.exp(total - top).mean(axis=1))

    def sample(self, rng: np.random.Generator, n: int) -> list[Params]:
        """Draw configurations of these dimensions: choose a kernel, then draw from it.

        Args:
            rng: where the numbers come from.
            n: how many.

        Returns:
            n configurations with the names alone.
        """
        kernels = rng.integers(0, self.n + 1, n)
        columns: dict[str, list[Value]] = {}
        for name in self.names:
            dimension, u = self.space[name], rng.random(n)
            if isinstance(dimension, Choice):
                cumulative = self._probabilities(name).cumsum(axis=1)[kernels]
                index = np.minimum((u[:, None] >= cumulative).sum(axis=1), len(dimension.options) - 1)
                columns[name] = [dimension.options[i] for i in index]
                continue
            mu, sigma = self.centres[name][kernels], self.widths[name][kernels]
            low, high = _normal_cdf(-mu / sigma), _normal_cdf((1 - mu) / sigma)
            drawn = mu + sigma * _normal_quantile(low + u * (high - low))
            columns[name] = [dimension.from_unit(x) for x in np.clip(drawn, 0.0, 1.0)]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def split_good_bad(
    history: History, trials: Sequence[Trial], gamma: float
) -> tuple[list[Trial], list[Trial]]:
    """The best ceil(gamma * n) trials, at most 25, and the rest; a failed trial is among the rest."""
    ranked = sorted(trials, key=history.rank)
    good = [t for t in ranked[: min(math.ceil(gamma * len(ranked)), 25)] if t.state == "complete"]
    return good, ranked[len(good) :]


@dataclass(frozen=True)
class TPESearch:
    """Draw candidates from the density l(x) of the good trials; take the one with the largest l(x) / g(x).

    g is the density of the other trials, failed and running ones included. With p(good) = gamma the expected
    improvement grows with that ratio: EI is proportional to 1 / (gamma + (1 - gamma) * g/l). Trials of the
    largest budget that has `startup` complete ones are used.

    Args:
        startup: random trials before the model is used, >= 1.
        gamma: the fraction of good trials, in (0, 1).
        candidates: draws from l per proposal, >= 1.
        joint: True models the unconditional dimensions together, so that interactions show; False models every
            dimension by itself, as in the paper. A conditional dimension is always modelled by itself, from
            the trials that have it.
        budget: how far each trial is trained.

    Source: Bergstra et al., "Algorithms for Hyper-Parameter Optimization", NIPS 2011, section 4. Joint kernels as in
    Falkner et al. (BOHB), arXiv:1807.01774v1, with the widths of `joint_bandwidths`. Differs from the paper: there
    gamma is 0.15; here 0.1, at most 25 trials.
    """

    startup: int = 10
    gamma: float = 0.1
    candidates: int = 24
    joint: bool = True
    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.budget >= 1, "TPESearch", "budget", ">= 1", self.budget)
        require(self.startup >= 1, "TPESearch", "startup", ">= 1", self.startup)
        require(0 < self.gamma < 1, "TPESearch", "gamma", "in (0, 1)", self.gamma)
        require(self.candidates >= 1, "TPESearch", "candidates", ">= 1", self.candidates)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal:
        """The candidate of largest density ratio, found group by group."""
        trials = history.comparable(least=self.startup)
        if not trials:
            return Proposal(space.sample(rng), self.budget)
        good, bad = split_good_bad(history, trials, self.gamma)
        bad = bad + history.running
        params: Params = {}
        for names in self._groups(space):
            if all(space.active(name, params) for name in names):
                params.update(self._best(space, names, params, good, bad, rng))
        # In the space's order, so that conditions read from left to right.
        return Proposal({name: params[name] for name in space if name in params}, self.budget)

    def _groups(self, space: Space) -> list[list[str]]:
        free = [name for name in space if not space[name].when]
        together = [free] if self.joint else [[name] for name in free]
        return together + [[name] for name in space if space[name].when]

    def _best(
        self,
        space: Space,
        names: list[str],
        params: Params,
        good: list[Trial],
        bad: list[Trial],
        rng: np.random.Generator,
    ) -> Params:
        having = [[t.params for t in group if names[0] in t.params] for group in (good, bad)]
        l, g = (ParzenEstimator(space, names, observed) for observed in having)
        drawn = l.sample(rng, self.candidates)
        return drawn[int(np.argmax(l.log_density(drawn) - g.log_density(drawn)))]
