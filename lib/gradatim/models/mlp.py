"""Multi-layer perceptrons, plain and residual."""

from collections.abc import Callable, Sequence
from itertools import pairwise

from torch import Generator, Tensor, nn

from .._check import checked, require, require_sizes
from .initial import GAINS, Activation, Init, make_activation, make_linear, require_features, require_widths

Norm = str | None | Callable[[int], nn.Module]
#: The norms that `make_norm` and the models know by name: name -> a module from the number of features.
NORMS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm1d,
    "layer": nn.LayerNorm,
    "rms": nn.RMSNorm,
}


@checked
def make_norm(norm: Norm, width: int) -> nn.Module | None:
    """A fresh norm for vectors.

    Args:
        norm: a name of `NORMS`, what makes a module from a width, or None for none.
        width: number of features, >= 1.

    Returns:
        The module, or None.

    Raises:
        ValueError: an unknown name; width < 1.
    """
    require_widths("make_norm", width=width)
    if norm is None or callable(norm):
        return norm(width) if norm else None
    require(norm in NORMS, "make_norm", "norm", f"None, one of {', '.join(NORMS)}, or a callable", norm)
    return NORMS[norm](width)


class MLP(nn.Sequential):
    """Linear layers with an activation between them.

        h = dropout(activation(norm(W h + b)))     for every layer but the last;  logits = W h + b

    A plain list of layers: `model[0]` is the first linear layer, `for layer in model` walks through it.

    Args:
        sizes: widths from the input to the output, at least two: [784, 128, 10].
        activation: "relu", "leaky_relu", "gelu", "silu", "tanh", "sigmoid", "identity", or a callable that
            makes a module.
        norm: None, "batch", "layer", "rms", or a callable width -> module.
        dropout: probability of the hidden layers, in [0, 1).
        init: see `make_linear`; the gain is the activation's for hidden layers and 1 for the last.
        generator: where the initial weights come from; None is torch's global generator.

    Shapes: x (N, sizes[0]) -> (N, sizes[-1]).

    Raises:
        TypeError: `sizes` holds something else than integers; on the call, x is not floating-point.
        ValueError: a setting out of range; on the call, x of another width.

    >>> MLP([784, 128, 10])
    MLP(
      (0): Linear(in_features=784, out_features=128, bias=True)
      (1): ReLU()
      (2): Linear(in_features=128, out_features=10, bias=True)
    )
    """

    @checked
    def __init__(
        self,
        sizes: Sequence[int],
        *,
        activation: Activation = "relu",
        norm: Norm = None,
        dropout: float = 0.0,
        init: Init = "torch",
        generator: Generator | None = None,
    ) -> None:
        require_sizes("MLP", "sizes", sizes, 1)
        require(len(sizes) >= 2, "MLP", "sizes", "at least an input and an output width", list(sizes))
        require(0 <= dropout < 1, "MLP", "dropout", "in [0, 1)", dropout)
        gain = GAINS.get(activation, 1.0) if isinstance(activation, str) else 1.0
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise(sizes[:-1]):
            layers.append(make_linear(fan_in, fan_out, init=init, gain=gain, generator=generator))
            normalize = make_norm(norm, fan_out)
            layers += [normalize] if normalize is not None else []
            layers.append(make_activation(activation))
            layers += [nn.Dropout(dropout)] if dropout else []
        layers.append(make_linear(sizes[-2], sizes[-1], init=init, generator=generator))
        super().__init__(*layers)
        self.in_features = sizes[0]

    def __getitem__(self, index):  # type: ignore[no-untyped-def]
        """A layer, or for a slice a plain Sequential of layers: `model[:-1]` gives the features."""
        layers = list(self.children())[index]
        return nn.Sequential(*layers) if isinstance(index, slice) else layers

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's output: logits, or predictions."""
        require_features("MLP", x, self.in_features)
        return super().forward(x)  # type: ignore[no-any-return]


class ResidualMLP(nn.Module):
    """A deep perceptron whose blocks add to what comes in, so that the identity is what a new block is near.

        h = W_in x;   h = h + W2 activation(W1 norm(h)) / sqrt(depth)   for each block;   logits = W_out norm(h)

    The factor 1/sqrt(depth) keeps the variance of h bounded however deep the stack is.

    Shapes: x (N, in_features) -> (N, out_features).

    Args:
        in_features: width of the input, >= 1.
        width: of the stack, >= 1.
        depth: number of blocks, >= 0.
        out_features: width of the output, >= 1.
        activation: as for `MLP`.
        norm: as for `MLP`.
        init: as for `MLP`.
        generator: as for `MLP`.

    Raises:
        ValueError: a setting out of range; on the call, x of another width.

    Source: pre-norm blocks as in He et al., "Identity Mappings in Deep Residual Networks", arXiv:1603.05027v3.
    """

    @checked
    def __init__(
        self,
        in_features: int,
        width: int,
        depth: int,
        out_features: int,
        *,
        activation: Activation = "relu",
        norm: Norm = "layer",
        init: Init = "torch",
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        require(depth >= 0, "ResidualMLP", "depth", ">= 0", depth)
        gain = GAINS.get(activation, 1.0) if isinstance(activation, str) else 1.0
        self.scale = 1 / max(depth, 1) ** 0.5
        self.inward = make_linear(in_features, width, init=init, generator=generator)
        self.blocks = nn.ModuleList()
        for _ in range(depth):
            first = make_linear(width, width, init=init, gain=gain, generator=generator)
            second = make_linear(width, width, init=init, generator=generator)
            body = [make_norm(norm, width) or nn.Identity(), first, make_activation(activation), second]
            self.blocks.append(nn.Sequential(*body))
        self.norm = make_norm(norm, width) or nn.Identity()
        self.outward = make_linear(width, out_features, init=init, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """The last layer's output: logits, or predictions."""
        require_features("ResidualMLP", x, self.inward.in_features)
        h = self.inward(x)
        for block in self.blocks:
            h = h + self.scale * block(h)
        return self.outward(self.norm(h))  # type: ignore[no-any-return]
