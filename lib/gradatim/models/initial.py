"""How the models here start: named activations, named initial weights, and the number of parameters."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor, nn

from .._check import checked, require, require_floating

Activation = str | Callable[[], nn.Module]
Init = str | float | Callable[[Tensor], object]

#: The activations that `make_activation` and the models know by name.
ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
    "identity": nn.Identity,
}
#: The initial weights that `make_linear` and the models know by name.
INITS = ("torch", "kaiming", "xavier", "orthogonal", "zeros")
# What keeps the variance of a layer's output, as in torch.nn.init.calculate_gain; GELU and SiLU are near ReLU.
GAINS = {"relu": 2**0.5, "leaky_relu": (2 / 1.0001) ** 0.5, "gelu": 2**0.5, "silu": 2**0.5, "tanh": 5 / 3}


@checked
def make_activation(activation: Activation) -> nn.Module:
    """A fresh activation module.

    Args:
        activation: a name of `ACTIVATIONS`, or what makes a module.

    Returns:
        The module.

    Raises:
        ValueError: an unknown name.

    >>> make_activation("tanh")
    Tanh()
    """
    if callable(activation):
        return activation()
    rule = f"one of {', '.join(ACTIVATIONS)}, or something that makes a module"
    require(activation in ACTIVATIONS, "make_activation", "activation", rule, activation)
    return ACTIVATIONS[activation]()


class _BareLinear(nn.Linear):
    """A linear layer that draws no random numbers when it is made; it is on torch's default device."""

    def reset_parameters(self) -> None:
        """The caller fills the weights."""


@checked
def make_linear(
    fan_in: int,
    fan_out: int,
    *,
    init: Init = "torch",
    gain: float = 1.0,
    bias: bool = True,
    generator: Generator | None = None,
) -> nn.Linear:
    """A linear layer with initial weights W, shape (fan_out, fan_in), and bias b.

        "torch"       W and b uniform in [-1/sqrt(fan_in), 1/sqrt(fan_in)]: nn.Linear's own
        "kaiming"     W normal, std gain / sqrt(fan_in)
        "xavier"      W normal, std gain * sqrt(2 / (fan_in + fan_out))
        "orthogonal"  W with orthogonal rows or columns, times gain
        "zeros"       W = 0
        a number      W normal with that std

    Everywhere but in the first, b = 0. A callable is given W to fill.

    Args:
        fan_in: width of the input, >= 1.
        fan_out: width of the output, >= 1.
        init: as above.
        gain: of the activation that follows, >= 0.
        bias: False for none.
        generator: where the numbers come from; None is torch's global generator.

    Returns:
        The layer.

    Raises:
        ValueError: a width below 1, an unknown name, a negative number.

    Source: Glorot and Bengio, AISTATS 2010, for "xavier"; He et al., arXiv:1502.01852v1, eq. 10, for
    "kaiming"; Saxe et al., arXiv:1312.6120v3, for "orthogonal".

    Raises:
        ValueError: a width below 1, an unknown name, a negative number.
    """
    where = "make_linear"
    require(gain >= 0, where, "gain", ">= 0", gain)
    for name, width in (("fan_in", fan_in), ("fan_out", fan_out)):
        require(isinstance(width, int) and width >= 1, where, name, "an integer >= 1", width)
    layer: nn.Linear = _BareLinear(fan_in, fan_out, bias=bias)
    layer.__class__ = nn.Linear
    with torch.no_grad():
        if init == "torch":
            bound = 1 / math.sqrt(fan_in)
            for parameter in layer.parameters():
                parameter.uniform_(-bound, bound, generator=generator)
            return layer
        if bias:
            layer.bias.zero_()
        fill_weight(layer.weight, init, gain, generator)
    return layer


@torch.no_grad()
def fill_weight(weight: Tensor, init: Init, gain: float, generator: Generator | None) -> None:
    """Fill W of shape (fan_out, fan_in) in place, as `make_linear` says."""
    fan_out, fan_in = weight.shape
    if callable(init):
        init(weight)
    elif isinstance(init, (int, float)):
        require(init >= 0, "make_linear", "init", "a standard deviation >= 0", init)
        weight.normal_(0.0, init, generator=generator)
    elif init == "kaiming":
        weight.normal_(0.0, gain / math.sqrt(fan_in), generator=generator)
    elif init == "xavier":
        weight.normal_(0.0, gain * math.sqrt(2 / (fan_in + fan_out)), generator=generator)
    elif init == "orthogonal":
        nn.init.orthogonal_(weight, gain, generator=generator)
    else:
        require(
            init == "zeros", "make_linear", "init", f"one of {', '.join(INITS)}, a number or a callable", init
        )
        weight.zero_()


@checked
def count_parameters(model: nn.Module, *, trainable: bool = False) -> int:
    """How many numbers a model has, a shared parameter counted once; buffers are not parameters.

    Args:
        model: a module.
        trainable: count only those with requires_grad.

    Returns:
        Their number.

    >>> count_parameters(nn.Linear(784, 10))                    # 784 * 10 + 10
    7850
    """
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


def require_features(where: str, x: Tensor, width: int) -> None:
    """Raise unless x is a floating tensor of shape (..., width)."""
    require_floating(where, x=x)
    ok = x.ndim >= 1 and x.shape[-1] == width
    require(ok, where, "x", f"of shape (..., {width})", tuple(x.shape))


def require_images(where: str, x: Tensor, channels: int) -> None:
    """Raise unless x is a floating tensor of shape (N, channels, H, W)."""
    require_floating(where, x=x)
    ok = x.ndim == 4 and x.shape[1] == channels
    require(ok, where, "x", f"of shape (N, {channels}, H, W)", tuple(x.shape))


def require_widths(where: str, **widths: object) -> None:
    """Raise ValueError unless every width is an integer >= 1."""
    for name, width in widths.items():
        ok = isinstance(width, int) and not isinstance(width, bool) and width >= 1
        require(ok, where, name, "an integer >= 1", width)
