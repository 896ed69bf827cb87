"""Conjugate gradients: for linear systems, and for minimization."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._check import checked, require, require_floating, require_same_shape, require_type
from ._closure import Closure, ClosureOptimizer
from ._flat import add_to_parameters, flat_gradient
from ._line_search import Trial, strong_wolfe
from ._options import check_count, check_lr, check_not_negative

BETAS = ("fletcher_reeves", "polak_ribiere", "hestenes_stiefel")


def conjugate_gradient(
    product: Callable[[Tensor], Tensor],
    b: Tensor,
    x: Tensor | None = None,
    *,
    max_iter: int | None = None,
    tolerance: float = 1e-10,
) -> Tensor:
    r"""Solve A x = b for a symmetric positive definite A that is only multiplied with.

        r = b - A x,  d = r
        repeat:  a = (r . r) / (d . A d);   x <- x + a * d;   r_new = r - a * A d
                 d <- r_new + (r_new . r_new) / (r . r) * d

    In exact arithmetic it ends after as many steps as A has distinct eigenvalues. Each x minimizes
    x . A x / 2 - b . x over all that the steps so far can reach: it is gradient descent that never undoes a step.

    Args:
        product: the function v -> A v.
        b: vector (n,).
        x: first guess (n,), zero if None.
        max_iter: steps at most, n if None.
        tolerance: stop where |r| <= tolerance * |b|.

    Returns:
        x, (n,).

    Raises:
        ValueError: `b` is not a vector.

    Source: Nocedal and Wright, "Numerical Optimization", 2nd edition, Springer 2006, Algorithm 5.2; Hestenes and
    Stiefel, "Methods of conjugate gradients for solving linear systems", 1952.

    >>> A = torch.diag(torch.tensor([1.0, 4.0]))
    >>> [round(v, 4) for v in conjugate_gradient(lambda v: A @ v, torch.tensor([3.0, 8.0])).tolist()]
    [3.0, 2.0]
    """
    where = "conjugate_gradient"
    require_type(callable(product), where, "product", "a function v -> A v", product)
    require_floating(where, b=b)
    check_not_negative(where, {"tolerance": tolerance}, "tolerance")
    check_count(where, {"max_iter": b.numel() if max_iter is None else max_iter}, "max_iter")
    require(x is None or x.shape == b.shape, where, "x", f"None or of shape {tuple(b.shape)}", x)
    require(b.dim() == 1, "conjugate_gradient", "b", "a vector", tuple(b.shape))
    x = torch.zeros_like(b) if x is None else x.clone()
    r = b - product(x)
    d = r
    for _ in range(b.numel() if max_iter is None else max_iter):
        if torch.linalg.vector_norm(r) <= tolerance * torch.linalg.vector_norm(b):
            break
        a_d = product(d)
        a = r.dot(r) / d.dot(a_d)
        x = x + a * d
        r_new = r - a * a_d
        d = r_new + r_new.dot(r_new) / r.dot(r) * d
        r = r_new
    return x


@checked
def conjugate_gradient_direction(
    g: Tensor, g_before: Tensor, d: Tensor, *, beta: str = "polak_ribiere"
) -> Tensor:
    r"""The next search direction of nonlinear conjugate gradients, -g + b * d, with

        b = (g . g) / (g_before . g_before)                           "fletcher_reeves"
        b = max(0, g . (g - g_before) / (g_before . g_before))        "polak_ribiere" (PR+)
        b = g . (g - g_before) / (d . (g - g_before))                 "hestenes_stiefel"

    On a quadratic with exact line searches the three agree and the directions are conjugate.

    Args:
        g: this gradient, a vector.
        g_before: the last gradient, a vector of the same length.
        d: last direction, a vector of the same length.
        beta: which b.

    Returns:
        The direction, of g's shape.

    Raises:
        ValueError: the shapes differ; another word for `beta`.

    Source: Nocedal and Wright, "Numerical Optimization", 2nd edition, Springer 2006, section 5.2: Fletcher and
    Reeves 1964, Polak and Ribiere 1969, Hestenes and Stiefel 1952.

    >>> g, g_before, d = torch.tensor([0.0, 2.0]), torch.tensor([4.0, 0.0]), torch.tensor([-4.0, 0.0])
    >>> conjugate_gradient_direction(g, g_before, d, beta="fletcher_reeves").tolist()     # b = 4 / 16
    [-1.0, -2.0]
    """
    require_same_shape("conjugate_gradient_direction", g=g, g_before=g_before, d=d)
    require(beta in BETAS, "conjugate_gradient_direction", "beta", f"one of {BETAS}", beta)
    change = g - g_before
    if beta == "fletcher_reeves":
        b = g.dot(g) / g_before.dot(g_before)
    elif beta == "hestenes_stiefel":
        b = g.dot(change) / d.dot(change)
    else:
        b = (g.dot(change) / g_before.dot(g_before)).clamp(min=0)
    return -g + b * d


class ConjugateGradient(ClosureOptimizer):
    r"""Nonlinear conjugate gradients: up to `max_iter` line searches per call.

        d     <- conjugate_gradient_direction(g, ...), and -g where that does not descend
        theta <- theta + t * d,   t from a strong Wolfe line search with c2 = 0.1

    Args:
        params: parameters, one group, on one device.
        lr: first guess of t in the first line search, > 0; later ones start from the last step's success.
        max_iter: line searches per call.
        max_eval: evaluations per line search at most.
        beta: "fletcher_reeves", "polak_ribiere" or "hestenes_stiefel".
        tolerance_grad: stop where no entry of the gradient is larger.
        tolerance_change: stop where the loss changes less.

    State, under the first parameter: `n_iter`, `func_evals`, `d`, `t`, `prev_flat_grad`, `prev_slope`.
    torch has none; checked on quadratics and against SciPy's result (tests/lib/optim/test_second_order.py).

    Source: Nocedal and Wright, "Numerical Optimization", 2nd edition, Springer 2006, Algorithm 5.4.

    Raises:
        ValueError: a hyperparameter out of range, or several groups.
        TypeError: `step` without a closure.

    >>> theta = torch.nn.Parameter(torch.tensor([3.0, -2.0], dtype=torch.float64))
    >>> cg = ConjugateGradient([theta])
    >>> def closure():                                    # minimum at (1, 0), curvatures 1 and 10
    ...     cg.zero_grad()
    ...     loss = (theta[0] - 1) ** 2 / 2 + 5 * theta[1] ** 2
    ...     loss.backward()
    ...     return loss
    >>> _ = cg.step(closure)
    >>> [round(x, 4) + 0.0 for x in theta.tolist()]
    [1.0, 0.0]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1.0,
        max_iter: int = 20,
        max_eval: int = 25,
        beta: str = "polak_ribiere",
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-12,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "beta": beta,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
        }
        where = "ConjugateGradient"
        check_lr(where, defaults)
        require(bool(lr > 0), where, "lr", "> 0", lr)
        check_count(where, defaults, "max_iter", least=1)
        check_count(where, defaults, "max_eval", least=1)
        require(beta in BETAS, where, "beta", f"one of {BETAS}", beta)
        check_not_negative(where, defaults, "tolerance_grad", "tolerance_change")
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Up to max_iter line searches; returns the loss before the first."""
        closure = self.with_gradients(closure)
        group, thetas = self.param_groups[0], self.thetas
        state = self.state[thetas[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss, g = float(first_loss), flat_gradient(thetas)
        state["func_evals"] += 1
        for _ in range(group["max_iter"]):
            if g.abs().max() <= group["tolerance_grad"]:
                break
            slope = self._direction(g, state, group)
            trial, evals = strong_wolfe(
                self.along(closure, state["d"]),
                Trial(0.0, loss, g, slope),
                state["t"],
                c2=0.1,
                max_evals=group["max_eval"],
            )
            add_to_parameters(thetas, state["d"], trial.t)
            state.update(t=trial.t, prev_flat_grad=g, prev_slope=slope)
            state["func_evals"] += evals
            state["n_iter"] += 1
            change, loss, g = abs(loss - trial.f), trial.f, trial.g
            if change <= group["tolerance_change"]:
                break
        return first_loss

    def _direction(self, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> float:
        """Set `d` and the first guess of `t`; returns the slope along d."""
        if state["n_iter"] == 0:
            state.update(d=-g, t=min(1.0, 1.0 / float(g.abs().sum())) * float(group["lr"]))
            return float(-g.dot(g))
        state["d"] = conjugate_gradient_direction(g, state["prev_flat_grad"], state["d"], beta=group["beta"])
        slope = float(g.dot(state["d"]))
        if not slope < 0:  # start afresh: after an inexact search d may climb
            state["d"], slope = -g, float(-g.dot(g))
        state["t"] = state["t"] * state["prev_slope"] / slope if state["t"] > 0 else float(group["lr"])
        return slope
