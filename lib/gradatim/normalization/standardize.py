"""The one operation behind batch, layer, group and instance norm: subtract the mean, divide by the deviation.

The four differ only in the axes that the mean is taken over. For an input of shape (N, C, H, W):

    batch norm       (N, H, W)    one mean per channel
    layer norm       (C, H, W)    one mean per sample (for a language model: the features of one token)
    instance norm    (H, W)       one mean per sample and channel
    group norm       (C/G, H, W)  one mean per sample and group of channels
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from .._check import (
    ArgumentTypeError,
    checked,
    refusal,
    require_broadcast,
    require_dims,
    require_floating,
    require_same_shape,
)

Dims = list[int] | tuple[int, ...]
HALF_PRECISION = (torch.float16, torch.bfloat16)
BLOCK = 2**19  # elements: few enough to stay in a CPU's cache from one operation to the next


def blocks(x: Tensor, dim: int, *others: Tensor) -> Iterable[tuple[Tensor, ...]]:
    """Views of x and the others, about `BLOCK` entries of x at a time along `dim`.

    All at once on an accelerator, and where a view would consist of short pieces.
    """
    tensors = (x, *others)
    if x.numel() <= BLOCK or x.device.type != "cpu" or not x.is_contiguous():
        return (tensors,)
    length = max(1, BLOCK * x.shape[dim] // x.numel())
    if dim > 0 and length * x.stride(dim) < 64:
        return (tensors,)
    return zip(*(t.split(length, dim) for t in tensors), strict=True)


def widened(x: Tensor | None) -> Tensor | None:
    """Half precision as float32, anything else as it is: sums of squares overflow float16 at 65504."""
    return x.float() if x is not None and x.dtype in HALF_PRECISION else x


def require_dtype(where: str, dtype: torch.dtype, **tensors: Tensor) -> None:
    """Refuse a weight or bias of another dtype than that which is computed in."""
    for name, t in tensors.items():
        if t.dtype != dtype:
            words = f"expected scalar type {dtype} but found {t.dtype}"
            raise refusal(where, name, f"of the input's dtype {dtype}", t.dtype, words, ArgumentTypeError)


@checked
def standardize(x: Tensor, dims: Dims, eps: float = 1e-5) -> Tensor:
    """Mean 0 and variance 1 (nearly: eps) over the axes `dims`.

        mean  = sum(x) / n                        n values on the axes `dims`
        var   = sum((x - mean)**2) / n            the biased variance
        x_hat = (x - mean) / sqrt(var + eps)

    Args:
        x: any shape, floating-point; half precision is computed in float32.
        dims: the axes to average over. eps: >= 0, inside the square root.

    Returns:
        x_hat, of the shape and dtype of x.

    Raises:
        TypeError: x is not floating-point; `dims` is no list or tuple of integers.
        ValueError: an axis that x does not have.

    >>> standardize(torch.tensor([[1.0, 3.0]]), dims=[1], eps=3.0)   # mean 2, var 1, sqrt(1 + 3) = 2
    tensor([[-0.5000,  0.5000]])
    """
    require_floating("standardize", x=x)
    require_dims("standardize", x, dims)
    wide = x.float() if x.dtype in HALF_PRECISION else x
    centred = wide - wide.mean(dims, keepdim=True)
    var = (centred * centred).mean(dims, keepdim=True)
    return (centred * torch.rsqrt(var + eps)).to(x.dtype)


@checked
def standardize_backward(grad_x_hat: Tensor, x_hat: Tensor, inv_std: Tensor, dims: Dims) -> Tensor:
    """The derivative of `standardize`, in its three-term form.

        grad_x = inv_std * (g - mean(g) - x_hat * mean(g * x_hat))       means over `dims`, g = grad_x_hat

    The second term comes from the mean, the third from the variance. Both are what makes grad_x orthogonal to
    1 and, but for eps, to x_hat: neither adding a constant to x nor scaling it changes x_hat.

    Args:
        grad_x_hat: derivative by x_hat, floating-point.
        x_hat: as `standardize` returned it, of the same shape.
        inv_std: 1 / sqrt(var + eps), with size 1 on `dims`.
        dims: the axes that were averaged over.

    Returns:
        The derivative by x, of the shape of x_hat.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: shapes that do not fit; an axis that x_hat does not have.

    Source: Ioffe and Szegedy, "Batch Normalization", arXiv:1502.03167, section 3 (before simplification).

    >>> g, x_hat = torch.tensor([1.0, 0.0, 0.0, -1.0]), torch.tensor([1.0, 1.0, -1.0, -1.0])
    >>> standardize_backward(g, x_hat, torch.tensor([2.0]), dims=[0])   # mean(g) = 0, mean(g x_hat) = 1/2
    tensor([ 1., -1.,  1., -1.])
    """
    where = "standardize_backward"
    require_floating(where, grad_x_hat=grad_x_hat, x_hat=x_hat, inv_std=inv_std)
    require_same_shape(where, grad_x_hat=grad_x_hat, x_hat=x_hat)
    require_broadcast(where, x_hat.shape, inv_std=inv_std)
    require_dims(where, x_hat, dims)
    g = grad_x_hat
    return inv_std * (g - g.mean(dims, keepdim=True) - x_hat * (g * x_hat).mean(dims, keepdim=True))


def standardize_jvp(dx: Tensor, x_hat: Tensor, inv_std: Tensor, dims: Dims) -> Tensor:
    """The change of x_hat for a change dx of x. The Jacobian is symmetric, so this is the backward formula."""
    return standardize_backward(dx, x_hat, inv_std, dims)
