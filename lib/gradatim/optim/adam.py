"""Adam, its AMSGrad variant, and AdamW."""

import math
from typing import Any

import torch
from torch import Tensor

from .._check import checked, require_same_shape
from ._decay import l2_gradient, l2_gradient_of
from ._formula import FormulaOptimizer, Group
from ._ops import Ops
from ._options import check_betas, check_lr, check_not_negative, refuse_tensors_in_lists
from ._plan import Columns
from .bias import bias_correction


@checked
def adam_direction(
    g: Tensor,
    m: Tensor,
    v: Tensor,
    t: float | Tensor,
    *,
    beta1: float,
    beta2: float,
    eps: float,
    v_max: Tensor | None = None,
) -> tuple[Tensor, ...]:
    r"""The direction u of one Adam step, so that theta <- theta - lr * u; and the new moments.

        m     <- beta1 * m + (1 - beta1) * g           first moment,  m_0 = 0
        v     <- beta2 * v + (1 - beta2) * g * g       second moment, v_0 = 0
        v_max <- max(v_max, v)                         AMSGrad only, and used below in the place of v
        m_hat  = m / (1 - beta1**t)                    undo the pull towards m_0 = 0
        v_hat  = v / (1 - beta2**t)
        u      = m_hat / (sqrt(v_hat) + eps)

    Args:
        g: gradient, any shape.
        m, v: moments, same shape as `g`; v >= 0.
        t: step number counted from 1: a number, or a tensor () where autograd or a captured graph must see it.
        beta1, beta2: decay rates in [0, 1).
        eps: >= 0, added after the square root.
        v_max: AMSGrad's running maximum, same shape as `g`, or None for Adam.

    Returns:
        (u, m, v), and v_max where it was given; all of `g`'s shape. u has no unit: |u| is 1 at the first step
        without eps, and about 1 later.

    Raises:
        ValueError: the shapes of g, m and v differ.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980v9, Algorithm 1.
    AMSGrad: Reddi, Kale and Kumar, "On the Convergence of Adam and Beyond", arXiv:1904.09237v1, Algorithm 2.
    Differs from the paper: AMSGrad has no bias correction in the paper; torch and this function have.

    >>> zero = torch.tensor(0.0)
    >>> u, m, v = adam_direction(torch.tensor(-4.0), zero, zero, 1, beta1=0.5, beta2=0.75, eps=0.0)
    >>> u.item(), m.item(), v.item()      # sign(g), 0.5 * -4, 0.25 * 16
    (-1.0, -2.0, 4.0)
    """
    require_same_shape("adam_direction", g=g, m=m, v=v)
    m = beta1 * m + (1 - beta1) * g
    v = beta2 * v + (1 - beta2) * g * g
    if v_max is not None:
        v_max = torch.maximum(v_max, v)
    m_hat = m / bias_correction(beta1, t)
    v_hat = (v if v_max is None else v_max) / bias_correction(beta2, t)
    u = m_hat / (v_hat.sqrt() + eps)
    return (u, m, v) if v_max is None else (u, m, v, v_max)


def adam_in_place(
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
    v_max: Any = None,
) -> None:
    """theta <- theta - lr * adam_direction(...), in place.

    With r = sqrt(1 - beta2**t) the step is lr * r / (1 - beta1**t) * m / (sqrt(v) + r * eps): the corrections become
    two numbers, and one pass over the data is saved (the end of the paper's section 2 suggests it).
    """
    r = math.sqrt(1 - beta2**t)
    ops.lerp_(m, g, 1 - beta1)
    ops.mul_(v, beta2)
    ops.addcmul_(v, g, g, 1 - beta2)
    if v_max is not None:
        ops.maximum_(v_max, v)
    denominator = ops.sqrt(v if v_max is None else v_max)
    ops.shift_(denominator, r * eps)
    ops.addcdiv_(theta, m, denominator, -lr * r / (1 - beta1**t))


class Adam(FormulaOptimizer):
    r"""Adam: a step of about lr per entry, from averages of the gradient and of its square.

        g     <- g + weight_decay * theta                L2, in the gradient
        theta <- theta - lr * weight_decay * theta       instead, where decoupled_weight_decay
        theta <- theta - lr * adam_direction(g, ...)

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, parameter units per step; a 1-element tensor where foreach is not True.
        betas: decay rates of the two moments, each in [0, 1); two numbers or two tensors.
        eps: >= 0; added after the square root. It bounds the step where gradients are small: |g| well below eps
            moves theta by about lr * g / eps.
        weight_decay: lambda >= 0.
        amsgrad: divide by the largest v so far, so that the step size of an entry never grows.
        foreach: None picks the fastest form, True takes all tensors in one list, False one tensor at a time.
        maximize: climb instead of descend.
        capturable: keep the step counter on the device, for graph capture; runs the formula as written.
        differentiable: let autograd see through the step; runs the formula as written.
        fused: run torch's fused kernel.
        decoupled_weight_decay: AdamW's decay in the place of L2.

    State: `step`, `exp_avg` (m), `exp_avg_sq` (v), with amsgrad `max_exp_avg_sq`: 2x or 3x the parameters' memory.
    Same numbers as torch.optim.Adam (tests/lib/optim/test_against_torch.py).
    Differs from the paper: weight decay and AMSGrad are options; half precision keeps its moments in float32.

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a sparse gradient; fused together with foreach or differentiable.

    >>> theta = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    >>> theta.grad = torch.tensor([1e-3, -5.0])
    >>> Adam([theta], lr=0.5, eps=0.0).step()            # the first step is lr * sign(g)
    >>> [round(x, 6) for x in theta.tolist()]
    [0.5, 1.5]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "foreach": foreach,
                "capturable": capturable,
                "differentiable": differentiable,
                "fused": fused,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        refuse_tensors_in_lists(where, options)
        check_lr(where, options)
        check_betas(where, options)
        check_not_negative(where, options, "eps", "weight_decay")

    def state_names(self, group: Group) -> tuple[str, ...]:
        """The moments."""
        return ("exp_avg", "exp_avg_sq", "max_exp_avg_sq") if group["amsgrad"] else ("exp_avg", "exp_avg_sq")

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        lr, weight_decay = group["lr"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        m, v, *v_max = state
        if group["decoupled_weight_decay"]:
            g = -g if group["maximize"] else g
            theta = theta - lr * weight_decay * theta
        else:
            g = l2_gradient(g, theta, group)
        u, *moments = adam_direction(
            g, m, v, clock[0], beta1=beta1, beta2=beta2, eps=group["eps"], v_max=v_max[0] if v_max else None
        )
        return theta - lr * u, tuple(moments)

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place."""
        lr, weight_decay = group["lr"], group["weight_decay"]
        beta1, beta2 = group["betas"]
        m, v, *v_max = state
        if group["decoupled_weight_decay"]:
            g = ops.neg(g) if group["maximize"] else g
            ops.mul_(theta, 1 - lr * weight_decay)
        else:
            g = l2_gradient_of(ops, g, theta, group)
        v_max = v_max[0] if v_max else None
        adam_in_place(
            ops, theta, g, m, v, *clock, lr=lr, beta1=beta1, beta2=beta2, eps=group["eps"], v_max=v_max
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
        kernel = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        ms, vs, *v_maxs = columns
        steps = [clock[0] for clock in clocks]
        beta1, beta2 = group["betas"]
        kernel(
            thetas,
            gs,
            ms,
            vs,
            v_maxs[0] if v_maxs else [],
            steps,
            lr=group["lr"],
            beta1=beta1,
            beta2=beta2,
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=group["amsgrad"],
            maximize=group["maximize"],
        )


class AdamW(Adam):
    r"""Adam with decoupled weight decay: the decay shrinks theta directly and never enters the moments.

        theta <- theta - lr * weight_decay * theta
        theta <- theta - lr * adam_direction(g, ...)

    L2 in the gradient would be divided by sqrt(v_hat) as well, so that entries with large gradients would decay
    less; here every entry decays by the same factor, also one whose gradient is 0.

    Args:
        params: parameters, named parameters or parameter groups, on any device.
        lr: learning rate >= 0, parameter units per step; it scales the decay as well.
        betas: decay rates of the two moments, each in [0, 1); two numbers or two tensors.
        eps: >= 0, added after the square root.
        weight_decay: lambda >= 0; an entry without gradient shrinks by the factor 1 - lr * lambda per step.
        amsgrad: divide by the largest v so far.
        maximize, foreach, capturable, differentiable, fused: see `Adam`.

    State and checkpoints: as `Adam`. Same numbers as torch.optim.AdamW (tests/lib/optim/test_against_torch.py).

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv:1711.05101v3, Algorithm 2.
    Differs from the paper: the decay is lr * weight_decay; the paper scales lr and the decay by a common schedule
    multiplier eta_t and keeps the decay independent of the initial lr.

    >>> theta = torch.nn.Parameter(torch.tensor([8.0]))
    >>> theta.grad = torch.tensor([0.0])
    >>> AdamW([theta], lr=0.5, weight_decay=0.5).step()   # 8 * (1 - 0.5 * 0.5)
    >>> theta.item()
    6.0
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
    ) -> None:
        super().__init__(
            params,
            lr,
            betas,
            eps,
            weight_decay,
            amsgrad,
            foreach=foreach,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            fused=fused,
            decoupled_weight_decay=True,
        )

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            group["decoupled_weight_decay"] = True  # also where the checkpoint is Adam's
