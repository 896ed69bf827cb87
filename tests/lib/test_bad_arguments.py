"""One contract for every public function and class: a wrong argument gives its result or one sentence, never a
broken formula or an error from torch's inside.

Each is called once as it should be; then one argument after the other is replaced. What is no tensor, no number, or on
another device must be refused. What has another shape, dtype or size may be refused or computed, as torch does.
"""

import copy
import inspect
import re
import runpy
import warnings
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gradatim import activations, gradients, initialization, losses, normalization, regularization

MODULES = (losses, normalization, activations, initialization, regularization, gradients)
NO_ARGUMENTS_OF_ITS_OWN = {
    *("ArgumentError", "ArgumentTypeError", "ClassIndexError", "GradientCheck", "RMSELoss"),
    *("BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
}
MEMBERS = runpy.run_path(str(Path(__file__).with_name("losses") / "conftest.py"))["MEMBERS"]


def floats(*shape):
    return torch.linspace(0.1, 0.9, int(np.prod(shape))).reshape(shape)


def with_gradient(*shape):
    p = floats(*shape)
    p.grad = floats(*shape)
    return p


def names_of(function):
    return inspect.signature(function).parameters


def a_loss(parts):
    return (torch.zeros((), requires_grad=True) * parts).mean()


X, V, ROW, IMAGE = floats(6, 4), floats(4), floats(1, 4), floats(4, 1, 8, 8)
MODEL = nn.Sequential(nn.Linear(4, 2), normalization.BatchNorm1d(2), regularization.Dropout(0.5))
STATISTICS = {"running_mean": V, "running_var": V, "weight": V, "bias": V}
# The arguments of a right call, where they cannot be told from the signature.
GIVEN = {
    **{m.name: dict(zip(names_of(getattr(losses, m.name)), m.make(), strict=False)) for m in MEMBERS},
    "smooth_labels": {"target": torch.tensor([0, 2]), "num_classes": 3, "label_smoothing": 0.1},
    "batch_norm": {"input": X, **STATISTICS, "training": True},
    "batch_norm_backward": {"grad": X, "x_hat": X, "inv_std": ROW, "weight": ROW},
    "batch_norm_backward_in_place": {"grad": X, "x_hat": X, "inv_std": ROW, "weight": ROW},
    "batch_norm_formula": {"x": X, "weight": ROW, "bias": ROW, "eps": 0.1},
    "layer_norm": {"input": X, "normalized_shape": [4], "weight": V, "bias": V},
    "layer_norm_backward": {"grad": X, "x": X, "mean": X[:, :1], "inv_std": X[:, :1], "weight": V},
    "layer_norm_backward_in_place": {"grad": X, "x": X, "mean": X[:, :1], "inv_std": X[:, :1], "weight": V},
    "rms_norm": {"input": X, "normalized_shape": [4], "weight": V},
    "rms_norm_backward": {"grad": X, "x": X, "inv_rms": X[:, :1], "weight": V},
    "group_norm": {"input": floats(6, 4, 3), "num_groups": 2, "weight": V, "bias": V},
    "instance_norm": {"input": floats(6, 4, 3), **STATISTICS},
    "local_response_norm": {"input": floats(6, 4, 3), "size": 3},
    "standardize": {"x": X, "dims": [1]},
    "standardize_backward": {"grad_x_hat": X, "x_hat": X, "inv_std": X[:, :1], "dims": [1]},
    "folded_parameters": {
        **{"weight": floats(4, 2), "bias": V, "running_mean": V, "running_var": V},
        **{"gamma": V, "beta": V, "eps": 0.1},
    },
    "fold_bn": {"layer": nn.Linear(2, 3), "bn": normalization.BatchNorm1d(3).eval()},
    "normalized_weight": {"v": X, "g": X[:, :1]},
    "power_iteration": {"matrix": X, "u": floats(6), "v": V, "steps": 2},
    "spectral_norm": {"module": nn.Linear(2, 3)},
    "weight_norm": {"module": nn.Linear(2, 3)},
    "LayerNorm": {"normalized_shape": 5},
    "RMSNorm": {"normalized_shape": 5},
    "GroupNorm": {"num_groups": 2, "num_channels": 4},
    "SpectralNorm": {"weight": X},
    "BasicBlock": {"in_channels": 2, "out_channels": 3},
    "prelu": {"input": X, "weight": V},
    "threshold": {"input": X, "threshold": 0.1, "value": 0.2},
    "calculate_gain": {"nonlinearity": "leaky_relu"},
    "dirac_": {"tensor": floats(6, 4, 3)},
    "sparse_": {"tensor": X, "sparsity": 0.2},
    "affine": {"x": IMAGE, "angle": V, "scale": V, "shear": V},
    "shift": {"x": IMAGE, "down": torch.arange(4), "right": torch.arange(4)},
    "random_erase": {"x": IMAGE, "size": 3},
    "predict_with_shifts": {"model": nn.Flatten(), "x": IMAGE},
    "cutmix": {"x": IMAGE, "target": torch.arange(4), "num_classes": 4},
    "mixup": {"x": IMAGE, "target": torch.arange(4), "num_classes": 4},
    "random_box": {"height": 4, "width": 4, "lam": V, "like": IMAGE},
    "mc_dropout": {"model": nn.Flatten(0), "x": X},
    "dropout1d": {"input": floats(6, 4, 3)},
    "depth_schedule": {"p": 0.5, "layers": 3},
    "max_norm_": {"weight": X, "max_norm": 1.0},
    "decay_groups": {"model": MODEL, "weight_decay": 0.1},
    "early_stopping_as_l2": {"eigenvalues": V, "lr": 0.1, "steps": 3},
    "soft_threshold": {"x": X, "threshold": 0.1},
    "proximal_step_": {"parameters": [X], "lr": 0.1, "strength": 0.2},
    "add_gradient_noise_": {"parameters": [with_gradient(3)], "t": 1},
    "update_bn": {"loader": [X], "model": MODEL},
    "accumulate_gradients": {"loss_fn": a_loss, "parts": [floats(2), floats(3)]},
    "split_batch": {"batch": (X, X), "size": 2},
    "central_difference": {"fn": lambda: torch.zeros(()), "x": floats(3).double()},
    "check_gradient": {"fn": lambda: torch.zeros(()), "h": 1e-6, "floor": 1e-6, "kink": 1e-2},
    "get_total_norm": {"tensors": [X]},
    "clip_grad_norm_": {"parameters": [with_gradient(3)], "max_norm": 1.0},
    "clip_grad_value_": {"parameters": [with_gradient(3)], "clip_value": 1.0},
    "clip_grads_with_norm_": {
        **{"parameters": [with_gradient(3)], "max_norm": 1.0, "total_norm": torch.tensor(2.0)}
    },
    "update_ratio": {"parameter": X, "before": X},
    "dead_fraction": {"activations": X},
}
# What else an argument of that name is, where the signature has no default.
USUAL = {
    **{"num_features": 3, "size": 3, "dim": 1, "a": 0.0, "val": 0.1, "p": 0.3, "model": MODEL},
    **{"body": nn.Linear(2, 2), "norm": normalization.LayerNorm(2), "parameters": [X], "x": X},
}


def right_call(name, function):
    """Every argument of a right call, the defaults among them."""
    call = dict(GIVEN.get(name, {}))
    for p in inspect.signature(function).parameters.values():
        if p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) or p.name in call:
            continue
        if p.default is not p.empty:
            call[p.name] = p.default
        else:
            call[p.name] = X if p.annotation is Tensor else USUAL[p.name]
    if name.startswith(("random_", "gaussian_")) and "x" in call:
        call["x"] = IMAGE
    return call


def public():
    for module in MODULES:
        for name in module.__all__:
            if callable(getattr(module, name)) and name not in NO_ARGUMENTS_OF_ITS_OWN:
                yield pytest.param(name, getattr(module, name), id=f"{module.__name__.split('.')[1]}.{name}")


def never_fits(value, annotation):
    """Values that an argument like this one can never take."""
    if isinstance(value, Tensor):
        yield from (value.tolist(), value.numpy(), "text")
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from ("0.5", [0.5], True)
    elif (
        isinstance(value, nn.Module)
        or annotation is str
        or (callable(value) and "Callable" in str(annotation))
    ):
        yield from (3, [1], None)
    elif isinstance(value, (list, tuple)) or "Generator" in str(annotation):
        yield 3


def hardly_fits(value):
    """Values that may be computed with or refused, but only in one sentence."""
    if isinstance(value, Tensor):
        yield from (
            value.unsqueeze(0),
            value.unsqueeze(-1),
            value[:0] if value.dim() else value,
            value.long(),
        )
        if value.dim():
            yield from (torch.cat([value, value[:1]]), value[:1], value[..., :1], value[0], value > 0)
        yield from (
            value.to(torch.complex64),
            torch.full_like(value, torch.nan if value.is_floating_point() else 99),
        )
    elif isinstance(value, int) and not isinstance(value, bool):
        yield from (-1, 0, 1.5, None)
    elif isinstance(value, float):
        yield from (-1.0, torch.nan, torch.inf, None)
    elif isinstance(value, (list, tuple)):
        yield from ([], ["text"], [[1.0]], [17], None)


def outcome(function, call):
    """What the function raises, or None; it gets copies and must not warn of anything but shapes and units."""
    call = {
        name: v.clone() if isinstance(v, Tensor) else copy.deepcopy(v) if isinstance(v, nn.Module) else v
        for name, v in call.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        try:
            function(**call)
        except Exception as error:
            return error
    return None


@pytest.mark.parametrize(("name", "function"), list(public()))
def test_a_wrong_argument_gives_a_result_or_one_sentence(name, function):
    call = right_call(name, function)
    if name != "check_gradient":  # it takes its inputs by position
        assert outcome(function, call) is None
    parameters = inspect.signature(function).parameters
    sentence = re.compile(rf"{name}: [^\n]+ must [^\n]+, got [^\n]*")

    def refused(changed):
        error = outcome(function, changed)
        if error is not None:
            assert isinstance(error, (TypeError, ValueError)), (changed, error)
            assert sentence.fullmatch(str(error)), (changed, error)
        return error is not None

    for argument, value in call.items():
        for wrong in never_fits(value, parameters[argument].annotation):
            assert refused({**call, argument: wrong}), (argument, wrong)
        for odd in hardly_fits(value):
            refused({**call, argument: odd})


TENSORS = (
    *((n, f) for m in (losses, normalization) for n in m.__all__ if inspect.isfunction(f := getattr(m, n))),
    *(("prelu", activations.prelu), ("softmax_backward", activations.softmax_backward)),
    *((n, getattr(regularization, n)) for n in ("affine", "shift", "mixup", "cutmix")),
)


@pytest.mark.parametrize(
    ("name", "function"), TENSORS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_tensors_on_two_devices_are_refused(name, function):
    call = right_call(name, function)
    tensors = [k for k, v in call.items() if isinstance(v, Tensor) and v.dim()]
    for argument in tensors[1:]:
        error = outcome(function, {**call, argument: call[argument].to("meta")})
        assert isinstance(error, TypeError)
        assert re.fullmatch(
            rf"{name}: {argument} must be on the device cpu of the others, got meta", str(error)
        )


def test_checked_leaves_names_signature_and_documentation_alone():
    for module in MODULES:
        for name in module.__all__:
            function = getattr(module, name)
            if inspect.isfunction(function):
                assert function.__name__ == name
                assert function.__module__.startswith(module.__name__)
                assert "args" not in inspect.signature(function).parameters


def test_several_tensors_may_come_from_an_iterator():
    p: Iterable = (w for w in (with_gradient(2), with_gradient(3)))
    assert gradients.clip_grad_norm_(p, 1.0) > 0
