"""NAdam: Adam with Nesterov's look-ahead."""

from typing import Any

import torch
from torch import Tensor

from .._check import checked, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group, scalar_dtype
from ._ops import Ops
from ._options import check_betas, check_lr, check_not_negative
from .bias import bias_correction, computed_once


def nadam_momentum(t: Any, *, beta1: float, momentum_decay: float) -> Any:
    """mu_t = beta1 * (1 - 0.96**(t * momentum_decay) / 2): rises from beta1 / 2 towards beta1.

    Args:
        t: step number counted from 1, a number or a tensor ().
        beta1: the limit, in [0, 1).
        momentum_decay: psi >= 0, how fast it rises.

    Returns:
        mu_t, of the type of t.

    >>> nadam_momentum(1, beta1=0.5, momentum_decay=0.0)
    0.25
    """
    return computed_once(beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)))


@checked
def nadam_direction(
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: float | Tensor,
    mu_product: float | Tensor,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    momentum_decay: float,
) -> tuple[Tensor, Tensor, Tensor]:
    r"""The direction u of one NAdam step, so that theta <- theta - lr * u; and the new moments.

        mu_t  = beta1 * (1 - 0.96**(t * psi) / 2)
        m    <- beta1 * m + (1 - beta1) * g
        v    <- beta2 * v + (1 - beta2) * g * g
        m_hat = mu_{t+1} * m / (1 - mu_1 ... mu_{t+1})  +  (1 - mu_t) * g / (1 - mu_1 ... mu_t)
        v_hat = v / bias_correction(beta2, t)
        u     = m_hat / (sqrt(v_hat) + eps)

    Args:
        g: gradient, any shape.
        m, v: moments, same shape as `g`; zero before the first step.
        t: step number counted from 1, a number or a tensor ().
        mu_product: mu_1 * ... * mu_t, this step included.
        beta1, beta2: decay rates in [0, 1).
        eps: >= 0, added after the square root.
        momentum_decay: psi >= 0.

    Returns:
        (u, m, v), of `g`'s shape; u has no unit.

    Raises:
        ValueError: the shapes of g, m and v differ.

    Source: Dozat, "Incorporating Nesterov Momentum into Adam", ICLR 2016 workshop track, Algorithm 2.
    Differs from the paper: m is averaged with the constant beta1, as in torch, not with mu_t.

    >>> zero = torch.tensor(0.0)
    >>> options = dict(beta1=0.5, beta2=0.75, eps=0.0, momentum_decay=0.0)            # every mu is 1/4
    >>> u, m, v = nadam_direction(torch.tensor(4.0), zero, zero, 1, 0.25, **options)
    >>> m.item(), v.item(), round(u.item(), 6)     # (1/4 * 2 / (15/16) + 3/4 * 4 / (3/4)) / 4
    (2.0, 4.0, 1.133333)
    """
    require_same_shape("nadam_direction", g=g, m=m, v=v)
    mu = nadam_momentum(t, beta1=beta1, momentum_decay=momentum_decay)
    mu_next = nadam_momentum(t + 1, beta1=beta1, momentum_decay=momentum_decay)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    m_hat = mu_next * m / (1 - mu_product * mu_next) + (1 - mu) * g / (1 - mu_product)
    v_hat = v / bias_correction(beta2, t)
    u = m_hat / (v_hat.sqrt() + eps)
    return u, m, v


def nadam_in_place(
    ops: Ops,
    theta: Any,
    g: Any,
    m: Any,
    v: Any,
    t: float,
    mu_product: float,
    *,
    lr: float,
    beta1: float,
    beta2: float,
    eps: float,
    momentum_decay: float,
) -> None:
    """theta <- theta - lr * nadam_direction(...), in place, with the corrections as numbers (see adam_in_place)."""
    mu = nadam_momentum(t, beta1=beta1, momentum_decay=momentum_decay)
    mu_next = nadam_momentum(t + 1, beta1=beta1, momentum_decay=momentum_decay)
    r = (1 - beta2**t) ** 0.5
    ops.lerp_(m, g, 1 - beta1)
    ops.mul_(v, beta2)
    ops.addcmul_(v, g, g, 1 - beta2)
    denominator = ops.sqrt(v)
    ops.shift_(denominator, r * eps)
    ops.addcdiv_(theta, m, denominator, -lr * r * mu_next / (1 - mu_product * mu_next))
    ops.addcdiv_(theta, g, denominator, -lr * r * (1 - mu) / (1 - mu_product))


class NAdam(FormulaOptimizer):
    r"""NAdam: Adam that looks one momentum step ahead, with a momentum that rises during training.

        g     <- g + weight_decay * theta                L2, or where decoupled_weight_decay instead
        theta <- theta - lr * weight_decay * theta
        theta <- theta - lr * nadam_direction(g, ...)

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, a number or a 1-element tensor; parameter units per step.
        betas: decay rates of the two moments, each in [0, 1).
        eps: >= 0, added after the square root.
        weight_decay: lambda >= 0.
        momentum_decay: psi >= 0.
        decoupled_weight_decay: AdamW's decay in the place of L2.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        maximize: climb instead of descend.
        capturable: keep the counters on the device, for graph capture; runs the formula as written.
        differentiable: let autograd see through the step; runs the formula as written.

    State: `step`, `mu_product`, `exp_avg` (m), `exp_avg_sq` (v): 2x the parameters' memory.
    Same numbers as torch.optim.NAdam (tests/lib/optim/test_against_torch.py).

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> theta.grad = torch.tensor([4.0])
    >>> NAdam([theta], lr=15.0, betas=(0.5, 0.75), eps=0.0, momentum_decay=0.0).step()   # 1 - 15 * 17/15
    >>> round(theta.item(), 4)
    -16.0
    """

    clock_names = ("step", "mu_product")

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 2e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum_decay: float = 4e-3,
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
                "momentum_decay": momentum_decay,
                "decoupled_weight_decay": decoupled_weight_decay,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        check_betas(where, options)
        check_not_negative(where, options, "eps", "weight_decay", "momentum_decay")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The moments."""
        return ("exp_avg", "exp_avg_sq")

    def new_clock(self, theta: Tensor, group: Group) -> dict[str, Tensor]:
        """The counter, and the product of the momenta so far."""
        counter = super().new_clock(theta, group)
        return {**counter, "mu_product": torch.ones((), dtype=scalar_dtype(), device=counter["step"].device)}

    def advance(self, states: list[dict[str, Any]], group: Group) -> None:
        """Count the step and multiply its momentum into the product."""
        super().advance(states, group)
        on_cpu = states[0]["step"].device.type == "cpu" and not torch.compiler.is_compiling()
        for state in states:
            t = state["step"].item() if on_cpu else state["step"]
            state["mu_product"] *= nadam_momentum(
                t, beta1=group["betas"][0], momentum_decay=group["momentum_decay"]
            )

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
        u, *moments = nadam_direction(
            g,
            *state,
            *clock,
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            momentum_decay=group["momentum_decay"],
        )
        return theta - group["lr"] * u, tuple(moments)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        beta1, beta2 = group["betas"]
        if group["decoupled_weight_decay"]:
            g = ops.neg(g) if group["maximize"] else g
            ops.mul_(theta, 1 - group["lr"] * group["weight_decay"])
        else:
            g = l2_gradient_of(ops, g, theta, group)
        nadam_in_place(
            ops,
            theta,
            g,
            *state,
            *clock,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            eps=group["eps"],
            momentum_decay=group["momentum_decay"],
        )
