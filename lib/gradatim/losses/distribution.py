"""Losses between a prediction and a distribution: Kullback-Leibler, Poisson and Gaussian likelihoods."""

import math
import warnings

import torch
from torch import Tensor

from .._check import check_values, checked, refusal, require
from ._arguments import (
    REDUCTIONS,
    check_broadcastable,
    check_floating,
    check_reduction,
    reduce_loss,
    result_dtype,
    warn_if_broadcast,
    widen,
)


@checked
def kl_div(input: Tensor, target: Tensor, *, reduction: str = "mean", log_target: bool = False) -> Tensor:
    r"""Kullback-Leibler divergence of the prediction from the target, from log-probabilities.

    With log_q the input and p the target:

        loss = p * (log(p) - log_q)            log_target = False; 0 where p = 0
               exp(t) * (t - log_q)            log_target = True, the target t is log(p)
        "batchmean":  sum_i loss_i / N         N the first dimension: the divergence's definition
        "mean":       sum_i loss_i / n         n the number of elements: too small by the number of classes

    An element's term can be negative; the sum over a distribution cannot.

    Args:
        input: shape (N, *) or (), floating; log-probabilities.
        target: shape (N, *), the same as `input`; probabilities, or log-probabilities with `log_target`.
            Another shape that broadcasts is accepted with a warning.
        reduction: "none", "mean" (with torch's warning), "batchmean" or "sum".
        log_target: whether the target holds logarithms.

    Returns:
        Divergence in nats: shape () or, for "none", shape (N, *).

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes do not fit, or `reduction` is unknown.

    Source: Kullback and Leibler, "On Information and Sufficiency", Ann. Math. Statist. 22 (1951), 79-86.
    Same numbers as torch.nn.functional.kl_div (test_sample_values_and_gradients_match_torch).

    >>> log_q, p = torch.tensor([[0.5, 0.5]]).log(), torch.tensor([[1.0, 0.0]])
    >>> loss = kl_div(log_q, p, reduction="batchmean")                   # 1 * (log 1 - log 1/2) = log 2
    >>> round(loss.exp().item(), 4)
    2.0
    """
    check_reduction("kl_div", reduction, (*REDUCTIONS, "batchmean"))
    check_floating("kl_div", "input", input)
    warn_if_broadcast("kl_div", input, target)
    if reduction == "mean":
        warnings.warn(
            "reduction: 'mean' divides the total loss by both the batch size and the support size."
            "'batchmean' divides only by the batch size, and aligns with the KL div math definition."
            "'mean' will be changed to behave the same as 'batchmean' in the next major release.",
            stacklevel=3,
        )

    log_q, p = widen(input), widen(target)
    if log_target:
        loss = p.exp() * (p - log_q)
    else:
        loss = torch.xlogy(p, p) - p * log_q  # xlogy: 0 * log(0) is 0
    if reduction == "batchmean":
        return (loss.sum() / (input.shape[0] if input.dim() else 1)).to(result_dtype(loss, input, target))
    return reduce_loss(loss, reduction, result_dtype(loss, input, target))


@checked
def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    *,
    eps: float = 1e-8,
    reduction: str = "mean",
) -> Tensor:
    r"""Negative log likelihood of counts under a Poisson distribution.

    With x the input and k the target, a count:

        loss = exp(x) - k * x                 log_input = True: x is the logarithm of the rate
               x - k * log(x + eps)           log_input = False: x is the rate
        full:  + k * log(k) - k + log(2 pi k) / 2  where k > 1        Stirling's approximation of log(k!)

    Args:
        input: shape (*); the rate or its logarithm.
        target: shape (*), the same as `input`; counts >= 0.
            Another shape that broadcasts is accepted with a warning.
        log_input: whether `input` is the logarithm of the rate.
        full: add the term that depends on the target only.
        eps: >= 0; keeps log away from 0 where the rate is 0.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        ValueError: shapes do not fit, or `reduction` is unknown.

    Source: McCullagh and Nelder, "Generalized Linear Models", 2nd ed. (1989), ch. 6.
    Same numbers as torch.nn.functional.poisson_nll_loss (test_sample_values_and_gradients_match_torch).

    >>> poisson_nll_loss(torch.tensor([0.0]), torch.tensor([3.0])).item()                # exp(0) - 3 * 0
    1.0
    """
    where = "poisson_nll_loss"
    check_reduction(where, reduction)
    require(eps >= 0, where, "eps", ">= 0", eps)
    check_broadcastable(where, "target", target, "input", input)
    warn_if_broadcast(where, input, target)

    x, k = widen(input), widen(target)
    loss = x.exp() - k * x if log_input else x - k * torch.log(x + eps)
    if full:
        safe_k = torch.where(k > 1, k, 1)  # so that the gradient where k <= 1 is not 0 * inf
        stirling = safe_k * safe_k.log() - safe_k + 0.5 * torch.log(2 * math.pi * safe_k)
        loss = loss + torch.where(k > 1, stirling, 0)
    return reduce_loss(loss, reduction, result_dtype(loss, input, target))


@checked
def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    r"""Negative log likelihood of the target under a Gaussian with predicted mean and variance.

    With mu the input, y the target and v = max(var, eps):

        loss = (log(v) + (mu - y)**2 / v) / 2
        full:  + log(2 pi) / 2

    The gradient with respect to `var` ignores the maximum, so a variance below eps can still grow.

    Args:
        input: shape (N, *) or (*), floating; the predicted means.
        target: shape (N, *) or (*), the same as `input`.
            Another shape that broadcasts is accepted with a warning.
        var: >= 0, in squared units of the target: a number; the input's shape; the input's shape without the
            last dimension; or the input's shape with one dimension 1.
        full: add the constant.
        eps: >= 0; the smallest variance.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", the input's shape for "none". It can be negative.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes do not fit, `var` is negative (looked at on the CPU only), or `reduction` is unknown.

    Source: Nix and Weigend, "Estimating the mean and variance of the target probability distribution", Proc.
        IEEE Int. Conf. on Neural Networks (1994), 55-60.
    Same numbers as torch.nn.functional.gaussian_nll_loss (test_sample_values_and_gradients_match_torch).

    >>> gaussian_nll_loss(torch.tensor([3.0]), torch.tensor([1.0]), torch.tensor([1.0])).item()   # (0 + 4/1) / 2
    2.0
    """
    where = "gaussian_nll_loss"
    if reduction not in REDUCTIONS:
        words = f"{reduction} is not valid"
        raise refusal(where, "reduction", f"one of {REDUCTIONS}", repr(reduction), words)
    check_floating(where, "input", input)
    require(eps >= 0, where, "eps", ">= 0", eps)
    if not isinstance(var, Tensor):
        var = torch.full_like(input, var)
    check_values(where, "var", var, 0, math.inf, ">= 0", "var has negative entry/entries")
    var = _align_variance(where, input, var)
    warn_if_broadcast(where, input, target)

    mu, y, v = widen(input), widen(target), widen(var)
    v = v + (v.clamp(min=eps) - v).detach()  # the value of max(var, eps) with the gradient of var
    loss = 0.5 * (v.log() + (mu - y) ** 2 / v)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return reduce_loss(loss, reduction, result_dtype(loss, input, target))


def _align_variance(where: str, input: Tensor, var: Tensor) -> Tensor:
    """`var` in a shape that broadcasts against the input's, or a refusal."""
    if var.shape == input.shape:
        return var
    if var.shape == input.shape[:-1]:
        return var.unsqueeze(-1)
    differing = [v for x, v in zip(input.shape, var.shape, strict=False) if x != v]
    ok = var.dim() == input.dim() and differing == [1]
    rule = f"a number or of shape {tuple(input.shape)}, {tuple(input.shape[:-1])} or with one dimension 1"
    if not ok:
        raise refusal(where, "var", rule, tuple(var.shape), "var is of incorrect size")
    return var
