"""Penalties on weights: as a term of the loss, as a proximal step, and as a bound."""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from .._check import checked, require, require_dim, require_floating, require_tensors, require_type


def listed(parameters: Tensor | Iterable[Tensor], where: str) -> list[Tensor]:
    """One tensor or several, as a list that is not empty."""
    out = require_tensors(where, "parameters", parameters)
    for w in out:
        require_type(w.is_floating_point(), where, "parameters", "floating-point tensors", w.dtype)
    require(len(out) > 0, where, "parameters", "at least one tensor", 0)
    return out


def wide_sum(terms: Iterable[Tensor]) -> Tensor:
    """The sum of all terms, computed in at least float32."""
    sums = [
        t.sum(dtype=torch.float32 if t.dtype in (torch.float16, torch.bfloat16) else t.dtype) for t in terms
    ]
    return torch.stack([s.to(sums[0]) for s in sums]).sum()


@checked
def l1_penalty(parameters: Tensor | Iterable[Tensor], strength: float = 1.0) -> Tensor:
    """strength * sum(|w|): pulls every weight towards 0 with the same force. Its subgradient at 0 is 0.

    Plain gradient descent on it oscillates around 0; exact zeros come from `proximal_step_`.

    Args:
        parameters: one floating-point tensor or several, of any shapes.
        strength: factor of the penalty, >= 0.

    Returns:
        A number to add to the loss, shape (); summed in at least float32.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: strength < 0; no tensors.

    >>> l1_penalty(torch.tensor([3.0, -4.0]), 0.5)
    tensor(3.5000)
    """
    require(strength >= 0, "l1_penalty", "strength", ">= 0", strength)
    return strength * wide_sum(w.abs() for w in listed(parameters, "l1_penalty"))


@checked
def l2_penalty(parameters: Tensor | Iterable[Tensor], strength: float = 1.0) -> Tensor:
    """strength * sum(w**2) / 2: pulls with a force proportional to the weight.

    The gradient is strength * w, so with plain SGD it equals weight_decay=strength; with Adam it does not.

    Args:
        parameters: one floating-point tensor or several, of any shapes.
        strength: factor of the penalty, >= 0.

    Returns:
        A number to add to the loss, shape (); summed in at least float32.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: strength < 0; no tensors.

    >>> l2_penalty(torch.tensor([3.0, -4.0]), 0.5)   # 0.5 * 25 / 2
    tensor(6.2500)
    """
    require(strength >= 0, "l2_penalty", "strength", ">= 0", strength)
    terms = (
        w.square() if w.dtype not in (torch.float16, torch.bfloat16) else w.float().square()
        for w in listed(parameters, "l2_penalty")
    )
    return strength / 2 * wide_sum(terms)


@checked
def elastic_net_penalty(
    parameters: Tensor | Iterable[Tensor], strength: float = 1.0, l1_ratio: float = 0.5
) -> Tensor:
    """strength * (l1_ratio * sum(|w|) + (1 - l1_ratio) * sum(w**2) / 2), scikit-learn's parametrization.

    Args:
        parameters: one floating-point tensor or several, of any shapes.
        strength: factor of the penalty, >= 0.
        l1_ratio: share of L1, in [0, 1].

    Returns:
        A number to add to the loss, shape (); summed in at least float32.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: strength < 0; `l1_ratio` outside [0, 1]; no tensors.

    Source: Zou and Hastie, "Regularization and variable selection via the elastic net", JRSS B 67(2), 2005.

    >>> elastic_net_penalty(torch.tensor([3.0, -4.0]), 2.0, l1_ratio=0.5)   # 7 + 25 / 2
    tensor(19.5000)
    """
    require(strength >= 0, "elastic_net_penalty", "strength", ">= 0", strength)
    require(0 <= l1_ratio <= 1, "elastic_net_penalty", "l1_ratio", "in [0, 1]", l1_ratio)
    weights = listed(parameters, "elastic_net_penalty")
    return l1_penalty(weights, strength * l1_ratio) + l2_penalty(weights, strength * (1 - l1_ratio))


@checked
def soft_threshold(x: Tensor, threshold: float) -> Tensor:
    """sign(x) * max(|x| - threshold, 0): the minimiser of (w - x)**2 / 2 + threshold * |w|.

    Args:
        x: any shape.
        threshold: how far every entry moves towards 0, >= 0.

    Returns:
        x's shape.

    Raises:
        ValueError: threshold < 0.

    >>> soft_threshold(torch.tensor([3.0, -0.5, -2.0]), 1.0)
    tensor([ 2., -0., -1.])
    """
    require(threshold >= 0, "soft_threshold", "threshold", ">= 0", threshold)
    return x.sign() * (x.abs() - threshold).clamp(min=0)


@torch.no_grad()
@checked
def proximal_step_(
    parameters: Tensor | Iterable[Tensor], lr: float, strength: float, l1_ratio: float = 1.0
) -> None:
    """The part of a proximal gradient step that the penalty makes; call it after optimizer.step().

        w <- soft_threshold(w, lr * strength * l1_ratio) / (1 + lr * strength * (1 - l1_ratio))

    Weights that the data do not hold become exactly 0 (l1_ratio > 0), and the step is stable for every lr.

    Args:
        parameters: one floating-point tensor or several, changed in place.
        lr: the learning rate of the step before, >= 0.
        strength: of the penalty, as in `elastic_net_penalty`, >= 0.
        l1_ratio: share of L1, in [0, 1].

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: lr, strength or `l1_ratio` out of range; no tensors.

    Source: Parikh and Boyd, "Proximal Algorithms", 2014, sections 4.2 and 6.5.

    >>> w = torch.tensor([1.0, -0.1])
    >>> proximal_step_(w, lr=0.5, strength=1.0)
    >>> w
    tensor([0.5000, -0.0000])
    """
    require(lr >= 0, "proximal_step_", "lr", ">= 0", lr)
    require(strength >= 0, "proximal_step_", "strength", ">= 0", strength)
    require(0 <= l1_ratio <= 1, "proximal_step_", "l1_ratio", "in [0, 1]", l1_ratio)
    for w in listed(parameters, "proximal_step_"):
        shrunk = soft_threshold(w, lr * strength * l1_ratio)
        w.copy_(shrunk / (1 + lr * strength * (1 - l1_ratio)))


@torch.no_grad()
@checked
def max_norm_(weight: Tensor, max_norm: float, dim: int = 0) -> Tensor:
    """Shorten each slice along `dim` that is longer than `max_norm`; call it after optimizer.step().

        w_i <- w_i * min(1, max_norm / ||w_i||)        i: an output unit, for dim 0

    Args:
        weight: at least 1 dimension, floating-point, changed in place.
        max_norm: longest Euclidean norm that a slice may have, >= 0.
        dim: the axis along which slices are taken, one for each index.

    Returns:
        `weight` itself.

    Raises:
        TypeError: `weight` is not floating-point.
        ValueError: max_norm < 0; no dimension, or no such axis.

    Source: Srivastava et al., "Dropout", JMLR 15, 2014, section 5.1.

    >>> max_norm_(torch.tensor([[3.0, 4.0], [0.3, 0.4]]), 1.0)
    tensor([[0.6000, 0.8000],
            [0.3000, 0.4000]])
    """
    require(max_norm >= 0, "max_norm_", "max_norm", ">= 0", max_norm)
    require_floating("max_norm_", weight=weight)
    require(weight.dim() >= 1, "max_norm_", "weight", "of at least 1 dimension", tuple(weight.shape))
    require_dim("max_norm_", dim, weight.dim())
    dims = [d for d in range(weight.dim()) if d != dim % weight.dim()]
    norm = torch.linalg.vector_norm(weight, dim=dims, keepdim=True) if dims else weight.abs()
    scale = torch.where(norm > max_norm, max_norm / norm, torch.ones_like(norm))
    return weight.mul_(scale)


@checked
def decay_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Two parameter groups for an optimizer: matrices and kernels decay, biases and norms' parameters do not.

    Args:
        model: a module; its parameters with requires_grad are taken.
        weight_decay: for those of at least 2 dimensions, >= 0.

    Returns:
        Two parameter groups, for any optimizer's first argument.

    Raises:
        ValueError: weight_decay < 0.

    >>> groups = decay_groups(nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2)), 0.1)
    >>> [(len(group["params"]), group["weight_decay"]) for group in groups]
    [(1, 0.1), (3, 0.0)]
    """
    require(weight_decay >= 0, "decay_groups", "weight_decay", ">= 0", weight_decay)
    trained = [p for p in model.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.dim() >= 2], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.dim() < 2], "weight_decay": 0.0},
    ]


@torch.no_grad()
@checked
def add_gradient_noise_(
    parameters: Tensor | Iterable[Tensor],
    t: int,
    eta: float = 0.3,
    gamma: float = 0.55,
    generator: Generator | None = None,
) -> None:
    """Add normal noise to the gradients, less with every step; call it between backward() and step().

        g <- g + N(0, sigma_t**2),   sigma_t**2 = eta / (1 + t)**gamma

    Args:
        parameters: one floating-point tensor or several; those without a gradient are skipped.
        t: the step, counted from 0.
        eta: variance of the first step, finite and >= 0.
        gamma: how fast it falls, finite and >= 0.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: t, eta or gamma out of range; no tensors.

    Source: Neelakantan et al., "Adding Gradient Noise Improves Learning for Very Deep Networks",
    arXiv:1511.06807, eq. 1 (there eta is one of 0.01, 0.3, 1.0).
    """
    require(t >= 0, "add_gradient_noise_", "t", ">= 0", t)
    require(eta >= 0, "add_gradient_noise_", "eta", ">= 0", eta)
    require(math.isfinite(eta), "add_gradient_noise_", "eta", "finite", eta)
    require(0 <= gamma < math.inf, "add_gradient_noise_", "gamma", "finite and >= 0", gamma)
    sigma = (eta * (1 + t) ** -gamma) ** 0.5
    for p in listed(parameters, "add_gradient_noise_"):
        if p.grad is not None:
            p.grad.add_(torch.empty_like(p.grad).normal_(generator=generator), alpha=sigma)
