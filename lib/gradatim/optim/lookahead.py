"""Lookahead: slow weights that follow fast ones."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._check import checked, require, require_same_shape
from ._options import check_count, check_number
from ._wrapper import WrappedOptimizer


@checked
def lookahead_point(slow: Tensor, fast: Tensor, *, alpha: float) -> Tensor:
    """slow + alpha * (fast - slow), the point from which both go on.

    Args:
        slow: weights, any shape.
        fast: weights of the same shape.
        alpha: share of the way, in [0, 1].

    Returns:
        The point, of that shape.

    Raises:
        ValueError: the shapes differ.

    Source: Zhang, Lucas, Hinton and Ba, "Lookahead Optimizer: k steps forward, 1 step back", arXiv:1907.08610v2,
    Algorithm 1.

    >>> lookahead_point(torch.tensor(1.0), torch.tensor(3.0), alpha=0.25).item()
    1.5
    """
    require_same_shape("lookahead_point", slow=slow, fast=fast)
    return slow + alpha * (fast - slow)


class Lookahead(WrappedOptimizer):
    r"""Lookahead: k steps of another optimizer, then back to a point alpha of the way.

        fast <- k steps of `base` from slow
        slow <- slow + alpha * (fast - slow);   fast <- slow

    Args:
        base: the optimizer of the fast weights; its groups are this one's groups.
        k: fast steps per slow step, >= 1.
        alpha: share of the way, in [0, 1].

    State: `slow` per parameter, taken at the first step: 1x the parameters' memory. The optimizer inside keeps its
    own state, also across a slow step (the paper's setting for Adam).
    torch has none; checked against Algorithm 1 in float64 (tests/lib/optim/test_against_papers.py).

    Source: Zhang et al., arXiv:1907.08610v2, Algorithm 1.

    Raises:
        ValueError: k or alpha out of range.
        TypeError: `base` is not an optimizer.

    >>> theta = torch.nn.Parameter(torch.tensor([0.0]))
    >>> optimizer = Lookahead(torch.optim.SGD([theta], lr=1.0), k=2, alpha=0.5)
    >>> for _ in range(2):                                # fast: 1, 2; then half of the way from 0
    ...     theta.grad = torch.tensor([-1.0])
    ...     optimizer.step()
    >>> theta.item()
    1.0
    """

    own_names = ("k", "alpha", "fast_steps")

    def __init__(self, base: torch.optim.Optimizer, k: int = 5, alpha: float = 0.5) -> None:
        check_count("Lookahead", {"k": k}, "k", least=1)
        check_number("Lookahead", "alpha", alpha)
        require(0 <= alpha <= 1, "Lookahead", "alpha", "in [0, 1]", alpha)
        super().__init__(base)
        self.k, self.alpha, self.fast_steps = k, alpha, 0

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """A fast step; every k-th time a slow one after it. Returns what the inner optimizer's step returns."""
        thetas = [theta for group in self.param_groups for theta in group["params"]]
        for theta in thetas:
            if "slow" not in self.state[theta]:
                self.state[theta]["slow"] = theta.clone(memory_format=torch.preserve_format)
        loss = self.base.step(closure) if closure is not None else self.base.step()
        self.fast_steps += 1
        if self.fast_steps % self.k == 0:
            for theta in thetas:
                slow = self.state[theta]["slow"]
                slow.lerp_(theta, self.alpha)  # lookahead_point, in place
                theta.copy_(slow)
        return loss
