"""Losses of the error alone: value and slope are known, so the error is all that the backward pass needs."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .._function import runs_in_place, with_signature
from ._arguments import reduce_loss

OfError = Callable[[Tensor], Tensor]
FEW = 2**15  # errors: below this a call costs more than the arrays that it spares


def loss_of_error(e: Tensor, value: OfError, slope: OfError, reduction: str) -> Tensor:
    """value(e), reduced. `slope` is the derivative of `value`, in words of its own; autograd finds the same.

    Autograd keeps and allocates an array for every operation in `value`; for many errors, new arrays cost more than
    the arithmetic. A compiler fuses `value` by itself.
    """
    if e.requires_grad and not torch.compiler.is_compiling() and e.numel() > FEW:
        loss: Tensor = _LossOfError.apply(e, value, slope, reduction)  # type: ignore[no-untyped-call]
        return loss
    return reduce_loss(value(e), reduction, e.dtype)


class _LossOfError(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(e: Tensor, value: OfError, slope: OfError, reduction: str) -> Tensor:
        return reduce_loss(value(e), reduction, e.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        e, _, ctx.slope, ctx.reduction = inputs
        ctx.save_for_backward(e)
        ctx.save_for_forward(e)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        (e,) = ctx.saved_tensors
        grad = grad / e.numel() if ctx.reduction == "mean" else grad
        slope = ctx.slope(e)
        return slope.mul_(grad) if runs_in_place(grad) else slope * grad, None, None, None

    @staticmethod
    def jvp(ctx: Any, e_dot: Tensor, *_: None) -> Tensor:
        (e,) = ctx.saved_tensors
        return reduce_loss(ctx.slope(e) * e_dot, ctx.reduction, e.dtype)
