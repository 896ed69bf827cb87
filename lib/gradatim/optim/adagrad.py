"""Adagrad."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_lr, check_not_negative
from ._plan import HALF, Columns


@checked
def adagrad_direction(g: Tensor, s: Tensor, *, eps: float) -> tuple[Tensor, Tensor]:
    r"""The direction u of one Adagrad step, so that theta <- theta - lr * u; and the new sum.

        s <- s + g * g                      sum of squares of all gradients so far
        u  = g / (sqrt(s) + eps)

    An entry's step size lr / sqrt(s) only ever shrinks: entries that are seldom touched keep a large one.

    Args:
        g: gradient, any shape.
        s: sum of squared gradients, same shape, >= 0.
        eps: >= 0, added after the square root.

    Returns:
        (u, s), of `g`'s shape; u has no unit.

    Raises:
        ValueError: the shapes differ.

    Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization", JMLR 12 (2011) 2121-2159, the diagonal form of Figure 1.
    Differs from the paper: no projection; the paper adds its delta to sqrt(s) as here.

    >>> u, s = adagrad_direction(torch.tensor(3.0), torch.tensor(16.0), eps=0.0)
    >>> round(u.item(), 6), s.item()           # sqrt(16 + 9) = 5
    (0.6, 25.0)
    """
    require_same_shape("adagrad_direction", g=g, s=s)
    s = s + g * g
    u = g / (s.sqrt() + eps)
    return u, s


def adagrad_in_place(ops: Ops, theta: Any, g: Any, s: Any, *, lr: float, eps: float) -> None:
    """theta <- theta - lr * adagrad_direction(...), in place."""
    ops.addcmul_(s, g, g, 1)
    denominator = ops.sqrt(s)
    ops.shift_(denominator, eps)
    ops.addcdiv_(theta, g, denominator, -lr)


class Adagrad(FormulaOptimizer):
    r"""Adagrad: steps divided by the root of the sum of all squared gradients.

        g     <- g + weight_decay * theta
        theta <- theta - lr / (1 + (t - 1) * lr_decay) * adagrad_direction(g, ...)

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, a number or a 1-element tensor.
        lr_decay: >= 0; makes the learning rate fall like 1 / t as well.
        weight_decay: lambda >= 0; adds lambda * theta to the gradient (L2).
        initial_accumulator_value: the sum before the first step, >= 0.
        eps: >= 0, added after the square root.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        maximize: climb instead of descend.
        differentiable: let autograd see through the step; runs the formula as written.
        fused: run torch's fused kernel.

    State, made at construction as in torch: `step`, `sum`: 1x the parameters' memory. A sparse gradient updates
    the rows that it names; it needs weight_decay 0.
    Same numbers as torch.optim.Adagrad (tests/lib/optim/test_against_torch.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: fused together with foreach, differentiable or a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> theta.grad = torch.tensor([100.0, 0.01])
    >>> Adagrad([theta], lr=0.5, eps=0.0).step()         # the first step is lr * sign(g)
    >>> [round(x, 6) for x in theta.tolist()]
    [0.5, 0.5]
    """

    supports_sparse = True

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        foreach: bool | None = None,
        *,
        maximize: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "foreach": foreach,
                "maximize": maximize,
                "differentiable": differentiable,
                "fused": fused,
            },
        )
        for group in self.param_groups:
            for theta in group["params"]:
                self.state[theta] = {**self.new_clock(theta, group), **self.new_state(theta, group)}

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_not_negative(where, options, "lr_decay", "weight_decay", "initial_accumulator_value", "eps")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The sum of squares."""
        return ("sum",)

    def new_state(self, theta: Tensor, group: Group) -> dict[str, Tensor]:
        """The sum, at its initial value; a complex entry is two real ones."""
        start = group["initial_accumulator_value"]
        fill = complex(start, start) if theta.is_complex() else start
        return {name: zeros.add_(fill) for name, zeros in super().new_state(theta, group).items()}

    def share_memory(self) -> None:
        """Move the sums to shared memory, for training by several processes."""
        for state in self.state.values():
            state["sum"].share_memory_()

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        (t,) = clock
        g = l2_gradient(g, theta, group)
        lr = group["lr"] / (1 + (t - 1) * group["lr_decay"])
        u, s = adagrad_direction(g, *state, eps=group["eps"])
        return theta - lr * u, (s,)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        (t,) = clock
        g = l2_gradient_of(ops, g, theta, group)
        lr = group["lr"] / (1 + (t - 1) * group["lr_decay"])
        adagrad_in_place(ops, theta, g, *state, lr=lr, eps=group["eps"])

    def update_sparse(self, theta: Tensor, g: Tensor, state: dict[str, Any], group: Group) -> None:
        """The formula for the entries that the gradient names."""
        require(
            group["weight_decay"] == 0,
            "Adagrad",
            "weight_decay",
            "0 for a sparse gradient",
            group["weight_decay"],
        )
        require(
            theta.dtype not in HALF,
            "Adagrad",
            "a parameter with sparse gradient",
            "float32 or wider",
            theta.dtype,
        )
        lr = group["lr"] / (1 + (state["step"].item() - 1) * group["lr_decay"])
        g = g.coalesce()  # the rule is not linear: an entry named twice must be summed first
        g = -g if group["maximize"] else g
        g = g.coalesce()
        state["sum"].add_(g * g)
        s = state["sum"].sparse_mask(g).values()
        u = g.values() / (s.sqrt() + group["eps"])
        theta.add_(
            torch.sparse_coo_tensor(g.indices(), u, g.shape, check_invariants=False, is_coalesced=True),
            alpha=-lr,
        )

    def update_fused(
        self,
        thetas: list[Tensor],
        gs: list[Tensor],
        columns: Columns,
        clocks: list[tuple[Any, ...]],
        group: Group,
    ) -> None:
        """torch's kernel."""
        torch._fused_adagrad_(
            thetas,
            gs,
            columns[0],
            [clock[0] for clock in clocks],
            lr=group["lr"],
            lr_decay=group["lr_decay"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=group["maximize"],
        )
