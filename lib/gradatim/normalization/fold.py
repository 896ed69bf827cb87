"""Folding a trained batch norm into the layer before it: the same function, one operation less."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .._check import checked, require, require_floating, require_type

Layer = TypeVar("Layer", bound=nn.Module)

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


@checked
def folded_parameters(
    weight: Tensor,
    bias: Tensor | None,
    running_mean: Tensor,
    running_var: Tensor,
    gamma: Tensor | None,
    beta: Tensor | None,
    eps: float,
) -> tuple[Tensor, Tensor]:
    """The one layer that does what a layer and the batch norm after it do in evaluation.

        s  = gamma / sqrt(running_var + eps)
        W' = s * W                                    row by row: one s per output
        b' = s * (b - running_mean) + beta

    Args:
        weight: W, shape (outputs, *), floating-point.
        bias: b, shape (outputs,); None is 0.
        running_mean: of the batch norm, shape (outputs,).
        running_var: of the batch norm, shape (outputs,).
        gamma: its weight, shape (outputs,); None is 1.
        beta: its bias, shape (outputs,); None is 0.
        eps: >= 0.

    Returns:
        (W', b'), of the shapes (outputs, *) and (outputs,), in the weight's dtype.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: a vector of another shape; eps < 0.

    >>> one, two = torch.ones(1), torch.full((1,), 2.0)
    >>> folded_parameters(torch.tensor([[4.0]]), one, two, torch.zeros(1), two, one, eps=4.0)   # s = 2/2 = 1
    (tensor([[4.]]), tensor([0.]))
    """
    where = "folded_parameters"
    require(weight.dim() >= 1, where, "weight", "of shape (outputs, *)", tuple(weight.shape))
    vectors = {
        "bias": bias,
        "running_mean": running_mean,
        "running_var": running_var,
        "gamma": gamma,
        "beta": beta,
    }
    given = {name: v for name, v in vectors.items() if v is not None}
    require_floating(where, weight=weight, **given)
    for name, vector in given.items():
        shape = tuple(weight.shape[:1])
        require(vector.shape == shape, where, name, f"of shape {shape}, one per output", tuple(vector.shape))
    require(eps >= 0, where, "eps", ">= 0", eps)
    s = torch.rsqrt(running_var + eps) * (1 if gamma is None else gamma)
    b = torch.zeros_like(running_mean) if bias is None else bias
    folded_weight = weight * s.reshape(-1, *[1] * (weight.dim() - 1))
    folded_bias = s * (b - running_mean) + (0 if beta is None else beta)
    return folded_weight.to(weight.dtype), folded_bias.to(weight.dtype)


@checked
def fold_bn(layer: Layer, bn: Any) -> Layer:
    """A copy of `layer` that computes bn(layer(x)), for evaluation.

    Args:
        layer: nn.Linear, nn.Conv1d to 3d or nn.ConvTranspose1d to 3d, also with groups; not changed.
        bn: a batch norm of gradatim or torch, in evaluation mode, with running statistics.

    Returns:
        A layer of the same class, with a bias.

    Raises:
        TypeError: another layer, or `bn` is no batch norm.
        ValueError: `bn` is in training mode, has no running statistics, or has another number of channels.
    """
    known = (nn.Linear, *CONVOLUTIONS, *TRANSPOSED)
    require_type(isinstance(layer, known), "fold_bn", "layer", "a linear layer or a convolution", type(layer))
    is_norm = isinstance(bn, nn.Module) and hasattr(bn, "running_mean") and hasattr(bn, "num_features")
    require_type(is_norm, "fold_bn", "bn", "a batch norm", type(bn))
    require(not bn.training, "fold_bn", "bn", "in evaluation mode: call bn.eval() first", "training mode")
    tracked = bn.running_mean is not None and bn.running_var is not None
    require(tracked, "fold_bn", "bn", "one with running statistics", "track_running_stats=False")
    folded: Any = copy.deepcopy(layer)
    weight, old = folded.weight, folded.bias
    transposed, groups = isinstance(layer, TRANSPOSED), getattr(layer, "groups", 1)
    outputs = weight.shape[1] * groups if transposed else weight.shape[0]
    rule = f"one of {outputs} channels, the layer's outputs"
    require(bn.num_features == outputs, "fold_bn", "bn", rule, bn.num_features)
    with torch.no_grad():
        # a transposed convolution's weight is (inputs, outputs / groups, *): put the outputs first, and back
        rows = outputs_first(weight, groups) if transposed else weight
        args = (bn.running_mean, bn.running_var, bn.weight, bn.bias, bn.eps)
        new_rows, new_bias = folded_parameters(rows, old, *args)
        new = inputs_first(new_rows, groups) if transposed else new_rows
        folded.weight = nn.Parameter(new, requires_grad=weight.requires_grad)
        folded.bias = nn.Parameter(new_bias, requires_grad=weight.requires_grad)
    return folded  # type: ignore[no-any-return]


def outputs_first(weight: Tensor, groups: int) -> Tensor:
    """(inputs, outputs / groups, *) -> (outputs, inputs / groups, *)."""
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return split.transpose(1, 2).reshape(-1, weight.shape[0] // groups, *weight.shape[2:])


def inputs_first(weight: Tensor, groups: int) -> Tensor:
    """The inverse of `outputs_first`."""
    split = weight.reshape(groups, -1, *weight.shape[1:])
    return split.transpose(1, 2).reshape(-1, weight.shape[0] // groups, *weight.shape[2:])
