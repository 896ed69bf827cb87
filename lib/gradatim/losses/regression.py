"""Losses for regression: what an error of e = input - target costs."""

import math

import torch
from torch import Tensor

from .._check import checked, refusal, require, require_same_shape
from ._arguments import check_floating, check_reduction, reduce_loss, result_dtype, warn_if_broadcast, widen
from ._error import loss_of_error


def _check_same_size(where: str, weight: Tensor, input: Tensor) -> None:
    if weight.shape != input.shape:
        got = f"weight {tuple(weight.shape)}, input {tuple(input.shape)}"
        raise refusal(
            where, "weight", "of the input's shape", got, "Weights and input must have the same size."
        )


def _reduce_weighted(
    where: str, loss: Tensor, weight: Tensor, input: Tensor, reduction: str, dtype: torch.dtype
) -> Tensor:
    """A weighted mean divides by the sum of the weights, as torch's does."""
    _check_same_size(where, weight, input)
    weight = widen(weight)
    if reduction == "mean":
        return ((weight * loss).sum() / weight.sum()).to(dtype)
    return reduce_loss(weight * loss, reduction, dtype)


@checked
def mse_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    r"""Mean squared error.

    With x the input, y the target and e = x - y:

        loss_i = e_i**2
        "mean":  sum_i loss_i / n              without weights, n the number of elements
                 sum_i w_i loss_i / sum_i w_i  with weights w

    Args:
        input: shape (*), floating; the predictions.
        target: shape (*), the same as `input`. Another shape that broadcasts is accepted with torch's warning.
        reduction: "none", "mean" or "sum".
        weight: shape (*), the same as `input`, or None.

    Returns:
        Loss in squared units of the target: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` and `target` are both not floating-point.
        ValueError: shapes do not fit, or `reduction` is unknown.

    Source: Bishop, "Pattern Recognition and Machine Learning" (2006), sec. 1.2.5 and 3.1.1: the negative log
        likelihood of a Gaussian of fixed variance, without its constants and its factor 1/2.
    Same numbers as torch.nn.functional.mse_loss (test_sample_values_and_gradients_match_torch).

    >>> x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 0.0])
    >>> mse_loss(x, y, reduction="none")          # 0**2, (-2)**2, 3**2
    tensor([0., 4., 9.])
    >>> mse_loss(x, y, reduction="sum").item()
    13.0
    """
    check_reduction("mse_loss", reduction)
    check_floating("mse_loss", "input", input if input.is_floating_point() else target)
    warn_if_broadcast("mse_loss", input, target)

    e = widen(input) - widen(target)
    dtype = result_dtype(e, input, target)
    if weight is not None:
        return _reduce_weighted("mse_loss", e * e, weight, input, reduction, dtype)
    return loss_of_error(e, lambda e: e * e, lambda e: 2 * e, reduction).to(dtype)


@checked(complex=("input", "target", "weight"))
def l1_loss(
    input: Tensor, target: Tensor, *, reduction: str = "mean", weight: Tensor | None = None
) -> Tensor:
    r"""Mean absolute error.

    With e = input - target:

        loss_i = |e_i|
        "mean":  sum_i loss_i / n              without weights, n the number of elements
                 sum_i w_i loss_i / sum_i w_i  with weights w

    The derivative is sign(e); at e = 0, where there is none, it is taken to be 0.

    Args:
        input: shape (*), floating or complex; the predictions.
        target: shape (*), the same as `input`. Another shape that broadcasts is accepted with torch's warning.
        reduction: "none", "mean" or "sum".
        weight: shape (*), the same as `input`, or None.

    Returns:
        Loss in units of the target: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` and `target` are both not floating-point.
        ValueError: shapes do not fit, or `reduction` is unknown.

    Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd ed. (2009), sec. 10.6
        (absolute against squared error). It is the negative log likelihood of a Laplace distribution of fixed
        scale, without its constants.
    Same numbers as torch.nn.functional.l1_loss (test_sample_values_and_gradients_match_torch).

    >>> x, y = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 4.0, 0.0])
    >>> l1_loss(x, y, reduction="none")           # |0|, |-2|, |3|
    tensor([0., 2., 3.])
    """
    check_reduction("l1_loss", reduction)
    check_floating("l1_loss", "input", input if not target.is_floating_point() else target)
    warn_if_broadcast("l1_loss", input, target)

    e = widen(input) - widen(target)
    loss = e.abs()
    if weight is not None:
        return _reduce_weighted("l1_loss", loss, weight, input, reduction, result_dtype(loss, input, target))
    return reduce_loss(loss, reduction, result_dtype(loss, input, target))


@checked
def rmse_loss(input: Tensor, target: Tensor) -> Tensor:
    r"""Root mean squared error.

    With e = input - target and n the number of elements:

        loss = sqrt(sum_i e_i**2 / n) = ||e|| / sqrt(n)

    It is one number for the whole batch: there is no loss per element that it would be the mean of, so it takes
    no `reduction`, and the mean of the batches' values is not the value of all data. Its derivative is
    e / (n * loss); where every error is 0 there is none, and 0 is returned.

    Args:
        input: shape (*), floating; the predictions.
        target: shape (*), the same as `input`.

    Returns:
        Loss in units of the target, shape ().

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ.

    Source: the square root of `mse_loss`; torch has no such loss.

    >>> rmse_loss(torch.tensor([3.0, 4.0, 0.0, 0.0]), torch.zeros(4)).item()     # sqrt(25 / 4)
    2.5
    """
    check_floating("rmse_loss", "input", input)
    require_same_shape("rmse_loss", input=input, target=target)

    e = widen(input) - widen(target)
    loss: Tensor = torch.linalg.vector_norm(e) / math.sqrt(e.numel())
    return loss.to(input.dtype)


def _huber(e: Tensor, delta: float) -> Tensor:
    q = e.clamp(-delta, delta)
    return q * torch.sub(e, q, alpha=0.5)  # q * (e - q / 2)


@checked
def huber_loss(
    input: Tensor, target: Tensor, reduction: str = "mean", delta: float = 1.0, weight: Tensor | None = None
) -> Tensor:
    r"""Huber's loss: squared near zero, absolute far away.

    With e = input - target:

        loss = e**2 / 2                    if |e| <= delta
               delta * (|e| - delta / 2)   otherwise

    With q the error clamped to [-delta, delta], both cases are q * (e - q / 2), and q is the derivative.

    Args:
        input: shape (*), floating; the predictions.
        target: shape (*), the same as `input`. Another shape that broadcasts is accepted with torch's warning.
        reduction: "none", "mean" or "sum".
        delta: > 0, in units of the target: where the loss goes over from squared to absolute.
        weight: shape (*), the same as `input`, or None. Unlike in `mse_loss`, "mean" divides by the number of
            elements, not by the sum of the weights: so does torch.

    Returns:
        Loss in squared units of the target: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` and `target` are both not floating-point.
        ValueError: shapes do not fit, delta <= 0, or `reduction` is unknown.

    Source: Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist. 35 (1964), 73-101.
    Same numbers as torch.nn.functional.huber_loss (test_sample_values_and_gradients_match_torch).

    >>> huber_loss(torch.tensor([0.5, 3.0, -3.0]), torch.zeros(3), "none", delta=2.0)     # 0.25/2, 2*(3-1), 2*(3-1)
    tensor([0.1250, 4.0000, 4.0000])
    """
    check_reduction("huber_loss", reduction)
    if not delta > 0:
        words = "huber_loss does not support non-positive values for delta."
        raise refusal("huber_loss", "delta", "> 0", delta, words)
    check_floating("huber_loss", "input", input if input.is_floating_point() else target)
    warn_if_broadcast("huber_loss", input, target)

    e = widen(input) - widen(target)
    dtype = result_dtype(e, input, target)
    if weight is not None:
        _check_same_size("huber_loss", weight, input)
        return reduce_loss(widen(weight) * _huber(e, delta), reduction, dtype)
    return loss_of_error(e, lambda e: _huber(e, delta), lambda e: e.clamp(-delta, delta), reduction).to(dtype)


@checked
def smooth_l1_loss(input: Tensor, target: Tensor, *, reduction: str = "mean", beta: float = 1.0) -> Tensor:
    r"""Huber's loss divided by its threshold: slope 1 far away, whatever the threshold.

    With e = input - target:

        loss = e**2 / (2 * beta)   if |e| < beta
               |e| - beta / 2      otherwise         (beta = 0: |e|)

    So smooth_l1(beta) = huber(delta=beta) / beta. As beta -> 0 it becomes the absolute error; Huber's loss
    becomes 0 instead. As beta -> inf it becomes 0; Huber's loss becomes e**2 / 2.

    Args:
        input: shape (*), floating; the predictions.
        target: shape (*), the same as `input`. Another shape that broadcasts is accepted with torch's warning.
        reduction: "none", "mean" or "sum".
        beta: >= 0, in units of the target.

    Returns:
        Loss in units of the target: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` and `target` are both not floating-point.
        ValueError: shapes do not fit, beta < 0, or `reduction` is unknown.

    Source: Girshick, "Fast R-CNN", arXiv:1504.08083v2, eq. 3 (there beta = 1).
    Same numbers as torch.nn.functional.smooth_l1_loss (test_sample_values_and_gradients_match_torch).

    >>> smooth_l1_loss(torch.tensor([1.0, 3.0]), torch.zeros(2), reduction="none", beta=2.0)   # 1/4, 3 - 1
    tensor([0.2500, 2.0000])
    """
    if not beta >= 0:
        words = "smooth_l1_loss does not support negative values for beta."
        raise refusal("smooth_l1_loss", "beta", ">= 0", beta, words)
    check_reduction("smooth_l1_loss", reduction)
    check_floating("smooth_l1_loss", "input", input if input.is_floating_point() else target)
    warn_if_broadcast("smooth_l1_loss", input, target)

    e = widen(input) - widen(target)
    dtype = result_dtype(e, input, target)
    if beta == 0:
        return reduce_loss(e.abs(), reduction, dtype)

    def slope(e: Tensor) -> Tensor:
        return e.clamp(-beta, beta) / beta

    return loss_of_error(e, lambda e: _huber(e, beta) / beta, slope, reduction).to(dtype)


@checked
def log_cosh_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    r"""Logarithm of the hyperbolic cosine of the error: a Huber loss with all derivatives.

    With e = input - target:

        loss = log(cosh(e))
             = log(1 + 2 * sinh(e / 2)**2)                 used for |e| < 1: keeps the digits of e**2 / 2
             = |e| + log(1 + exp(-2 * |e|)) - log(2)       used otherwise: does not overflow

    Near zero it is e**2 / 2, far away |e| - log 2; its derivative is tanh(e).

    Args:
        input: shape (*), floating; the predictions.
        target: shape (*), the same as `input`.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, or `reduction` is unknown.

    Source: the negative log likelihood of the hyperbolic secant distribution, density proportional to
        1 / cosh(e), without its constants; torch has no such loss.

    >>> round(log_cosh_loss(torch.tensor([1000.0]), torch.tensor([0.0])).item(), 2)      # 1000 - log 2
    999.31
    """
    check_reduction("log_cosh_loss", reduction)
    check_floating("log_cosh_loss", "input", input)
    require_same_shape("log_cosh_loss", input=input, target=target)

    e = widen(input) - widen(target)
    near = e.clamp(-1, 1)  # each formula sees only errors that it can take: 0 * inf in a derivative is nan
    log_cosh_near = torch.log1p(2 * torch.sinh(near / 2) ** 2)
    log_cosh_far = e.abs() + torch.log1p(torch.exp(-2 * e.abs())) - math.log(2)
    loss = torch.where(e.abs() < 1, log_cosh_near, log_cosh_far)
    return reduce_loss(loss, reduction, input.dtype)


@checked
def quantile_loss(input: Tensor, target: Tensor, tau: float = 0.5, *, reduction: str = "mean") -> Tensor:
    r"""Pinball loss: its minimiser is the tau-quantile of the targets.

    With u = target - input (positive where the prediction is too low):

        loss = tau * u         if u >= 0
               (tau - 1) * u   otherwise

    At tau = 1/2 it is half the absolute error, and its minimiser the median.

    Args:
        input: shape (*), floating; the predicted quantile.
        target: shape (*), the same as `input`.
        tau: which quantile, in (0, 1). With tau = 0.9, nine tenths of the targets should lie below the prediction.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in units of the target: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, tau is outside (0, 1), or `reduction` is unknown.

    Source: Koenker and Bassett, "Regression Quantiles", Econometrica 46 (1978), 33-50; torch has no such loss.

    >>> quantile_loss(torch.tensor([0.0, 0.0]), torch.tensor([2.0, -2.0]), 0.75, reduction="none")  # .75*2, .25*2
    tensor([1.5000, 0.5000])
    """
    check_reduction("quantile_loss", reduction)
    require(0 < tau < 1, "quantile_loss", "tau", "in (0, 1)", tau)
    check_floating("quantile_loss", "input", input)
    require_same_shape("quantile_loss", input=input, target=target)

    u = widen(target) - widen(input)
    loss = torch.where(u >= 0, tau * u, (tau - 1) * u)
    return reduce_loss(loss, reduction, input.dtype)
