"""Lion: the sign of an interpolated momentum."""

from typing import Any

from torch import Tensor

from .._check import checked, require_same_shape
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_betas, check_lr, check_not_negative


@checked
def lion_direction(g: Tensor, m: Tensor, *, beta1: float, beta2: float) -> tuple[Tensor, Tensor]:
    r"""The direction u of one Lion step, so that theta <- theta - lr * u; and the new momentum.

        u  = sign(beta1 * m + (1 - beta1) * g)
        m <- beta2 * m + (1 - beta2) * g                after u: u sees the old momentum

    Args:
        g: gradient, any shape.
        m: momentum, same shape; zero before the first step.
        beta1: weight of the momentum in the sign, in [0, 1).
        beta2: decay rate of the momentum, in [0, 1).

    Returns:
        (u, m), of `g`'s shape; every entry of u is -1, 0 or 1.

    Raises:
        ValueError: the shapes differ.

    Source: Chen et al., "Symbolic Discovery of Optimization Algorithms", arXiv:2302.06675v4, Algorithm 2.

    >>> import torch
    >>> u, m = lion_direction(torch.tensor(-4.0), torch.tensor(2.0), beta1=0.5, beta2=0.75)
    >>> u.item(), m.item()                               # sign(1 - 2), 1.5 - 1
    (-1.0, 0.5)
    """
    require_same_shape("lion_direction", g=g, m=m)
    u = (beta1 * m + (1 - beta1) * g).sign()
    m = beta2 * m + (1 - beta2) * g
    return u, m


def lion_in_place(
    ops: Ops, theta: Any, g: Any, m: Any, *, lr: float, beta1: float, beta2: float, weight_decay: float
) -> None:
    """theta <- (1 - lr * weight_decay) * theta - lr * lion_direction(...), in place."""
    u = ops.lerp(m, g, 1 - beta1)
    ops.sign_(u)
    if weight_decay != 0:
        ops.mul_(theta, 1 - lr * weight_decay)
    ops.add_(theta, u, -lr)
    ops.lerp_(m, g, 1 - beta2)


class Lion(FormulaOptimizer):
    r"""Lion: every entry moves by exactly lr, up or down, and decays as in AdamW.

        theta <- theta - lr * (lion_direction(g, ...) + weight_decay * theta)

    Args:
        params: parameters or parameter groups, on any device.
        lr: learning rate >= 0, parameter units per step; the paper takes 3 to 10 times less than for AdamW.
        betas: the weights of the momentum in the step and in its own average, each in [0, 1).
        weight_decay: lambda >= 0, decoupled; the paper takes 3 to 10 times more than for AdamW.
        maximize: climb instead of descend.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.

    State: `exp_avg` (m): 1x the parameters' memory, half of Adam's.
    torch has no Lion; checked against Algorithm 2 in float64 (tests/lib/optim/test_against_papers.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a sparse gradient.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0, 1.0, 1.0]))
    >>> theta.grad = torch.tensor([1e-6, -1e6, 0.0])
    >>> Lion([theta], lr=0.25).step()
    >>> theta.tolist()
    [0.75, 1.25, 1.0]
    """

    clock_names = ()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "foreach": foreach,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_betas(where, options)
        check_not_negative(where, options, "weight_decay")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The momentum."""
        return ("exp_avg",)

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        beta1, beta2 = group["betas"]
        g = -g if group["maximize"] else g
        u, m = lion_direction(g, *state, beta1=beta1, beta2=beta2)
        return theta - group["lr"] * (u + group["weight_decay"] * theta), (m,)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        beta1, beta2 = group["betas"]
        g = ops.neg(g) if group["maximize"] else g
        lion_in_place(
            ops,
            theta,
            g,
            *state,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
        )
