"""The layer-wise step of LARS and LAMB: a direction scaled by the size of the parameter it moves."""

from typing import Any

import torch
from torch import Tensor

from ._ops import Ops


def trust_ratio(theta_norm: Tensor, u_norm: Tensor) -> Tensor:
    """|theta| / |u|, and 1 where either is 0: a parameter that starts at zero must be able to leave.

    Args:
        theta_norm: |theta|, any shape.
        u_norm: |u|, of the same shape.

    Returns:
        The ratio, of that shape.

    >>> trust_ratio(torch.tensor([6.0, 0.0]), torch.tensor([3.0, 3.0])).tolist()
    [2.0, 1.0]
    """
    defined = (theta_norm > 0) & (u_norm > 0)
    return torch.where(defined, theta_norm / torch.where(defined, u_norm, 1.0), 1.0)


def descend(ops: Ops, theta: Any, u: Any, factors: Any) -> None:
    """theta <- theta - factor * u, with a factor () per tensor; `u` is used up."""

    def one_tensor(theta: Tensor, u: Tensor, factor: Tensor) -> None:
        if theta.device.type == "cpu":
            theta.add_(u, alpha=-factor.item())
        else:  # reading the factor would wait for the device
            theta.sub_(u.mul_(factor))

    ops.each(one_tensor, theta, u, factors)
