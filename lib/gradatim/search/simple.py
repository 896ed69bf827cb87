"""Grid, random and quasi-random search: what is tried next does not depend on what was found."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from .._check import check_fields, checked, require, require_type
from .space import Params, Space, Value
from .study import History, Proposal


def grid(space: Space, points: int | Mapping[str, int] = 3) -> list[Params]:
    """Every combination of a few values per dimension, the last dimension varying fastest.

    A conditional dimension multiplies only the combinations in which it exists.

    Args:
        space: what may vary.
        points: how many values a number has (evenly spread on its own scale, both ends included); a mapping gives
            it by name, with 3 for a name that is missing. A `Choice` always has all its options.

    Returns:
        The configurations, in order.

    Raises:
        TypeError: `space` is no `Space`; `points` is neither an integer nor a mapping.
        ValueError: a number of points below 1, or a name that the space does not have.

    >>> from gradatim.search import Choice, Uniform
    >>> space = Space({"o": Choice(["sgd", "adam"]), "m": Uniform(0.0, 0.9, when={"o": "sgd"})})
    >>> grid(space, 2)
    [{'o': 'sgd', 'm': 0.0}, {'o': 'sgd', 'm': 0.9}, {'o': 'adam'}]
    """
    require_type(isinstance(space, Space), "grid", "space", "a Space", space)
    known = isinstance(points, Mapping) or (isinstance(points, int) and not isinstance(points, bool))
    require_type(known, "grid", "points", "an integer, or a mapping from names to integers", points)
    counts = dict.fromkeys(space.names, points) if isinstance(points, int) else {**points}
    for name, count in counts.items():
        require(name in space.names, "grid", "points", f"for names of {space.names}", name)
        require(isinstance(count, int) and count >= 1, "grid", "points", ">= 1", count)
    combinations: list[Params] = [{}]
    for name in space:
        values = space[name].grid(counts.get(name, 3))
        combinations = [
            {**params, **extra}
            for params in combinations
            for extra in _extensions(space, name, params, values)
        ]
    return combinations


def _extensions(space: Space, name: str, params: Params, values: list[Value]) -> list[Params]:
    return [{name: value} for value in values] if space.active(name, params) else [{}]


@dataclass(frozen=True)
class GridSearch:
    """Try every combination of `grid`, in order, once.

    With D dimensions of which only one matters, n trials show n**(1/D) different values of that one; random search
    shows n. That is the argument of Bergstra and Bengio, "Random Search for Hyper-Parameter Optimization", JMLR 13
    (2012), 281-305.

    Args:
        points: values per dimension, as in `grid`.
        budget: how far each trial is trained.
    """

    points: int | Mapping[str, int] = 3
    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.budget >= 1, "GridSearch", "budget", ">= 1", self.budget)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal | None:
        """The next combination; None after the last."""
        combinations = grid(space, self.points)
        index = history.fresh
        return Proposal(combinations[index], self.budget) if index < len(combinations) else None


@dataclass(frozen=True)
class RandomSearch:
    """Draw every configuration from the space, independently.

    Args:
        budget: how far each trial is trained.
    """

    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.budget >= 1, "RandomSearch", "budget", ">= 1", self.budget)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal:
        """A fresh draw."""
        return Proposal(space.sample(rng), self.budget)


@dataclass(frozen=True)
class SobolSearch:
    """Take the points of a scrambled Sobol sequence: random search without gaps and clusters.

    Every 2**k consecutive points (from a multiple of 2**k) put exactly one into each of 2**k equal intervals of every
    dimension. Scrambling (by the study's seed) keeps that, and makes each point uniform in the cube.

    Args:
        budget: how far each trial is trained.

    Source: Sobol (1967), doi:10.1016/0041-5553(67)90144-9; direction numbers and scrambling as in
    `torch.quasirandom.SobolEngine`.
    """

    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.budget >= 1, "SobolSearch", "budget", ">= 1", self.budget)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal:
        """The next point of the sequence."""
        return Proposal(
            space.from_unit(sobol_points(len(space), 1, history.seed, history.fresh)[0]), self.budget
        )


@checked
def sobol_points(dimensions: int, n: int, seed: int, first: int = 0) -> np.ndarray:
    """A stretch of the Sobol sequence that `seed` scrambles.

    Args:
        dimensions: D >= 1, at most torch's SobolEngine.MAXDIM.
        n: number of points, >= 1.
        seed: of the scrambling, >= 0.
        first: index of the first point, >= 0.

    Returns:
        The points first, ..., first + n - 1: shape (n, D), in [0, 1), float64.

    Raises:
        ValueError: an argument out of range.
    """
    most = torch.quasirandom.SobolEngine.MAXDIM
    require(1 <= dimensions <= most, "sobol_points", "dimensions", f"in 1 .. {most}", dimensions)
    for name, value, least in (("n", n, 1), ("seed", seed, 0), ("first", first, 0)):
        require(value >= least, "sobol_points", name, f">= {least}", value)
    engine = torch.quasirandom.SobolEngine(dimensions, scramble=True, seed=seed)
    return engine.fast_forward(first).draw(n, dtype=torch.float64).numpy()


@checked
def hit_probability(fraction: float, trials: int) -> float:
    """The probability that at least one of `trials` random trials is among the best `fraction` of the space.

        P = 1 - (1 - fraction)**trials

    It does not depend on the number of dimensions.

    Args:
        fraction: in [0, 1].
        trials: >= 0.

    Returns:
        P, in [0, 1].

    Raises:
        ValueError: an argument out of range.

    >>> round(hit_probability(0.05, 60), 3)
    0.954
    """
    require(0 <= fraction <= 1, "hit_probability", "fraction", "in [0, 1]", fraction)
    require(trials >= 0, "hit_probability", "trials", ">= 0", trials)
    return -math.expm1(trials * math.log1p(-fraction)) if fraction < 1 else float(trials > 0)
