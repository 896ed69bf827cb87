"""What every loss does before and after its formula: check the arguments, widen half precision, reduce.

No check here reads a tensor's values on an accelerator, where looking would stop the host until the device
has caught up. `check_values` looks on the CPU only, where looking costs no more than the pass over the values.
"""

import warnings
from collections.abc import Sequence

import torch
from torch import Tensor

from .._check import ArgumentTypeError, refusal

REDUCTIONS = ("none", "mean", "sum")
HALF_PRECISION = (torch.float16, torch.bfloat16)


def check_reduction(where: str, reduction: str, allowed: Sequence[str] = REDUCTIONS) -> None:
    """Refuse a reduction that is not one of `allowed`."""
    if reduction not in allowed:
        words = f"{reduction} is not a valid value for reduction"
        raise refusal(where, "reduction", f"one of {tuple(allowed)}", repr(reduction), words)


def check_floating(where: str, name: str, tensor: Tensor) -> None:
    """Refuse an integer tensor where a gradient is meant to flow."""
    if not (tensor.is_floating_point() or tensor.is_complex()):
        words = f"not implemented for {str(tensor.dtype).removeprefix('torch.')!r}"
        raise refusal(where, name, "a floating-point tensor", tensor.dtype, words, ArgumentTypeError)


def check_broadcastable(where: str, name_a: str, a: Tensor, name_b: str, b: Tensor) -> None:
    """Refuse two shapes that do not broadcast against each other, in torch's words."""
    for back in range(1, min(a.dim(), b.dim()) + 1):
        m, n = a.shape[-back], b.shape[-back]
        if m != n and m != 1 and n != 1:
            dim = max(a.dim(), b.dim()) - back
            words = f"The size of tensor a ({m}) must match the size of tensor b ({n}) at non-singleton dimension {dim}"
            got = f"{name_a} {tuple(a.shape)}, {name_b} {tuple(b.shape)}"
            raise refusal(where, f"{name_a} and {name_b}", "of one shape", got, words)


def warn_if_broadcast(where: str, input: Tensor, target: Tensor) -> None:
    """Broadcast only with torch's warning: (N,) against (N, 1) averages an N x N table of wrong pairs."""
    if input.shape == target.shape:
        return
    check_broadcastable(where, "input", input, "target", target)
    warnings.warn(
        f"Using a target size ({target.size()}) that is different to the input size ({input.size()}). "
        "This will likely lead to incorrect results due to broadcasting. "
        "Please ensure they have the same size.",
        stacklevel=4,
    )


def widen(tensor: Tensor) -> Tensor:
    """Half precision as float32, everything else as it is: three decimal digits are too few to compute with."""
    return tensor.float() if tensor.dtype in HALF_PRECISION else tensor


def as_numbers(target: Tensor) -> Tensor:
    """A target of truth values as 0 and 1; any other as `widen`."""
    return target.float() if target.dtype is torch.bool else widen(target)


def widen_optional(tensor: Tensor | None) -> Tensor | None:
    """`widen` for an argument that may be absent."""
    return None if tensor is None else widen(tensor)


def result_dtype(loss: Tensor, *inputs: Tensor) -> torch.dtype:
    """The dtype torch's promotion gives these inputs: half precision if nothing wider is among them."""
    floating = [t.dtype for t in inputs if t.is_floating_point()]
    if not floating or not all(dtype in HALF_PRECISION for dtype in floating):
        return loss.dtype
    return floating[0] if len(set(floating)) == 1 else torch.float32


def reduce_loss(loss: Tensor, reduction: str, dtype: torch.dtype) -> Tensor:
    """Reduce in the precision of the computation, and only then cast to the caller's dtype."""
    if reduction == "mean":
        loss = loss.mean()
    elif reduction == "sum":
        loss = loss.sum()
    return loss if loss.dtype == dtype else loss.to(dtype)
