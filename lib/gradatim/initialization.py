"""Initial weights: how large they must be for signals to keep their size through the layers.

Every function whose name ends in an underscore fills its tensor in place, in the tensor's own dtype and on its device,
and returns it; no gradient is recorded. It draws with the same calls in the same order as torch.nn.init: the same seed
gives the same bits (test_initialization.py). `generator`, on the tensor's device, makes the draw independent of torch's
global seed. TypeError for what is no tensor.
"""

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Generator, Tensor

from ._check import checked, require, require_tensor, require_type

__all__ = [
    "GAINS",
    "calculate_gain",
    "constant_",
    "dirac_",
    "eye_",
    "fans",
    "kaiming_normal_",
    "kaiming_uniform_",
    "lecun_normal_",
    "normal_",
    "ones_",
    "orthogonal_",
    "sparse_",
    "trunc_normal_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]

Mode = Literal["fan_in", "fan_out"]


@checked(complex=("tensor",), boolean=("tensor",))
def fans(tensor: Tensor) -> tuple[int, int]:
    """(fan_in, fan_out): how many values enter an output of the layer, and how many outputs a value reaches.

        linear layer (out, in)           fan_in = in,            fan_out = out
        convolution (out, in, *kernel)   fan_in = in * |kernel|, fan_out = out * |kernel|

    `in` is tensor.shape[1]: for grouped convolutions the channels of one group, for transposed ones the outputs.

    Args:
        tensor: shape (out, in, *kernel), at least 2 dimensions.

    Returns:
        (fan_in, fan_out), two integers.

    Raises:
        ValueError: fewer than 2 dimensions.

    >>> fans(torch.empty(8, 3, 5, 5))
    (75, 200)
    """
    return fans_of("fans", tensor)


def fans_of(where: str, tensor: Tensor) -> tuple[int, int]:
    """`fans`, for the initialization of that name."""
    rule = "of at least 2 dimensions (out, in, *kernel)"
    words = "Fan in and fan out can not be computed for tensor with fewer than 2 dimensions"
    require(tensor.dim() >= 2, where, "tensor", rule, tuple(tensor.shape), words)
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


#: The gain of each nonlinearity without a parameter, as `calculate_gain` returns it.
GAINS = {
    "linear": 1.0,
    "conv1d": 1.0,
    "conv2d": 1.0,
    "conv3d": 1.0,
    "conv_transpose1d": 1.0,
    "conv_transpose2d": 1.0,
    "conv_transpose3d": 1.0,
    "sigmoid": 1.0,
    "tanh": 5.0 / 3,
    "relu": math.sqrt(2.0),
    "selu": 3.0 / 4,
}


@checked
def calculate_gain(nonlinearity: str, param: float | None = None) -> float:
    """The factor by which weights must be larger, because the activation makes signals smaller.

        relu: sqrt(2), as it zeroes half of the second moment;  leaky_relu: sqrt(2 / (1 + slope**2))
        tanh: 5/3 (empirical);  linear, convolutions, sigmoid: 1;  selu: 3/4

    Args:
        nonlinearity: a name of `GAINS`, or "leaky_relu".
        param: the slope of leaky_relu, 0.01 if None; without meaning for the others.

    Returns:
        The gain, a number > 0.

    Raises:
        ValueError: an unknown name; a `param` that is no number.

    >>> calculate_gain("leaky_relu", 1.0)   # slope 1 is the identity
    1.0
    """
    return gain_of("calculate_gain", nonlinearity, param)


def gain_of(where: str, nonlinearity: str, param: float | None) -> float:
    """`calculate_gain`, for the initialization of that name."""
    if nonlinearity == "leaky_relu":
        slope = 0.01 if param is None else param
        ok = isinstance(slope, int | float) and not isinstance(slope, bool)
        words = f"negative_slope {slope} not a valid number"
        require(ok, where, "param", "a number, the negative slope", slope, words)
        return math.sqrt(2.0 / (1 + slope**2))
    known = (*GAINS, "leaky_relu")
    words = f"Unsupported nonlinearity {nonlinearity}"
    require(nonlinearity in GAINS, where, "nonlinearity", f"one of {known}", nonlinearity, words)
    return GAINS[nonlinearity]


F = TypeVar("F", bound=Callable[..., Tensor])


def fills(function: F) -> F:
    """Run without recording gradients, on a tensor only."""
    function = checked(complex=("tensor",), boolean=("tensor",))(function)

    @functools.wraps(function)
    def run(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        require_tensor(function.__name__, tensor=tensor)
        with torch.no_grad():
            return function(tensor, *args, **kwargs)

    return cast(F, run)


def draws(function: F) -> F:
    """As `fills`, for a dtype that random numbers have."""
    function = checked(complex=("tensor",), boolean=("tensor",))(function)

    @functools.wraps(function)
    def run(tensor: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        require_tensor(function.__name__, tensor=tensor)
        fits = tensor.is_floating_point() or tensor.is_complex()
        require_type(fits, function.__name__, "tensor", "of a floating-point dtype", tensor.dtype)
        with torch.no_grad():
            return function(tensor, *args, **kwargs)

    return cast(F, run)


def check_interval(where: str, a: float, b: float) -> None:
    """Refuse bounds that no interval has."""
    require(math.isfinite(a), where, "a", "finite", a, f"from is out of bounds: {a}")
    require(math.isfinite(b), where, "b", "finite", b, f"to is out of bounds: {b}")
    words = f"uniform_ expects to return a [from, to) range, but found from={a} > to={b}"
    require(a <= b, where, "a", f"<= b = {b}", a, words)


def check_scale(where: str, name: str, scale: float) -> None:
    """Refuse a standard deviation, or a factor of one, that is negative, nan or infinite."""
    words = f"normal expects std >= 0.0, but found std {scale}"
    require(0 <= scale < math.inf, where, name, "finite and >= 0", scale, words)


@draws
def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Draw from U(a, b), with finite a <= b.

    Args:
        tensor: any shape, floating-point.
        a: lower bound, in the tensor's units.
        b: upper bound, >= a.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is of an integer or boolean dtype.
        ValueError: a or b is infinite or nan; a > b.
    """
    check_interval("uniform_", a, b)
    return tensor.uniform_(a, b, generator=generator)


@draws
def normal_(
    tensor: Tensor, mean: float = 0.0, std: float = 1.0, generator: Generator | None = None
) -> Tensor:
    """Draw from N(mean, std**2), with std >= 0.

    Args:
        tensor: any shape, floating-point.
        mean: the distribution's mean.
        std: its standard deviation, finite and >= 0.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is of an integer or boolean dtype.
        ValueError: std is negative, infinite or nan.
    """
    check_scale("normal_", "std", std)
    return tensor.normal_(mean, std, generator=generator)


@fills
def constant_(tensor: Tensor, val: float) -> Tensor:
    """Set every entry to `val`. As a weight it leaves all units of a layer equal for ever.

    Args:
        tensor: any shape and dtype.
        val: the number.
    """
    return tensor.fill_(val)


@fills
def ones_(tensor: Tensor) -> Tensor:
    """Set every entry to 1."""
    return tensor.fill_(1.0)


@fills
def zeros_(tensor: Tensor) -> Tensor:
    """Set every entry to 0: for biases, and for the last layer of a residual branch; not for other weights."""
    return tensor.zero_()


@fills
def eye_(tensor: Tensor) -> Tensor:
    """The identity matrix: a linear layer that passes its input on.

    Args:
        tensor: shape (out, in); 1 on the diagonal, 0 elsewhere, also where the two differ.

    Raises:
        ValueError: not 2 dimensions.

    >>> eye_(torch.empty(2, 3))
    tensor([[1., 0., 0.],
            [0., 1., 0.]])
    """
    words = "Only tensors with 2 dimensions are supported"
    require(tensor.dim() == 2, "eye_", "tensor", "of 2 dimensions", tuple(tensor.shape), words)
    return tensor.zero_().fill_diagonal_(1.0)


@fills
def dirac_(tensor: Tensor, groups: int = 1) -> Tensor:
    """The identity as a convolution: 1 in the middle of the kernel that leads from channel c to channel c.

    Args:
        tensor: shape (out, in, *kernel) with a kernel of 1 to 3 dimensions.
        groups: a divisor of `out`; each group of outputs begins again at the first input.

    Raises:
        ValueError: not 3, 4 or 5 dimensions; `groups` is no divisor of `out`.

    >>> dirac_(torch.empty(2, 2, 3))[1]
    tensor([[0., 0., 0.],
            [0., 1., 0.]])
    """
    shape = tuple(tensor.shape)
    words = "Only tensors with 3, 4, or 5 dimensions are supported"
    require(tensor.dim() in (3, 4, 5), "dirac_", "tensor", "of 3, 4 or 5 dimensions", shape, words)
    rule, words = f"a divisor of tensor.shape[0] = {shape[0]}", "dim 0 must be divisible by groups"
    require(groups >= 1 and shape[0] % groups == 0, "dirac_", "groups", rule, groups, words)
    tensor.zero_()
    middle: tuple[Any, ...] = tuple(size // 2 for size in shape[2:])
    for group in tensor.chunk(groups):
        group[(slice(None), slice(None), *middle)].fill_diagonal_(1.0)
    return tensor


@draws
def xavier_uniform_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot's uniform initialization: a compromise between forward and backward signals.

        std = gain * sqrt(2 / (fan_in + fan_out));   U(-sqrt(3) std, sqrt(3) std) has this std

    Args:
        tensor: shape (out, in, *kernel), floating-point.
        gain: factor of the standard deviation, finite and >= 0; see `calculate_gain`.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is of an integer or boolean dtype.
        ValueError: fewer than 2 dimensions; `gain` out of range.

    Source: Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks",
    AISTATS 2010, eq. 16.
    """
    check_scale("xavier_uniform_", "gain", gain)
    fan_in, fan_out = fans_of("xavier_uniform_", tensor)
    std = gain * math.sqrt(2.0 / (fan_in + fan_out))
    bound = math.sqrt(3.0) * std
    return tensor.uniform_(-bound, bound, generator=generator)


@draws
def xavier_normal_(tensor: Tensor, gain: float = 1.0, generator: Generator | None = None) -> Tensor:
    """Glorot's initialization from a normal distribution: std = gain * sqrt(2 / (fan_in + fan_out)).

    Args:
        tensor: shape (out, in, *kernel), floating-point.
        gain: factor of the standard deviation, finite and >= 0; see `calculate_gain`.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is of an integer or boolean dtype.
        ValueError: fewer than 2 dimensions; `gain` out of range.

    Source: as `xavier_uniform_`, eq. 12.
    """
    check_scale("xavier_normal_", "gain", gain)
    fan_in, fan_out = fans_of("xavier_normal_", tensor)
    return tensor.normal_(0.0, gain * math.sqrt(2.0 / (fan_in + fan_out)), generator=generator)


def kaiming_std(where: str, tensor: Tensor, a: float, mode: str, nonlinearity: str) -> float:
    """std = gain / sqrt(fan), the He initialization's; `mode` chooses the fan."""
    words = f"Mode {mode} not supported, please use one of ['fan_in', 'fan_out']"
    ok = mode in ("fan_in", "fan_out")
    require(ok, where, "mode", "'fan_in' or 'fan_out'", mode, words)
    require(math.isfinite(a), where, "a", "finite", a)
    fan_in, fan_out = fans_of(where, tensor)
    return gain_of(where, nonlinearity, a) / math.sqrt(fan_in if mode == "fan_in" else fan_out)


def is_empty(tensor: Tensor) -> bool:
    """True, with torch's warning, for a tensor without entries."""
    if tensor.numel() == 0:
        warnings.warn("Initializing zero-element tensors is a no-op", stacklevel=5)
    return tensor.numel() == 0


@draws
def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He's uniform initialization: made for relu and its relatives.

        std = gain / sqrt(fan);   U(-sqrt(3) std, sqrt(3) std) has this std

    Args:
        tensor: shape (out, in, *kernel), floating-point; without entries it stays as it is, with a warning.
        a: the slope of leaky_relu; 0 is relu.
        mode: "fan_in" keeps the size of the signals forward, "fan_out" that of the gradients backward.
        nonlinearity: what follows the layer, see `calculate_gain`.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is of an integer or boolean dtype.
        ValueError: fewer than 2 dimensions; an unknown `mode` or `nonlinearity`; `a` is infinite or nan.

    Source: He et al., "Delving Deep into Rectifiers", arXiv:1502.01852, eq. 10, 14 and 15.
    """
    if is_empty(tensor):
        return tensor
    bound = math.sqrt(3.0) * kaiming_std("kaiming_uniform_", tensor, a, mode, nonlinearity)
    return tensor.uniform_(-bound, bound, generator=generator)


@draws
def kaiming_normal_(
    tensor: Tensor,
    a: float = 0,
    mode: Mode = "fan_in",
    nonlinearity: str = "leaky_relu",
    generator: Generator | None = None,
) -> Tensor:
    """He's initialization from a normal distribution: std = gain / sqrt(fan).

    Arguments, errors and source as `kaiming_uniform_`.
    """
    if is_empty(tensor):
        return tensor
    return tensor.normal_(
        0, kaiming_std("kaiming_normal_", tensor, a, mode, nonlinearity), generator=generator
    )


@draws
def lecun_normal_(tensor: Tensor, generator: Generator | None = None) -> Tensor:
    """N(0, 1 / fan_in): signals keep their size through linear layers, and through selu.

    Args:
        tensor: shape (out, in, *kernel), floating-point.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is of an integer or boolean dtype.
        ValueError: fewer than 2 dimensions.

    Sources: LeCun et al., "Efficient BackProp", 1998, eq. 16; Klambauer et al., "Self-Normalizing Neural
    Networks", arXiv:1706.02515, section 3.
    """
    return tensor.normal_(0.0, 1.0 / math.sqrt(fans_of("lecun_normal_", tensor)[0]), generator=generator)


@draws
def orthogonal_(tensor: Tensor, gain: float = 1, generator: Generator | None = None) -> Tensor:
    """A matrix with orthonormal rows or columns, whichever are fewer: it keeps lengths exactly.

        A ~ N(0, 1);   A = Q R;   W = gain * Q * sign(diag(R))        (the signs make Q uniformly distributed)

    More than two dimensions are flattened to (out, the rest).

    Args:
        tensor: shape (out, in, *kernel), real and floating-point.
        gain: factor of every entry; singular values become `gain`.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is not of real floating-point numbers.
        ValueError: fewer than 2 dimensions.

    Source: Saxe, McClelland and Ganguli, "Exact solutions to the nonlinear dynamics of learning in deep linear
    neural networks", arXiv:1312.6120; the signs: Mezzadri, arXiv:math-ph/0609050.
    """
    words = "Only tensors with 2 or more dimensions are supported"
    require(
        tensor.dim() >= 2, "orthogonal_", "tensor", "of at least 2 dimensions", tuple(tensor.shape), words
    )
    require_type(tensor.is_floating_point(), "orthogonal_", "tensor", "of real numbers", tensor.dtype)
    if tensor.numel() == 0:
        return tensor
    rows, cols = tensor.shape[0], tensor.numel() // tensor.shape[0]
    A = tensor.new_empty((rows, cols)).normal_(0, 1, generator=generator)
    Q, R = torch.linalg.qr(A if rows >= cols else A.T)
    Q *= R.diagonal().sign()
    tensor.copy_((Q if rows >= cols else Q.T).reshape(tensor.shape))
    return tensor.mul_(gain)


@draws
def sparse_(tensor: Tensor, sparsity: float, std: float = 0.01, generator: Generator | None = None) -> Tensor:
    """N(0, std**2) with ceil(sparsity * rows) zeros in each column.

    As in torch, the places of the zeros come from the global seed, not from `generator`.

    Args:
        tensor: shape (rows, columns), floating-point; a column holds the weights that leave one input.
        sparsity: share of zeros in each column, in [0, 1].
        std: standard deviation of the others, finite and >= 0.
        generator: draws the values from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is of an integer or boolean dtype.
        ValueError: not 2 dimensions; `sparsity` or `std` out of range.

    Source: Martens, "Deep learning via Hessian-free optimization", ICML 2010, section 5.
    """
    words = "Only tensors with 2 dimensions are supported"
    require(tensor.dim() == 2, "sparse_", "tensor", "of 2 dimensions", tuple(tensor.shape), words)
    require(0 <= sparsity <= 1, "sparse_", "sparsity", "in [0, 1]", sparsity)
    check_scale("sparse_", "std", std)
    rows, cols = tensor.shape
    tensor.normal_(0, std, generator=generator)
    for column in range(cols):
        zeros = torch.randperm(rows)[: math.ceil(sparsity * rows)]
        tensor[zeros, column] = 0
    return tensor


@draws
def trunc_normal_(
    tensor: Tensor,
    mean: float = 0.0,
    std: float = 1.0,
    a: float = -2.0,
    b: float = 2.0,
    generator: Generator | None = None,
) -> Tensor:
    """N(mean, std**2), restricted to [a, b]: what falls outside is drawn again.

    Where [a, b] holds less than 0.3 of the distribution, candidates come from U(a, b) instead and are kept with a
    probability proportional to the normal density.

    Args:
        tensor: any shape, real and floating-point, on a device that holds values.
        mean: of the normal distribution before the restriction, finite; a warning if it lies more than 2 std outside.
        std: its standard deviation, finite and > 0.
        a: lower bound, in the units of the tensor, not in standard deviations.
        b: upper bound, > a.
        generator: draws from it and not from torch's global state.

    Raises:
        TypeError: `tensor` is not of real floating-point numbers.
        ValueError: a >= b; `mean` or `std` out of range; a tensor on the meta device.

    Waits for the device once per round. Same bits as torch 2.13; earlier versions of torch invert the
    distribution function instead.
    """
    where = "trunc_normal_"
    require_type(tensor.is_floating_point(), where, "tensor", "of a floating-point dtype", tensor.dtype)
    require(tensor.device.type != "meta", where, "tensor", "on a device that holds values", "meta")
    require(a < b, where, "a", f"below b = {b}", a)
    require(0 < std < math.inf, where, "std", "finite and > 0", std)
    require(math.isfinite(mean), where, "mean", "finite", mean)
    if mean < a - 2 * std or mean > b + 2 * std:
        warnings.warn(
            "mean is more than 2 std from [a, b] in trunc_normal_. The distribution of values may be incorrect.",
            stacklevel=4,
        )

    def below(x: float) -> float:
        return (1.0 + math.erf((x - mean) / std / math.sqrt(2.0))) / 2.0

    if below(b) - below(a) > 0.3:
        low, high = (tensor.new_tensor(x, device="cpu").item() for x in (a, b))
        values = tensor.normal_(mean, std, generator=generator)
        while (outside := (values < low) | (values > high)).any():
            values = torch.where(
                outside, torch.empty_like(values).normal_(mean, std, generator=generator), values
            )
        return tensor.copy_(values)

    log_peak = -0.5 * ((max(a, min(mean, b)) - mean) / std) ** 2
    values, pending = tensor, torch.ones_like(tensor, dtype=torch.bool)
    while pending.any():
        candidates = torch.empty_like(tensor).uniform_(a, b, generator=generator)
        values = torch.where(pending, candidates, values)
        log_density = ((candidates - mean) / std) ** 2 * -0.5 - log_peak
        refused = torch.empty_like(tensor).uniform_(generator=generator).log_() > log_density
        pending = pending & refused
    return tensor.copy_(values)
