"""Newton's method with the full Hessian."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._check import require, require_floating, require_same_shape, require_type
from ._flat import add_to_parameters
from ._options import check_lr, check_not_negative, check_number, check_params


def newton_direction(g: Tensor, h: Tensor, *, damping: float = 0.0, saddle_free: bool = False) -> Tensor:
    r"""The direction u of one Newton step, so that theta <- theta - lr * u.

        u = (H + damping * I)^-1 g                     to the stationary point of the local quadratic
        u = V (|S| + damping)^-1 V.T g                 saddle-free, with H = V diag(S) V.T

    Newton's step goes to whatever stationary point is near: a minimum, a saddle or a maximum. With |S| it descends
    along directions of negative curvature as well.

    Args:
        g: gradient, (n,).
        h: Hessian, (n, n), symmetric.
        damping: >= 0; large values turn the step into g / damping.
        saddle_free: use the absolute values of the curvatures.

    Returns:
        u, (n,), in parameter units.

    Raises:
        ValueError: shapes do not fit, or the matrix to solve with is singular.

    Source: Nocedal and Wright, "Numerical Optimization", 2nd edition, Springer 2006, eq. 2.15. Saddle-free: Dauphin
    et al., "Identifying and attacking the saddle point problem in high-dimensional non-convex optimization",
    arXiv:1406.2572v1.

    >>> g, h = torch.tensor([2.0, -3.0]), torch.tensor([[4.0, 0.0], [0.0, -6.0]])
    >>> newton_direction(g, h).tolist()
    [0.5, 0.5]
    >>> newton_direction(g, h, saddle_free=True).tolist()
    [0.5, -0.5]
    """
    require_floating("newton_direction", g=g, h=h)
    check_number("newton_direction", "damping", damping)
    require(g.dim() == 1, "newton_direction", "g", "a vector", tuple(g.shape))
    require_same_shape("newton_direction", h=h, outer_product_of_g=g.outer(g))
    u: Tensor
    require(damping >= 0, "newton_direction", "damping", ">= 0", damping)
    if saddle_free:
        curvature, v = torch.linalg.eigh(h)
        size = curvature.abs() + damping
        singular = bool((size == 0).any())
        u = v @ ((v.T @ g) / size)
    else:
        u, info = torch.linalg.solve_ex(h + damping * torch.eye(len(g), dtype=h.dtype, device=h.device), g)
        singular = bool(info)
    require(
        not singular, "newton_direction", "h + damping * I", "invertible", "a singular matrix; raise damping"
    )
    return u


class Newton(torch.optim.Optimizer):
    r"""Newton's method: theta <- theta - lr * newton_direction(gradient, Hessian).

    For problems of at most a few thousand parameters: the Hessian of n takes n backward passes, n**2 numbers and
    n**3 operations per step. On a quadratic, lr = 1 reaches the minimum in one step.

    The closure computes and returns the loss and does **not** call `backward`: the step differentiates it twice.
    `.grad` is neither read nor written. Parameters on which the loss does not depend stay as they are.

    Args:
        params: parameters, one group, on one device; real.
        lr: >= 0; 1 is the full Newton step.
        damping: >= 0, added to every curvature.
        saddle_free: use the absolute values of the curvatures.

    State: none.
    torch has none; checked on quadratics and saddles (tests/lib/optim/test_second_order.py).

    Raises:
        ValueError: a hyperparameter out of range, several groups, or a singular Hessian.
        TypeError: `step` without a closure, or a closure that does not return a loss that can be differentiated.

    >>> theta = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    >>> newton = Newton([theta])
    >>> newton.step(lambda: (theta[0] - 1) ** 2 / 2 + 5 * theta[1] ** 2).item()      # 2 + 20
    22.0
    >>> theta.tolist()
    [1.0, 0.0]
    """

    def __init__(
        self, params: Any, lr: float | Tensor = 1.0, damping: float = 0.0, *, saddle_free: bool = False
    ) -> None:
        defaults = {"lr": lr, "damping": damping, "saddle_free": saddle_free}
        check_lr("Newton", defaults)
        check_not_negative("Newton", defaults, "damping")
        super().__init__(check_params("Newton", params), defaults)
        require(
            len(self.param_groups) == 1, "Newton", "params", "one group", f"{len(self.param_groups)} groups"
        )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; returns the loss before it."""
        require_type(callable(closure), "Newton", "closure", "a function that returns the loss", closure)
        assert closure is not None
        group = self.param_groups[0]
        with torch.enable_grad():
            loss = closure()
            differentiable = isinstance(loss, Tensor) and loss.requires_grad and loss.numel() == 1
            require_type(differentiable, "Newton", "the closure's result", "a loss with a graph", loss)
            thetas = [theta for theta in group["params"] if theta.requires_grad]
            first = torch.autograd.grad(loss, thetas, create_graph=True, allow_unused=True)
            involved = [(theta, g) for theta, g in zip(thetas, first, strict=True) if g is not None]
            thetas = [theta for theta, _ in involved]
            g = torch.cat([gradient.reshape(-1) for _, gradient in involved])
            h = self._hessian(g, thetas)
        with torch.no_grad():
            wide = torch.promote_types(g.dtype, torch.float32)  # no solver works in half precision
            u = newton_direction(
                g.detach().to(wide), h.to(wide), damping=group["damping"], saddle_free=group["saddle_free"]
            )
            add_to_parameters(thetas, u.to(g.dtype), -float(group["lr"]))
        return loss.detach()

    @staticmethod
    def _hessian(g: Tensor, thetas: list[Tensor]) -> Tensor:
        """Row i is the gradient of g[i]: one backward pass each."""
        rows = []
        for entry in g:
            if not entry.requires_grad:  # the loss is linear in everything
                rows.append(torch.zeros_like(g))
                continue
            seconds = torch.autograd.grad(entry, thetas, retain_graph=True, allow_unused=True)
            parts = [
                torch.zeros_like(theta) if second is None else second
                for theta, second in zip(thetas, seconds, strict=True)
            ]
            rows.append(torch.cat([part.reshape(-1) for part in parts]))
        h = torch.stack(rows)
        return (h + h.T) / 2  # rounding makes it slightly unsymmetric
