"""Every search method beside Optuna's, on equal budgets: `python benchmarks/search.py`.

Three problems: Branin (2 numbers, minimum 0.397887), Hartmann (6 numbers, minimum -3.32237), and the training of a
small network on scikit-learn's digits (5 dimensions, one of them conditional; validation cross-entropy, up to 9
epochs). Every method gets the same total budget: trials * full budget, a promotion costing only what lies beyond
its parent.
"""

import argparse
import math
from typing import Any

import numpy as np
import torch

from gradatim.search import (
    ASHA,
    BatSearch,
    Choice,
    GeneticSearch,
    GPSearch,
    GridSearch,
    Hyperband,
    Int,
    LogUniform,
    OptunaSampler,
    PopulationBasedTraining,
    RandomSearch,
    Sampler,
    SobolSearch,
    Space,
    SuccessiveHalving,
    TPESearch,
    Trial,
    Uniform,
    compare,
)
from gradatim.search.study import Objective

EPOCHS = 9
BRANIN = Space({"x": Uniform(-5.0, 10.0), "y": Uniform(0.0, 15.0)})
HARTMANN = Space({f"x{i}": Uniform(0.0, 1.0) for i in range(6)})
NETWORK = Space(
    {
        "optimizer": Choice(["sgd", "adam"]),
        "lr": LogUniform(1e-4, 1.0),
        "momentum": Uniform(0.0, 0.99, when={"optimizer": "sgd"}),
        "width": Int(8, 128, log=True),
        "weight_decay": LogUniform(1e-6, 1e-1),
    }
)


def branin(trial: Trial) -> float:
    x, y = (float(trial.params[name]) for name in ("x", "y"))  # type: ignore[arg-type]
    quadratic = y - 5.1 / (4 * math.pi**2) * x * x + 5 / math.pi * x - 6
    return quadratic**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10


ALPHA = torch.tensor([1.0, 1.2, 3.0, 3.2])
A = torch.tensor(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
P = 1e-4 * torch.tensor(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann(trial: Trial) -> float:
    x = torch.tensor([float(v) for v in trial.params.values()])  # type: ignore[arg-type]
    return -float((ALPHA * torch.exp(-(A * (x - P).square()).sum(1))).sum())


class Network:
    """Train on digits, up to the trial's budget in epochs.

    No weights are kept: with its parent's seed a trial repeats the parent's trajectory. The study charges the rest.
    """

    def __init__(self) -> None:
        from gradatim.data import Standardizer, load, split

        train, validation, _ = split(load("digits"), seed=0)
        scale = Standardizer(train.x)
        self.x, self.y, self.vx, self.vy = scale(train.x), train.y, scale(validation.x), validation.y

    def __call__(self, trial: Trial) -> float:
        p = trial.params
        torch.manual_seed(trial.seed)
        net = torch.nn.Sequential(
            torch.nn.Linear(64, p["width"]), torch.nn.ReLU(), torch.nn.Linear(p["width"], 10)
        )
        decay = p["weight_decay"]
        if p["optimizer"] == "sgd":
            opt = torch.optim.SGD(net.parameters(), lr=p["lr"], momentum=p["momentum"], weight_decay=decay)
        else:
            opt = torch.optim.Adam(net.parameters(), lr=p["lr"], weight_decay=decay)
        for epoch in range(trial.budget):
            generator = torch.Generator().manual_seed(trial.seed + epoch)
            for rows in torch.randperm(len(self.x), generator=generator).split(64):
                opt.zero_grad()
                torch.nn.functional.cross_entropy(net(self.x[rows]), self.y[rows]).backward()
                opt.step()
        with torch.no_grad():
            return float(torch.nn.functional.cross_entropy(net(self.vx), self.vy))


def single_fidelity(budget: int) -> dict:
    """The methods that train every trial to its end."""
    own = {
        "random": RandomSearch(budget),
        "sobol": SobolSearch(budget),
        "gp-ei": GPSearch(budget=budget),
        "tpe": TPESearch(budget=budget),
        "tpe, independent": TPESearch(joint=False, budget=budget),
        "genetic": GeneticSearch(budget=budget),
        "bat": BatSearch(budget=budget),
    }
    try:
        import optuna  # noqa: F401
    except ImportError:
        print("optuna is not installed: its rows are missing")
        return own
    peers = {f"optuna {method}": OptunaSampler(method, budget=budget) for method in ("random", "tpe", "gp")}
    return own | peers


def report(
    title: str, objective: Objective, space: Space, samplers: dict[str, Sampler], **limits: Any
) -> None:
    """A table of the best values found: median and quartiles over the seeds. Each row is printed when it is known."""
    print(
        f"\n{title}\n\n| method | median | 25 % | 75 % | spent | ms per proposal |\n|---|---:|---:|---:|---:|---:|",
        flush=True,
    )
    for name, sampler in samplers.items():
        (one,) = compare(objective, space, {name: sampler}, **limits)
        low, middle, high = np.quantile(one.best, [0.25, 0.5, 0.75])
        cost = f"{np.mean(one.spent):.0f} | {1e3 * one.seconds_per_proposal:.1f}"
        print(f"| {one.name} | {middle:.4g} | {low:.4g} | {high:.4g} | {cost} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, help="10; for the network 5")
    parser.add_argument("--trials", type=int, help="60; for the network 30")
    parser.add_argument("--only", choices=["branin", "hartmann", "network"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    trials, seeds = options.trials or 60, range(options.seeds or 10)
    for name, objective, space, side in (("branin", branin, BRANIN, 8), ("hartmann", hartmann, HARTMANN, 2)):
        if options.only in (None, name):
            samplers = {"grid": GridSearch(side)} | single_fidelity(1)
            report(
                f"{name}, {trials} trials, {len(seeds)} seeds",
                objective,
                space,
                samplers,
                seeds=seeds,
                trials=trials,
            )
    if options.only in (None, "network"):
        trials, seeds = options.trials or 30, range(options.seeds or 5)
        budget = trials * EPOCHS
        samplers = single_fidelity(EPOCHS) | {
            "successive halving": SuccessiveHalving(trials, 1, EPOCHS),
            "hyperband": Hyperband(EPOCHS, rounds=99),
            "hyperband + tpe": Hyperband(EPOCHS, rounds=99, base=TPESearch()),
            "asha": ASHA(1, EPOCHS),
            "pbt": PopulationBasedTraining(trials, 1, EPOCHS),
        }
        report(
            f"digits network, {budget} epochs, {len(seeds)} seeds",
            Network(),
            NETWORK,
            samplers,
            seeds=seeds,
            budget=budget,
        )


if __name__ == "__main__":
    main()
