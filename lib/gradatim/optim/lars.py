"""LARS: momentum SGD with a learning rate per layer."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require_same_shape
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_lr, check_not_negative


def lars_local_lr(
    theta_norm: Tensor, g_norm: Tensor, *, trust_coefficient: float, weight_decay: float, eps: float
) -> Tensor:
    """trust_coefficient * |theta| / (|g| + weight_decay * |theta| + eps), and 1 where a norm is 0.

    Args:
        theta_norm: |theta|, shape ().
        g_norm: |g|, shape ().
        trust_coefficient: > 0.
        weight_decay: >= 0.
        eps: >= 0.

    Returns:
        The factor of the learning rate, shape ().

    >>> options = dict(trust_coefficient=0.5, weight_decay=1.0, eps=0.0)
    >>> lars_local_lr(torch.tensor(4.0), torch.tensor(4.0), **options).item()      # 0.5 * 4 / 8
    0.25
    """
    defined = (theta_norm > 0) & (g_norm > 0)
    ratio = trust_coefficient * theta_norm / (g_norm + weight_decay * theta_norm + eps)
    return torch.where(defined, ratio, 1.0)


@checked
def lars_velocity(
    theta: Tensor,
    g: Tensor,
    b: Tensor,
    *,
    lr: float,
    momentum: float,
    weight_decay: float,
    trust_coefficient: float,
    eps: float = 0.0,
) -> Tensor:
    r"""The new velocity b of one LARS step, so that theta <- theta - b.

        local = trust_coefficient * |theta| / (|g| + weight_decay * |theta| + eps)
        b    <- momentum * b + lr * local * (g + weight_decay * theta)

    Args:
        theta: the parameter, a layer's weight or bias, any shape.
        g: gradient, same shape.
        b: velocity, same shape; zero before the first step.
        lr: learning rate >= 0; it is inside the velocity, so a change of lr acts on new gradients only.
        momentum: >= 0.
        weight_decay: lambda >= 0.
        trust_coefficient: eta > 0, the relative change that a gradient of any size causes.
        eps: >= 0, added to the denominator.

    Returns:
        b, in parameter units.

    Raises:
        ValueError: the shapes differ.

    Source: You, Gitman and Ginsburg, "Large Batch Training of Convolutional Networks", arXiv:1708.03888v3,
    Algorithm 1.
    Differs from the paper: eps, 0 in the paper; the local rate is 1 where a norm is 0.

    >>> b = lars_velocity(torch.tensor([4.0]), torch.tensor([100.0]), torch.tensor([0.0]), lr=0.5, momentum=0.9,
    ...                   weight_decay=0.0, trust_coefficient=0.25)
    >>> b.item()                                          # 0.5 * 0.25 * |theta|, whatever the gradient's size
    0.5
    """
    require_same_shape("lars_velocity", theta=theta, g=g, b=b)
    local = lars_local_lr(
        torch.linalg.vector_norm(theta),
        torch.linalg.vector_norm(g),
        trust_coefficient=trust_coefficient,
        weight_decay=weight_decay,
        eps=eps,
    )
    return momentum * b + lr * local * (g + weight_decay * theta)


class LARS(FormulaOptimizer):
    r"""LARS: for large batches; the ratio of a layer's step to the layer's size is the same for all layers.

        theta <- theta - lars_velocity(theta, g, b, ...)

    Args:
        params: parameters or parameter groups, on any device; real. Keep biases and normalization layers in a
            group of another optimizer, as the paper's authors do.
        lr: learning rate >= 0; a schedule changes it.
        momentum: >= 0.
        weight_decay: lambda >= 0.
        trust_coefficient: eta > 0.
        eps: >= 0, added to the denominator of the local rate.
        maximize: climb instead of descend.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.

    State: `momentum_buffer` (b): 1x the parameters' memory.
    torch has no LARS; checked against Algorithm 1 in float64 (tests/lib/optim/test_against_papers.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a complex parameter or a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([4.0]))
    >>> theta.grad = torch.tensor([-1e6])
    >>> LARS([theta], lr=0.5, trust_coefficient=0.25).step()
    >>> theta.item()
    4.5
    """

    elementwise = False
    supports_complex = False
    clock_names = ()

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-1,
        momentum: float = 0.9,
        weight_decay: float = 0,
        trust_coefficient: float = 1e-3,
        eps: float = 0,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "weight_decay": weight_decay,
                "trust_coefficient": trust_coefficient,
                "eps": eps,
                "maximize": maximize,
                "foreach": foreach,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_not_negative(where, options, "momentum", "weight_decay", "trust_coefficient", "eps")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The velocity."""
        return ("momentum_buffer",)

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        b = lars_velocity(
            theta,
            -g if group["maximize"] else g,
            *state,
            lr=group["lr"],
            momentum=group["momentum"],
            weight_decay=group["weight_decay"],
            trust_coefficient=group["trust_coefficient"],
            eps=group["eps"],
        )
        return theta - b, (b,)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place; the sign of the gradient does not change its norm."""
        (b,) = state
        weight_decay = group["weight_decay"]
        options = {name: group[name] for name in ("trust_coefficient", "weight_decay", "eps")}
        local = ops.each(lambda x, y: lars_local_lr(x, y, **options), ops.norm(theta), ops.norm(g))
        g = ops.neg(g) if group["maximize"] else g
        w = ops.add(g, theta, weight_decay)
        ops.each(lambda w, rate: w.mul_(group["lr"] * rate), w, local)
        ops.decay_add_(b, group["momentum"], w)
        ops.add_(theta, b, -1)
