"""LAMB: Adam with a step per layer that is proportional to the layer's size."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require_same_shape
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_betas, check_lr, check_not_negative
from ._trust import descend, trust_ratio
from .adam import adam_direction


@checked
def lamb_direction(
    theta: Tensor,
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: float | Tensor,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The direction u of one LAMB step, so that theta <- theta - lr * u; and the new moments.

        r, m, v = adam_direction(g, m, v, t)
        w       = r + weight_decay * theta
        u       = |theta| / |w| * w                    norms over the whole tensor; the ratio is 1 where one is 0

    Args:
        theta: the parameter, a layer's weight or bias, any shape.
        g: gradient, same shape.
        m, v: Adam's moments, same shape.
        t: step number counted from 1, a number or a tensor ().
        beta1, beta2: decay rates in [0, 1).
        eps: >= 0, added after the square root.
        weight_decay: lambda >= 0.

    Returns:
        (u, m, v). |u| = |theta|, so lr is the relative change per step.

    Raises:
        ValueError: the shapes differ.

    Source: You et al., "Large Batch Optimization for Deep Learning: Training BERT in 76 minutes",
    arXiv:1904.00962v5, Algorithm 2, with phi(z) = z.

    >>> zero = torch.zeros(2)
    >>> u, m, v = lamb_direction(torch.tensor([3.0, 4.0]), torch.tensor([7.0, -7.0]), zero, zero, 1,
    ...                          beta1=0.5, beta2=0.5, eps=0.0, weight_decay=0.0)
    >>> [round(x, 4) for x in u.tolist()]                # 5 / sqrt(2) * (1, -1)
    [3.5355, -3.5355]
    """
    require_same_shape("lamb_direction", theta=theta, g=g, m=m, v=v)
    r, m, v = adam_direction(g, m, v, t, beta1=beta1, beta2=beta2, eps=eps)
    w = r + weight_decay * theta
    u = trust_ratio(torch.linalg.vector_norm(theta), torch.linalg.vector_norm(w)) * w
    return u, m, v


def lamb_in_place(
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
    weight_decay: float,
) -> None:
    """theta <- theta - lr * lamb_direction(...), in place."""
    r = (1 - beta2**t) ** 0.5
    ops.lerp_(m, g, 1 - beta1)
    ops.mul_(v, beta2)
    ops.addcmul_(v, g, g, 1 - beta2)
    denominator = ops.sqrt(v)
    ops.shift_(denominator, r * eps)
    w = ops.div(m, denominator)
    ops.mul_(w, r / (1 - beta1**t))
    if weight_decay != 0:
        ops.add_(w, theta, weight_decay)
    ratios = ops.each(trust_ratio, ops.norm(theta), ops.norm(w))
    descend(ops, theta, w, ops.each(lambda ratio: lr * ratio, ratios))


class LAMB(FormulaOptimizer):
    r"""LAMB: for large batches; every layer moves by the fraction lr of its own size.

        theta <- theta - lr * lamb_direction(theta, g, ...)

    Args:
        params: parameters or parameter groups, on any device; real.
        lr: learning rate >= 0, relative to the parameter's norm.
        betas: decay rates of the two moments, each in [0, 1).
        eps: >= 0, added after the square root.
        weight_decay: lambda >= 0; enters the direction before it is scaled.
        maximize: climb instead of descend.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        capturable: keep the step counter on the device, for graph capture; runs the formula as written.

    State: `step`, `exp_avg` (m), `exp_avg_sq` (v): 2x the parameters' memory.
    torch has no LAMB; checked against Algorithm 2 in float64 (tests/lib/optim/test_against_papers.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a complex parameter or a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([8.0]))
    >>> theta.grad = torch.tensor([-3.0])
    >>> LAMB([theta], lr=0.25, eps=0.0).step()           # a quarter of |theta|, against the gradient
    >>> theta.item()
    10.0
    """

    elementwise = False
    supports_complex = False

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-6,
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
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
        g = -g if group["maximize"] else g
        u, *moments = lamb_direction(
            theta,
            g,
            *state,
            *clock,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )
        return theta - group["lr"] * u, tuple(moments)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        beta1, beta2 = group["betas"]
        g = ops.neg(g) if group["maximize"] else g
        lamb_in_place(
            ops,
            theta,
            g,
            *state,
            *clock,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            weight_decay=group["weight_decay"],
        )
