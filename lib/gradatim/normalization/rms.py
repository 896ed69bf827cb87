"""RMS norm: layer norm without the mean."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._check import (
    checked,
    require,
    require_broadcast,
    require_dims,
    require_floating,
    require_same_shape,
    require_sizes,
)
from .._function import runs_in_place, with_signature
from .batch import added
from .layer import check_shapes
from .standardize import blocks, widened


@checked
def rms_norm(
    input: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Tensor:
    """Divide by the root mean square over the last axes; nothing is subtracted.

        y = weight * x / sqrt(mean(x**2) + eps)

    Args:
        input: (*, *normalized_shape), floating-point; half precision is computed in float32.
        normalized_shape: sizes of the last axes. weight: of that shape, or None for 1.
        eps: >= 0; None: the smallest step at 1 of the dtype that is computed in, as torch's.

    Returns:
        y, of the shape of `input`, in the wider dtype of `input` and `weight`.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes that do not fit; an empty `normalized_shape`.

    Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", arXiv:1910.07467, eq. 4.
    Differs from the paper: eps.
    Same numbers as torch.nn.functional.rms_norm (test_conformance.py).

    >>> rms_norm(torch.tensor([3.0, 4.0]), [2], eps=3.5)   # mean square 12.5, sqrt(12.5 + 3.5) = 4
    tensor([0.7500, 1.0000])
    """
    shape = check_shapes("rms_norm", input, normalized_shape, weight=weight)
    x, n = widened(input), shape.numel()
    assert x is not None
    eps = torch.finfo(x.dtype).eps if eps is None else eps
    dtype = input.dtype if weight is None else torch.promote_types(input.dtype, weight.dtype)
    w = x.new_ones(n) if weight is None else weight.reshape(n).to(torch.promote_types(x.dtype, weight.dtype))
    rows = x.reshape(-1, n) if n else x.reshape(x.numel(), 0)
    if torch.compiler.is_compiling():  # a compiler fuses the formula by itself
        y = rows * torch.rsqrt((rows * rows).mean(-1, keepdim=True) + eps) * w
    else:  # the same, with the hand-derived backward pass
        y = RMSNormFunction.apply(rows.to(w.dtype), w, eps)[0]
    return y.reshape(input.shape).to(dtype)  # type: ignore[no-any-return]


@checked
def rms_norm_backward(
    grad: Tensor, x: Tensor, inv_rms: Tensor, weight: Tensor, dims: Sequence[int] = (-1,)
) -> tuple[Tensor, Tensor]:
    """The derivatives of RMS norm. One term less than layer norm: no mean.

        x_hat       = x * inv_rms                      inv_rms = 1 / sqrt(mean(x**2) + eps)
        grad_weight = sum(grad * x_hat)                over the samples
        grad_x_hat  = grad * weight
        grad_input  = inv_rms * (grad_x_hat - x_hat * mean(grad_x_hat * x_hat))

    Args:
        grad: derivative by y, any shape, floating-point.
        x: of the same shape.
        inv_rms: of size 1 on `dims`.
        weight: of the sizes of `dims`.
        dims: the axes of the features, the last ones.

    Returns:
        (grad_input, grad_weight), of the shapes of x and `weight`.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: shapes that do not fit; an axis that x does not have.
    """
    where = "rms_norm_backward"
    require_floating(where, grad=grad, x=x, inv_rms=inv_rms, weight=weight)
    require_same_shape(where, grad=grad, x=x)
    require_dims(where, x, dims)
    require_broadcast(where, x.shape, inv_rms=inv_rms, weight=weight)
    x_hat = x * inv_rms
    samples = list(range(x.dim() - weight.dim()))
    g = grad * weight
    grad_input = inv_rms * (g - x_hat * (g * x_hat).mean(list(dims), keepdim=True))
    return grad_input, (grad * x_hat).sum(samples)


def rms_norm_backward_in_place(
    grad: Tensor, x: Tensor, inv_rms: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """`rms_norm_backward` of the rows of a matrix with one new array instead of five, block by block of rows."""
    n, inv_square = weight.numel(), inv_rms.square()
    grad_input, grad_weight = torch.empty_like(x), torch.zeros_like(weight)
    for x_, g, out, inv_rms_, inv_square_ in blocks(x, 0, grad, grad_input, inv_rms, inv_square):
        torch.mul(g, x_, out=out)  # g * x_hat / inv_rms
        grad_weight.addmv_(out.T, inv_rms_.squeeze(-1))
        mean_gx = (
            torch.mv(out, weight / -n).unsqueeze(-1) * inv_square_
        )  # - mean(grad_x_hat * x_hat) * inv_rms
        torch.mul(x_, mean_gx, out=out).addcmul_(g, weight).mul_(inv_rms_)
    return grad_input, grad_weight


def rms_norm_in_place(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The forward pass of `RMSNormFunction` with one new array instead of three, block by block of rows."""
    y, inv_rms = torch.empty_like(x), x.new_empty(len(x), 1)
    for x_, y_, inv_rms_ in blocks(x, 0, y, inv_rms):
        torch.mean(torch.mul(x_, x_, out=y_), -1, keepdim=True, out=inv_rms_)
        torch.mul(x_, inv_rms_.add_(eps).rsqrt_(), out=y_).mul_(weight)
    return y, inv_rms


class RMSNormFunction(torch.autograd.Function):
    """RMS norm of the rows of a matrix, with the hand-derived backward pass: half of autograd's time.

    inv_rms is an output, so that second derivatives reach the input through it.
    """

    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """(y, inv_rms) from x (rows, n) and weight (n,)."""
        if runs_in_place(x):
            return rms_norm_in_place(x, weight, eps)
        inv_rms = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        return x * inv_rms * weight, inv_rms

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the two derivatives need."""
        (x, weight, _), (_, inv_rms) = inputs, output
        ctx.save_for_backward(x, inv_rms, weight)
        ctx.save_for_forward(x, inv_rms, weight)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, None]:
        """`rms_norm_backward`, and what a second derivative sends back through inv_rms."""
        grad, grad_inv_rms = grads
        x, inv_rms, weight = ctx.saved_tensors
        if grad is not None and grad_inv_rms is None and runs_in_place(grad):
            return *rms_norm_backward_in_place(grad, x, inv_rms, weight), None
        grad_x = grad_w = None
        if grad is not None:
            grad_x, grad_w = rms_norm_backward(grad, x, inv_rms, weight)
        if grad_inv_rms is not None:  # inv_rms = (mean(x**2) + eps)**(-1/2)
            grad_x = added(grad_x, -grad_inv_rms * inv_rms**3 * x / x.shape[-1])
        return grad_x, grad_w, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None, _: None) -> tuple[Tensor, Tensor]:
        """Forward-mode derivative: the changes of (y, inv_rms)."""
        x, inv_rms, weight = ctx.saved_tensors
        x_hat = x * inv_rms
        dx = torch.zeros_like(x) if dx is None else dx
        d_inv_rms = -inv_rms.square() * (x_hat * dx).mean(-1, keepdim=True)
        dy = (dx * inv_rms + x * d_inv_rms) * weight
        return dy if dw is None else dy + x_hat * dw, d_inv_rms


class RMSNorm(nn.Module):
    """`rms_norm` with a weight; names as torch's.

    Args:
        normalized_shape: a size or sizes of the last axes.
        eps: >= 0; None: the smallest step at 1 of the dtype that is computed in.
        elementwise_affine: learn a weight.
        device: of the weight.
        dtype: of the weight.

    Raises:
        TypeError: `normalized_shape` holds something else than integers.
        ValueError: a negative size; eps < 0.
    """

    weight: nn.Parameter | None

    @checked
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = [normalized_shape] if isinstance(normalized_shape, int) else normalized_shape
        shape = tuple(require_sizes("RMSNorm", "normalized_shape", sizes))
        require(eps is None or eps >= 0, "RMSNorm", "eps", "None or >= 0", eps)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        weight = nn.Parameter(torch.ones(shape, device=device, dtype=dtype)) if elementwise_affine else None
        self.register_parameter("weight", weight)

    def reset_parameters(self) -> None:
        """Weight 1."""
        if self.weight is not None:
            with torch.no_grad():
                self.weight.fill_(1)

    def forward(self, input: Tensor) -> Tensor:
        """See `rms_norm`."""
        return rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments, as torch shows them."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
