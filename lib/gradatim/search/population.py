"""Searches with a population: a genetic algorithm, the bat algorithm, population-based training.

What an individual carries besides its parameters (genes of absent dimensions, a velocity) is in the memo of
its trial, so the population is read from the record and from nowhere else.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from .._check import check_fields, numbers_in, require
from .simple import RandomSearch
from .space import Choice, Dimension, Int, Params, Space, Value
from .study import History, Proposal, Sampler, Trial


@dataclass(frozen=True)
class GeneticSearch:
    """Breed configurations: select by tournament, cross genes over, mutate.

    A genome is a point of the unit cube, one gene a dimension (an absent dimension keeps a silent gene). The
    parents of generation g are the best `population` of all trials before it, so the best are never lost (mu +
    lambda selection). A child takes each gene from one of two parents, at even odds. Then each gene mutates
    with probability `mutation`: a choice is drawn anew, a number moves by a normal step of standard deviation
    `step`, reflected at the ends.

    Args:
        population: individuals in a generation, >= 2.
        tournament: how many are drawn, with replacement, for the best of them to become a parent; >= 1.
        mutation: probability per gene in [0, 1]; None means 1 / number of dimensions.
        step: standard deviation of a mutation, in the unit cube, > 0.
        budget: how far each trial is trained.

    Source: Eiben and Smith, "Introduction to Evolutionary Computing", 2nd ed. (2015), chapters 4 and 5.
    """

    population: int = 10
    tournament: int = 3
    mutation: float | None = None
    step: float = 0.1
    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        where = "GeneticSearch"
        require(self.budget >= 1, where, "budget", ">= 1", self.budget)
        require(self.population >= 2, where, "population", ">= 2", self.population)
        require(self.tournament >= 1, where, "tournament", ">= 1", self.tournament)
        ok = self.mutation is None or 0 <= self.mutation <= 1
        require(ok, where, "mutation", "None or in [0, 1]", self.mutation)
        require(0 < self.step < math.inf, where, "step", "> 0 and finite", self.step)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal | None:
        """A child; None while the generation before it is still running."""
        generation = len(history) // self.population
        before = history.trials[: generation * self.population]
        if any(t.state == "running" for t in before):
            return None
        genes = self._child(space, history, before, rng) if generation else rng.random(len(space))
        return Proposal(space.from_unit(genes), self.budget, memo={"genes": genes.tolist()})

    def _child(
        self, space: Space, history: History, before: list[Trial], rng: np.random.Generator
    ) -> np.ndarray:
        parents = sorted(before, key=history.rank)[: self.population]
        # The best of k random ranks is the smallest of them.
        mother, father = rng.integers(0, len(parents), (2, self.tournament)).min(axis=1)
        a, b = (np.array(parents[i].memo["genes"]) for i in (mother, father))
        genes = np.where(rng.random(len(space)) < 0.5, a, b)
        rate = 1 / len(space) if self.mutation is None else self.mutation
        moved = reflect(genes + self.step * rng.normal(size=len(space)))
        anew = rng.random(len(space))
        mutant = np.where([isinstance(space[name], Choice) for name in space], anew, moved)
        return np.where(rng.random(len(space)) < rate, mutant, genes)


def reflect(u: np.ndarray) -> np.ndarray:
    """Fold the real line into [0, 1]: a step over an end comes back by as much.

    >>> reflect(np.array([-0.25, 0.5, 1.25]))
    array([0.25, 0.5 , 0.75])
    """
    return 1.0 - np.abs(1.0 - np.mod(u, 2.0))


@dataclass
class _Bat:
    """One bat as its trials have left it."""

    position: np.ndarray
    velocity: np.ndarray
    loss: float
    loudness: float
    pulse_rate: float


@dataclass(frozen=True)
class BatSearch:
    """The bat algorithm: fly relative to the best position, or walk randomly near it; accept better places by luck.

    In the unit cube, with x* the best position of all bats, beta uniform in [0, 1], eps uniform in [-1, 1] per
    coordinate:

        f = f_min + (f_max - f_min) * beta              frequency
        v = v + (x - x*) * f,   x_new = x + v           flight
        x_new = x* + walk * eps * mean(A)               instead, with probability 1 - r
        accept if loss(x_new) < loss(x) and rand < A:   then A = alpha * A,  r = r0 * (1 - exp(-gamma * t))

    t counts the bat's moves; positions are clipped to the cube. A failed trial is never accepted.

    Args:
        bats: their number, >= 1.
        f_min, f_max: the range of frequencies, f_min <= f_max.
        loudness: A at the start, in (0, 1]. pulse_rate: r0, in [0, 1].
        alpha: in (0, 1]. gamma: > 0.
        walk: the length of the random walk, in the unit cube, > 0.
        budget: how far each trial is trained.

    Source: Yang, "A New Metaheuristic Bat-Inspired Algorithm", arXiv:1004.4170v1, eq. 2-6. Differs from the
    paper: a bat's new place is compared with its own, not with the best one (else only the best bat ever
    moves); the walk starts from x* and has a length (`walk`), since A near 1 would scatter it over the whole
    cube. The sign of (x - x*) is the paper's: a bat flies away from x* first, and is pulled back by the walk.
    """

    bats: int = 8
    f_min: float = 0.0
    f_max: float = 1.0
    loudness: float = 1.0
    pulse_rate: float = 0.5
    alpha: float = 0.9
    gamma: float = 0.9
    walk: float = 0.1
    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        where = "BatSearch"
        require(self.budget >= 1, where, "budget", ">= 1", self.budget)
        require(self.bats >= 1, where, "bats", ">= 1", self.bats)
        require(math.isfinite(self.f_max), where, "f_max", "finite", self.f_max)
        require(-math.inf < self.f_min <= self.f_max, where, "f_min", f"<= f_max = {self.f_max}", self.f_min)
        require(0 < self.loudness <= 1, where, "loudness", "in (0, 1]", self.loudness)
        require(0 <= self.pulse_rate <= 1, where, "pulse_rate", "in [0, 1]", self.pulse_rate)
        require(0 < self.alpha <= 1, where, "alpha", "in (0, 1]", self.alpha)
        require(self.gamma > 0, where, "gamma", "> 0", self.gamma)
        require(0 < self.walk < math.inf, where, "walk", "> 0 and finite", self.walk)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal | None:
        """The next place of the next bat; None while that bat's last trial is running."""
        index = len(history) % self.bats
        own = history.trials[index :: self.bats]
        if any(t.state == "running" for t in own):
            return None
        if len(history) < self.bats or not history.complete:
            return self._proposal(space, rng.random(len(space)), np.zeros(len(space)), rng)
        flock = [self._bat(history, history.trials[i :: self.bats]) for i in range(self.bats)]
        best = np.array(min(history.complete, key=history.rank).memo["position"])
        bat = flock[index]
        frequency = self.f_min + (self.f_max - self.f_min) * rng.random()
        velocity = bat.velocity + (bat.position - best) * frequency
        position = bat.position + velocity
        if rng.random() > bat.pulse_rate:
            loudness = np.mean([other.loudness for other in flock])
            position = best + self.walk * loudness * rng.uniform(-1, 1, len(space))
        return self._proposal(space, np.clip(position, 0.0, 1.0), velocity, rng)

    def _proposal(
        self, space: Space, position: np.ndarray, velocity: np.ndarray, rng: np.random.Generator
    ) -> Proposal:
        memo = {"position": position.tolist(), "velocity": velocity.tolist(), "luck": float(rng.random())}
        return Proposal(space.from_unit(position), self.budget, memo=memo)

    def _bat(self, history: History, trials: list[Trial]) -> _Bat:
        """Replay one bat's trials: which of its moves it accepted, and what that made of it."""
        first = trials[0].memo
        bat = _Bat(
            np.array(first["position"]),
            np.array(first["velocity"]),
            history.loss(trials[0]),
            self.loudness,
            0.0,
        )
        for t, trial in enumerate(trials[1:], start=1):
            bat.velocity = np.array(trial.memo["velocity"])
            loss = history.loss(trial)
            if loss < bat.loss and trial.memo["luck"] < bat.loudness:
                bat.position, bat.loss = np.array(trial.memo["position"]), loss
                bat.loudness *= self.alpha
                bat.pulse_rate = self.pulse_rate * (1 - math.exp(-self.gamma * t))
        return bat


def perturb(
    dimension: Dimension, value: Value, rng: np.random.Generator, factors: tuple[float, ...], resample: float
) -> Value:
    """Vary one value: draw it anew with probability `resample`, else multiply it by one of `factors`, within
    the ends.

    A choice has no neighbours: it is drawn anew or kept. An integer is rounded.
    """
    if rng.random() < resample:
        return dimension.from_unit(rng.random())
    factor = factors[int(rng.integers(len(factors)))]
    if isinstance(dimension, Choice) or not isinstance(value, (int, float)):
        return value
    moved = min(max(value * factor, dimension.low), dimension.high)
    return round(moved) if isinstance(dimension, Int) else float(moved)


@dataclass(frozen=True)
class PopulationBasedTraining:
    """Train a population together; now and then the worst copy weights and settings of the best, and vary the
    settings.

    The result is not one configuration but a schedule of settings, and the weights that were trained under it. Every
    generation trains each member for `interval` more. A member in the worst `fraction`, or one that failed,
    goes on from a random member of the best `fraction`, with its parameters perturbed; every other goes on
    from itself.

    Args:
        population: members, >= 2. interval: budget between two comparisons, >= 1.
        generations: how many times each member is trained, >= 1.
        fraction: of members that are replaced, in [0, 0.5].
        factors: a number is multiplied by one of these. resample: the probability to draw it anew instead.
        base: where the first generation comes from.

    Source: Jaderberg et al., "Population Based Training of Neural Networks", arXiv:1711.09846v2: truncation
    selection, 20 %, factors 0.8 and 1.2. Differs from the paper: generations are synchronous.
    """

    population: int
    interval: int
    generations: int
    fraction: float = 0.2
    factors: tuple[float, ...] = (0.8, 1.2)
    resample: float = 0.25
    base: Sampler = field(default_factory=RandomSearch)

    def __post_init__(self) -> None:
        check_fields(self)
        where = "PopulationBasedTraining"
        require(self.population >= 2, where, "population", ">= 2", self.population)
        require(self.interval >= 1, where, "interval", ">= 1", self.interval)
        require(self.generations >= 1, where, "generations", ">= 1", self.generations)
        require(0 <= self.fraction <= 0.5, where, "fraction", "in [0, 0.5]", self.fraction)
        numbers_in(where, "factors", self.factors, 1)
        require(0 <= self.resample <= 1, where, "resample", "in [0, 1]", self.resample)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal | None:
        """The next member of this generation; None while the last one is running, after the last, or if all
        failed."""
        generation, member = divmod(len(history), self.population)
        if generation == 0:
            fresh = self.base.propose(space, history, rng)
            return None if fresh is None else Proposal(fresh.params, self.interval)
        last = history.trials[(generation - 1) * self.population : generation * self.population]
        alive = sorted((t for t in last if t.state == "complete"), key=history.rank)
        if generation == self.generations or any(t.state == "running" for t in last) or not alive:
            return None
        budget = self.interval * (generation + 1)
        own, count = last[member], math.floor(self.fraction * self.population)
        worst = {t.number for t in sorted(last, key=history.rank)[self.population - count :]}
        if own.state == "complete" and own.number not in worst:
            return Proposal(own.params, budget, own.number)
        best = alive[: max(count, 1)]
        source = best[int(rng.integers(len(best)))]
        return Proposal(self._explore(space, source.params, rng), budget, source.number)

    def _explore(self, space: Space, params: Params, rng: np.random.Generator) -> Params:
        varied: Params = {}
        for name in space:
            if not space.active(name, varied):
                continue
            if name in params:
                varied[name] = perturb(space[name], params[name], rng, self.factors, self.resample)
            else:  # it exists only under the new choice
                varied[name] = space[name].from_unit(rng.random())
        return varied
