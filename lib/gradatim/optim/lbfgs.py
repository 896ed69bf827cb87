"""L-BFGS: Newton's method without the Hessian."""

from typing import Any

import torch
from torch import Tensor

from .._check import require
from ._closure import Closure, ClosureOptimizer
from ._flat import add_to_parameters, flat_gradient
from ._line_search import Trial, strong_wolfe
from ._options import check_count, check_lr, check_not_negative


def lbfgs_direction(g: Tensor, ys: list[Tensor], ss: list[Tensor], rhos: list[Any], h_diag: Any) -> Tensor:
    r"""-H g, where H is the inverse Hessian that the last steps suggest: the two-loop recursion.

    With s_i a past step, y_i the change of the gradient over it and rho_i = 1 / (y_i . s_i):

        q <- -g
        for i from the newest to the oldest:   a_i = rho_i * (s_i . q);   q <- q - a_i * y_i
        d  = h_diag * q
        for i from the oldest to the newest:   b   = rho_i * (y_i . d);   d <- d + (a_i - b) * s_i

    Args:
        g: gradient, a vector.
        ys, ss: gradient changes and steps, oldest first.
        rhos: 1 / (y . s) of each pair; positive.
        h_diag: the inverse Hessian before any pair, as a multiple of the identity.

    Returns:
        The direction d: theta moves to theta + t * d. Without pairs it is -h_diag * g.

    Source: Nocedal and Wright, "Numerical Optimization", 2nd edition, Springer 2006, Algorithm 7.4; Liu and
    Nocedal, "On the limited memory BFGS method for large scale optimization", Mathematical Programming 45 (1989)
    503-528.

    >>> g = torch.tensor([8.0])                           # f = 2 * theta**2 at theta = 2, Hessian 4
    >>> y, s = torch.tensor([4.0]), torch.tensor([1.0])   # one step of 1 changed the gradient by 4
    >>> lbfgs_direction(g, [y], [s], [1 / 4], 1.0).item() # so d = -8 / 4, to the minimum
    -2.0
    """
    q = -g
    kept = []
    for y, s, rho in zip(reversed(ys), reversed(ss), reversed(rhos), strict=True):
        a = s.dot(q) * rho
        kept.append(a)
        q = q - a * y
    d: Tensor = q * h_diag
    for y, s, rho, a in zip(ys, ss, rhos, reversed(kept), strict=True):
        d = d + (a - y.dot(d) * rho) * s
    return d


class LBFGS(ClosureOptimizer):
    r"""L-BFGS: up to `max_iter` quasi-Newton steps per call, each theta <- theta + t * lbfgs_direction(g, ...).

    For full batches of small problems: the pairs (y, s) compare gradients of one function, and mini-batches change
    the function.

    Args:
        params: parameters, one group, on one device.
        lr: t without line search, and the first guess with one; > 0. The very first step is lr * min(1, 1 / |g|_1).
        max_iter: steps per call.
        max_eval: evaluations per call, by default 1.25 * max_iter.
        tolerance_grad: stop where no entry of the gradient is larger.
        tolerance_change: stop where the loss or every parameter changes less.
        history_size: pairs kept.
        line_search_fn: None or "strong_wolfe".

    State, under the first parameter: `func_evals`, `n_iter`, `d`, `t`, `old_dirs` (y), `old_stps` (s), `ro`, `H_diag`,
    `prev_flat_grad`, `prev_loss`: 2 * history_size + 2 times the parameters' memory.
    Same numbers as torch.optim.LBFGS (tests/lib/optim/test_lbfgs.py).

    Raises:
        ValueError: a hyperparameter out of range, or several groups.
        TypeError: `step` without a closure.

    >>> theta = torch.nn.Parameter(torch.tensor([3.0, -2.0]))
    >>> lbfgs = LBFGS([theta], line_search_fn="strong_wolfe")
    >>> def closure():                                    # minimum at (1, 0), curvatures 1 and 10
    ...     lbfgs.zero_grad()
    ...     loss = (theta[0] - 1) ** 2 / 2 + 5 * theta[1] ** 2
    ...     loss.backward()
    ...     return loss
    >>> _ = lbfgs.step(closure)
    >>> [round(x, 3) + 0.0 for x in theta.tolist()]
    [1.0, 0.0]
    """

    def __init__(
        self,
        params: Any,
        lr: float | Tensor = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        defaults = {
            "lr": lr,
            "max_iter": max_iter,
            "max_eval": max_eval,
            "tolerance_grad": tolerance_grad,
            "tolerance_change": tolerance_change,
            "history_size": history_size,
            "line_search_fn": line_search_fn,
        }
        check_lr("LBFGS", defaults)
        check_not_negative("LBFGS", defaults, "tolerance_grad", "tolerance_change")
        check_count("LBFGS", defaults, "max_iter", least=1)
        check_count("LBFGS", defaults, "history_size", least=1)
        if max_eval is None:
            defaults["max_eval"] = max_iter * 5 // 4
        check_count("LBFGS", defaults, "max_eval", least=1)
        known = line_search_fn in (None, "strong_wolfe")
        require(known, "LBFGS", "line_search_fn", "None or 'strong_wolfe'", line_search_fn)
        super().__init__(params, defaults)

    @torch.no_grad()
    def step(self, closure: Closure | None = None) -> Any:
        """Up to max_iter steps; returns the loss before the first."""
        closure = self.with_gradients(closure)
        group, thetas = self.param_groups[0], self.thetas
        state = self.state[thetas[0]]
        state.setdefault("func_evals", 0)
        state.setdefault("n_iter", 0)

        first_loss = closure()
        loss, g, evals = float(first_loss), flat_gradient(thetas), 1
        state["func_evals"] += 1
        if g.abs().max() <= group["tolerance_grad"]:
            return first_loss
        for turn in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            self._direction(g, state, group)
            previous = state["prev_loss"] = loss
            slope = float(g.dot(state["d"]))
            if slope > -group["tolerance_change"]:
                break  # no descent along d
            last = turn == group["max_iter"]
            loss, g, used = self._move(closure, Trial(0.0, loss, g, slope), state, group, evals, last=last)
            evals += used
            state["func_evals"] += used
            if last or evals >= group["max_eval"] or g.abs().max() <= group["tolerance_grad"]:
                break
            small = (state["d"] * state["t"]).abs().max() <= group["tolerance_change"]
            if small or abs(loss - previous) < group["tolerance_change"]:
                break
        return first_loss

    def _direction(self, g: Tensor, state: dict[str, Any], group: dict[str, Any]) -> None:
        """Add the last step's pair to the memory; set `d` and the first guess of `t`."""
        lr = float(group["lr"])
        if state["n_iter"] == 1:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1)
            state["t"] = min(1.0, 1.0 / float(g.abs().sum())) * lr
        else:
            y, s = g - state["prev_flat_grad"], state["d"] * state["t"]
            ys = y.dot(s)
            if ys > 1e-10:  # the curvature along the step is positive: H stays positive definite
                if len(state["old_dirs"]) == group["history_size"]:
                    for name in ("old_dirs", "old_stps", "ro"):
                        state[name].pop(0)
                state["old_dirs"].append(y)
                state["old_stps"].append(s)
                state["ro"].append(1.0 / ys)
                state["H_diag"] = ys / y.dot(y)
            state["t"] = lr
        state["d"] = lbfgs_direction(g, state["old_dirs"], state["old_stps"], state["ro"], state["H_diag"])
        state["prev_flat_grad"] = g.clone()

    def _move(
        self,
        closure: Closure,
        start: Trial,
        state: dict[str, Any],
        group: dict[str, Any],
        evals: int,
        *,
        last: bool,
    ) -> tuple[float, Tensor, int]:
        """Step along `d`; returns the new loss and gradient and the evaluations used."""
        d, thetas = state["d"], self.thetas
        if group["line_search_fn"] == "strong_wolfe":
            trial, used = strong_wolfe(
                self.along(closure, d),
                start,
                state["t"],
                smallest=1e-9 / float(d.abs().max()),
                max_evals=group["max_eval"] - evals,
            )
            state["t"] = trial.t
            add_to_parameters(thetas, d, trial.t)
            return trial.f, trial.g, used
        add_to_parameters(thetas, d, state["t"])
        if last:  # the caller's next step evaluates here anyway
            return start.f, start.g, 0
        return float(closure()), flat_gradient(thetas), 1
