"""Gradient descent and stochastic gradient descent, with momentum in both of its conventions."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_lr, check_not_negative, check_number
from ._plan import Columns, pick


@checked
def sgd_direction(
    g: Tensor,
    b: Tensor,
    *,
    momentum: float,
    dampening: float = 0.0,
    nesterov: bool = False,
    ema: bool = False,
    first: bool = False,
) -> tuple[Tensor, Tensor]:
    r"""The direction u of one momentum step, so that theta <- theta - lr * u; and the new buffer.

    With mu the momentum and tau the dampening:

        Polyak's form (torch's)                     averaging form (`ema=True`)
        b <- g                     at t = 1         b <- mu * b + (1 - mu) * g,   b_0 = 0
        b <- mu * b + (1-tau) * g  at t > 1
        u  = b                                      u  = b
        u  = g + mu * b            (Nesterov)       u  = (1 - mu) * g + mu * b    (Nesterov)

    The averaging form's buffer is 1 - mu times Polyak's, so its learning rate must be 1 / (1 - mu) times larger for
    the same steps. When mu changes during training the two are no longer rescalings of each other.

    Args:
        g: gradient, any shape.
        b: momentum buffer, same shape as `g`; not read where `first`.
        momentum: mu >= 0; the averaging form needs mu <= 1.
        dampening: tau, of Polyak's form only.
        nesterov: look ahead along the buffer.
        ema: use the averaging form.
        first: whether this is the first step, t = 1.

    Returns:
        (u, b), both of `g`'s shape and in gradient units.

    Raises:
        ValueError: the shapes differ.

    Source: Polyak, "Some methods of speeding up the convergence of iteration methods", USSR Computational
    Mathematics and Mathematical Physics 4(5), 1964. Nesterov's form: Sutskever, Martens, Dahl and Hinton, "On the
    importance of initialization and momentum in deep learning", ICML 2013, eq. 3-4.
    Differs from the paper: Sutskever et al. put the learning rate inside the buffer, v <- mu * v - lr * g, which
    is the same until the learning rate changes; and here the gradient is taken at theta, not at the looked-ahead
    point, so the stored parameters are the looked-ahead ones.

    >>> g, b = torch.tensor([1.0]), torch.tensor([2.0])
    >>> [x.item() for x in sgd_direction(g, b, momentum=0.5)]                 # b = 0.5 * 2 + 1
    [2.0, 2.0]
    >>> [x.item() for x in sgd_direction(g, b, momentum=0.5, nesterov=True)]  # u = 1 + 0.5 * 2
    [2.0, 2.0]
    >>> [x.item() for x in sgd_direction(g, b, momentum=0.5, ema=True)]       # b = 0.5 * 2 + 0.5 * 1
    [1.5, 1.5]
    """
    require_same_shape("sgd_direction", g=g, b=b)
    if ema:
        b = (g * 0 if first else momentum * b) + (1 - momentum) * g
        return ((1 - momentum) * g + momentum * b if nesterov else b), b
    b = g if first else momentum * b + (1 - dampening) * g
    return (g + momentum * b if nesterov else b), b


def sgd_in_place(
    ops: Ops,
    theta: Any,
    g: Any,
    b: Any,
    *,
    first: bool,
    lr: float,
    momentum: float,
    dampening: float,
    nesterov: bool,
    ema: bool,
) -> None:
    """theta <- theta - lr * sgd_direction(...) and the buffer's update, in place; the buffer starts at zero."""
    fresh = (
        1 - momentum if ema else 1.0
    )  # the weight of g in the buffer's first and, without dampening, later steps
    if first and ema:
        ops.lerp_(b, g, fresh)
    elif first:
        ops.copy_(b, g)
    elif ema:
        ops.lerp_(b, g, fresh)
    elif dampening:
        ops.mul_(b, momentum)
        ops.add_(b, g, 1 - dampening)
    else:
        ops.decay_add_(b, momentum, g)
    if nesterov:
        ops.add_(theta, g, -lr * fresh)
        ops.add_(theta, b, -lr * momentum)
    else:
        ops.add_(theta, b, -lr)


class SGD(FormulaOptimizer):
    r"""Stochastic gradient descent, with momentum, dampening, Nesterov's form and L2 weight decay.

        g <- g + weight_decay * theta
        theta <- theta - lr * u,   u = g without momentum, else `sgd_direction`

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, a number or a 1-element tensor.
        momentum: mu >= 0; 0 keeps no buffer.
        dampening: tau; a gradient enters the buffer with weight 1 - tau, except the first.
        weight_decay: lambda >= 0; adds lambda * theta to the gradient, which for SGD is decoupled decay as well.
        nesterov: Nesterov's form; needs momentum > 0 and no dampening.
        ema: keep the buffer as an average (see `sgd_direction`); needs no dampening and momentum <= 1.
        maximize: climb instead of descend.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        differentiable: let autograd see through the step.
        fused: run torch's fused kernel; needs the torch form of momentum.

    State: `momentum_buffer` (with momentum): 1x the parameters' memory. A sparse gradient updates the rows that it
    names; it needs momentum 0 and weight_decay 0.
    Same numbers as torch.optim.SGD (tests/lib/optim/test_against_torch.py), which has no `ema`.

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: fused together with foreach, differentiable, ema or a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([2.0])
    >>> SGD([theta], lr=0.25).step()      # 1 - 0.25 * 2
    >>> theta.item()
    0.5
    """

    clock_names = ()
    supports_sparse = True

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float | Tensor = 0,
        nesterov: bool = False,
        *,
        ema: bool = False,
        maximize: bool = False,
        foreach: bool | None = None,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "ema": ema,
                "maximize": maximize,
                "foreach": foreach,
                "differentiable": differentiable,
                "fused": fused,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_not_negative(where, options, "momentum", "weight_decay")
        momentum, dampening = options["momentum"], options["dampening"]
        check_number(where, "dampening", dampening)
        if options["nesterov"] and (momentum <= 0 or dampening != 0):
            raise ValueError(
                f"{where}: momentum must be > 0 and dampening 0 for nesterov, got {momentum} and {dampening} "
                "(Nesterov momentum requires a momentum and zero dampening)"
            )
        if options["ema"]:
            require(momentum <= 1, where, "momentum", "<= 1 where ema=True", momentum)
            require(dampening == 0, where, "dampening", "0 where ema=True", dampening)
            require(not options["fused"], where, "fused", "False where ema=True", options["fused"])

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The buffer, where there is momentum."""
        return ("momentum_buffer",) if group["momentum"] != 0 else ()

    def new_state(self, theta: Tensor, group: Group) -> dict[str, Any]:
        """None until the first step, so that the first step is known: with dampening it differs."""
        return dict.fromkeys(self.state_names(group))

    def clocks(
        self, thetas: list[Tensor], states: list[dict[str, Any]], group: Group, *, as_numbers: bool
    ) -> list[tuple[Any, ...]]:
        """Whether this is the first step."""
        if group["momentum"] == 0:
            return [(True,)] * len(thetas)
        firsts = []
        for theta, state in zip(thetas, states, strict=True):
            firsts.append((state["momentum_buffer"] is None,))
            if firsts[-1][0]:
                state.update(super().new_state(theta, group))
        return firsts

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        g = l2_gradient(g, theta, group)
        if not state:
            return theta - group["lr"] * g, ()
        u, b = sgd_direction(
            g,
            *state,
            momentum=group["momentum"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            ema=group["ema"],
            first=clock[0],
        )
        return theta - group["lr"] * u, (b,)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        g = l2_gradient_of(ops, g, theta, group)
        if not state:
            ops.add_(theta, g, -group["lr"])
            return
        sgd_in_place(
            ops,
            theta,
            g,
            *state,
            first=clock[0],
            lr=group["lr"],
            momentum=group["momentum"],
            dampening=group["dampening"],
            nesterov=group["nesterov"],
            ema=group["ema"],
        )

    def update_sparse(self, theta: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        """Descend on the rows that the gradient names."""
        where = type(self).__name__
        for name in ("momentum", "weight_decay"):  # both would move every row
            require(group[name] == 0, where, name, "0 for a sparse gradient", group[name])
        theta.add_(g, alpha=group["lr"] if group["maximize"] else -group["lr"])

    def update_fused(
        self,
        thetas: list[Tensor],
        gs: list[Tensor],
        columns: Columns,
        clocks: list[tuple[Any, ...]],
        group: Group,
    ) -> None:
        """torch's kernel, which is told for a whole list whether it is the first step."""
        for first in (False, True):
            part = [i for i, clock in enumerate(clocks) if clock[0] is first]
            if not part:
                continue
            some_thetas, some_gs, buffers = pick(part, thetas, gs, columns)
            torch._fused_sgd_(
                some_thetas,
                some_gs,
                buffers[0] if buffers else [],
                weight_decay=group["weight_decay"],
                momentum=group["momentum"],
                lr=group["lr"],
                dampening=group["dampening"],
                nesterov=group["nesterov"],
                maximize=group["maximize"],
                is_first_step=first,
            )


def gd_direction(g: Tensor) -> Tensor:
    """The direction of steepest descent, u = g.

    Args:
        g: gradient of the loss over all the data, any shape.

    Returns:
        `g` itself.

    >>> gd_direction(torch.tensor([3.0])).item()
    3.0
    """
    return g


class GD(SGD):
    """Gradient descent, theta <- theta - lr * g.

    The rule is SGD's without momentum; the name says that g comes from all the data (a closure over the whole
    training set), so the step is not noisy. On a quadratic it converges for lr < 2 / (largest eigenvalue).

    Args:
        params: parameters or parameter groups.
        lr: learning rate >= 0.
        maximize: climb instead of descend.
        foreach: see `SGD`.

    Source: Cauchy, "Methode generale pour la resolution des systemes d'equations simultanees", Comptes rendus 25,
    1847.

    >>> theta = torch.nn.Parameter(torch.tensor([4.0]))
    >>> gd = GD([theta], lr=0.5)
    >>> for _ in range(3):                       # f = theta**2 / 2: each step halves theta
    ...     gd.zero_grad()
    ...     _ = gd.step(lambda: (theta.square().sum() / 2).backward())
    >>> theta.item()
    0.5
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1e-3, *, maximize: bool = False, foreach: bool | None = None
    ) -> None:
        super().__init__(params, lr, maximize=maximize, foreach=foreach)
