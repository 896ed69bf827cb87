"""Checking a gradient against finite differences."""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from .._check import checked, require, require_floating, require_tensor, require_type


@checked
def central_difference(fn: Callable[[], Tensor], x: Tensor, h: float = 1e-6) -> tuple[Tensor, Tensor]:
    """The derivative of `fn()`, a number, by each entry of x: (central, disagreement).

        central      = (f(x + h) - f(x - h)) / (2 h)                    error of order h**2, plus rounding / h
        disagreement = |f(x + h) - 2 f(x) + f(x - h)| / h               forward minus backward difference

    A large disagreement shows a kink between x - h and x + h: there no derivative exists that could be checked.

    Args:
        fn: reads x and returns a tensor with one entry.
        x: floating-point and contiguous; changed entry by entry, and restored, also if fn raises.
        h: the step, at the scale of x, finite and > 0. In float64 1e-6 to 1e-5 balances the two errors; float32 has no
            good step.

    Returns:
        (central, disagreement), both of x's shape and dtype.

    Raises:
        TypeError: x is not floating-point.
        ValueError: h out of range; x is not contiguous, or on the meta device.

    >>> x = torch.tensor([3.0], dtype=torch.float64)
    >>> central, disagreement = central_difference(lambda: x.square().sum(), x)
    >>> round(central.item(), 6)
    6.0
    """
    require_floating("central_difference", x=x)
    require(0 < h < math.inf, "central_difference", "h", "finite and > 0", h)
    require(x.device.type != "meta", "central_difference", "x", "on a device that holds values", "meta")
    central, disagreement = torch.zeros_like(x), torch.zeros_like(x)
    with torch.no_grad():
        middle = fn().item()
        flat = x.detach().view(-1) if x.is_contiguous() else None
        require(flat is not None, "central_difference", "x", "contiguous", tuple(x.stride()))
        assert flat is not None
        for i in range(flat.numel()):
            saved = flat[i].item()
            try:
                flat[i] = saved + h
                above = fn().item()
                flat[i] = saved - h
                below = fn().item()
            finally:
                flat[i] = saved
            central.view(-1)[i] = (above - below) / (2 * h)
            disagreement.view(-1)[i] = abs(above - 2 * middle + below) / h
    return central, disagreement


class GradientCheck(NamedTuple):
    """What `check_gradient` found. True if nothing disagreed by more than 1e-5 and something was checked.

    Args:
        worst: largest relative error over all entries that were checked.
        where: (which input, which entry) it was found at; None if nothing disagreed.
        analytic: the value of the gradient there.
        numeric: the value of the differences there.
        checked: number of entries compared.
        kinks: number of entries left out because of a kink.
    """

    worst: float
    where: tuple[int, tuple[int, ...]] | None
    analytic: float
    numeric: float
    checked: int
    kinks: int

    def __bool__(self) -> bool:
        """True if nothing disagreed by more than 1e-5 and something was checked."""
        return self.checked > 0 and self.worst <= 1e-5


@checked
def check_gradient(
    fn: Callable[..., Tensor],
    *inputs: Tensor,
    gradients: tuple[Tensor, ...] | None = None,
    h: float = 1e-6,
    floor: float = 1e-6,
    kink: float = 1e-2,
) -> GradientCheck:
    """Compare the gradient of `fn` with central differences, entry by entry.

        error = |analytic - numeric| / max(|analytic|, |numeric|, floor)

    A correct gradient reaches about 1e-8, a wrong one rarely less than 1e-2. The error must be relative: an
    absolute bound passes every gradient that is small enough.

    Args:
        fn: called as fn(*inputs); if the result has more than one entry, a fixed weighted sum of them is checked,
            so that a derivative which is right only for an upstream gradient of 1 does not pass.
        inputs: float64, those with requires_grad are checked. They are changed and restored.
        gradients: what to check; None: what autograd computes. With `fn` returning one number, the gradients of a
            hand-written backward pass.
        h: the step of the differences, see `central_difference`.
        floor: below this size differences are rounding noise.
        kink: entries where the one-sided differences disagree by more than this fraction are left out, and counted.

    Returns:
        A `GradientCheck`, true if the gradient is right.

    Raises:
        TypeError: a checked input is not float64: the rounding error of float32, divided by h, is as large as the
            gradient.
        ValueError: no input requires a gradient; not one gradient of its shape for each that does; a setting <= 0.

    >>> x = torch.tensor([1.0, 2.0], dtype=torch.float64, requires_grad=True)
    >>> bool(check_gradient(lambda x: x.prod(), x))
    True
    >>> wrong = check_gradient(lambda x: x.prod(), x, gradients=(torch.tensor([2.0, 2.0]),))
    >>> wrong.where, round(wrong.worst, 3)      # the second entry is 1, not 2
    ((0, (1,)), 0.5)
    """
    require_tensor("check_gradient", **{f"input {i}": x for i, x in enumerate(inputs)})
    differentiated = [(i, x) for i, x in enumerate(inputs) if x.requires_grad]
    require(
        len(differentiated) > 0,
        "check_gradient",
        "inputs",
        "such that at least one requires a gradient",
        "none",
    )
    for name, value in (("h", h), ("floor", floor), ("kink", kink)):
        require(0 < value < math.inf, "check_gradient", name, "finite and > 0", value)
    for _, x in differentiated:
        require_type(x.dtype == torch.float64, "check_gradient", "every checked input", "float64", x.dtype)
    upstream: Tensor | None = None

    def scalar() -> Tensor:
        nonlocal upstream
        y = fn(*inputs)
        if upstream is None:  # not 1, not symmetric, the same in every call
            upstream = torch.cos(torch.arange(y.numel(), dtype=y.dtype, device=y.device)).reshape(y.shape)
        return (y * upstream).sum()

    y = scalar()
    if gradients is None:
        leaves = [x for _, x in differentiated]
        gradients = torch.autograd.grad(y, leaves, allow_unused=True, materialize_grads=True)
    require(
        len(gradients) == len(differentiated),
        "check_gradient",
        "gradients",
        "one per checked input",
        len(gradients),
    )
    worst = GradientCheck(0.0, None, 0.0, 0.0, 0, 0)
    count = kinks = 0
    for (i, x), analytic in zip(differentiated, gradients, strict=True):
        require(
            analytic.shape == x.shape,
            "check_gradient",
            "gradients",
            f"of shape {tuple(x.shape)}",
            tuple(analytic.shape),
        )
        numeric, disagreement = central_difference(scalar, x, h)
        scale = torch.maximum(analytic.abs().to(numeric.dtype), numeric.abs()).clamp(min=floor)
        error = (analytic - numeric).abs() / scale
        smooth = ~(disagreement > kink * scale.clamp(min=kink))  # nan counts as smooth, and is an error
        error = torch.where(smooth, error.nan_to_num(nan=torch.inf), 0.0)
        count, kinks = count + int(smooth.sum()), kinks + int((~smooth).sum())
        if error.numel() and error.max() > worst.worst:
            at = tuple(int(k) for k in torch.unravel_index(error.argmax(), error.shape))
            worst = GradientCheck(float(error[at]), (i, at), float(analytic[at]), float(numeric[at]), 0, 0)
    return worst._replace(checked=count, kinks=kinks)
