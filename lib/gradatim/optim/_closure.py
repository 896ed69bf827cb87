"""What LBFGS and ConjugateGradient share: one group, a closure, and a loss that is looked at along a direction."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._check import require_type
from ._flat import add_to_parameters, flat_gradient
from ._line_search import Trial
from ._options import check_params

Closure = Callable[[], Any]


class ClosureOptimizer(torch.optim.Optimizer):
    """Base of the methods that evaluate the loss several times per step, on all parameters as one vector.

    They decide by values, so every evaluation is read back from the device. The state belongs to all parameters and
    is kept under the first one, as torch does for LBFGS.
    """

    def __init__(self, params: Any, defaults: dict[str, Any]) -> None:
        super().__init__(check_params(type(self).__name__, params), defaults)
        if len(self.param_groups) != 1:
            where = type(self).__name__
            raise ValueError(
                f"{where}: params must be one group, got {len(self.param_groups)} groups "
                f"({where} doesn't support per-parameter options (parameter groups))"
            )

    @property
    def thetas(self) -> list[Tensor]:
        """The parameters."""
        thetas: list[Tensor] = self.param_groups[0]["params"]
        return thetas

    def with_gradients(self, closure: Closure | None) -> Closure:
        """The closure, with autograd switched on."""
        where = type(self).__name__
        require_type(callable(closure), where, "closure", "a function that runs a backward pass", closure)
        assert closure is not None
        return torch.enable_grad()(closure)

    def along(self, closure: Closure, d: Tensor) -> Callable[[float], Trial]:
        """The loss at theta + t * d as a function of t; the parameters come back unchanged."""
        thetas = self.thetas
        start = [theta.clone(memory_format=torch.contiguous_format) for theta in thetas]

        def evaluate(t: float) -> Trial:
            add_to_parameters(thetas, d, t)
            f = float(closure())
            g = flat_gradient(thetas)
            for theta, value in zip(thetas, start, strict=True):
                theta.copy_(value)
            return Trial(t, f, g, float(g.dot(d)))

        return evaluate
