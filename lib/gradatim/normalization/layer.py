"""Layer norm: over the features of each sample, so that no sample depends on the batch."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._check import (
    checked,
    refusal,
    require,
    require_floating,
    require_same_shape,
    require_sizes,
)
from .._function import runs_by_formula, runs_in_place
from .standardize import (
    Dims,
    blocks,
    require_dtype,
    standardize,
    standardize_backward,
    standardize_jvp,
    widened,
)


@checked
def layer_norm(
    input: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize over the last axes, those of `normalized_shape`.

        mean, var = over the last axes, per sample; the biased variance
        y = weight * (x - mean) / sqrt(var + eps) + bias

    Args:
        input: (*, *normalized_shape), floating-point; half precision is computed in float32.
        normalized_shape: sizes of the last axes, at least one. weight, bias: of that shape, or None for 1 and 0.
        eps: > 0.

    Returns:
        y, of the shape and dtype of `input`. The same in training and evaluation.

    Raises:
        TypeError: `input` is not floating-point, or weight or bias of another dtype.
        ValueError: shapes that do not fit; an empty `normalized_shape`.

    Source: Ba, Kiros and Hinton, "Layer Normalization", arXiv:1607.06450, section 3.
    Same numbers as torch.nn.functional.layer_norm (test_conformance.py).

    >>> layer_norm(torch.tensor([[1.0, 3.0]]), [2], eps=3.0)   # mean 2, var 1, sqrt(1 + 3) = 2
    tensor([[-0.5000,  0.5000]])
    """
    normalized_shape = check_shapes("layer_norm", input, normalized_shape, weight=weight, bias=bias)
    x, w, b = widened(input), widened(weight), widened(bias)
    assert x is not None
    w = x.new_ones(normalized_shape) if w is None else w
    b = x.new_zeros(normalized_shape) if b is None else b
    require_dtype("layer_norm", x.dtype, weight=w, bias=b)
    if runs_by_formula(x):
        y = scaled_in_blocks(standardize(x, [*range(-w.dim(), 0)], eps), w, b)
    else:  # the same, with the hand-derived backward pass
        y = LayerNormFunction.apply(x, w, b, eps)
    return y.to(input.dtype)  # type: ignore[no-any-return]


def scaled_in_blocks(x_hat: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """weight * x_hat + bias, where both vectors go to blocks of 64 rows first, and from there to each row.

    So the derivatives sum each block on its own. One sum over all rows, as torch.compile writes it for a CPU, goes
    down column after column and finds none of its rows in the cache.
    """
    n = weight.numel()
    if x_hat.device.type != "cpu" or n == 0 or x_hat.numel() % (64 * n) != 0:
        return weight * x_hat + bias
    x_hat_ = x_hat.reshape(-1, 64, n)
    w, b = (vector.reshape(n).expand(len(x_hat_), n).unsqueeze(1) for vector in (weight, bias))
    return (w * x_hat_ + b).reshape(x_hat.shape)


def check_shapes(
    where: str, input: Tensor, normalized_shape: Sequence[int], **given: Tensor | None
) -> torch.Size:
    """Refuse what does not fit `normalized_shape`; return it as a torch.Size."""
    require_floating(where, input=input)
    shape = require_sizes(where, "normalized_shape", normalized_shape)
    if not shape:
        words = (
            "Expected normalized_shape to be at least 1-dimensional, i.e., containing at least one element"
        )
        raise refusal(where, "normalized_shape", "of at least one size", tuple(shape), words)
    for name, tensor in given.items():
        if tensor is not None and tensor.shape != shape:
            words = f"Expected {name} to be of same shape as normalized_shape"
            raise refusal(where, name, f"of normalized_shape {tuple(shape)}", tuple(tensor.shape), words)
    if input.shape[-len(shape) :] != shape:
        sizes = ", ".join(map(str, shape))
        words = f"Given normalized_shape={list(shape)}, expected input with shape [*, {sizes}]"
        raise refusal(where, "input", f"of shape (*, {sizes})", tuple(input.shape), words)
    return shape


def require_rows(where: str, grad: Tensor, x: Tensor, weight: Tensor, **per_row: Tensor) -> None:
    """Refuse anything but grad, x (rows, n), weight (n,) and tensors of shape (rows, 1)."""
    require_floating(where, grad=grad, x=x, weight=weight, **per_row)
    require_same_shape(where, grad=grad, x=x)
    require(x.dim() == 2, where, "x", "of shape (rows, n)", tuple(x.shape))
    require(
        weight.shape == x.shape[1:], where, "weight", f"of shape {tuple(x.shape[1:])}", tuple(weight.shape)
    )
    for name, tensor in per_row.items():
        shape = (x.shape[0], 1)
        require(tuple(tensor.shape) == shape, where, name, f"of shape {shape}", tuple(tensor.shape))


@checked
def layer_norm_backward(
    grad: Tensor, x: Tensor, mean: Tensor, inv_std: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives of layer norm.

        x_hat       = (x - mean) * inv_std
        grad_bias   = sum(grad)                    over the samples
        grad_weight = sum(grad * x_hat)            over the samples
        grad_x_hat  = grad * weight
        grad_input  = inv_std * (grad_x_hat - mean(grad_x_hat) - x_hat * mean(grad_x_hat * x_hat))

    The sums run over samples, the means over features; in batch norm both run over the batch.

    Args:
        grad: derivative by y, shape (rows, n), floating-point.
        x: of the same shape.
        mean: of each row, shape (rows, 1).
        inv_std: 1 / sqrt(var + eps) of each row, shape (rows, 1).
        weight: shape (n,).

    Returns:
        (grad_input, grad_weight, grad_bias), of the shapes (rows, n), (n,) and (n,).

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: shapes that do not fit.
    """
    require_rows("layer_norm_backward", grad, x, weight, mean=mean, inv_std=inv_std)
    x_hat = (x - mean) * inv_std
    grad_input = standardize_backward(grad * weight, x_hat, inv_std, [-1])
    return grad_input, (grad * x_hat).sum(0), grad.sum(0)


@checked
def layer_norm_backward_in_place(
    grad: Tensor, x: Tensor, mean: Tensor, inv_std: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_norm_backward` with one new array instead of seven, block by block of rows.

    Arguments, result and errors as there. For arrays that do not fit into the cache, a new one costs more than the
    arithmetic on it, and each pass over them counts. So the means over features are products of a matrix and a vector,
    and the formula is sorted by what it does to each entry, with one slope and one shift per row:

        slope      = - inv_std * mean(grad_x_hat * x_hat)
        shift      = - mean(grad_x_hat) - slope * mean
        grad_input = inv_std * (grad * weight + slope * x + shift)
    """
    require_rows("layer_norm_backward_in_place", grad, x, weight, mean=mean, inv_std=inv_std)
    return rows_backward(grad, x, mean, inv_std, weight)


def rows_backward(
    grad: Tensor, x: Tensor, mean: Tensor, inv_std: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`layer_norm_backward_in_place` of arguments that were looked at before."""
    grad_input, inv_var = torch.empty_like(x), inv_std * inv_std
    grad_weight, grad_bias = torch.zeros_like(weight), torch.zeros_like(weight)
    minus_weight_n = weight / -weight.numel()  # a product with it is a mean over the features, negated
    for x_, g, out, mean_, inv_std_, inv_var_ in blocks(x, 0, grad, grad_input, mean, inv_std, inv_var):
        torch.sub(x_, mean_, out=out).mul_(g)  # g * x_hat / inv_std
        grad_weight.addmv_(out.t(), inv_std_.squeeze(1))
        grad_bias += g.sum(0)
        slope = torch.mv(out, minus_weight_n).unsqueeze(1).mul_(inv_var_)
        shift = torch.mv(g, minus_weight_n).unsqueeze(1).addcmul_(slope, mean_, value=-1)
        torch.addcmul(shift, g, weight, out=out).addcmul_(x_, slope).mul_(inv_std_)
    return grad_input, grad_weight, grad_bias


def layer_norm_in_place(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
    """(y, mean, inv_std) of x (rows, n), with one new array instead of two, block by block of rows."""
    y, mean = torch.empty_like(x), x.new_empty((len(x), 1))
    inv_std, n, added = torch.empty_like(mean), weight.numel(), x.new_full((), eps)
    for x_, y_, mean_, inv_std_ in blocks(x, 0, y, mean, inv_std):
        torch.mean(x_, 1, keepdim=True, out=mean_)
        torch.sub(x_, mean_, out=y_)
        norm = torch.linalg.vector_norm(y_, dim=1, keepdim=True)  # its square is n times the variance
        torch.addcmul(added, norm, norm, value=1 / max(1, n), out=inv_std_).rsqrt_()
        torch.addcmul(bias, y_.mul_(inv_std_), weight, out=y_)
    return y, mean, inv_std


def as_rows(x: Tensor, n: int) -> Tensor:
    """x (*, n features on any number of axes) as (rows, n)."""
    if x.dim() == 2 and x.shape[1] == n:
        return x
    return x.reshape(-1, n) if n else x.reshape(0, 0)


class LayerNormFunction(torch.autograd.Function):
    """Layer norm over the axes of `weight`, with the hand-derived backward pass: a third of autograd's time."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        """y from x (*, *weight.shape) and weight, bias of one shape."""
        rows = as_rows(x, weight.numel())
        y, mean, inv_std = layer_norm_in_place(rows, weight.flatten(), bias.flatten(), eps)
        ctx.save_for_backward(x, weight, mean, inv_std)
        ctx.save_for_forward(x, weight)
        ctx.eps = eps
        return y if rows is x else y.reshape(x.shape)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """`layer_norm_backward`."""
        x, weight, mean, inv_std = ctx.saved_tensors
        n = weight.numel()
        rows, g = as_rows(x, n), as_rows(grad, n)
        if runs_in_place(grad):
            grads = rows_backward(g, rows, mean, inv_std, weight.flatten())
        else:  # a second derivative reaches the input through mean and inv_std too
            grads = layer_norm_backward(g, rows, *mean_and_inv_std(rows, ctx.eps), weight.flatten())
        grad_x, grad_w, grad_b = grads
        if rows is not x or weight.dim() > 1:
            grad_x, grad_w, grad_b = grad_x.reshape(x.shape), grad_w.view_as(weight), grad_b.view_as(weight)
        return grad_x, grad_w, grad_b, None

    @staticmethod
    def jvp(ctx: Any, dx: Tensor | None, dw: Tensor | None, db: Tensor | None, _: None) -> Tensor:
        """Forward-mode derivative: the change of y."""
        x, weight = ctx.saved_tensors
        dims = [*range(-weight.dim(), 0)]
        mean, inv_std = mean_and_inv_std(x, ctx.eps, dims)
        x_hat = (x - mean) * inv_std
        dx = torch.zeros_like(x) if dx is None else dx
        dy = standardize_jvp(dx, x_hat, inv_std, dims) * weight
        dy = dy if dw is None else dy + x_hat * dw
        return dy if db is None else dy + db


def mean_and_inv_std(x: Tensor, eps: float, dims: Dims = (-1,)) -> tuple[Tensor, Tensor]:
    """The statistics of `standardize`, so that autograd can follow them."""
    mean = x.mean(dims, keepdim=True)
    return mean, torch.rsqrt((x - mean).square().mean(dims, keepdim=True) + eps)


def standardized_rows(rows: Tensor, eps: float) -> Tensor:
    """`standardize` of each row of a matrix, with the hand-derived backward pass: what group and instance norm do."""
    if runs_by_formula(rows):
        return standardize(rows, [-1], eps)
    n = rows.shape[1]
    y: Tensor = LayerNormFunction.apply(rows, rows.new_ones(n), rows.new_zeros(n), eps)
    return y


class LayerNorm(nn.Module):
    """`layer_norm` with parameters; names as torch's.

    Args:
        normalized_shape: a size or sizes of the last axes.
        eps: >= 0.
        elementwise_affine: learn a weight and, unless bias=False, a bias.
        bias: see `elementwise_affine`.
        device: of the parameters.
        dtype: of the parameters.

    Raises:
        TypeError: `normalized_shape` holds something else than integers.
        ValueError: a negative size; eps < 0.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    @checked
    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        sizes = [normalized_shape] if isinstance(normalized_shape, int) else normalized_shape
        shape = tuple(require_sizes("LayerNorm", "normalized_shape", sizes))
        require(eps >= 0, "LayerNorm", "eps", ">= 0", eps)
        self.normalized_shape, self.eps, self.elementwise_affine = shape, eps, elementwise_affine
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        weight = nn.Parameter(torch.ones(shape, **options)) if elementwise_affine else None
        self.register_parameter("weight", weight)
        offset = nn.Parameter(torch.zeros(shape, **options)) if elementwise_affine and bias else None
        self.register_parameter("bias", offset)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        with torch.no_grad():
            if self.weight is not None:
                self.weight.fill_(1)
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, input: Tensor) -> Tensor:
        """See `layer_norm`."""
        return layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments, as torch shows them."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
