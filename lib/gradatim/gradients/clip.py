"""Clipping gradients: by their common length, or each entry by itself."""

from collections.abc import Iterable

import torch
from torch import Tensor

from .._check import checked, require, require_tensors, require_type


def gradients_of(where: str, parameters: Tensor | Iterable[Tensor]) -> list[Tensor]:
    """The gradients that exist; parameters without one are skipped."""
    return [p.grad for p in require_tensors(where, "parameters", parameters) if p.grad is not None]


@checked
def get_total_norm(
    tensors: Tensor | Iterable[Tensor],
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """The p-norm of all tensors together, as if they were one long vector.

        total = (sum over all entries |g|**p)**(1/p);   p = inf: the largest |g|

    The norm is the norm of the tensors' norms. In half precision each is computed in float32.

    Args:
        tensors: one tensor or several, of any shapes, floating-point or complex.
        norm_type: p >= 0, also inf.
        error_if_nonfinite: raise for a norm that is inf or nan; this waits for the device.
        foreach: accepted for torch's sake.

    Returns:
        The norm, shape (), on the first tensor's device; 0 for no tensors.

    Raises:
        TypeError: a tensor of integers.
        ValueError: norm_type < 0.
        RuntimeError: the norm is inf or nan, and `error_if_nonfinite`.

    >>> get_total_norm([torch.tensor([3.0]), torch.tensor([[4.0]])])
    tensor(5.)
    """
    require(norm_type >= 0, "get_total_norm", "norm_type", ">= 0", norm_type)
    listed = require_tensors("get_total_norm", "tensors", tensors)
    for g in listed:
        require_type(
            g.is_floating_point() or g.is_complex(), "get_total_norm", "tensors", "floating-point", g.dtype
        )
    if not listed:
        return torch.tensor(0.0)
    device = listed[0].device
    p = float(norm_type)
    norms = [torch.linalg.vector_norm(g.detach(), p, dtype=wide(g)).to(device) for g in listed]
    total = torch.linalg.vector_norm(torch.stack([n.to(norms[0].dtype) for n in norms]), p)
    if error_if_nonfinite and not torch.isfinite(total):  # the only place that waits for the device
        raise RuntimeError(
            f"clip_grad_norm_: the gradients' norm of order {p} must be finite, got {total.item()} (torch: The total "
            f"norm of order {p} for gradients from `parameters` is non-finite, so it cannot be clipped)"
        )
    return total


def wide(g: Tensor) -> torch.dtype:
    """The dtype to sum in."""
    return torch.float32 if g.dtype in (torch.float16, torch.bfloat16) else g.dtype


@torch.no_grad()
@checked
def clip_grads_with_norm_(
    parameters: Tensor | Iterable[Tensor], max_norm: float, total_norm: Tensor, foreach: bool | None = None
) -> None:
    """Scale the gradients in place by min(1, max_norm / (total_norm + 1e-6)).

    Args:
        parameters: one tensor or several; read and scaled are their `.grad`, None is skipped.
        max_norm: >= 0.
        total_norm: as `get_total_norm` returned it, shape ().
        foreach: accepted for torch's sake.

    Raises:
        ValueError: max_norm < 0; `total_norm` of another shape.
    """
    where = "clip_grads_with_norm_"
    require(max_norm >= 0, where, "max_norm", ">= 0", max_norm)
    require(total_norm.dim() == 0, where, "total_norm", "of 0 dimensions", tuple(total_norm.shape))
    scale = (max_norm / (total_norm + 1e-6)).clamp(max=1.0)
    for g in gradients_of(where, parameters):
        g.mul_(scale.to(g.device))


@checked
def clip_grad_norm_(
    parameters: Tensor | Iterable[Tensor],
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,
) -> Tensor:
    """Shorten the gradient of all parameters together to at most `max_norm`; its direction stays.

        g <- g * min(1, max_norm / (||g|| + 1e-6))        ||g|| over all parameters

    Call it between backward() and step().

    Args:
        parameters: one tensor or several; read and scaled are their `.grad`, None is skipped.
        max_norm: >= 0.
        norm_type: p >= 0 of the p-norm, also inf.
        error_if_nonfinite: raise for a norm that is inf or nan, before anything is scaled; this waits for the device.
        foreach: accepted for torch's sake.

    Returns:
        The norm before clipping, shape ().

    Raises:
        ValueError: `max_norm` or `norm_type` is negative.
        RuntimeError: the norm is inf or nan, and `error_if_nonfinite`.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks", arXiv:1211.5063,
    Algorithm 1.
    Same numbers as torch.nn.utils.clip_grad_norm_ (test_clip.py).

    >>> p = torch.zeros(2, requires_grad=True)
    >>> p.grad = torch.tensor([3.0, 4.0])
    >>> clip_grad_norm_(p, max_norm=1.0), p.grad
    (tensor(5.), tensor([0.6000, 0.8000]))
    """
    require(max_norm >= 0, "clip_grad_norm_", "max_norm", ">= 0", max_norm)
    require(norm_type >= 0, "clip_grad_norm_", "norm_type", ">= 0", norm_type)
    listed = require_tensors("clip_grad_norm_", "parameters", parameters)
    total = get_total_norm(gradients_of("clip_grad_norm_", listed), norm_type, error_if_nonfinite)
    clip_grads_with_norm_(listed, max_norm, total)
    return total


@torch.no_grad()
@checked
def clip_grad_value_(
    parameters: Tensor | Iterable[Tensor], clip_value: float, foreach: bool | None = None
) -> None:
    """Limit each entry of the gradients to [-clip_value, clip_value]; the direction changes.

    Args:
        parameters: one tensor or several; changed are their `.grad`, None is skipped.
        clip_value: >= 0.
        foreach: accepted for torch's sake.

    Raises:
        ValueError: clip_value < 0.

    >>> p = torch.zeros(2, requires_grad=True)
    >>> p.grad = torch.tensor([0.5, -4.0])
    >>> clip_grad_value_(p, 1.0)
    >>> p.grad
    tensor([ 0.5000, -1.0000])
    """
    require(clip_value >= 0, "clip_grad_value_", "clip_value", ">= 0", clip_value)
    for g in gradients_of("clip_grad_value_", parameters):
        g.clamp_(-clip_value, clip_value)
