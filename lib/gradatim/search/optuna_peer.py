"""Optuna as one more search method, so that both can be run side by side. Optuna is optional and imported when
used."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from .._check import check_fields, require
from .space import Choice, Dimension, Int, LogUniform, Space
from .study import History, Proposal, Trial

METHODS = ("random", "tpe", "gp")


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as missing:
        raise ImportError("OptunaSampler: optuna must be installed (pip install optuna)") from missing
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # else a line for every trial
    return optuna


def distribution(dimension: Dimension) -> Any:
    """Optuna's distribution for a dimension."""
    kinds = _optuna().distributions
    if isinstance(dimension, Choice):
        return kinds.CategoricalDistribution(dimension.options)
    if isinstance(dimension, Int):
        return kinds.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return kinds.FloatDistribution(dimension.low, dimension.high, log=isinstance(dimension, LogUniform))


@dataclass(frozen=True)
class OptunaSampler:
    """One of Optuna's samplers behind this package's interface.

    For every proposal a fresh Optuna study is given the finished trials of the record and asked once, with a
    seed from the generator. So a study with it resumes exactly, as with any other method.

    Args:
        method: "random", "tpe" or "gp".
        budget: how far each trial is trained.

    Raises:
        ImportError: Optuna is not installed (when the first proposal is made).
    """

    method: str = "tpe"
    budget: int = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.budget >= 1, "OptunaSampler", "budget", ">= 1", self.budget)
        require(
            self.method in METHODS, "OptunaSampler", "method", f"one of {', '.join(METHODS)}", self.method
        )

    def propose(self, space: Space, history: History, rng: np.random.Generator) -> Proposal:
        """What Optuna suggests next."""
        optuna = _optuna()
        kinds = {"random": "RandomSampler", "tpe": "TPESampler", "gp": "GPSampler"}
        sampler = getattr(optuna.samplers, kinds[self.method])(seed=int(rng.integers(2**31)))
        study = optuna.create_study(sampler=sampler)
        study.add_trials([_frozen(optuna, space, history, trial) for trial in history.finished])
        asked = study.ask()
        params: dict[str, Any] = {}
        for name in space:
            if space.active(name, params):
                params[name] = asked._suggest(name, distribution(space[name]))
        return Proposal(params, self.budget)


def _frozen(optuna: Any, space: Space, history: History, trial: Trial) -> Any:
    state = optuna.trial.TrialState
    complete = trial.state == "complete"
    return optuna.trial.create_trial(
        params=trial.params,
        distributions={name: distribution(space[name]) for name in trial.params},
        value=history.loss(trial) if complete else None,
        state=state.COMPLETE if complete else state.FAIL,
    )
