"""Batch norm: the formula, its hand-derived backward pass, running statistics, and the modules for 1 to 3 dims."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .._check import checked, refusal, require, require_floating, require_same_shape
from .._function import runs_in_place, with_signature
from .standardize import blocks, require_dtype, standardize_backward, standardize_jvp, widened


@checked
def batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float | Tensor = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel over the batch (training) or with the running statistics (evaluation).

        training                                           evaluation
        mean, var = of the batch, per channel              mean, var = running_mean, running_var
        y = weight * (x - mean) / sqrt(var + eps) + bias   the same

        running_mean <- (1 - momentum) * running_mean + momentum * mean           in training only
        running_var  <- (1 - momentum) * running_var  + momentum * var * n / (n - 1)

    The batch is normalized with the biased variance (divided by n); the running variance takes the unbiased one.
    `momentum` is the weight of the *new* value: 0.1 forgets fast. (Elsewhere it is the weight of the old.)

    Args:
        input: (N, C) or (N, C, *), floating-point; half precision is computed in float32.
        running_mean, running_var: (C,), updated in place in training, needed in evaluation; or None.
        weight, bias: (C,), gamma and beta of the paper, or None for 1 and 0.
        training: with the batch's statistics, and more than one value per channel.
        momentum: a number, or a 0-dimensional tensor, which is not read on the host.
        eps: > 0 in training, >= 0 otherwise.

    Returns:
        y, of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not floating-point, or weight or bias of another dtype.
        ValueError: shapes that do not fit; in training one value per channel or eps = 0; in evaluation no statistics.

    Source: Ioffe and Szegedy, "Batch Normalization", arXiv:1502.03167, Algorithm 1.
    Same numbers as torch.nn.functional.batch_norm (test_conformance.py).

    >>> x = torch.tensor([[1.0], [3.0]])                              # mean 2, var 1
    >>> batch_norm(x, None, None, training=True, eps=3.0)             # divided by sqrt(1 + 3)
    tensor([[-0.5000],
            [ 0.5000]])
    """
    check_arguments(input, running_mean, running_var, weight, bias, training, eps)
    if input.numel() == 0:
        return input.clone()
    x, w, b = widened(input), widened(weight), widened(bias)
    assert x is not None
    shape = [1, -1] + [1] * (x.dim() - 2)
    w = x.new_ones(x.shape[1]) if w is None else w
    b = x.new_zeros(x.shape[1]) if b is None else b
    require_dtype("batch_norm", x.dtype, weight=w, bias=b)
    if training:
        # a compiler fuses the formula by itself; the hand-derived backward pass is for running without one
        compute = batch_norm_formula if torch.compiler.is_compiling() else BatchNormFunction.apply
        y, _, mean, var = compute(x, w.view(shape), b.view(shape), eps)
        update_running(running_mean, mean, momentum)
        n = x.numel() // x.shape[1]
        update_running(running_var, var * (n / (n - 1)), momentum)
        return y.to(input.dtype)  # type: ignore[no-any-return]
    assert running_mean is not None
    assert running_var is not None
    scale = w * torch.rsqrt(running_var.to(x.dtype) + eps)
    y = (x - running_mean.to(x.dtype).view(shape)) * scale.view(shape) + b.view(shape)
    return y.to(input.dtype)  # type: ignore[no-any-return]


def check_arguments(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    eps: float,
) -> None:
    """Refuse what batch norm cannot take; no tensor's values are looked at."""
    where = "batch_norm"
    require_floating(where, input=input)
    if not (eps > 0 if training else eps >= 0):
        rule = "> 0 in training" if training else ">= 0"
        words = f"batch_norm eps must be {'positive during training' if training else 'non-negative'}"
        raise refusal(where, "eps", rule, eps, words)
    if input.numel() == 0:
        return
    if input.dim() < 2:
        words = "Expected at least 2 dimensions"
        raise refusal(where, "input", "of shape (N, C) or (N, C, *)", tuple(input.shape), words)
    if training and input.numel() == input.shape[1]:
        words = f"Expected more than 1 value per channel when training, got input size {input.size()}"
        raise refusal(where, "input", "more than one value per channel", tuple(input.shape), words)
    given = {"running_mean": running_mean, "running_var": running_var, "weight": weight, "bias": bias}
    for name, tensor in given.items():
        if tensor is not None and tensor.shape != input.shape[1:2]:
            rule, words = (
                f"of shape ({input.shape[1]},), one per channel",
                f"{name} should contain {input.shape[1]}",
            )
            raise refusal(where, name, rule, tuple(tensor.shape), words)
    both = running_mean is not None and running_var is not None
    words = "Expected running_mean and running_var to be defined when training=False"
    require(training or both, where, "running_mean and running_var", "given in evaluation", None, words)


def update_running(running: Tensor | None, value: Tensor, momentum: float | Tensor) -> None:
    """running <- (1 - momentum) * running + momentum * value, in place and outside of the graph."""
    if running is not None:
        with torch.no_grad():
            new = value.detach().reshape(running.shape).to(running.dtype)
            running.copy_((1 - momentum) * running + momentum * new)


def channel_dims(x: Tensor) -> list[int]:
    """All the axes but the channels'."""
    return [0, *range(2, x.dim())]


def require_channels(where: str, x: Tensor, **per_channel: Tensor) -> None:
    """Refuse anything but x (N, C, *) and tensors of shape (1, C, 1, ...)."""
    require_floating(where, x=x, **per_channel)
    require(x.dim() >= 2, where, "x", "of shape (N, C) or (N, C, *)", tuple(x.shape))
    shape = (1, x.shape[1], *[1] * (x.dim() - 2))
    for name, tensor in per_channel.items():
        require(tuple(tensor.shape) == shape, where, name, f"of shape {shape}", tuple(tensor.shape))


@checked
def batch_norm_formula(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Batch norm in training, Algorithm 1 of the paper, line by line.

    Args:
        x: shape (N, C) or (N, C, *), floating-point.
        weight: shape (1, C, 1, ...), as many dimensions as x.
        bias: of the same shape.
        eps: what is added to the variance.

    Returns:
        (y, x_hat, mean, var): two of x's shape, two of the weight's.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: shapes that do not fit.
    """
    require_channels("batch_norm_formula", x, weight=weight, bias=bias)
    dims = channel_dims(x)
    mean = x.mean(dims, keepdim=True)
    var = (x - mean).square().mean(dims, keepdim=True)
    x_hat = (x - mean) * torch.rsqrt(var + eps)
    return weight * x_hat + bias, x_hat, mean, var


@checked
def batch_norm_backward(
    grad: Tensor, x_hat: Tensor, inv_std: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The derivatives of batch norm in training.

        grad_bias   = sum(grad)                    per channel
        grad_weight = sum(grad * x_hat)            per channel
        grad_x_hat  = grad * weight
        grad_input  = inv_std * (grad_x_hat - mean(grad_x_hat) - x_hat * mean(grad_x_hat * x_hat))

    Args:
        grad: derivative by y, shape (N, C) or (N, C, *), floating-point.
        x_hat: of the same shape.
        inv_std: 1 / sqrt(var + eps), shape (1, C, 1, ...).
        weight: shape (1, C, 1, ...).

    Returns:
        (grad_input, grad_weight, grad_bias), of the shapes of x_hat, `weight` and `weight`.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: shapes that do not fit.
    """
    require_channels("batch_norm_backward", x_hat, inv_std=inv_std, weight=weight)
    require_same_shape("batch_norm_backward", grad=grad, x_hat=x_hat)
    dims = channel_dims(x_hat)
    grad_bias = grad.sum(dims, keepdim=True)
    grad_weight = (grad * x_hat).sum(dims, keepdim=True)
    grad_input = standardize_backward(grad * weight, x_hat, inv_std, dims)
    return grad_input, grad_weight, grad_bias


@checked
def batch_norm_backward_in_place(
    grad: Tensor, x_hat: Tensor, inv_std: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """`batch_norm_backward` with one new array instead of six, with its arguments, result and errors.

    `weight` leaves the means, which are then grad_bias / n and grad_weight / n. Used where no second derivative is
    asked for.
    """
    require_channels("batch_norm_backward_in_place", x_hat, inv_std=inv_std, weight=weight)
    require_same_shape("batch_norm_backward_in_place", grad=grad, x_hat=x_hat)
    dims = channel_dims(x_hat)
    n = x_hat.numel() / x_hat.shape[1]
    grad_input, shape = torch.empty_like(x_hat), weight.shape
    grad_weight, grad_bias = x_hat.new_empty(shape), x_hat.new_empty(shape)
    parts = (grad, inv_std, weight, grad_input, grad_weight, grad_bias)
    for x_hat_, g, inv_std_, weight_, out, d_weight, d_bias in blocks(x_hat, 1, *parts):
        torch.sum(torch.mul(g, x_hat_, out=out), dims, keepdim=True, out=d_weight)
        torch.sum(g, dims, keepdim=True, out=d_bias)
        torch.mul(x_hat_, d_weight / n, out=out).add_(d_bias / n)
        torch.sub(g, out, out=out).mul_(inv_std_ * weight_)
    return grad_input, grad_weight, grad_bias


def batch_norm_in_place(
    x: Tensor, weight: Tensor, bias: Tensor, eps: float
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """`batch_norm_formula` with two new arrays instead of six, block by block of channels."""
    dims = channel_dims(x)
    y, x_hat = torch.empty_like(x), torch.empty_like(x)
    mean, var = x.new_empty(weight.shape), x.new_empty(weight.shape)
    for x_, y_, x_hat_, mean_, var_, weight_, bias_ in blocks(x, 1, y, x_hat, mean, var, weight, bias):
        torch.mean(x_, dims, keepdim=True, out=mean_)
        torch.sub(x_, mean_, out=x_hat_)
        torch.mean(torch.mul(x_hat_, x_hat_, out=y_), dims, keepdim=True, out=var_)
        x_hat_.mul_(torch.rsqrt(var_ + eps))
        torch.addcmul(bias_, x_hat_, weight_, out=y_)
    return y, x_hat, mean, var


class BatchNormFunction(torch.autograd.Function):
    """Batch norm in training, with the hand-derived backward pass: half the time of autograd's own.

    x_hat and var are outputs, so that second derivatives reach the input through them.
    """

    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(y, x_hat, mean, var)."""
        if runs_in_place(x):
            return batch_norm_in_place(x, weight, bias, eps)
        return batch_norm_formula(x, weight, bias, eps)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        """Keep what the two derivatives need."""
        (_, weight, _, ctx.eps), (_, x_hat, mean, var) = inputs, output
        ctx.save_for_backward(x_hat, var, weight)
        ctx.save_for_forward(x_hat, var, weight)
        ctx.mark_non_differentiable(mean)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        """`batch_norm_backward`, and what a second derivative sends back through x_hat and var."""
        grad, grad_x_hat, _, grad_var = grads
        x_hat, var, weight = ctx.saved_tensors
        inv_std = torch.rsqrt(var + ctx.eps)
        if grad is not None and grad_x_hat is None and grad_var is None and runs_in_place(grad):
            return *batch_norm_backward_in_place(grad, x_hat, inv_std, weight), None
        grad_x = grad_w = grad_b = None
        dims = channel_dims(x_hat)
        if grad is not None:
            grad_x, grad_w, grad_b = batch_norm_backward(grad, x_hat, inv_std, weight)
        if grad_x_hat is not None:
            grad_x = added(grad_x, standardize_backward(grad_x_hat, x_hat, inv_std, dims))
        if grad_var is not None:  # var = mean((x - mean)**2), so its derivative is 2 (x - mean) / n
            n = x_hat.numel() / x_hat.shape[1]
            grad_x = added(grad_x, grad_var * (2 / n) * x_hat / inv_std)
        return grad_x, grad_w, grad_b, None

    @staticmethod
    def jvp(
        ctx: Any, dx: Tensor | None, dw: Tensor | None, db: Tensor | None, _: None
    ) -> tuple[Tensor, Tensor, None, Tensor]:
        """Forward-mode derivative: the changes of (y, x_hat, mean, var)."""
        x_hat, var, weight = ctx.saved_tensors
        inv_std, dims = torch.rsqrt(var + ctx.eps), channel_dims(x_hat)
        dx = torch.zeros_like(x_hat) if dx is None else dx
        d_x_hat = standardize_jvp(dx, x_hat, inv_std, dims)
        d_var = 2 * (x_hat * dx).mean(dims, keepdim=True) / inv_std
        dy = d_x_hat * weight
        dy = dy if dw is None else dy + x_hat * dw
        return dy if db is None else dy + db, d_x_hat, None, d_var


def added(total: Tensor | None, term: Tensor) -> Tensor:
    """total + term, where None is 0."""
    return term if total is None else total + term


class Norm(nn.Module):
    """What batch and instance norm share: parameters and buffers under torch's names."""

    _version = 2  # torch's: num_batches_tracked is saved
    ranks: Sequence[int] = ()  # the numbers of dimensions that an input may have

    @checked
    def __init__(
        self,
        num_features: int,
        eps: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        device: Any,
        dtype: Any,
        bias: bool,
    ) -> None:
        super().__init__()
        where = type(self).__name__
        require(
            isinstance(num_features, int) and num_features >= 0, where, "num_features", ">= 0", num_features
        )
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats

        def parameter(value: float) -> nn.Parameter:
            return nn.Parameter(torch.full((num_features,), value, device=device, dtype=dtype))

        self.register_parameter("weight", parameter(1.0) if affine else None)
        self.register_parameter("bias", parameter(0.0) if affine and bias else None)
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        tracked = track_running_stats
        self.register_buffer("running_mean", torch.zeros(num_features, **options) if tracked else None)
        self.register_buffer("running_var", torch.ones(num_features, **options) if tracked else None)
        count = torch.zeros((), dtype=torch.long, device=device) if tracked else None
        self.register_buffer("num_batches_tracked", count)

    weight: nn.Parameter | None
    bias: nn.Parameter | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def reset_running_stats(self) -> None:
        """Forget the running statistics: mean 0, variance 1, no batch seen."""
        if self.running_mean is not None and self.running_var is not None:
            self.running_mean.zero_()
            self.running_var.fill_(1)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Weight 1, bias 0, and `reset_running_stats`."""
        self.reset_running_stats()
        with torch.no_grad():
            if self.weight is not None:
                self.weight.fill_(1)
            if self.bias is not None:
                self.bias.zero_()

    def check_rank(self, input: Tensor) -> None:
        """Refuse an input of another number of dimensions."""
        ranks = " or ".join(f"{rank}-dimensional" for rank in self.ranks)
        words = f"expected {' or '.join(f'{rank}D' for rank in self.ranks)} input (got {input.dim()}D input)"
        got = tuple(input.shape)
        require(input.dim() in self.ranks, type(self).__name__, "input", ranks, got, words)

    def extra_repr(self) -> str:
        """The arguments, as torch shows them."""
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm(Norm):
    """`batch_norm` with parameters and running statistics; base of BatchNorm1d, 2d and 3d.

    Names in state_dict: weight, bias, running_mean, running_var, num_batches_tracked, as torch's.

    Args:
        num_features: C.
        eps: > 0 in training.
        momentum: weight of the newest batch in the running statistics; None: the plain average of all batches.
        affine: learn weight and bias.
        track_running_stats: False: no running statistics, the batch's are used in evaluation too.
        device: of the parameters and statistics.
        dtype: of the parameters and statistics.
        bias: False: learn only the weight.

    Raises:
        ValueError: num_features is no integer >= 0; on the call, an input of another number of dimensions.
    """

    @checked
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize; in training also count the batch and update the running statistics."""
        self.check_rank(input)
        momentum: float | Tensor = 0.0 if self.momentum is None else self.momentum
        if self.training and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:  # the k-th batch enters an average of k with weight 1/k
                assert self.running_mean is not None
                momentum = 1 / self.num_batches_tracked.to(self.running_mean.dtype)
        track = self.training and self.track_running_stats
        use_running = not self.training or track
        return batch_norm(
            input,
            self.running_mean if use_running else None,
            self.running_var if use_running else None,
            self.weight,
            self.bias,
            training=self.training or self.running_mean is None,
            momentum=momentum,
            eps=self.eps,
        )


class BatchNorm1d(BatchNorm):
    """Batch norm of (N, C) or (N, C, L). See `BatchNorm`."""

    ranks = (2, 3)


class BatchNorm2d(BatchNorm):
    """Batch norm of (N, C, H, W). See `BatchNorm`."""

    ranks = (4,)


class BatchNorm3d(BatchNorm):
    """Batch norm of (N, C, D, H, W). See `BatchNorm`."""

    ranks = (5,)
