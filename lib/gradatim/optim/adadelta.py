"""Adadelta."""

from typing import Any

from torch import Tensor

from .._check import checked, require, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_lr, check_not_negative, check_number


@checked
def adadelta_direction(
    g: Tensor, v: Tensor, d: Tensor, *, rho: float, eps: float
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The direction u of one Adadelta step, so that theta <- theta - lr * u; and the new averages.

        v <- rho * v + (1 - rho) * g * g               average of squared gradients, v_0 = 0
        u  = sqrt(d + eps) / sqrt(v + eps) * g
        d <- rho * d + (1 - rho) * u * u               average of squared updates, d_0 = 0

    Args:
        g: gradient, any shape.
        v, d: averages, same shape as `g`, >= 0.
        rho: decay rate in [0, 1].
        eps: > 0, added inside the roots. It sets the size of the first steps, since d starts at 0.

    Returns:
        (u, v, d), of `g`'s shape; u is in parameter units, which is why lr is 1.

    Raises:
        ValueError: the shapes differ.

    Source: Zeiler, "ADADELTA: An Adaptive Learning Rate Method", arXiv:1212.5701v1, Algorithm 1.
    Differs from the paper: none; `lr` multiplies u afterwards and is 1 in the paper.

    >>> import torch
    >>> zero = torch.tensor(0.0)
    >>> u, v, d = adadelta_direction(torch.tensor(2.0), zero, zero, rho=0.75, eps=3.0)
    >>> round(u.item(), 6), v.item(), round(d.item(), 6)      # v = 1, u = sqrt(3) / 2 * 2, d = 3 / 4
    (1.732051, 1.0, 0.75)
    """
    require_same_shape("adadelta_direction", g=g, v=v, d=d)
    v = rho * v + (1 - rho) * g * g
    u = (d + eps).sqrt() / (v + eps).sqrt() * g
    d = rho * d + (1 - rho) * u * u
    return u, v, d


def adadelta_in_place(
    ops: Ops, theta: Any, g: Any, v: Any, d: Any, *, lr: float, rho: float, eps: float
) -> None:
    """theta <- theta - lr * adadelta_direction(...), in place."""
    ops.mul_(v, rho)
    ops.addcmul_(v, g, g, 1 - rho)
    denominator = ops.shift(v, eps)
    ops.sqrt_(denominator)
    u = ops.shift(d, eps)
    ops.sqrt_(u)
    ops.div_(u, denominator)
    ops.mul_(u, g)
    ops.mul_(d, rho)
    ops.addcmul_(d, u, u, 1 - rho)
    ops.add_(theta, u, -lr)


class Adadelta(FormulaOptimizer):
    r"""Adadelta: steps in parameter units, from the ratio of past updates to past gradients.

        g     <- g + weight_decay * theta
        theta <- theta - lr * adadelta_direction(g, ...)

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: factor on the step, >= 0; 1 in the paper.
        rho: decay rate in [0, 1].
        eps: >= 0, added inside the roots.
        weight_decay: lambda >= 0; adds lambda * theta to the gradient (L2).
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        capturable: keep the step counter on the device, for graph capture; runs the formula as written.
        maximize: climb instead of descend.
        differentiable: let autograd see through the step; runs the formula as written.

    State: `step`, `square_avg` (v), `acc_delta` (d): 2x the parameters' memory.
    Same numbers as torch.optim.Adadelta (tests/lib/optim/test_against_torch.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a sparse gradient.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([2.0])
    >>> Adadelta([theta], rho=0.75, eps=1 / 3).step()    # sqrt(1/3) / sqrt(1 + 1/3) * 2 = 1
    >>> round(theta.item(), 6)
    0.0
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "rho": rho,
                "eps": eps,
                "weight_decay": weight_decay,
                "maximize": maximize,
                "capturable": capturable,
                "foreach": foreach,
                "differentiable": differentiable,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        rho = options["rho"]
        check_number(where, "rho", rho)
        require(0 <= rho <= 1, where, "rho", "in [0, 1]", rho, f"Invalid rho value: {rho}")
        check_not_negative(where, options, "eps", "weight_decay")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The averages."""
        return ("square_avg", "acc_delta")

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        g = l2_gradient(g, theta, group)
        u, *averages = adadelta_direction(g, *state, rho=group["rho"], eps=group["eps"])
        return theta - group["lr"] * u, tuple(averages)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        g = l2_gradient_of(ops, g, theta, group)
        adadelta_in_place(ops, theta, g, *state, lr=group["lr"], rho=group["rho"], eps=group["eps"])
