"""RMSprop, plain and centered."""

from typing import Any

from torch import Tensor

from .._check import checked, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_lr, check_not_negative


@checked
def rmsprop_direction(
    g: Tensor, v: Tensor, *, alpha: float, eps: float, g_mean: Tensor | None = None
) -> tuple[Tensor, ...]:
    r"""The direction u of one RMSprop step, so that theta <- theta - lr * u; and the new averages.

        v      <- alpha * v + (1 - alpha) * g * g         average of the squared gradient, v_0 = 0
        g_mean <- alpha * g_mean + (1 - alpha) * g        centered only
        w       = v,   or  v - g_mean * g_mean            an estimate of the gradient's variance where centered
        u       = g / (sqrt(w) + eps)

    Args:
        g: gradient, any shape.
        v: average of squares, same shape as `g`, >= 0.
        alpha: decay rate >= 0, below 1 to be an average.
        eps: >= 0, added after the square root.
        g_mean: average of the gradient for the centered form, or None.

    Returns:
        (u, v), and g_mean where it was given; of `g`'s shape. u has no unit.

    Raises:
        ValueError: the shapes of g and v differ.

    Source: Tieleman and Hinton, "Lecture 6.5 - rmsprop", COURSERA: Neural Networks for Machine Learning, 2012.
    Centered: Graves, "Generating Sequences With Recurrent Neural Networks", arXiv:1308.0850v5, eq. 38-41.
    Differs from the paper: Graves adds eps inside the root, torch and this function outside. There is no bias
    correction, so the first steps are up to 1 / sqrt(1 - alpha) times larger than lr.

    >>> import torch
    >>> u, v = rmsprop_direction(torch.tensor(2.0), torch.tensor(0.0), alpha=0.75, eps=0.0)
    >>> u.item(), v.item()                     # v = 4 / 4, u = 2 / 1
    (2.0, 1.0)
    """
    require_same_shape("rmsprop_direction", g=g, v=v)
    v = alpha * v + (1 - alpha) * g * g
    if g_mean is None:
        return g / (v.sqrt() + eps), v
    g_mean = alpha * g_mean + (1 - alpha) * g
    w = v - g_mean * g_mean
    return g / (w.sqrt() + eps), v, g_mean


def rmsprop_in_place(
    ops: Ops,
    theta: Any,
    g: Any,
    v: Any,
    *,
    lr: float,
    alpha: float,
    eps: float,
    momentum: float,
    g_mean: Any = None,
    b: Any = None,
) -> None:
    """theta <- theta - lr * rmsprop_direction(...), or - lr * b with b <- momentum * b + u, in place."""
    ops.mul_(v, alpha)
    ops.addcmul_(v, g, g, 1 - alpha)
    if g_mean is None:
        denominator = ops.sqrt(v)
    else:
        ops.lerp_(g_mean, g, 1 - alpha)
        denominator = ops.addcmul(v, g_mean, g_mean, -1)
        ops.sqrt_(denominator)
    ops.shift_(denominator, eps)
    if b is None:
        ops.addcdiv_(theta, g, denominator, -lr)
    else:
        ops.mul_(b, momentum)
        ops.addcdiv_(b, g, denominator, 1)
        ops.add_(theta, b, -lr)


class RMSprop(FormulaOptimizer):
    r"""RMSprop: the gradient divided by a running root mean square of itself.

        g     <- g + weight_decay * theta
        theta <- theta - lr * rmsprop_direction(g, ...)
        b     <- momentum * b + rmsprop_direction(g, ...);  theta <- theta - lr * b     with momentum

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, a number or a 1-element tensor; parameter units per step.
        alpha: decay rate of the average of squares, >= 0.
        eps: >= 0, added after the square root.
        weight_decay: lambda >= 0; adds lambda * theta to the gradient (L2).
        momentum: >= 0; 0 keeps no buffer.
        centered: divide by an estimate of the gradient's standard deviation instead of its root mean square.
        capturable: keep the step counter on the device, for graph capture; runs the formula as written.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        maximize: climb instead of descend.
        differentiable: let autograd see through the step; runs the formula as written.

    State: `step`, `square_avg` (v), with momentum `momentum_buffer` (b), centered `grad_avg`: 1x to 3x the
    parameters' memory.
    Same numbers as torch.optim.RMSprop (tests/lib/optim/test_against_torch.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a sparse gradient.

    >>> import torch
    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([-8.0])
    >>> RMSprop([theta], lr=0.5, alpha=0.75, eps=0.0).step()    # sqrt(v) = |g| / 2, so the step is 2 * lr
    >>> theta.item()
    2.0
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        capturable: bool = False,
        foreach: bool | None = None,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "capturable": capturable,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_not_negative(where, options, "eps", "momentum", "weight_decay", "alpha")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The averages, and the buffer."""
        return (
            "square_avg",
            *(("momentum_buffer",) if group["momentum"] > 0 else ()),
            *(("grad_avg",) if group["centered"] else ()),
        )

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        held = dict(zip(self.state_names(group), state, strict=True))
        g = l2_gradient(g, theta, group)
        u, v, *g_mean = rmsprop_direction(
            g, held["square_avg"], alpha=group["alpha"], eps=group["eps"], g_mean=held.get("grad_avg")
        )
        if group["momentum"] > 0:
            b = group["momentum"] * held["momentum_buffer"] + u
            return theta - group["lr"] * b, (v, b, *g_mean)
        return theta - group["lr"] * u, (v, *g_mean)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        held = dict(zip(self.state_names(group), state, strict=True))
        g = l2_gradient_of(ops, g, theta, group)
        rmsprop_in_place(
            ops,
            theta,
            g,
            held["square_avg"],
            lr=group["lr"],
            alpha=group["alpha"],
            eps=group["eps"],
            momentum=group["momentum"],
            g_mean=held.get("grad_avg"),
            b=held.get("momentum_buffer"),
        )
