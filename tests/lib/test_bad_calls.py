"""Optimizers, schedules, searches, training, data, metrics, models: a wrong argument is one sentence that names it.

Each callable is called once as it should be; then every argument in turn is replaced by values of a wrong type, which
must be refused, and by numbers out of the usual range, which may be refused or computed.
"""

import re

import pytest
import torch
from torch import nn

from gradatim import data, metrics, models, optim, schedulers, search, training

SENTENCE = re.compile(r"^[\w.\[\]]+(\(\))?: .* must .*$")  # "where: argument must be rule, got value"
WRONG_TYPES = (None, "nonsense", [], object())
ODD_NUMBERS = (float("nan"), -1, -0.5, 0, float("inf"))
V, X, Y = (
    torch.linspace(0.1, 0.9, 6),
    torch.linspace(-1, 1, 18).reshape(6, 3),
    torch.tensor([0, 1, 1, 0, 1, 0]),
)
SPACE = search.Space({"a": search.Uniform(0.0, 1.0), "c": search.Choice(["u", "w"])})
EACH = {"t": 1, "base_lr": 1.0}


def parameters():
    p = torch.ones(3, 3, requires_grad=True)
    p.grad = torch.ones(3, 3)
    return [p]


def base():
    return torch.optim.SGD(parameters(), lr=0.1, momentum=0.9)


def study(sampler):
    return search.Study(SPACE, sampler).run(lambda trial: trial.params["a"], trials=4)


def trainer(**options):
    model = nn.Linear(3, 2)
    given = {"model": model, "optimizer": torch.optim.SGD(model.parameters(), lr=0.1), **options}
    made = training.Trainer(**{"loss": nn.functional.cross_entropy, **given})
    made.fit(training.Batches(X, Y, 3), epochs=1)


RULES = {name: getattr(optim, name) for name in optim.__all__ if isinstance(getattr(optim, name), type)}
OPTIMIZERS = [
    (make, {"params": parameters, "lr": 0.1})
    for name, make in RULES.items()
    if name not in ("SAM", "Lookahead")
]
CALLS = {
    "optim": [
        *OPTIMIZERS,
        (optim.SGD, {"params": parameters, "momentum": 0.5, "dampening": 0.5, "weight_decay": 0.1}),
        (optim.AdamW, {"params": parameters, "betas": (0.9, 0.99), "eps": 1e-8}),
        (optim.Adafactor, {"params": parameters, "d": 1.0, "beta2_decay": -0.8, "eps": (1e-3, 1e-3)}),
        (optim.Muon, {"params": parameters, "ns_steps": 2, "ns_coefficients": (1.0, 2.0, 3.0)}),
        (optim.LBFGS, {"params": parameters, "max_iter": 2, "history_size": 2}),
        (optim.SAM, {"base": base, "rho": 0.1}),
        (optim.Lookahead, {"base": base, "k": 2, "alpha": 0.5}),
        (optim.adam_direction, {"g": V, "m": V, "v": V, "t": 1, "beta1": 0.9, "beta2": 0.9, "eps": 0.1}),
        (optim.bias_correction, {"beta": 0.9, "t": 3}),
        (optim.newton_schulz, {"g": X, "steps": 2}),
        (optim.conjugate_gradient, {"product": lambda: torch.neg, "b": V}),
    ],
    "schedulers": [
        (schedulers.linear_lr, {**EACH, "start_factor": 0.5, "total_iters": 3}),
        (schedulers.step_lr, {**EACH, "step_size": 3, "gamma": 0.5}),
        (schedulers.multistep_lr, {**EACH, "milestones": (1, 2), "gamma": 0.5}),
        (schedulers.cosine_warm_restarts_lr, {**EACH, "T_0": 3, "T_mult": 2}),
        (schedulers.cyclic_lr, {**EACH, "max_lr": 2.0, "step_size_up": 2}),
        (
            schedulers.one_cycle_lr,
            {"t": 1, "max_lr": 1.0, "total_steps": 9, "pct_start": 0.3, "div_factor": 9.0},
        ),
        (schedulers.range_test_lr, {"t": 1, "start_lr": 0.1, "end_lr": 1.0, "num_iters": 9}),
        (schedulers.steepest_lr, {"lrs": (0.1, 0.2), "losses": (2.0, 1.0)}),
        (schedulers.StepLR, {"optimizer": base, "step_size": 3, "gamma": 0.5}),
        (schedulers.MultiStepLR, {"optimizer": base, "milestones": (1, 2)}),
        (schedulers.CyclicLR, {"optimizer": base, "base_lr": 0.1, "max_lr": 1.0, "step_size_up": 3}),
        (schedulers.OneCycleLR, {"optimizer": base, "max_lr": 1.0, "total_steps": 9, "div_factor": 9.0}),
        (schedulers.ReduceLROnPlateau, {"optimizer": base, "factor": 0.5, "patience": 1, "min_lr": 0.0}),
        (schedulers.ChainedScheduler, {"schedulers": lambda: [schedulers.StepLR(base(), 2)]}),
    ],
    "search": [
        (search.Uniform, {"low": 0.0, "high": 1.0}),
        (search.Space, {"dimensions": lambda: {"a": search.Uniform(0.0, 1.0)}}),
        (search.Study, {"space": lambda: SPACE, "sampler": search.RandomSearch, "seed": 0}),
        (search.GPSearch, {"startup": 2, "candidates": 4, "budget": 1}),
        (search.TPESearch, {"startup": 2, "gamma": 0.2, "candidates": 4}),
        (search.Hyperband, {"max_budget": 4, "eta": 2, "base": search.RandomSearch}),
        (search.GeneticSearch, {"population": 2, "tournament": 1, "step": 0.1}),
        (search.BatSearch, {"bats": 2, "f_max": 1.0, "loudness": 0.5}),
        (search.sobol_points, {"dimensions": 2, "n": 3, "seed": 0}),
        (search.paired_test, {"a": (1.0, 2.0), "b": (2.0, 3.0), "seed": 0}),
        (search.matern52, {"x1": X, "x2": X, "lengthscale": torch.ones(3)}),
        (search.expected_improvement, {"mean": V, "std": V, "best": 0.5}),
    ],
    "training": [
        (trainer, {"model": lambda: nn.Linear(3, 2)}),
        (trainer, {"optimizer": base}),
        (trainer, {"accumulate": 2, "precision": "float32", "callbacks": (), "metrics": dict}),
        (training.Batches, {"x": X, "y": Y, "batch_size": 2, "seed": 0}),
        (training.EarlyStopping, {"metric": "loss", "patience": 1, "min_delta": 0.0}),
        (training.EMA, {"decay": 0.9}),
        (training.seed_everything, {"seed": 0}),
    ],
    "data": [
        (data.k_fold, {"n": 6, "k": 3, "seed": 0}),
        (data.stratified_k_fold, {"labels": Y, "k": 3, "seed": 0}),
        (data.class_weights, {"labels": Y}),
        (data.WeightedSampler, {"weights": V, "draws": 3, "seed": 0}),
        (data.mark_missing, {"x": X, "codes": (1.0,), "columns": (1,)}),
        (data.Imputer, {"x": X, "strategy": "mean", "fill": 0.0}),
        (data.Standardizer, {"x": X}),
        (data.split, {"dataset": lambda: data.Dataset("d", X, Y, ()), "fractions": (0.5, 0.5), "seed": 0}),
        (data.read_idx, {"content": lambda: bytes([0, 0, 8, 1, 0, 0, 0, 1, 5])}),
    ],
    "metrics": [
        (metrics.f1, {"prediction": Y, "target": Y, "average": "macro"}),
        (metrics.roc_auc, {"scores": V, "target": Y}),
        (metrics.reliability, {"confidence": V, "correct": Y, "bins": 3}),
        (metrics.log_loss, {"probabilities": torch.full((6, 2), 0.5), "target": Y}),
        (metrics.r2_score, {"prediction": V, "target": V}),
    ],
    "models": [
        (models.MLP, {"sizes": (3, 4, 2), "activation": "relu", "dropout": 0.1}),
        (models.SmallCNN, {"in_channels": 1, "num_classes": 2, "size": 8, "width": 2}),
        (models.ResNet, {"in_channels": 1, "widths": (2, 3), "blocks": 1}),
        (models.RNN, {"in_features": 3, "hidden": 2, "out_features": 2, "nonlinearity": "tanh"}),
        (models.make_linear, {"fan_in": 3, "fan_out": 2, "gain": 1.0, "bias": True}),
        (models.MLP([3, 2]).forward, {"x": X}),
    ],
}
# To these None, an empty list or a string is an answer.
OPTIONAL = {"draws", "columns", "average", "callbacks", "metrics", "metric", "milestones"}


def made(value):
    fresh = callable(value)
    return value() if fresh else value.clone() if isinstance(value, torch.Tensor) else value


def call(function, arguments):
    result = function(**arguments)
    return study(result) if hasattr(result, "propose") else result


@pytest.mark.parametrize("family", CALLS)
def test_a_wrong_argument_is_one_sentence_that_names_it(family):
    wrong = []
    for function, arguments in CALLS[family]:
        call(function, {name: made(value) for name, value in arguments.items()})
        for name in arguments:
            for bad in (*WRONG_TYPES, *ODD_NUMBERS):
                given = {n: bad if n == name else made(value) for n, value in arguments.items()}
                try:
                    call(function, given)
                    said = "" if bad in ODD_NUMBERS or name in OPTIONAL else "nothing"
                except (TypeError, ValueError) as error:
                    said = "" if SENTENCE.match(str(error)) and "\n" not in str(error) else repr(error)
                except Exception as error:
                    said = repr(error)
                if said:
                    wrong.append(f"{function.__qualname__}({name}={bad!r}): {said}")
    assert not wrong, "\n".join(wrong)
