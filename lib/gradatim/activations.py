"""Activation functions and their derivatives, each as its formula, safe from overflow at both ends.

Where an entry does not say otherwise, a function takes a floating-point tensor of any shape, on any device, and returns
one of the same shape and dtype; half precision is computed in float32; integers, complex numbers and what is no tensor
raise TypeError. Signatures are torch.nn.functional's, without `inplace`. `<name>_derivative(x)` is the derivative at x,
written out; autograd gives the same (test_activations.py). Second and higher derivatives are right too: where a
formula has two branches, each is smooth by itself and stays finite where it is not chosen.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._check import checked, require, require_dim, require_floating, require_same_shape

__all__ = [
    "SELU_ALPHA",
    "SELU_SCALE",
    "celu",
    "celu_derivative",
    "elu",
    "elu_derivative",
    "gelu",
    "gelu_derivative",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_derivative",
    "leaky_relu",
    "leaky_relu_derivative",
    "log_softmax",
    "log_softmax_backward",
    "logsigmoid",
    "logsigmoid_derivative",
    "mish",
    "mish_derivative",
    "prelu",
    "relu",
    "relu6",
    "relu_derivative",
    "selu",
    "selu_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "silu",
    "silu_derivative",
    "softmax",
    "softmax_backward",
    "softmin",
    "softplus",
    "softplus_derivative",
    "softshrink",
    "softsign",
    "softsign_derivative",
    "tanh",
    "tanh_derivative",
    "tanhshrink",
    "threshold",
]

HALF_PRECISION = (torch.float16, torch.bfloat16)


def elementwise(fn: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Check the arguments; compute half precision in float32 and cast back."""
    compute = checked(fn)

    @functools.wraps(fn)
    def wrapped(input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        require_floating(fn.__name__, input=input)
        if input.dtype not in HALF_PRECISION:
            return compute(input, *args, **kwargs)
        args = tuple(a.float() if isinstance(a, Tensor) else a for a in args)
        kwargs = {k: a.float() if isinstance(a, Tensor) else a for k, a in kwargs.items()}
        return compute(input.float(), *args, **kwargs).to(input.dtype)

    return wrapped


@elementwise
def sigmoid(input: Tensor) -> Tensor:
    """1 / (1 + exp(-x)), with values in (0, 1).

    >>> sigmoid(torch.tensor([0.0, -1000.0, 1000.0]))
    tensor([0.5000, 0.0000, 1.0000])
    """
    positive = 1 / (1 + torch.exp(-input.clamp(min=0)))
    z = torch.exp(input.clamp(max=0))  # for x < 0, where exp(-x) may overflow: exp(x) / (1 + exp(x))
    return torch.where(input >= 0, positive, z / (1 + z))


@elementwise
def sigmoid_derivative(input: Tensor) -> Tensor:
    """s (1 - s), with s = sigmoid(x); at most 1/4."""
    return sigmoid(input) * sigmoid(-input)  # 1 - s = sigmoid(-x), without cancellation


@elementwise
def logsigmoid(input: Tensor) -> Tensor:
    """log(sigmoid(x)) = -log(1 + exp(-x)).

    >>> logsigmoid(torch.tensor([-1000.0]))
    tensor([-1000.])
    """
    positive = -torch.log1p(torch.exp(-input.clamp(min=0)))
    negative = input - torch.log1p(torch.exp(input.clamp(max=0)))
    return torch.where(input >= 0, positive, negative)


@elementwise
def logsigmoid_derivative(input: Tensor) -> Tensor:
    """1 - sigmoid(x) = sigmoid(-x)."""
    return sigmoid(-input)


@elementwise
def tanh(input: Tensor) -> Tensor:
    """(exp(x) - exp(-x)) / (exp(x) + exp(-x)) = (exp(2x) - 1) / (exp(2x) + 1), with values in (-1, 1).

    >>> tanh(torch.tensor([0.0, -1000.0, 1000.0]))
    tensor([ 0., -1.,  1.])
    """
    e = torch.expm1(2 * input.clamp(max=0))  # exp(2x) - 1, exact for small x; for x > 0 by symmetry
    f = torch.expm1(-2 * input.clamp(min=0))
    return torch.where(input >= 0, -f / (f + 2), e / (e + 2))


@elementwise
def tanh_derivative(input: Tensor) -> Tensor:
    """1 - tanh(x)**2 = 4 sigmoid(2x) (1 - sigmoid(2x)); at most 1."""
    return 4 * sigmoid_derivative(2 * input)


@elementwise
def relu(input: Tensor) -> Tensor:
    """max(x, 0). Source: Nair and Hinton, ICML 2010."""
    return torch.where(input <= 0, 0.0, input)


@elementwise
def relu_derivative(input: Tensor) -> Tensor:
    """1 for x > 0, 0 otherwise. At 0, where there is a kink, 0 by convention."""
    return (input > 0).to(input.dtype)


@elementwise
def leaky_relu(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """x for x > 0, negative_slope * x otherwise: a unit that is off still learns.

    Args:
        input: any shape, floating-point.
        negative_slope: the slope left of 0, any number.

    >>> leaky_relu(torch.tensor([-2.0, 3.0]), 0.5)
    tensor([-1.,  3.])
    """
    return torch.where(input > 0, input, negative_slope * input)


@elementwise
def leaky_relu_derivative(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """1 for x > 0, negative_slope otherwise. Arguments as `leaky_relu`."""
    return torch.where(input > 0, torch.ones_like(input), negative_slope)


@elementwise
def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """`leaky_relu` with learned slopes, one for all or one per channel (axis 1).

    Args:
        input: shape (N, C, *), floating-point; with one slope any shape.
        weight: the slopes, shape (C,), (1,) or ().

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: `weight` has 2 dimensions or more, or neither 1 nor C entries.

    Source: He et al., "Delving Deep into Rectifiers", arXiv:1502.01852, eq. 1.
    """
    shape, words = (
        tuple(weight.shape),
        f"prelu: Expected `weight` to be a scalar or 1D tensor, but got: ndim = {weight.dim()}",
    )
    require(weight.dim() <= 1, "prelu", "weight", "one number or of shape (C,)", shape, words)
    if weight.numel() != 1:
        words = "Not allow zero-dim input tensor."
        require(input.dim() > 0, "prelu", "input", "of at least 1 dimension", (), words)
        channels = input.shape[1] if input.dim() > 1 else 1
        words = "Mismatch of parameter numbers and input channel size."
        require(weight.numel() == channels, "prelu", "weight", f"of shape (C,) = ({channels},)", shape, words)
        weight = weight.reshape(-1, *[1] * (input.dim() - 2))
    else:
        weight = weight.reshape([1] * input.dim())
    return torch.where(input > 0, input, weight * input)


@elementwise
def elu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x for x > 0, alpha * (exp(x) - 1) otherwise.

    Args:
        input: any shape, floating-point.
        alpha: the limit at minus infinity is -alpha.

    Source: Clevert et al., arXiv:1511.07289, eq. 15.

    >>> elu(torch.tensor([-1000.0, 3.0]), alpha=2.0)
    tensor([-2.,  3.])
    """
    return torch.where(input > 0, input, alpha * torch.expm1(input.clamp(max=0)))


@elementwise
def elu_derivative(input: Tensor, alpha: float = 1.0) -> Tensor:
    """1 for x > 0, alpha * exp(x) otherwise. Arguments as `elu`."""
    return torch.where(input > 0, torch.ones_like(input), alpha * torch.exp(input.clamp(max=0)))


@elementwise
def celu(input: Tensor, alpha: float = 1.0) -> Tensor:
    """x for x > 0, alpha * (exp(x / alpha) - 1) otherwise: smooth for every alpha.

    Args:
        input: any shape, floating-point.
        alpha: the limit at minus infinity is -alpha, and the slope left of 0 falls over that length; not 0.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: alpha is 0.

    Source: Barron, arXiv:1704.07483.
    """
    require_divisor("celu", alpha)
    return torch.where(input > 0, input, alpha * torch.expm1(input.clamp(max=0) / alpha))


def require_divisor(where: str, alpha: float) -> None:
    """Refuse to divide by 0."""
    require(alpha != 0, where, "alpha", "not 0", alpha, "ZeroDivisionError: alpha cannot be 0 for CELU")


@elementwise
def celu_derivative(input: Tensor, alpha: float = 1.0) -> Tensor:
    """1 for x > 0, exp(x / alpha) otherwise. Arguments and errors as `celu`."""
    require_divisor("celu_derivative", alpha)
    return torch.where(input > 0, torch.ones_like(input), torch.exp(input.clamp(max=0) / alpha))


#: SELU's alpha: with it and `SELU_SCALE`, layers keep mean 0 and variance 1 (arXiv:1706.02515, eq. 14).
SELU_ALPHA = 1.6732632423543772848170429916717
#: SELU's factor (arXiv:1706.02515, eq. 14).
SELU_SCALE = 1.0507009873554804934193349852946


@elementwise
def selu(input: Tensor) -> Tensor:
    """scale * elu(x, alpha), with the constants that keep mean 0 and variance 1 from layer to layer.

    Source: Klambauer et al., "Self-Normalizing Neural Networks", arXiv:1706.02515, eq. 2 and 14.
    """
    return SELU_SCALE * elu(input, SELU_ALPHA)


@elementwise
def selu_derivative(input: Tensor) -> Tensor:
    """scale * elu'(x, alpha)."""
    return SELU_SCALE * elu_derivative(input, SELU_ALPHA)


@elementwise
def gelu(input: Tensor, approximate: str = "none") -> Tensor:
    """x times the probability that a standard normal value is below x.

        "none"   x * (1 + erf(x / sqrt(2))) / 2
        "tanh"   x * (1 + tanh(sqrt(2/pi) (x + 0.044715 x**3))) / 2

    Args:
        input: any shape, floating-point.
        approximate: "none" or "tanh".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: `approximate` is another word.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units", arXiv:1606.08415, section 2.

    >>> gelu(torch.tensor([-100.0, 0.0, 100.0]))
    tensor([ -0.,   0., 100.])
    """
    check_approximate("gelu", approximate)
    if approximate == "none":
        return input * torch.erfc(-input / math.sqrt(2)) / 2  # erfc(-z) = 1 + erf(z), without cancellation
    return input * (1 + tanh(math.sqrt(2 / math.pi) * (input + 0.044715 * input**3))) / 2


def check_approximate(where: str, approximate: str) -> None:
    """Refuse a name that is neither of the two forms."""
    words = "approximate argument must be either none or tanh."
    require(approximate in ("none", "tanh"), where, "approximate", "'none' or 'tanh'", approximate, words)


@elementwise
def gelu_derivative(input: Tensor, approximate: str = "none") -> Tensor:
    """Phi(x) + x phi(x), with the normal distribution Phi and its density phi; or that of the tanh form.

    Arguments and errors as `gelu`.
    """
    check_approximate("gelu_derivative", approximate)
    if approximate == "none":
        density = torch.exp(-input.square() / 2) / math.sqrt(2 * math.pi)
        return torch.erfc(-input / math.sqrt(2)) / 2 + input * density
    c = math.sqrt(2 / math.pi)
    u = c * (input + 0.044715 * input**3)
    return (1 + tanh(u)) / 2 + input * tanh_derivative(u) * c * (1 + 3 * 0.044715 * input**2) / 2


@elementwise
def silu(input: Tensor) -> Tensor:
    """x * sigmoid(x), also called swish. Sources: Hendrycks and Gimpel, arXiv:1606.08415; Elfwing et al.,
    arXiv:1702.03118.

    >>> silu(torch.tensor([-1000.0, 0.0, 1000.0]))
    tensor([  -0.,    0., 1000.])
    """
    return input * sigmoid(input)


@elementwise
def silu_derivative(input: Tensor) -> Tensor:
    """s (1 + x (1 - s)), with s = sigmoid(x)."""
    return sigmoid(input) * (1 + input * sigmoid(-input))


@elementwise
def softplus(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """log(1 + exp(beta x)) / beta: a smooth relu. For beta x > threshold x itself, as torch's.

    Args:
        input: any shape, floating-point.
        beta: sharpness of the bend: the larger, the closer to relu.
        threshold: beyond it, in units of beta x, the function is x.

    >>> softplus(torch.tensor([0.0, 1000.0]))   # ln 2
    tensor([6.9315e-01, 1.0000e+03])
    """
    z = beta * input
    return torch.where(z > threshold, input, torch.log1p(torch.exp(z.clamp(max=threshold))) / beta)


@elementwise
def softplus_derivative(input: Tensor, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """sigmoid(beta x); 1 beyond the threshold. Arguments as `softplus`."""
    z = beta * input
    return torch.where(z > threshold, torch.ones_like(z), sigmoid(z))


@elementwise
def mish(input: Tensor) -> Tensor:
    """x * tanh(softplus(x)). Source: Misra, "Mish", arXiv:1908.08681."""
    return input * tanh(softplus(input))


@elementwise
def mish_derivative(input: Tensor) -> Tensor:
    """tanh(softplus(x)) + x sigmoid(x) tanh'(softplus(x))."""
    u = softplus(input)
    return tanh(u) + input * sigmoid(input) * tanh_derivative(u)


@elementwise
def softsign(input: Tensor) -> Tensor:
    """x / (1 + |x|).

    >>> softsign(torch.tensor([-1.0, 3.0]))
    tensor([-0.5000,  0.7500])
    """
    return input / (1 + input.abs())


@elementwise
def softsign_derivative(input: Tensor) -> Tensor:
    """1 / (1 + |x|)**2."""
    return 1 / (1 + input.abs()) ** 2


@elementwise
def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """x, limited to [min_val, max_val].

    Args:
        input: any shape, floating-point.
        min_val: lower limit.
        max_val: upper limit, >= min_val.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: min_val > max_val.
    """
    require_bounds("hardtanh", min_val, max_val)
    return input.clamp(min_val, max_val)


def require_bounds(where: str, min_val: float, max_val: float) -> None:
    """Refuse bounds in the wrong order."""
    words = "min_val cannot be greater than max_val"
    require(min_val <= max_val, where, "min_val", f"<= max_val = {max_val}", min_val, words)


@elementwise
def hardtanh_derivative(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """1 inside the limits, 0 outside and on them. Arguments and errors as `hardtanh`."""
    require_bounds("hardtanh_derivative", min_val, max_val)
    return ((input > min_val) & (input < max_val)).to(input.dtype)


@elementwise
def relu6(input: Tensor) -> Tensor:
    """x, limited to [0, 6]."""
    return input.clamp(0.0, 6.0)


@elementwise
def hardsigmoid(input: Tensor) -> Tensor:
    """(x + 3) / 6, limited to [0, 1]."""
    return ((input + 3) / 6).clamp(0.0, 1.0)


@elementwise
def hardswish(input: Tensor) -> Tensor:
    """x * hardsigmoid(x). Source: Howard et al., "Searching for MobileNetV3", arXiv:1905.02244, section 5.2."""
    return input * hardsigmoid(input)


@elementwise
def tanhshrink(input: Tensor) -> Tensor:
    """x - tanh(x)."""
    return input - tanh(input)


@elementwise
def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """Towards 0 by lambd, and 0 within: the proximal step of lambd * |x|.

    Args:
        input: any shape, floating-point.
        lambd: how far every value moves towards 0, >= 0.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: lambd < 0.

    >>> softshrink(torch.tensor([-2.0, 0.3, 1.0]))
    tensor([-1.5000,  0.0000,  0.5000])
    """
    words = f"lambda must be in range [0, inf) for input dtype, but found {lambd}"
    require(lambd >= 0, "softshrink", "lambd", ">= 0", lambd, words)
    return torch.where(input > lambd, input - lambd, torch.where(input < -lambd, input + lambd, input * 0))


@elementwise
def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """x where |x| > lambd, 0 elsewhere.

    Args:
        input: any shape, floating-point.
        lambd: half the width of the interval that becomes 0.
    """
    return torch.where((input >= -lambd) & (input <= lambd), 0.0, input)


@elementwise
def threshold(input: Tensor, threshold: float, value: float) -> Tensor:
    """x where x > threshold, `value` elsewhere.

    Args:
        input: any shape, floating-point.
        threshold: values up to and at it are replaced.
        value: what replaces them.
    """
    return torch.where(input <= threshold, value, input)


@checked
def glu(input: Tensor, dim: int = -1) -> Tensor:
    """a * sigmoid(b), with a and b the two halves of the input on axis `dim`.

    Args:
        input: floating-point, of even size on axis `dim`.
        dim: the axis that is halved.

    Returns:
        The input's shape and dtype, with axis `dim` half as long.

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: no dimension, no such axis, or an odd size there.

    Source: Dauphin et al., "Language Modeling with Gated Convolutional Networks", arXiv:1612.08083, section 2.
    """
    require_floating("glu", input=input)
    require(
        input.dim() > 0,
        "glu",
        "input",
        "of at least 1 dimension",
        (),
        "glu does not support 0-dimensional tensors",
    )
    require_dim("glu", dim, input.dim())
    size, words = (
        input.shape[dim],
        f"Halving dimension must be even, but dimension {dim} is size {input.shape[dim]}",
    )
    require(size % 2 == 0, "glu", "the size of `dim`", "even", size, words)
    a, b = input.chunk(2, dim)
    return a * sigmoid(b)


@checked
def softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """Positive numbers that sum to 1 on axis `dim`.

        y_i = exp(x_i - c) / sum_j exp(x_j - c)       c = max(x): any c gives the same y, this one no overflow

    Args:
        input: any shape, floating-point (of any dtype where `dtype` is given); logits.
        dim: the axis of the classes.
        dtype: cast the input to it first.

    Returns:
        Probabilities, of the input's shape, in `dtype` or the input's own.

    Raises:
        TypeError: neither the input nor `dtype` is floating-point.
        ValueError: no such axis.

    >>> softmax(torch.tensor([1000.0, 1000.0]), dim=0)
    tensor([0.5000, 0.5000])
    """
    x = as_floating("softmax", input, dim, dtype)
    if x.numel() == 0:
        return x.to(dtype or input.dtype)
    z = torch.exp(x - x.amax(dim, keepdim=True).detach())
    return (z / z.sum(dim, keepdim=True)).to(dtype or input.dtype)


@checked
def log_softmax(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """log(softmax(x)), without the logarithm of a number that was rounded to 0.

        y_i = x_i - c - log(sum_j exp(x_j - c))       c = max(x)

    Args:
        input: any shape, floating-point (of any dtype where `dtype` is given); logits.
        dim: the axis of the classes.
        dtype: cast the input to it first.

    Returns:
        Log-probabilities in nats, of the input's shape, in `dtype` or the input's own.

    Raises:
        TypeError: neither the input nor `dtype` is floating-point.
        ValueError: no such axis.

    >>> log_softmax(torch.tensor([0.0, -1000.0]), dim=0)
    tensor([    0., -1000.])
    """
    x = as_floating("log_softmax", input, dim, dtype)
    if x.numel() == 0:
        return x.to(dtype or input.dtype)
    shifted = x - x.amax(dim, keepdim=True).detach()
    return (shifted - shifted.exp().sum(dim, keepdim=True).log()).to(dtype or input.dtype)


@checked
def softmin(input: Tensor, dim: int, dtype: torch.dtype | None = None) -> Tensor:
    """softmax(-x): the smallest entry has the largest share. Arguments, result and errors as `softmax`."""
    as_floating("softmin", input, dim, dtype)
    return softmax(-input, dim, dtype)


def as_floating(where: str, input: Tensor, dim: int, dtype: torch.dtype | None) -> Tensor:
    """The input in the dtype that is asked for, half precision widened to float32 for the computation."""
    x = input if dtype is None else input.to(dtype)
    require_floating(where, input=x)
    require_dim(where, dim, x.dim())
    return x.float() if x.dtype in HALF_PRECISION else x


@checked
def softmax_backward(grad: Tensor, y: Tensor, dim: int) -> Tensor:
    """The product of grad with the Jacobian of softmax, whose entries are y_i (1[i = j] - y_j).

        grad_x = y * (grad - sum(grad * y))

    Args:
        grad: derivative of the loss by y, floating-point.
        y: softmax(x, dim), of the same shape.
        dim: the axis of the classes.

    Returns:
        The derivative by x, of the same shape.

    Raises:
        TypeError: `grad` or `y` is not floating-point.
        ValueError: the shapes differ; no such axis.

    >>> softmax_backward(torch.tensor([1.0, 0.0]), torch.tensor([0.5, 0.5]), dim=0)
    tensor([ 0.2500, -0.2500])
    """
    require_floating("softmax_backward", grad=grad, y=y)
    require_same_shape("softmax_backward", grad=grad, y=y)
    require_dim("softmax_backward", dim, y.dim())
    return y * (grad - (grad * y).sum(dim, keepdim=True))


@checked
def log_softmax_backward(grad: Tensor, y: Tensor, dim: int) -> Tensor:
    """The product of grad with the Jacobian of log_softmax: with the cross-entropy, p minus one-hot.

        grad_x = grad - exp(y) * sum(grad)

    Args:
        grad: derivative of the loss by y, floating-point.
        y: log_softmax(x, dim), of the same shape.
        dim: the axis of the classes.

    Returns:
        The derivative by x, of the same shape.

    Raises:
        TypeError: `grad` or `y` is not floating-point.
        ValueError: the shapes differ; no such axis.

    >>> log_softmax_backward(torch.tensor([-1.0, 0.0]), torch.tensor([0.5, 0.5]).log(), dim=0)   # p - one-hot
    tensor([-0.5000,  0.5000])
    """
    require_floating("log_softmax_backward", grad=grad, y=y)
    require_same_shape("log_softmax_backward", grad=grad, y=y)
    require_dim("log_softmax_backward", dim, y.dim())
    return grad - y.exp() * grad.sum(dim, keepdim=True)
