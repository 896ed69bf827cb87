"""RAdam: Adam that waits until its second moment can be trusted."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_betas, check_lr, check_not_negative
from .bias import bias_correction, computed_once


def radam_rectification(t: Any, *, beta2: float) -> tuple[Any, Any]:
    """The length rho_t of the average behind v, and the factor r_t that rectifies its variance.

        rho_inf = 2 / (1 - beta2) - 1
        rho_t   = rho_inf - 2 * t * beta2**t / (1 - beta2**t)
        r_t     = sqrt((rho_t - 4) * (rho_t - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho_t))

    Args:
        t: step number counted from 1, a number or a tensor ().
        beta2: decay rate in [0, 1).

    Returns:
        (rho_t, r_t); r_t is 0 (a tensor: of no meaning) where rho_t <= 4 and the variance does not exist.

    Source: Liu et al., "On the Variance of the Adaptive Learning Rate and Beyond", arXiv:1908.03265v4, Algorithm 2.

    >>> rho, r = radam_rectification(1, beta2=0.5)       # rho_inf = 3, rho_1 = 3 - 2 * 0.5 / 0.5
    >>> rho, r
    (1.0, 0.0)
    """
    rho_inf = 2 / (1 - beta2) - 1
    c = bias_correction(beta2, t)  # 1 - beta2**t
    rho = rho_inf - 2 * t * (1 - c) / c
    if not isinstance(rho, Tensor) and rho <= 4:
        return rho, 0.0
    r = ((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho)) ** 0.5
    return rho, computed_once(r)


@checked
def radam_direction(
    g: Tensor, m: Tensor, v: Tensor, t: float | Tensor, *, beta1: float, beta2: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The direction u of one RAdam step, so that theta <- theta - lr * u; and the new moments.

        m    <- beta1 * m + (1 - beta1) * g
        v    <- beta2 * v + (1 - beta2) * g * g
        m_hat = m / bias_correction(beta1, t)
        u     = r_t * m_hat * sqrt(1 - beta2**t) / (sqrt(v) + eps)     where rho_t > 5
        u     = m_hat                                                  else: momentum SGD

    Args:
        g: gradient, any shape.
        m, v: moments, same shape as `g`; zero before the first step.
        t: step number counted from 1, a number or a tensor ().
        beta1, beta2: decay rates in [0, 1); with beta2 below 2/3 rho_t never exceeds 5.
        eps: >= 0, added to sqrt(v), before the bias correction.

    Returns:
        (u, m, v), of `g`'s shape. u is in gradient units at first and has no unit later.

    Raises:
        ValueError: the shapes differ.

    Source: Liu et al., arXiv:1908.03265v4, Algorithm 2.
    Differs from the paper: the switch is at 5, the paper's at 4 (its authors' code uses 5, as torch does); the
    paper has no eps.

    >>> zero = torch.tensor(0.0)
    >>> u, m, v = radam_direction(torch.tensor(8.0), zero, zero, 1, beta1=0.5, beta2=0.999, eps=0.0)
    >>> u.item()                                         # the first step is a plain gradient step
    8.0
    """
    require_same_shape("radam_direction", g=g, m=m, v=v)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = m / bias_correction(beta1, t)
    rho, r = radam_rectification(t, beta2=beta2)
    if isinstance(rho, Tensor):  # a captured graph decides on the device
        u = torch.where(rho > 5, r * m_hat * bias_correction(beta2, t) ** 0.5 / (v.sqrt() + eps), m_hat)
    elif rho > 5:
        u = r * m_hat * bias_correction(beta2, t) ** 0.5 / (v.sqrt() + eps)
    else:
        u = m_hat
    return u, m, v


def radam_in_place(
    ops: Ops,
    theta: Any,
    g: Any,
    m: Any,
    v: Any,
    t: float,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """theta <- theta - lr * radam_direction(...), in place."""
    ops.lerp_(m, g, 1 - beta1)
    ops.mul_(v, beta2)
    ops.addcmul_(v, g, g, 1 - beta2)
    step = lr / (1 - beta1**t)
    rho, r = radam_rectification(t, beta2=beta2)
    if rho > 5:
        denominator = ops.sqrt(v)
        ops.shift_(denominator, eps)
        ops.addcdiv_(theta, m, denominator, -step * r * (1 - beta2**t) ** 0.5)
    else:
        ops.add_(theta, m, -step)


class RAdam(FormulaOptimizer):
    r"""RAdam: momentum SGD for the first steps, then Adam with a factor that grows to 1: a built-in warm-up.

        g     <- g + weight_decay * theta                L2, or where decoupled_weight_decay instead
        theta <- theta - lr * weight_decay * theta
        theta <- theta - lr * radam_direction(g, ...)

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, a number or a 1-element tensor; parameter units per step.
        betas: decay rates of the two moments, each in [0, 1).
        eps: >= 0, added to sqrt(v).
        weight_decay: lambda >= 0.
        decoupled_weight_decay: AdamW's decay in the place of L2.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        maximize: climb instead of descend.
        capturable: keep the step counter on the device, for graph capture; runs the formula as written.
        differentiable: let autograd see through the step; runs the formula as written.

    State: `step`, `exp_avg` (m), `exp_avg_sq` (v): 2x the parameters' memory.
    Same numbers as torch.optim.RAdam (tests/lib/optim/test_against_torch.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([8.0])
    >>> RAdam([theta], lr=0.25).step()                   # 1 - 0.25 * 8
    >>> round(theta.item(), 6)
    -1.0
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        decoupled_weight_decay: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "decoupled_weight_decay": decoupled_weight_decay,
                "differentiable": differentiable,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_betas(where, options)
        check_not_negative(where, options, "eps", "weight_decay")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The moments."""
        return ("exp_avg", "exp_avg_sq")

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        beta1, beta2 = group["betas"]
        if group["decoupled_weight_decay"]:
            g = -g if group["maximize"] else g
            theta = theta - group["lr"] * group["weight_decay"] * theta
        else:
            g = l2_gradient(g, theta, group)
        u, *moments = radam_direction(g, *state, *clock, beta1=beta1, beta2=beta2, eps=group["eps"])
        return theta - group["lr"] * u, tuple(moments)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        beta1, beta2 = group["betas"]
        if group["decoupled_weight_decay"]:
            g = ops.neg(g) if group["maximize"] else g
            ops.mul_(theta, 1 - group["lr"] * group["weight_decay"])
        else:
            g = l2_gradient_of(ops, g, theta, group)
        radam_in_place(
            ops, theta, g, *state, *clock, lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"]
        )
