"""Successive halving, Hyperband and ASHA: train many a little, and only the good ones longer.

Every method here proposes trials that go on from a parent: the same configuration, the parent's weights, a
larger total budget. A trial's `memo` says which bracket and rung it belongs to; everything else follows from
the record.
"""

from dataclasses import dataclass, field

import numpy as np

from .._check import check_fields, checked, require
from .simple import RandomSearch
from .space import Space
from .study import History, Proposal, Sampler, Trial

Rungs = list[tuple[int, int]]


def _require_ladder(where: str, min_budget: int, max_budget: int, eta: int) -> None:
    for name, value in (("min_budget", min_budget), ("max_budget", max_budget), ("eta", eta)):
        require(isinstance(value, int) and not isinstance(value, bool), where, name, "an integer", value)
    require(min_budget >= 1, where, "min_budget", ">= 1", min_budget)
    require(max_budget >= min_budget, where, "max_budget", f">= min_budget = {min_budget}", max_budget)
    require(eta >= 2, where, "eta", ">= 2", eta)


@checked
def halving_rungs(configurations: int, min_budget: int, max_budget: int, eta: int = 3) -> Rungs:
    """The (number of configurations, budget of each) of every rung of successive halving.

        n_i = floor(n / eta**i),  r_i = r * eta**i,      for i = 0, 1, ... while n_i >= 1 and r_i <= R

    Args:
        configurations: n >= 1, on the first rung.
        min_budget: r >= 1, of the first rung.
        max_budget: R >= r, of the last.
        eta: >= 2; one in eta goes on.

    Returns:
        A pair (n_i, r_i) for each rung, the first first.

    Raises:
        ValueError: an argument out of range.

    >>> halving_rungs(9, 1, 9)
    [(9, 1), (3, 3), (1, 9)]
    """
    _require_ladder("halving_rungs", min_budget, max_budget, eta)
    require(configurations >= 1, "halving_rungs", "configurations", ">= 1", configurations)
    rungs: Rungs = []
    n, r = configurations, min_budget
    while n >= 1 and r <= max_budget:
        rungs.append((n, r))
        n, r = n // eta, r * eta
    return rungs


@checked
def hyperband_brackets(max_budget: int, eta: int = 3, *, rounding: str = "ceil") -> list[Rungs]:
    """The brackets of Hyperband, s = s_max, ..., 0, each a list of (n_i, r_i).

        s_max = floor(log_eta R)
        n = ceil((s_max + 1) * eta**s / (s + 1))            rounding="ceil"   (Algorithm 1, B = (s_max + 1) R)
            floor((s_max + 1) / (s + 1)) * eta**s           rounding="floor"
        n_i = floor(n / eta**i),  r_i = floor(R / eta**(s - i))

    Both roundings are in use: for R = 81 and eta = 3 the brackets start with 81, 34, 15, 8, 5 or with 81, 27, 9, 6, 5
    configurations. Everything is integer arithmetic: in floating point, log(243) / log(3) is less than 5.

    Args:
        max_budget: R >= 1, of a configuration that goes all the way.
        eta: >= 2; one in eta goes on.
        rounding: "ceil" or "floor".

    Returns:
        The brackets, each with a pair (n_i, r_i) for every rung.

    Raises:
        ValueError: an argument out of range.

    Source: Li et al., "Hyperband", arXiv:1603.06560v4, Algorithm 1.

    >>> hyperband_brackets(9)
    [[(9, 1), (3, 3), (1, 9)], [(5, 3), (1, 9)], [(3, 9)]]
    """
    _require_ladder("hyperband_brackets", 1, max_budget, eta)
    require(rounding in ("ceil", "floor"), "hyperband_brackets", "rounding", '"ceil" or "floor"', rounding)
    s_max = 0
    while eta ** (s_max + 1) <= max_budget:
        s_max += 1
    brackets = []
    for s in range(s_max, -1, -1):
        if rounding == "ceil":
            n = -(-(s_max + 1) * eta**s // (s + 1))
        else:
            n = (s_max + 1) // (s + 1) * eta**s
        brackets.append([(n // eta**i, max_budget // eta ** (s - i)) for i in range(s + 1)])
    return brackets


def _fresh(
    base: Sampler, space: Space, history: History, rng: np.random.Generator, r: int, memo: dict
) -> Proposal:
    """A new configuration from the base method, with this rung's budget."""
    proposal = base.propose(space, history, rng)
    assert proposal is not None, "the base method of a halving search must not run out"
    return Proposal(proposal.params, r, memo=memo)


def _within_bracket(rungs: Rungs, trials: list[Trial], history: History) -> tuple[str, int, Trial | None]:
    """What a bracket does next: ("fresh", 0, None), ("promote", rung, trial), ("wait", ...) or ("done", ...)."""
    by_rung = [[t for t in trials if t.memo["rung"] == i] for i in range(len(rungs))]
    if len(by_rung[0]) < rungs[0][0]:
        return "fresh", 0, None
    for i in range(1, len(rungs)):
        below = by_rung[i - 1]
        if any(t.state == "running" for t in below):
            return "wait", i, None
        # Ties go to the earlier trial; a failed trial is never promoted, even if a place stays empty.
        survivors = sorted((t for t in below if t.state == "complete"), key=history.rank)[: rungs[i][0]]
        if len(by_rung[i]) < len(survivors):
            return "promote", i, survivors[len(by_rung[i])]
    waiting = any(t.state == "running" for t in by_rung[-1])
    return ("wait" if waiting else "done"), len(rungs), None


@dataclass(frozen=True)
class SuccessiveHalving:
    """n configurations for a small budget, the best 1/eta of them for eta times as much, and so on.

    Total, with each survivor going on where it stopped: the sum over the rungs of n_i * (r_i - r_(i-1)).

    Args:
        configurations, min_budget, max_budget, eta: see `halving_rungs`.
        base: where new configurations come from.

    Source: Jamieson and Talwalkar, arXiv:1502.07943v1, fig. 3; the form with eta is in arXiv:1603.06560v4.
    """

    configurations: int
    min_budget: int
    max_budget: int
    eta: int = 3
    base: Sampler = field(default_factory=RandomSearch)

    def __post_init__(self) -> None:
        check_fields(self)
        halving_rungs(self.configurations, self.min_budget, self.max_budget, self.eta)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal | None:
        """A new configuration, a promotion, or None: wait for a rung to be complete, or the end."""
        rungs = halving_rungs(self.configurations, self.min_budget, self.max_budget, self.eta)
        action, i, trial = _within_bracket(rungs, history.trials, history)
        if action == "fresh":
            return _fresh(self.base, space, history, rng, rungs[0][1], {"rung": 0})
        if trial is not None:
            return Proposal(trial.params, rungs[i][1], trial.number, {"rung": i})
        return None


@dataclass(frozen=True)
class Hyperband:
    """Successive halving in several brackets, from many short trials to few long ones.

    Nobody knows in advance whether a short training predicts a long one; each bracket bets differently, and
    all spend about the same. A late bloomer that every low rung throws away is still found by the last
    bracket, which is random search.

    Args:
        max_budget, eta, rounding: see `hyperband_brackets`.
        rounds: how often all brackets are run, >= 1.
        base: where new configurations come from; `TPESearch()` makes it BOHB-like.

    Source: Li et al., arXiv:1603.06560v4, Algorithm 1.
    """

    max_budget: int
    eta: int = 3
    rounding: str = "ceil"
    rounds: int = 1
    base: Sampler = field(default_factory=RandomSearch)

    def __post_init__(self) -> None:
        check_fields(self)
        hyperband_brackets(self.max_budget, self.eta, rounding=self.rounding)
        require(self.rounds >= 1, "Hyperband", "rounds", ">= 1", self.rounds)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal | None:
        """What the first unfinished bracket does next. A waiting bracket lets the next one begin."""
        brackets = hyperband_brackets(self.max_budget, self.eta, rounding=self.rounding) * self.rounds
        for b, rungs in enumerate(brackets):
            trials = [t for t in history.trials if t.memo["bracket"] == b]
            action, i, trial = _within_bracket(rungs, trials, history)
            if action == "fresh":
                return _fresh(self.base, space, history, rng, rungs[0][1], {"bracket": b, "rung": 0})
            if trial is not None:
                return Proposal(trial.params, rungs[i][1], trial.number, {"bracket": b, "rung": i})
        return None


@dataclass(frozen=True)
class ASHA:
    """Successive halving that never waits: promote whatever is in the top 1/eta of its rung now, else try a new one.

    With one worker it is a way to spend any budget; with many workers nobody idles. The price: an early trial
    may be promoted that would not have been among the best of a full rung. It does not end by itself: give
    `Study.run` a limit.

    Args:
        min_budget, max_budget, eta: the rungs' budgets are min_budget * eta**k, up to max_budget.
        base: where new configurations come from.

    Source: Li et al., "A System for Massively Parallel Hyperparameter Tuning", arXiv:1810.05934v5, Algorithm 2.
    """

    min_budget: int
    max_budget: int
    eta: int = 3
    base: Sampler = field(default_factory=RandomSearch)

    def __post_init__(self) -> None:
        check_fields(self)
        _require_ladder("ASHA", self.min_budget, self.max_budget, self.eta)

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal:
        """A promotion from the highest rung that has one, else a new configuration."""
        budgets = [self.min_budget]
        while budgets[-1] * self.eta <= self.max_budget:
            budgets.append(budgets[-1] * self.eta)
        promoted = {t.parent for t in history.trials}
        for k in range(len(budgets) - 2, -1, -1):
            rung = [t for t in history.finished if t.memo["rung"] == k]
            top = sorted(rung, key=history.rank)[: len(rung) // self.eta]
            for trial in top:
                if trial.state == "complete" and trial.number not in promoted:
                    return Proposal(trial.params, budgets[k + 1], trial.number, {"rung": k + 1})
        return _fresh(self.base, space, history, rng, budgets[0], {"rung": 0})
