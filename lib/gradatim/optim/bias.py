"""Bias correction: what an average that starts at zero still lacks."""

import math
import numbers
from typing import Any

import torch
from torch import Tensor

from .._check import require_type


def bias_correction(beta: Any, t: Any) -> Any:
    """1 - beta**t, the weight that an average with m_0 = 0 has given to its t entries so far.

        m_t = (1 - beta) * (g_t + beta * g_{t-1} + ... + beta**(t-1) * g_1),   weights that sum to 1 - beta**t

    Args:
        beta: decay rate in [0, 1).
        t: how many entries, >= 1: a number, or a tensor () where a captured or compiled step counts for itself.

    Returns:
        A number or a tensor () in (0, 1]. From a float32 tensor t it is accurate to float32's last digit, where
        1 - beta**t would lose four digits to cancellation at beta = 0.999 and t = 1.

    Raises:
        TypeError: `beta` or `t` is neither a number nor a tensor.

    Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", arXiv:1412.6980v9, section 3.

    >>> bias_correction(0.5, 3)                                  # 1 - 1 / 8
    0.875
    """
    for name, value in (("beta", beta), ("t", t)):
        known = isinstance(value, (Tensor, numbers.Real))
        require_type(known, "bias_correction", name, "a number or a tensor", value)
    if isinstance(t, Tensor) and not isinstance(beta, Tensor) and beta > 0:
        return computed_once(-torch.expm1(t * math.log(beta)))
    return 1 - beta**t


def computed_once(x: Any) -> Any:
    """`x`; of a tensor (), where a step is compiled, a buffer of its own.

    The compiler would put the transcendental function that made a scalar into the loop over the parameter's entries,
    where it costs more than all the rest of the step. It does not look through `as_strided`.
    """
    scalar = isinstance(x, Tensor) and x.dim() == 0
    return x.as_strided((), ()) if scalar and torch.compiler.is_compiling() else x
