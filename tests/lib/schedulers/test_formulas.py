"""The pure functions against the papers' formulas and their limits; what torch lacks; bad input; doctests."""

import doctest
import importlib
import itertools
import math
import pkgutil
import re

import pytest
import torch

import gradatim.schedulers as ours

PURE = {
    "ConstantLR": (ours.constant_lr, {"factor": 0.3, "total_iters": 7}),
    "LinearLR": (ours.linear_lr, {"start_factor": 0.1, "end_factor": 0.7, "total_iters": 13}),
    "StepLR": (ours.step_lr, {"step_size": 7, "gamma": 0.3}),
    "MultiStepLR": (ours.multistep_lr, {"milestones": [9, 3, 9], "gamma": 0.7}),
    "ExponentialLR": (ours.exponential_lr, {"gamma": 0.93}),
    "PolynomialLR": (ours.polynomial_lr, {"total_iters": 20, "power": 1.7}),
    "CosineAnnealingLR": (ours.cosine_annealing_lr, {"T_max": 20, "eta_min": 0.013}),
    "CosineAnnealingWarmRestarts": (ours.cosine_warm_restarts_lr, {"T_0": 5, "T_mult": 2, "eta_min": 0.01}),
    "InverseSqrtLR": (ours.inverse_sqrt_lr, {"warmup_iters": 6}),
    "WarmupStableDecayLR": (
        ours.warmup_stable_decay_lr,
        {"warmup_iters": 5, "stable_iters": 12, "decay_iters": 11, "final_factor": 0.1, "decay": "sqrt"},
    ),
    "LambdaLR": (ours.lambda_lr, {"lr_lambda": lambda t: 0.7**t}),
    "MultiplicativeLR": (ours.multiplicative_lr, {"lr_lambda": lambda t: 1 / (1 + 0.1 * t)}),
}


def make(name, lr=0.3, **kwargs):
    opt = torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=lr, momentum=0.7)
    return opt, getattr(ours, name)(opt, **kwargs)


@pytest.mark.parametrize("name", PURE)
def test_class_writes_the_value_of_its_pure_function(name):
    function, kwargs = PURE[name]
    opt, schedule = make(name, **kwargs)
    for t in range(40):
        assert opt.param_groups[0]["lr"] == pytest.approx(function(t, 0.3, **kwargs), rel=1e-12, abs=1e-300)
        opt.step()
        schedule.step()


def test_cyclic_and_one_cycle_write_their_pure_functions():
    cyclic = {"step_size_up": 5, "step_size_down": 3, "mode": "exp_range", "gamma": 0.97}
    one = {"total_steps": 40, "pct_start": 0.3, "three_phase": True}
    opt_a, a = make("CyclicLR", base_lr=0.1, max_lr=0.7, base_momentum=0.3, max_momentum=0.9, **cyclic)
    opt_b, b = make("OneCycleLR", max_lr=0.7, base_momentum=0.3, max_momentum=0.9, div_factor=7, **one)
    for t in range(41):
        g = opt_a.param_groups[0]
        assert g["lr"] == pytest.approx(ours.cyclic_lr(t, 0.1, 0.7, **cyclic))
        assert g["momentum"] == pytest.approx(ours.cyclic_momentum(t, 0.3, 0.9, **cyclic))
        g = opt_b.param_groups[0]
        assert g["lr"] == pytest.approx(ours.one_cycle_lr(t, 0.7, div_factor=7, **one))
        assert g["momentum"] == pytest.approx(ours.one_cycle_momentum(t, 0.3, 0.9, **one))
        if t < 40:
            opt_a.step(), opt_b.step()
            a.step(), b.step()


@pytest.mark.parametrize("name", PURE)
def test_pure_function_takes_a_tensor_and_keeps_its_dtype(name):
    function, kwargs = PURE[name]
    for t in (0, 3, 17, 60):
        lr = function(t, torch.tensor(0.3, dtype=torch.float64), **kwargs)
        assert lr.dtype == torch.float64
        assert lr.item() == pytest.approx(function(t, 0.3, **kwargs), rel=1e-12)


@pytest.mark.parametrize("name", PURE)
def test_pure_function_is_linear_in_the_learning_rate(name):
    function, kwargs = PURE[name]
    kwargs = {k: v for k, v in kwargs.items() if k != "eta_min"}
    for t in (0, 1, 6, 19, 33):
        assert function(t, 0.9, **kwargs) == pytest.approx(3 * function(t, 0.3, **kwargs), rel=1e-12)


def test_inverse_sqrt_equals_the_transformer_formula():
    """Vaswani et al., eq. 3: d^-0.5 * min(step^-0.5, step * warmup^-1.5), steps counted from 1."""
    d, w = 512, 37
    for step in (1, 2, 36, 37, 38, 1000):
        paper = d**-0.5 * min(step**-0.5, step * w**-1.5)
        assert ours.inverse_sqrt_lr(step - 1, (d * w) ** -0.5, w) == pytest.approx(paper, rel=1e-13)


@pytest.mark.parametrize("decay", ["linear", "cosine", "sqrt"])
def test_warmup_stable_decay_holds_then_reaches_its_end_exactly(decay):
    lr = [ours.warmup_stable_decay_lr(t, 0.3, 3, 4, 5, 0.1, decay) for t in range(15)]
    assert lr[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert lr[3:8] == [0.3] * 5
    assert all(a > b for a, b in itertools.pairwise(lr[7:13]))
    assert lr[12:] == pytest.approx([0.03] * 3)


def test_warmup_stable_decay_phases_may_be_empty():
    assert ours.warmup_stable_decay_lr(0, 0.3, 0, 2, 1) == 0.3
    assert ours.warmup_stable_decay_lr(0, 0.3, 0, 0, 0, 0.5) == 0.15
    assert ours.warmup_stable_decay_lr(2, 0.3, 2, 0, 4) == 0.3


def test_cosine_is_symmetric_about_its_middle():
    for t in range(21):
        a, b = ours.cosine_annealing_lr(t, 0.7, 20, 0.1), ours.cosine_annealing_lr(20 - t, 0.7, 20, 0.1)
        assert a + b == pytest.approx(0.8, rel=1e-14)


def test_long_cosine_does_not_drift():
    """torch's recursion loses digits near the end of a long schedule; the closed form does not."""
    T = 20_000
    opt, schedule = make("CosineAnnealingLR", T_max=T)
    opt._opt_called = True
    for _ in range(T - 1):
        schedule.step()
    exact = 0.3 * math.sin(math.pi / (2 * T)) ** 2  # (1 + cos(pi - x)) / 2 = sin(x / 2)**2
    assert opt.param_groups[0]["lr"] == pytest.approx(exact, rel=1e-7)


def test_chain_of_pure_functions_is_the_product_of_their_factors():
    parts = [lambda t, lr: ours.constant_lr(t, lr, 0.3, 4), lambda t, lr: ours.exponential_lr(t, lr, 0.7)]
    for t in (0, 3, 4, 9):
        expected = 0.2 * (0.3 if t < 4 else 1) * 0.7**t
        assert ours.chained_lr(t, 0.2, parts) == pytest.approx(expected, rel=1e-13)


def test_one_cycle_spends_no_step_outside_its_bounds():
    lr = [ours.one_cycle_lr(t, 0.7, 50, 0.3, "cos", 10.0, 100.0) for t in range(50)]
    assert lr[0] == pytest.approx(0.07)
    assert lr[14] == max(lr) == pytest.approx(0.7)
    assert lr[-1] == min(lr) == pytest.approx(0.0007)


def test_one_cycle_with_a_single_rising_step_is_defined():
    """torch divides 0 by 0 here: pct_start * total_steps is 1."""
    opt, _ = make("OneCycleLR", max_lr=0.7, total_steps=10, pct_start=0.1)
    assert opt.param_groups[0]["lr"] == 0.7


def test_one_cycle_refuses_a_step_too_many():
    opt, schedule = make("OneCycleLR", max_lr=0.7, total_steps=3)
    opt.step()
    for _ in range(3):
        schedule.step()
    with pytest.raises(
        ValueError, match=r"OneCycleLR: the number of steps must be <= total_steps = 3, got 4"
    ):
        schedule.step()


def test_constant_factor_zero_recovers():
    opt, schedule = make("ConstantLR", factor=0.0, total_iters=2)
    seen = []
    for _ in range(4):
        seen.append(opt.param_groups[0]["lr"])
        opt.step(), schedule.step()
    assert seen == [0.0, 0.0, 0.3, 0.3]


def test_cyclic_begins_at_its_own_base_after_another_scheduler():
    opt, _ = make("ConstantLR")
    schedule = ours.CyclicLR(opt, base_lr=0.02, max_lr=0.7)
    assert opt.param_groups[0]["lr"] == 0.02 == schedule.get_last_lr()[0]


def test_get_lr_outside_of_step_warns_and_get_last_lr_does_not():
    _, schedule = make("StepLR", step_size=3)
    with pytest.warns(UserWarning, match="get_last_lr"):
        schedule.get_lr()
    assert schedule.get_last_lr() == [0.3]


def test_stepping_before_the_optimizer_warns_as_torch_does():
    _, schedule = make("StepLR", step_size=3)
    with pytest.warns(UserWarning, match=r"lr_scheduler.step\(\)` before `optimizer.step"):
        schedule.step()


def test_plateau_follows_groups_added_later():
    opt, schedule = make("ReduceLROnPlateau", factor=0.5, patience=0)
    opt.add_param_group({"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.8})
    schedule.step(1.0), schedule.step(1.0)
    assert [g["lr"] for g in opt.param_groups] == [0.15, 0.4]


BAD = [
    ("ConstantLR", {"factor": 1.3}, "ConstantLR: factor must be in [0, 1], got 1.3"),
    ("ConstantLR", {"total_iters": -1}, "ConstantLR: total_iters must be an integer >= 0, got -1"),
    ("LinearLR", {"start_factor": 0.0}, "LinearLR: start_factor must be in (0, 1], got 0.0"),
    ("LinearLR", {"end_factor": -0.1}, "LinearLR: end_factor must be in [0, 1], got -0.1"),
    ("LinearLR", {"total_iters": 0}, "LinearLR: total_iters must be an integer >= 1, got 0"),
    ("StepLR", {"step_size": 0}, "StepLR: step_size must be an integer >= 1, got 0"),
    ("StepLR", {"step_size": 2, "gamma": -0.1}, "StepLR: gamma must be >= 0, got -0.1"),
    ("StepLR", {"step_size": 2.5}, "StepLR: step_size must be an integer, got 2.5"),
    ("StepLR", {"step_size": 2, "last_epoch": -2}, "StepLR: last_epoch must be an integer >= -1, got -2"),
    ("MultiStepLR", {"milestones": [3, -1]}, "MultiStepLR: milestones must be an integer >= 0, got -1"),
    ("ExponentialLR", {"gamma": float("nan")}, "ExponentialLR: gamma must be >= 0, got nan"),
    ("PolynomialLR", {"power": -1.0}, "PolynomialLR: power must be >= 0, got -1.0"),
    ("CosineAnnealingLR", {"T_max": 0}, "CosineAnnealingLR: T_max must be an integer >= 1, got 0"),
    ("CosineAnnealingLR", {"T_max": 3, "eta_min": -1.0}, "CosineAnnealingLR: eta_min must be >= 0, got -1.0"),
    (
        "CosineAnnealingWarmRestarts",
        {"T_0": -1},
        "CosineAnnealingWarmRestarts: T_0 must be an integer >= 1, got -1",
    ),
    ("CosineAnnealingWarmRestarts", {"T_0": 2, "T_mult": 1.5}, "T_mult must be an integer, got 1.5"),
    ("CyclicLR", {"base_lr": 0.1, "max_lr": 0.2, "mode": "saw"}, "CyclicLR: mode must be one of"),
    (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.2, "scale_mode": "x"},
        "CyclicLR: scale_mode must be 'cycle' or 'iter",
    ),
    (
        "CyclicLR",
        {"base_lr": [0.1] * 2, "max_lr": 0.2},
        "CyclicLR: base_lr must be one number or 1, one per group",
    ),
    (
        "CyclicLR",
        {"base_lr": 0.1, "max_lr": 0.2, "step_size_up": 0},
        "CyclicLR: step_size_up must be an integer >= 1",
    ),
    (
        "OneCycleLR",
        {"max_lr": 0.1},
        "OneCycleLR: total_steps must be given, or both epochs and steps_per_epoch",
    ),
    (
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": -1},
        "OneCycleLR: total_steps must be an integer >= 1, got -1",
    ),
    (
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": 9, "pct_start": 2.0},
        "OneCycleLR: pct_start must be in [0, 1], got 2",
    ),
    (
        "OneCycleLR",
        {"max_lr": 0.1, "total_steps": 9, "anneal_strategy": "x"},
        "OneCycleLR: anneal_strategy must be one",
    ),
    ("InverseSqrtLR", {"warmup_iters": 0}, "InverseSqrtLR: warmup_iters must be an integer >= 1, got 0"),
    (
        "WarmupStableDecayLR",
        {"warmup_iters": 1, "stable_iters": 1, "decay_iters": 1, "decay": "x"},
        "WarmupStableDecayLR: decay must be one of ('linear', 'cosine', 'sqrt'), got 'x'",
    ),
    ("ReduceLROnPlateau", {"mode": "most"}, "ReduceLROnPlateau: mode must be 'min' or 'max', got 'most'"),
    ("ReduceLROnPlateau", {"factor": 1.0}, "ReduceLROnPlateau: factor must be in [0, 1), got 1.0"),
    (
        "ReduceLROnPlateau",
        {"min_lr": [0.1, 0.2]},
        "ReduceLROnPlateau: min_lr must be one number or 1, one per",
    ),
    ("LambdaLR", {"lr_lambda": [abs, abs]}, "LambdaLR: lr_lambda must be one function or 1, one per group"),
]


@pytest.mark.parametrize(("name", "kwargs", "message"), BAD, ids=[b[2][:40] for b in BAD])
def test_bad_argument_is_named_with_its_rule_and_value(name, kwargs, message):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        make(name, **kwargs)


def test_wrong_types_are_type_errors():
    with pytest.raises(TypeError, match=r"StepLR: optimizer must be a torch.optim.Optimizer, got 3"):
        ours.StepLR(3, step_size=2)
    with pytest.raises(
        TypeError, match=r"MultiplicativeLR: lr_lambda must be a function of the step, got 0.5"
    ):
        make("MultiplicativeLR", lr_lambda=0.5)
    opt = torch.optim.Adagrad([torch.nn.Parameter(torch.ones(2))])
    with pytest.raises(ValueError, match="OneCycleLR: optimizer must be one with momentum or betas"):
        ours.OneCycleLR(opt, max_lr=0.1, total_steps=3)
    with pytest.raises(ValueError, match=r"step_lr: t must be >= 0 \(steps are counted from 0\), got -1"):
        ours.step_lr(-1, 0.1, 3)


def test_compositions_refuse_what_they_cannot_compose():
    opt, step = make("StepLR", step_size=3)
    _, foreign = make("StepLR", step_size=3)
    plateau = ours.ReduceLROnPlateau(opt)
    for build in (
        lambda s: ours.ChainedScheduler(s),
        lambda s: ours.SequentialLR(opt, s, [3] * (len(s) - 1)),
    ):
        with pytest.raises(ValueError, match="at least one scheduler"):
            build([])
        with pytest.raises(ValueError, match=r"schedulers\[1\] must be one that steps without a metric"):
            build([step, plateau])
        with pytest.raises(ValueError, match=r"schedulers\[1\] must be a scheduler of the same optimizer"):
            build([step, foreign])
        with pytest.raises(TypeError, match=r"schedulers\[0\] must be a scheduler, got 'Adagrad'"):
            build([torch.optim.Adagrad(opt.param_groups[0]["params"])])
    with pytest.raises(ValueError, match="SequentialLR: milestones must be one fewer than the 2 schedules"):
        ours.SequentialLR(opt, [step, step], [])
    with pytest.raises(ValueError, match="SequentialLR: milestones must be increasing"):
        ours.SequentialLR(opt, [step, step, step], [4, 4])


@pytest.mark.parametrize("module", [m.name for m in pkgutil.iter_modules(ours.__path__)])
def test_docstring_examples_are_true(module):
    result = doctest.testmod(importlib.import_module(f"gradatim.schedulers.{module}"))
    assert result.failed == 0
    assert result.attempted > 0


def test_every_public_name_is_documented():
    for name in ours.__all__:
        assert getattr(ours, name).__doc__, name


@pytest.mark.parametrize("name", sorted(set(PURE) - {"LambdaLR", "MultiplicativeLR"}))
def test_state_survives_a_file_that_only_holds_data(name, tmp_path):
    _, kwargs = PURE[name]
    opt, schedule = make(name, **kwargs)
    for _ in range(9):
        opt.step(), schedule.step()
    torch.save(schedule.state_dict(), tmp_path / "schedule.pt")
    _, fresh = make(name, **kwargs)
    fresh.load_state_dict(torch.load(tmp_path / "schedule.pt", weights_only=True))
    assert fresh.state_dict() == schedule.state_dict()
    assert fresh.last_epoch == 9
