"""Dropout and its relatives: noise by which activations are multiplied in training.

The masks are drawn as torch draws them on the CPU, so one seed gives torch's numbers there. A `generator` makes the
masks independent of torch's global seed; it must live on the input's device.
"""

import math
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor, nn

from .._check import checked, require, require_floating


def check_p(where: str, input: Tensor, p: float) -> None:
    """Refuse integer inputs and p outside [0, 1]."""
    require_floating(where, input=input)
    words = f"dropout probability has to be between 0 and 1, but got {p}"
    require(0 <= p <= 1, where, "p", "in [0, 1], the probability to drop", p, words)


def multiplied(
    input: Tensor, p: float, shape: tuple[int, ...], generator: Generator | None, inplace: bool
) -> Tensor:
    """input * mask / (1 - p), with a mask of that shape which is 1 with probability 1 - p."""
    if p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return input.mul_(0.0) if inplace else input * torch.zeros((), dtype=input.dtype, device=input.device)
    mask = torch.empty_like(input) if shape == tuple(input.shape) else input.new_empty(shape)
    noise = mask.bernoulli_(1 - p, generator=generator).div_(1 - p)
    return input.mul_(noise) if inplace else input * noise


@checked
def dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Set each entry to 0 with probability p, and divide the rest by 1 - p.

        y = x * m / (1 - p),   m = 1 with probability 1 - p, else 0          in training
        y = x                                                                in evaluation

    The division keeps the mean of y at x, so that nothing is scaled in evaluation ("inverted" dropout). The same mask
    multiplies the gradient.

    Args:
        input: any shape, floating-point.
        p: the probability to *drop*, not to keep, in [0, 1].
        training: False: the identity.
        inplace: write the result into `input`.
        generator: draws from it and not from torch's global state; on the input's device.

    Returns:
        The input's shape and dtype; `input` itself in evaluation, with p = 0 and with `inplace`.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: p outside [0, 1].

    Source: Srivastava et al., "Dropout", JMLR 15, 2014, section 4. Differs from the paper: there activations are
    scaled by 1 - p at test time, and p is the probability to keep.

    >>> dropout(torch.ones(4), p=0.3, training=False)
    tensor([1., 1., 1., 1.])
    >>> sorted(set(dropout(torch.ones(99), p=0.75).tolist()))   # dropped, or divided by 1/4
    [0.0, 4.0]
    """
    check_p("dropout", input, p)
    return multiplied(input, p, tuple(input.shape), generator, inplace) if training else input


def feature_dropout(
    where: str, input: Tensor, p: float, training: bool, inplace: bool, generator: Generator | None
) -> Tensor:
    """Drop whole channels of (N, C, *): one mask entry per sample and channel."""
    check_p(where, input, p)
    if not training:
        return input
    shape = (*input.shape[:2], *[1] * (input.dim() - 2))
    return multiplied(input, p, shape, generator, inplace)


@checked
def dropout1d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Drop whole channels of (N, C, L) or (C, L). Neighbouring positions are alike: dropping single ones hides little.

    Args:
        input: shape (N, C, L) or (C, L), floating-point.
        p: the probability to drop a channel of a sample, in [0, 1].
        training: False: the identity.
        inplace: write the result into `input`.
        generator: draws from it and not from torch's global state; on the input's device.

    Returns:
        The input's shape and dtype.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: p outside [0, 1]; another number of dimensions.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks", arXiv:1411.4280, section 3.2.
    """
    return channels_of("dropout1d", 3, input, p, training, inplace, generator)


@checked
def dropout2d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Drop whole channels of (N, C, H, W).

    Three dimensions are read as (N, C, L), as by torch; other numbers of dimensions than 3 and 4 cause a warning. The
    rest as `dropout1d`.
    """
    if input.dim() not in (3, 4):
        warn_rank("dropout2d", input, "3 or 4")
    return feature_dropout("dropout2d", input, p, training, inplace, generator)


@checked
def dropout3d(
    input: Tensor,
    p: float = 0.5,
    training: bool = True,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Drop whole channels of (N, C, D, H, W) or (C, D, H, W).

    Other numbers of dimensions than 4 and 5 cause a warning. The rest as `dropout1d`.
    """
    return channels_of("dropout3d", 5, input, p, training, inplace, generator)


def channels_of(
    where: str, rank: int, input: Tensor, p: float, training: bool, inplace: bool, generator: Generator | None
) -> Tensor:
    """`feature_dropout` of a batch (`rank` dimensions) or of one sample (one less)."""
    if where == "dropout1d":
        rule = f"of {rank - 1} or {rank} dimensions"
        words = f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input"
        require(input.dim() in (rank - 1, rank), where, "input", rule, tuple(input.shape), words)
    elif input.dim() not in (rank - 1, rank):
        warn_rank(where, input, f"{rank - 1} or {rank}")
    if input.dim() == rank:
        return feature_dropout(where, input, p, training, inplace, generator)
    return feature_dropout(where, input.unsqueeze(0), p, training, inplace, generator).squeeze(0)


def warn_rank(where: str, input: Tensor, ranks: str) -> None:
    """Warn where torch warns: it will be an error one day."""
    warnings.warn(f"{where}: input should have {ranks} dimensions, got {input.dim()}", stacklevel=5)


# The value that selu tends to at minus infinity is -ALPHA = -scale * alpha: what a dropped unit is set to.
ALPHA = 1.7580993408473766


def alpha_noise(
    input: Tensor, p: float, shape: tuple[int, ...], generator: Generator | None, inplace: bool
) -> Tensor:
    """a * (x m + ALPHA' (1 - m)) + b; see `alpha_dropout`."""
    if p == 0 or input.numel() == 0:
        return input
    if p == 1:
        return input.mul_(0.0) if inplace else input * torch.zeros((), dtype=input.dtype, device=input.device)
    mask = torch.empty_like(input) if shape == tuple(input.shape) else input.new_empty(shape)
    mask.bernoulli_(1 - p, generator=generator)
    a = 1 / math.sqrt((ALPHA**2 * p + 1) * (1 - p))
    b = (mask - 1) * (ALPHA * a) + ALPHA * a * p
    return input.mul_(mask * a).add_(b) if inplace else input * (mask * a) + b


@checked
def alpha_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """Dropout for selu: sets entries to selu's lowest value and restores mean 0 and variance 1.

        y = a (x m - ALPHA (1 - m)) + b       m = 1 with probability q = 1 - p;  ALPHA = 1.7581
        a = (q + ALPHA**2 q p)**(-1/2),   b = a ALPHA p

    Args:
        input: any shape, floating-point; about mean 0 and variance 1.
        p: the probability to drop, in [0, 1].
        training: False (the default, as torch's): the identity.
        inplace: write the result into `input`.
        generator: draws from it and not from torch's global state; on the input's device.

    Returns:
        The input's shape and dtype; zeros for p = 1.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: p outside [0, 1].

    Source: Klambauer et al., "Self-Normalizing Neural Networks", arXiv:1706.02515, section "New Dropout Technique".
    """
    check_p("alpha_dropout", input, p)
    return alpha_noise(input, p, tuple(input.shape), generator, inplace) if training else input


@checked
def feature_alpha_dropout(
    input: Tensor,
    p: float = 0.5,
    training: bool = False,
    inplace: bool = False,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`alpha_dropout` of whole channels of (N, C, *), with its arguments, result and errors."""
    check_p("feature_alpha_dropout", input, p)
    shape = (*input.shape[:2], *[1] * (input.dim() - 2))
    return alpha_noise(input, p, shape, generator, inplace) if training else input


@checked
def drop_path(
    input: Tensor, p: float = 0.0, training: bool = True, *, generator: Generator | None = None
) -> Tensor:
    """Stochastic depth: drop a residual branch, for each sample by itself, and divide the others by 1 - p.

        y = x + drop_path(branch(x))        in the block; a dropped sample passes by the branch

    Args:
        input: shape (N, *), floating-point: a branch's output.
        p: the probability to drop a sample's branch, in [0, 1].
        training: False: the identity.
        generator: draws from it and not from torch's global state; on the input's device.

    Returns:
        The input's shape and dtype.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: p outside [0, 1]; no dimension.

    Source: Huang et al., "Deep Networks with Stochastic Depth", arXiv:1603.09382, eq. 2. Differs from the paper: one
    draw per sample, not per batch; scaled in training, not at test time.

    >>> rows = drop_path(torch.ones(50, 3), p=0.5)
    >>> sorted(set(map(tuple, rows.tolist())))
    [(0.0, 0.0, 0.0), (2.0, 2.0, 2.0)]
    """
    check_p("drop_path", input, p)
    require(input.dim() >= 1, "drop_path", "input", "of shape (N, *)", tuple(input.shape))
    shape = (input.shape[0], *[1] * (input.dim() - 1))
    return multiplied(input, p, shape, generator, False) if training else input


@checked
def depth_schedule(p: float, layers: int) -> list[float]:
    """Linearly more dropping with depth, from 0 in front to p in the last layer, for `drop_path`.

    Args:
        p: the last layer's probability, in [0, 1].
        layers: their number, >= 1.

    Returns:
        One probability per layer; 0 for a single layer.

    Raises:
        ValueError: p or `layers` out of range.

    >>> depth_schedule(0.5, 3)
    [0.0, 0.25, 0.5]
    """
    require(0 <= p <= 1, "depth_schedule", "p", "in [0, 1]", p)
    require(layers >= 1, "depth_schedule", "layers", ">= 1", layers)
    return [p * i / max(layers - 1, 1) for i in range(layers)]


class DropoutModule(nn.Module):
    """A function (input, p, training, inplace, generator=) as a module, switched off by eval()."""

    function: Callable[..., Tensor]

    @checked
    def __init__(self, p: float = 0.5, inplace: bool = False, *, generator: Generator | None = None) -> None:
        super().__init__()
        words = f"dropout probability has to be between 0 and 1, but got {p}"
        require(0 <= p <= 1, type(self).__name__, "p", "in [0, 1], the probability to drop", p, words)
        self.p, self.inplace, self.generator = p, inplace, generator

    def forward(self, input: Tensor) -> Tensor:
        """Noise in training, the identity in evaluation."""
        function: Any = type(self).function
        y: Tensor = function(input, self.p, self.training, self.inplace, generator=self.generator)
        return y

    def extra_repr(self) -> str:
        """The settings, as torch shows them."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(DropoutModule):
    """`dropout` as a module, switched off by eval().

    Args:
        p: the probability to drop, in [0, 1].
        inplace: write the result into the input.
        generator: draws from it and not from torch's global state; on the input's device.

    Raises:
        ValueError: p outside [0, 1].
    """

    function = staticmethod(dropout)


class Dropout1d(DropoutModule):
    """`dropout1d` as a module, switched off by eval(). Arguments and errors as `Dropout`."""

    function = staticmethod(dropout1d)


class Dropout2d(DropoutModule):
    """`dropout2d` as a module, switched off by eval(). Arguments and errors as `Dropout`."""

    function = staticmethod(dropout2d)


class Dropout3d(DropoutModule):
    """`dropout3d` as a module, switched off by eval(). Arguments and errors as `Dropout`."""

    function = staticmethod(dropout3d)


class AlphaDropout(DropoutModule):
    """`alpha_dropout` as a module, switched off by eval(). Arguments and errors as `Dropout`."""

    function = staticmethod(alpha_dropout)


class FeatureAlphaDropout(DropoutModule):
    """`feature_alpha_dropout` as a module, switched off by eval(). Arguments and errors as `Dropout`."""

    function = staticmethod(feature_alpha_dropout)


class DropPath(DropoutModule):
    """`drop_path` as a module, switched off by eval().

    Args:
        p: the probability to drop a sample's branch, in [0, 1].
        generator: draws from it and not from torch's global state; on the input's device.

    Raises:
        ValueError: p outside [0, 1].
    """

    function = staticmethod(drop_path)

    @checked
    def __init__(self, p: float = 0.0, *, generator: Generator | None = None) -> None:
        super().__init__(p, generator=generator)

    def forward(self, input: Tensor) -> Tensor:
        """Whole samples dropped in training, the identity in evaluation."""
        return drop_path(input, self.p, self.training, generator=self.generator)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


@torch.no_grad()
@checked
def mc_dropout(model: nn.Module, x: Tensor, passes: int = 20) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of predictions with dropout left on: a rough measure of the model's doubt.

    Only dropout modules (of this library and torch's) are switched on; batch norms stay in evaluation. The modes of
    all modules are restored.

    Args:
        model: a module that returns a floating-point tensor.
        x: its input.
        passes: forward passes, >= 2.

    Returns:
        (mean, std) over the passes, each shaped as the model's output; std divides by passes - 1.

    Raises:
        ValueError: passes < 2.
        TypeError: the model's output is not floating-point.

    Source: Gal and Ghahramani, "Dropout as a Bayesian Approximation", arXiv:1506.02142, eq. 6.
    """
    require(passes >= 2, "mc_dropout", "passes", ">= 2", passes)
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        for module in model.modules():
            if isinstance(module, DropoutModule | nn.modules.dropout._DropoutNd):
                module.train()
        outputs = torch.stack([model(x) for _ in range(passes)])
    finally:
        for module, training in modes:
            module.training = training
    require_floating("mc_dropout", output=outputs)
    return outputs.mean(0), outputs.std(0)
