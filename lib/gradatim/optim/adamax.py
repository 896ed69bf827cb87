"""Adamax: Adam with the infinity norm."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_betas, check_lr, check_not_negative
from .bias import bias_correction


@checked
def adamax_direction(
    g: Tensor, m: Tensor, n: Tensor, t: float | Tensor, *, beta1: float, beta2: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The direction u of one Adamax step, so that theta <- theta - lr * u; and the new moments.

        m <- beta1 * m + (1 - beta1) * g               first moment, m_0 = 0
        n <- max(beta2 * n, |g| + eps)                 decaying infinity norm of the gradients, n_0 = 0
        u  = m / (1 - beta1**t) / n

    Args:
        g: gradient, any shape.
        m, n: moments, same shape as `g`; n >= 0.
        t: step number counted from 1, a number or a tensor ().
        beta1, beta2: decay rates in [0, 1).
        eps: >= 0, keeps n positive.

    Returns:
        (u, m, n), of `g`'s shape; u has no unit and, without eps, |u| <= 1 at the first step.

    Raises:
        ValueError: the shapes differ.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980v9, Algorithm 2.
    Differs from the paper: the paper has no eps. The paper's u_t is `n` here.

    >>> zero = torch.tensor(0.0)
    >>> u, m, n = adamax_direction(torch.tensor(-4.0), zero, zero, 1, beta1=0.5, beta2=0.75, eps=0.0)
    >>> u.item(), m.item(), n.item()
    (-1.0, -2.0, 4.0)
    """
    require_same_shape("adamax_direction", g=g, m=m, n=n)
    m = beta1 * m + (1 - beta1) * g
    n = torch.maximum(beta2 * n, g.abs() + eps)
    u = m / bias_correction(beta1, t) / n
    return u, m, n


def adamax_in_place(
    ops: Ops,
    theta: Any,
    g: Any,
    m: Any,
    n: Any,
    t: float,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
) -> None:
    """theta <- theta - lr * adamax_direction(...), in place."""
    ops.lerp_(m, g, 1 - beta1)
    size = ops.abs(g)
    ops.shift_(size, eps)
    ops.mul_(n, beta2)
    ops.maximum_(n, size)
    ops.addcdiv_(theta, m, n, -lr / (1 - beta1**t))


class Adamax(FormulaOptimizer):
    r"""Adamax: Adam with a decaying maximum of |g| in the place of the root mean square.

        g     <- g + weight_decay * theta
        theta <- theta - lr * adamax_direction(g, ...)

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, a number or a 1-element tensor; parameter units per step.
        betas: decay rates of the mean and of the maximum, each in [0, 1).
        eps: >= 0, added to |g|.
        weight_decay: lambda >= 0; adds lambda * theta to the gradient (L2).
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        maximize: climb instead of descend.
        differentiable: let autograd see through the step; runs the formula as written.
        capturable: keep the step counter on the device, for graph capture; runs the formula as written.

    State: `step`, `exp_avg` (m), `exp_inf` (n): 2x the parameters' memory.
    Same numbers as torch.optim.Adamax (tests/lib/optim/test_against_torch.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([32.0])
    >>> Adamax([theta], lr=0.5, betas=(0.5, 0.75), eps=0.0).step()
    >>> theta.item()
    0.5
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        capturable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "capturable": capturable,
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
        return ("exp_avg", "exp_inf")

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        beta1, beta2 = group["betas"]
        g = l2_gradient(g, theta, group)
        u, *moments = adamax_direction(g, *state, *clock, beta1=beta1, beta2=beta2, eps=group["eps"])
        return theta - group["lr"] * u, tuple(moments)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        beta1, beta2 = group["betas"]
        g = l2_gradient_of(ops, g, theta, group)
        adamax_in_place(
            ops, theta, g, *state, *clock, lr=group["lr"], beta1=beta1, beta2=beta2, eps=group["eps"]
        )
