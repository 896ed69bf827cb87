"""Adafactor: Adam's second moment from the sums of its rows and columns."""

import math
from typing import Any

import torch
from torch import Tensor

from .._check import require, require_type
from ._formula import FormulaOptimizer, Group, keeps_float32
from ._ops import Ops
from ._options import check_lr, check_not_negative, check_number
from .bias import computed_once


def root_mean_square(x: Tensor) -> Tensor:
    """RMS(x) = sqrt(mean(x * x)), a tensor ().

    >>> root_mean_square(torch.tensor([3.0, 4.0, 0.0, 0.0])).item()
    2.5
    """
    norm: Tensor = torch.linalg.vector_norm(x)
    return norm / math.sqrt(max(x.numel(), 1))


def relative_step(lr: Any, t: Any) -> Any:
    """rho_t = min(lr, 1 / sqrt(t)).

    >>> relative_step(1.0, 4), relative_step(0.1, 4)
    (0.5, 0.1)
    """
    if isinstance(lr, Tensor) or isinstance(t, Tensor):
        return torch.as_tensor(t**-0.5).clamp(max=lr)
    return min(lr, t**-0.5)


def adafactor_direction(
    g: Tensor, v: tuple[Tensor, ...], t: float | Tensor, *, beta2_decay: float, eps1: float, d: float
) -> tuple[Tensor, tuple[Tensor, ...]]:
    r"""The direction u of one Adafactor step, so that theta <- theta - alpha * u; and the new averages.

    For a gradient with two or more dimensions, of which the last two are n rows and m columns:

        w = t**beta2_decay                                       1 - beta2_t; 1 at t = 1
        R <- (1 - w) * R + w * mean over columns of g * g        (..., n, 1)
        C <- (1 - w) * C + w * mean over rows of g * g           (..., 1, m)
        V = R @ C / mean(R)                                      rank one, exact if g * g is
        u = g / sqrt(V)
        u = u / max(1, RMS(u) / d)                               clip: the root mean square is at most d

    For a vector or a scalar, V <- (1 - w) * V + w * g * g. eps1 bounds mean(R) from below, eps1**2 bounds V.

    Args:
        g: gradient, any shape.
        v: (R, C) for two or more dimensions, else (V,); zero before the first step.
        t: step number counted from 1, a number or a tensor ().
        beta2_decay: <= 0; -0.8 in the paper.
        eps1: >= 0.
        d: clipping threshold, >= 1.

    Returns:
        (u, v); u has `g`'s shape and no unit.

    Source: Shazeer and Stern, "Adafactor: Adaptive Learning Rates with Sublinear Memory Cost",
    arXiv:1804.04235v1, Algorithms 4 and 5.
    Differs from the paper: means in the place of sums (the same V); eps1 is a lower bound where it is used and is
    not added to every squared gradient, as in torch.

    >>> g = torch.tensor([[1.0, 2.0], [2.0, 4.0]])                        # g * g has rank one
    >>> u, _ = adafactor_direction(g, (torch.zeros(2, 1), torch.zeros(1, 2)), 1, beta2_decay=-0.8, eps1=0.0, d=1.0)
    >>> [[round(x, 5) for x in row] for row in u.tolist()]                # so V = g * g and u = sign(g)
    [[1.0, 1.0], [1.0, 1.0]]
    """
    w = computed_once(t**beta2_decay)
    if g.dim() > 1:
        r, c = v
        r = (1 - w) * r + w * (g * g).mean(dim=-1, keepdim=True)
        c = (1 - w) * c + w * (g * g).mean(dim=-2, keepdim=True)
        estimate = r @ c / r.mean(dim=-2, keepdim=True).clamp(min=eps1)
        v = (r, c)
    else:
        estimate = (1 - w) * v[0] + w * g * g
        v = (estimate,)
    u = g / estimate.clamp(min=eps1 * eps1).sqrt()
    u = u / (root_mean_square(u) / d).clamp(min=1)
    return u, v


def adafactor_in_place(
    ops: Ops,
    theta: Any,
    g: Any,
    v: tuple[Any, ...],
    t: float,
    *,
    relative: Any,
    beta2_decay: float,
    eps1: float,
    eps2: float,
    d: float,
    decay: float | None,
) -> None:
    """theta <- decay * theta - max(eps2, RMS(theta)) * relative * adafactor_direction(...), in place."""
    w = t**beta2_decay
    theta_norms = ops.norm(theta)
    if decay is not None:
        ops.mul_(theta, decay)
    if len(v) == 2:
        r, c = v
        rows = ops.each(lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True), g)
        columns = ops.each(lambda x: torch.linalg.vector_norm(x, dim=-2, keepdim=True), g)
        ops.mul_(r, 1 - w)
        ops.addcmul_(r, rows, rows, ops.each(lambda x: w / x.size(-1), g))
        ops.mul_(c, 1 - w)
        ops.addcmul_(c, columns, columns, ops.each(lambda x: w / x.size(-2), g))
        means = ops.each(lambda x: x.mean(dim=-2, keepdim=True), r)
        ops.clamp_min_(means, eps1)
        u = ops.each(torch.matmul, ops.div(r, means), c)
    else:
        ops.mul_(v[0], 1 - w)
        ops.addcmul_(v[0], g, g, w)
        u = ops.each(torch.clone, v[0])
    ops.clamp_min_(u, eps1 * eps1)
    ops.rsqrt_(u)
    ops.mul_(u, g)

    def descend(theta: Tensor, u: Tensor, theta_norm: Tensor, u_norm: Tensor) -> None:
        root = math.sqrt(max(theta.numel(), 1))  # norm / root is the root mean square
        if theta.device.type == "cpu" and not isinstance(relative, Tensor):
            size, clip = max(eps2, theta_norm.item() / root), max(1.0, u_norm.item() / root / d)
            theta.add_(u, alpha=-size * relative / clip)
        else:  # reading a norm would wait for the device
            scale = (theta_norm / root).clamp(min=eps2) * relative / (u_norm / root / d).clamp(min=1)
            theta.sub_(u.mul_(scale))

    ops.each(descend, theta, u, theta_norms, ops.norm(u))


class Adafactor(FormulaOptimizer):
    r"""Adafactor: Adam without momentum whose second moment of an n x m matrix takes n + m numbers.

        theta <- theta - lr * weight_decay * theta
        alpha  = max(eps2, RMS(theta)) * min(lr, 1 / sqrt(t))      a step relative to the parameter's own size
        theta <- theta - alpha * adafactor_direction(g, ...)

    Args:
        params: parameters, named parameters or parameter groups, on any device; real.
        lr: bound on the relative step, >= 0.
        beta2_decay: exponent of 1 - beta2_t = t**beta2_decay, <= 0.
        eps: (eps1, eps2), both >= 0: bound on the second moment, None for the machine epsilon of the arithmetic;
            bound on RMS(theta), so that a parameter at 0 can move.
        d: clipping threshold of the root mean square of a step, >= 1.
        weight_decay: lambda >= 0, decoupled.
        foreach: accepted as in torch; the rule works on one tensor at a time.
        maximize: climb instead of descend.

    State: `step`, and `row_var` (R), `col_var` (C) or for vectors `variance` (V).
    Same numbers as torch.optim.Adafactor (tests/lib/optim/test_against_torch.py).
    Differs from the paper: no first moment; no `scale_parameter` or `warmup_init` switches. Differs from torch for
    half precision, where eps1=None is float32's epsilon, because that is the arithmetic.

    Raises:
        ValueError: a hyperparameter out of range.
        RuntimeError: a complex parameter or a sparse gradient.

    >>> theta = torch.nn.Parameter(torch.tensor([[2.0, 2.0], [2.0, 2.0]]))
    >>> theta.grad = torch.tensor([[1.0, 2.0], [2.0, 4.0]])
    >>> Adafactor([theta], lr=0.25).step()                # alpha = RMS(theta) * 0.25, u = 1
    >>> [[round(x, 5) for x in row] for row in theta.tolist()]
    [[1.5, 1.5], [1.5, 1.5]]
    """

    elementwise = False
    supports_complex = False

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1e-2,
        beta2_decay: float = -0.8,
        eps: tuple[float | None, float] = (None, 1e-3),
        d: float = 1.0,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "beta2_decay": beta2_decay,
                "eps": eps,
                "d": d,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "maximize": maximize,
            },
        )

    @staticmethod
    def check(where: str, options: Group) -> None:
        """Raise ValueError if a hyperparameter is out of its range."""
        check_lr(where, options)
        pair = isinstance(options["eps"], (list, tuple)) and len(options["eps"]) == 2
        require_type(pair, where, "eps", "a pair", options["eps"])
        decay, (eps1, eps2), d = options["beta2_decay"], options["eps"], options["d"]
        numbers = {"beta2_decay": decay, "eps[0]": 0 if eps1 is None else eps1, "eps[1]": eps2, "d": d}
        for name, value in numbers.items():
            check_number(where, name, value)
        require(
            decay <= 0, where, "beta2_decay", "<= 0", decay, f"beta2_decay should be <= 0 but is: {decay}"
        )
        says = f"epsilon1 should be >= 0 but is: {eps1}"
        require(eps1 is None or eps1 >= 0, where, "eps[0]", "None or >= 0", eps1, says)
        require(eps2 >= 0, where, "eps[1]", ">= 0", eps2, f"epsilon2 should be >= 0 but is: {eps2}")
        require(d >= 1, where, "d", ">= 1", d, f"Clipping threshold d should be >= 1 but is: {d}")
        check_not_negative(where, options, "weight_decay")

    def parts(self, group: Group) -> list[Group]:
        """Factored parameters, and vectors and scalars: their states differ. An empty tensor has no means."""
        matrices = [theta for theta in group["params"] if theta.dim() > 1 and theta.numel() > 0]
        vectors = [theta for theta in group["params"] if theta.dim() <= 1 and theta.numel() > 0]
        return [
            {**group, "params": matrices, "factored": True},
            {**group, "params": vectors, "factored": False},
        ]

    def state_names(self, group: Group) -> tuple[str, ...]:
        """Averages of the rows and columns, or of the entries."""
        return ("row_var", "col_var") if group["factored"] else ("variance",)

    def new_state(self, theta: Tensor, group: Group) -> dict[str, Tensor]:
        """Zeros: (..., n, 1) and (..., 1, m) for a matrix."""
        if not group["factored"]:
            return super().new_state(theta, group)
        dtype = torch.float32 if keeps_float32(theta, group) else theta.dtype
        *batch, n, m = theta.shape
        return {
            "row_var": torch.zeros(*batch, n, 1, dtype=dtype, device=theta.device),
            "col_var": torch.zeros(*batch, 1, m, dtype=dtype, device=theta.device),
        }

    def update(
        self, theta: Tensor, g: Tensor, state: tuple[Tensor, ...], group: Group, *clock: Any
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The formula."""
        (t,) = clock
        (eps1, eps2), lr = group["eps"], group["lr"]
        eps1 = torch.finfo(theta.dtype).eps if eps1 is None else eps1
        g = -g if group["maximize"] else g
        alpha = root_mean_square(theta).clamp(min=eps2) * relative_step(lr, t)
        u, state = adafactor_direction(g, state, t, beta2_decay=group["beta2_decay"], eps1=eps1, d=group["d"])
        return theta - lr * group["weight_decay"] * theta - alpha * u, state

    def update_in_place(self, ops: Ops, theta: Any, g: Any, state: Any, group: Group, *clock: Any) -> None:
        """The same in place; the size of theta counts before its decay."""
        (t,) = clock
        (eps1, eps2), lr, weight_decay = group["eps"], group["lr"], group["weight_decay"]
        if eps1 is None:
            eps1 = torch.finfo((theta[0] if isinstance(theta, list) else theta).dtype).eps
        g = ops.neg(g) if group["maximize"] else g
        decay = 1 - lr * weight_decay if weight_decay != 0 else None
        adafactor_in_place(
            ops,
            theta,
            g,
            state,
            t,
            relative=relative_step(lr, t),
            beta2_decay=group["beta2_decay"],
            eps1=eps1,
            eps2=eps2,
            d=group["d"],
            decay=decay,
        )
