"""SAM: the gradient at the worst point nearby."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._check import require, require_tensor, require_type
from ._options import check_number
from ._wrapper import WrappedOptimizer


def sam_perturbations(
    gs: list[Tensor], thetas: list[Tensor] | None = None, *, rho: float, eps: float = 1e-12
) -> list[Tensor]:
    r"""The step e up to the worst point within rho, to first order.

        e = rho * g / |g|                                   the norm is over all tensors together
        e = rho * theta**2 * g / | |theta| * g |            adaptive, where `thetas` is given

    Args:
        gs: gradients, one per parameter.
        thetas: the parameters for the adaptive form, whose neighbourhood scales with each entry; or None.
        rho: radius >= 0, in parameter units (adaptive: relative).
        eps: > 0, added to the norm.

    Returns:
        One tensor per gradient; together they have norm rho. Nothing is read from the device.

    Raises:
        TypeError: a gradient is no tensor.
        ValueError: no gradient; not as many `thetas`.

    Source: Foret, Kleiner, Mobahi and Neyshabur, "Sharpness-Aware Minimization for Efficiently Improving
    Generalization", arXiv:2010.01412v3, eq. 2 with p = 2. Adaptive: Kwon, Kim, Park and Choi, "ASAM",
    arXiv:2102.11600v3, Algorithm 1.

    >>> [e.item() for e in sam_perturbations([torch.tensor(3.0), torch.tensor(4.0)], rho=10.0)]
    [6.0, 8.0]
    """
    require(len(gs) > 0, "sam_perturbations", "gs", "at least one gradient", gs)
    require_tensor("sam_perturbations", **{f"gs[{i}]": g for i, g in enumerate(gs)})
    scaled = gs if thetas is None else [theta.abs() * g for theta, g in zip(thetas, gs, strict=True)]
    device = gs[0].device
    norms = [
        torch.linalg.vector_norm(x, dtype=torch.promote_types(x.dtype, torch.float32)).to(device)
        for x in scaled
    ]
    factor = rho / (torch.linalg.vector_norm(torch.stack(norms)) + eps)
    if thetas is None:
        return [(g * factor.to(g.device)).to(g.dtype) for g in gs]
    return [
        (theta.square() * g * factor.to(g.device)).to(g.dtype) for theta, g in zip(thetas, gs, strict=True)
    ]


class SAM(WrappedOptimizer):
    r"""SAM: descends with the gradient of the worst point within rho, which flat minima survive and sharp ones do not.

        e     = sam_perturbations(gradients at theta)
        g     = gradients at theta + e
        theta <- step of `base` at theta with g

    Two gradients per step, hence a closure that clears the gradients, computes the loss, calls `backward` and
    returns the loss. It is called twice; dropout and batch norm see both passes. Without a closure, call `ascend()`
    after the first backward pass and `descend()` after the second.

    Args:
        base: the optimizer that takes the step; its groups are this one's groups.
        rho: radius of the neighbourhood, >= 0; 0 is `base` alone.
        adaptive: scale the neighbourhood with each entry's size (ASAM; the paper's rho is 10 times larger there).

    State: `start` per parameter, between `ascend` and `descend` only.
    torch has none; checked against eq. 2-3 in float64 (tests/lib/optim/test_against_papers.py).

    Source: Foret et al., arXiv:2010.01412v3, Algorithm 1. Differs from the paper: none for p = 2.

    Raises:
        ValueError: rho below 0.
        TypeError: `base` is not an optimizer, or `step` without a closure.

    >>> theta = torch.nn.Parameter(torch.tensor([1.0]))
    >>> sam = SAM(torch.optim.SGD([theta], lr=0.5), rho=1.0)
    >>> def closure():                                    # f = theta**2 / 2, so g = theta
    ...     sam.zero_grad()
    ...     loss = theta.square().sum() / 2
    ...     loss.backward()
    ...     return loss.item()
    >>> sam.step(closure), theta.item()                   # g at 1 + 1 is 2: 1 - 0.5 * 2
    (0.5, 0.0)
    """

    own_names = ("rho", "adaptive")

    def __init__(self, base: torch.optim.Optimizer, rho: float = 0.05, *, adaptive: bool = False) -> None:
        check_number("SAM", "rho", rho)
        require(rho >= 0, "SAM", "rho", ">= 0", rho)
        super().__init__(base)
        self.rho, self.adaptive = rho, adaptive

    @torch.no_grad()
    def ascend(self) -> None:
        """Move to the worst point, and remember where the parameters were."""
        thetas = [theta for group in self.param_groups for theta in group["params"] if theta.grad is not None]
        if not thetas:
            return
        gs = [theta.grad for theta in thetas]
        moves = sam_perturbations(gs, thetas if self.adaptive else None, rho=self.rho)
        for theta, move in zip(thetas, moves, strict=True):
            self.state[theta]["start"] = theta.clone(memory_format=torch.preserve_format)
            theta.add_(move)

    @torch.no_grad()
    def descend(self) -> None:
        """Go back, and step with the gradients of the worst point."""
        for state_of, state in self.state.items():
            if "start" in state:
                state_of.copy_(state.pop("start"))
        self.base.step()

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Both passes; returns the loss at theta, the closure's first."""
        require_type(closure is not None, "SAM", "closure", "a function that runs a backward pass", closure)
        assert closure is not None
        with torch.enable_grad():
            loss = closure()
        self.ascend()
        with torch.enable_grad():
            closure()
        self.descend()
        return loss
