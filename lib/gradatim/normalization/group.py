"""Group, instance and local response norm: over the channels and pixels of one sample."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .._check import checked, require, require_floating
from .batch import Norm, update_running
from .layer import standardized_rows
from .standardize import widened


def per_channel(vector: Tensor, x: Tensor) -> Tensor:
    """A vector of length C, shaped to act on the channels of x (N, C, *)."""
    return vector.reshape(-1, *[1] * (x.dim() - 2))


@checked
def group_norm(
    input: Tensor,
    num_groups: int,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each sample over the pixels of each group of neighbouring channels.

        y = weight * standardize(x as (N, G, C/G, *), over C/G and *) + bias       weight, bias per channel

    One group is layer norm over (C, *), but for the shape of weight and bias; C groups are instance norm.

    Args:
        input: (N, C, *), floating-point; half precision is computed in float32.
        num_groups: G, a divisor of C. weight, bias: (C,), or None for 1 and 0. eps: > 0.

    Returns:
        y, of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: fewer than 2 dimensions; G does not divide C; weight or bias of another shape.

    Source: Wu and He, "Group Normalization", arXiv:1803.08494, eq. 1-7.
    Same numbers as torch.nn.functional.group_norm (test_conformance.py).

    >>> x = torch.tensor([[1.0, 3.0, 10.0, 30.0]])                    # two groups of two channels
    >>> group_norm(x, 2, eps=0.0)
    tensor([[-1.0000,  1.0000, -1.0000,  1.0000]])
    """
    where = "group_norm"
    require_floating(where, input=input)
    shape = tuple(input.shape)
    words = f"Expected at least 2 dimensions for input tensor but received {input.dim()}"
    require(input.dim() >= 2, where, "input", "of shape (N, C) or (N, C, *)", shape, words)
    C = input.shape[1]
    words = (
        "Expected number of channels in input to be divisible by num_groups, but got input of shape "
        f"{list(shape)} and num_groups={num_groups}"
    )
    require(
        num_groups > 0 and C % num_groups == 0,
        where,
        "num_groups",
        f"a divisor of C = {C}",
        num_groups,
        words,
    )
    check_per_channel(where, C, weight=weight, bias=bias)
    x = widened(input)
    assert x is not None
    x_hat = standardized_rows(x.reshape(x.shape[0] * num_groups, -1), eps).reshape(shape) if x.numel() else x
    return affine(x_hat, weight, bias).to(input.dtype)


def check_per_channel(where: str, C: int, **given: Tensor | None) -> None:
    """Refuse a tensor that has not one entry per channel."""
    for name, tensor in given.items():
        if tensor is not None:
            words = f"Expected {name} to be a vector of size equal to the number of channels in input"
            rule = f"of shape ({C},), one per channel"
            require(list(tensor.shape) == [C], where, name, rule, tuple(tensor.shape), words)


def affine(x_hat: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """weight * x_hat + bias, per channel; None is 1 or 0."""
    if weight is not None and bias is not None:
        return torch.addcmul(per_channel(bias, x_hat), x_hat, per_channel(weight, x_hat))
    y = x_hat if weight is None else x_hat * per_channel(weight, x_hat)
    return y if bias is None else y + per_channel(bias, x_hat)


@checked
def instance_norm(
    input: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Normalize each channel of each sample over its own pixels.

        y = weight * standardize(x, over the pixels) + bias

        running_mean <- (1 - momentum) * running_mean + momentum * (mean over the batch of the means)
        running_var  <- (1 - momentum) * running_var  + momentum * (mean over the batch of the unbiased variances)

    Args:
        input: (N, C, *) with more than one pixel, floating-point; half precision is computed in float32.
        running_mean, running_var: (C,), updated in place where given; used where `use_input_stats` is False.
        weight, bias: (C,), or None.
        use_input_stats: with the input's own statistics; False: with the running ones.
        momentum: weight of the new value.
        eps: >= 0.

    Returns:
        y, of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: fewer than 3 dimensions; one pixel; vectors of another shape; no running statistics where they are
            asked for.

    Source: Ulyanov, Vedaldi and Lempitsky, "Instance Normalization", arXiv:1607.08022, eq. 2.
    Same numbers as torch.nn.functional.instance_norm (test_conformance.py).

    >>> instance_norm(torch.tensor([[[1.0, 3.0], [10.0, 30.0]]]), eps=0.0)
    tensor([[[-1.0000,  1.0000],
             [-1.0000,  1.0000]]])
    """
    where = "instance_norm"
    require_floating(where, input=input)
    shape = tuple(input.shape)
    require(input.dim() >= 3, where, "input", "of shape (N, C, *)", shape, "Expected at least 3 dimensions")
    running = {"running_mean": running_mean, "running_var": running_var}
    check_per_channel(where, input.shape[1], weight=weight, bias=bias, **running)
    require(eps >= 0, where, "eps", ">= 0", eps)
    dims = list(range(2, input.dim()))
    x = widened(input)
    assert x is not None
    if not use_input_stats:
        both = running_mean is not None and running_var is not None
        words = "Expected running_mean and running_var to be defined when use_input_stats is false"
        require(both, where, "running_mean and running_var", "given without use_input_stats", None, words)
        assert running_mean is not None
        assert running_var is not None
        centred = x - per_channel(running_mean.to(x.dtype), x)
        x_hat = centred * per_channel(torch.rsqrt(running_var.to(x.dtype) + eps), x)
        return affine(x_hat, weight, bias).to(input.dtype)
    pixels = input[0, 0].numel() if input.numel() else 2
    words = f"Expected more than 1 spatial element when training, got input size {input.size()}"
    require(pixels > 1, where, "input", "more than one pixel per channel", shape, words)
    if running_mean is not None:
        update_running(running_mean, x.mean([0, *dims]), momentum)
    if running_var is not None:
        centred = x - x.mean(dims, keepdim=True)
        update_running(running_var, centred.square().mean([0, *dims]) * (pixels / (pixels - 1)), momentum)
    x_hat = standardized_rows(x.reshape(-1, pixels), eps).reshape(shape) if x.numel() else x
    return affine(x_hat, weight, bias).to(input.dtype)


@checked
def local_response_norm(
    input: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """Divide each value by a power of its neighbouring channels' mean square.

        y_c = x_c / (k + alpha * (sum of x_j**2 over the window around c) / size)**beta
        window: the channels c - size//2 ... c + (size-1)//2 that exist

    Args:
        input: shape (N, C, L) or (N, C, *), floating-point; half precision is computed in float32.
        size: channels in a window, >= 1.
        alpha: weight of the mean square, >= 0.
        beta: the power, >= 0.
        k: >= 0.

    Returns:
        y, of the shape and dtype of `input`.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: fewer than 3 dimensions; a setting out of range.

    Source: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
    NIPS 2012, section 3.3. Differs from the paper: torch's alpha is divided by `size`; the paper's is not.
    Same numbers as torch.nn.functional.local_response_norm (test_conformance.py).

    >>> x = torch.tensor([1.0, 2.0, 2.0]).reshape(1, 3, 1)
    >>> local_response_norm(x, size=3, alpha=3.0, beta=1.0).flatten()   # 1/(1+5), 2/(1+9), 2/(1+8)
    tensor([0.1667, 0.2000, 0.2222])
    """
    where = "local_response_norm"
    require_floating(where, input=input)
    words = f"Expected 3D or higher dimensionality input (got {input.dim()} dimensions)"
    require(input.dim() >= 3, where, "input", "of shape (N, C, *)", tuple(input.shape), words)
    require(size >= 1, where, "size", "an integer >= 1", size)
    for name, value in (("alpha", alpha), ("beta", beta), ("k", k)):
        require(value >= 0, where, name, ">= 0", value)
    if input.numel() == 0:
        return input
    x = widened(input)
    assert x is not None
    pixels = [0, 0] * (x.dim() - 2)
    padded = F.pad(x.square(), [*pixels, size // 2, (size - 1) // 2])
    C = x.shape[1]
    total = torch.stack([padded[:, i : i + C] for i in range(size)]).sum(0)
    return (x / (k + alpha * total / size) ** beta).to(input.dtype)


class GroupNorm(nn.Module):
    """`group_norm` with parameters; names as torch's.

    Args:
        num_groups: a divisor of num_channels.
        num_channels: C.
        eps: >= 0.
        affine: learn a weight and, unless bias=False, a bias.
        device: of the parameters.
        dtype: of the parameters.
        bias: see `affine`.

    Raises:
        ValueError: `num_groups` does not divide `num_channels`; eps < 0.
    """

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    @checked
    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        words = f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
        ok = num_groups > 0 and num_channels % num_groups == 0
        require(
            ok, "GroupNorm", "num_groups", f"a divisor of num_channels = {num_channels}", num_groups, words
        )
        require(eps >= 0, "GroupNorm", "eps", ">= 0", eps)
        self.num_groups, self.num_channels, self.eps, self.affine = num_groups, num_channels, eps, affine
        options: dict[str, Any] = {"device": device, "dtype": dtype}
        self.register_parameter(
            "weight", nn.Parameter(torch.ones(num_channels, **options)) if affine else None
        )
        offset = nn.Parameter(torch.zeros(num_channels, **options)) if affine and bias else None
        self.register_parameter("bias", offset)

    def reset_parameters(self) -> None:
        """Weight 1, bias 0."""
        with torch.no_grad():
            if self.weight is not None:
                self.weight.fill_(1)
            if self.bias is not None:
                self.bias.zero_()

    def forward(self, input: Tensor) -> Tensor:
        """See `group_norm`."""
        return group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments, as torch shows them."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}"


class InstanceNorm(Norm):
    """`instance_norm` with parameters and, if asked for, running statistics; base of InstanceNorm1d, 2d, 3d.

    The arguments are `BatchNorm`'s, but `affine` and `track_running_stats` are False unless asked for. The input may
    lack the batch dimension.
    """

    @checked
    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        device: Any = None,
        dtype: Any = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats, device, dtype, bias)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize; in training also update the running statistics, where there are any."""
        self.check_rank(input)
        batched = input if input.dim() == max(self.ranks) else input.unsqueeze(0)
        channels, where = batched.shape[1], type(self).__name__
        ok = channels == self.num_features or not (self.affine or self.track_running_stats)
        words = f"expected input's size at dim={input.dim() - max(self.ranks) + 1} to match num_features"
        require(ok, where, "input", f"of num_features = {self.num_features} channels", channels, words)
        y = instance_norm(
            batched,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            use_input_stats=self.training or not self.track_running_stats,
            momentum=self.momentum if self.momentum is not None else 0.0,
            eps=self.eps,
        )
        return y.reshape(input.shape)


class InstanceNorm1d(InstanceNorm):
    """Instance norm of (N, C, L) or (C, L). See `InstanceNorm`."""

    ranks = (2, 3)


class InstanceNorm2d(InstanceNorm):
    """Instance norm of (N, C, H, W) or (C, H, W). See `InstanceNorm`."""

    ranks = (3, 4)


class InstanceNorm3d(InstanceNorm):
    """Instance norm of (N, C, D, H, W) or (C, D, H, W). See `InstanceNorm`."""

    ranks = (4, 5)


class LocalResponseNorm(nn.Module):
    """`local_response_norm` as a module.

    Args:
        size: see `local_response_norm`.
        alpha: see there.
        beta: see there.
        k: see there.
    """

    @checked
    def __init__(self, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, input: Tensor) -> Tensor:
        """See `local_response_norm`."""
        return local_response_norm(input, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        """The arguments, as torch shows them."""
        return f"{self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
