"""A plain recurrent network: the simplest model whose gradients vanish and explode."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .._check import checked, require, require_floating
from .initial import fill_weight, make_linear


class RNN(nn.Module):
    """Read a sequence, answer at its end.

        h_t = tanh(W_ih x_t + b_ih + W_hh h_(t-1) + b_hh),  h_0 = 0;      logits = W h_T + b

    The gradient that reaches x_1 holds the product of T factors diag(1 - h_t**2) W_hh: it shrinks or grows
    like the T-th power of a number. An orthogonal W_hh starts with that number at 1 (before the tanh).

    Parameters of the recurrent part have torch.nn.RNN's names, so its state loads here.

    Shapes: x (N, T, D), T >= 1 -> logits (N, K).

    Args:
        in_features: D, of one element of the sequence, >= 1.
        hidden: H >= 1.
        out_features: K >= 1.
        nonlinearity: "tanh" or "relu".
        recurrent_init: "torch" (uniform in +-1/sqrt(H)), "orthogonal", or another name or number of `make_linear`.
        gain: multiplies a "kaiming", "xavier" or "orthogonal" W_hh: above 1 gradients explode, below 1 they vanish.
        generator: where the initial weights come from; None is torch's global generator.

    Raises:
        ValueError: a setting out of range; on the call, x of another shape.

    Source: Elman (1990), doi:10.1207/s15516709cog1402_1; Pascanu et al., "On the difficulty of training recurrent
    neural networks", arXiv:1211.5063v2, for the gradients.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    @checked
    def __init__(
        self,
        in_features: int,
        hidden: int,
        out_features: int,
        *,
        nonlinearity: str = "tanh",
        recurrent_init: str | float = "torch",
        gain: float = 1.0,
        generator: Generator | None = None,
    ) -> None:
        super().__init__()
        require(nonlinearity in ("tanh", "relu"), "RNN", "nonlinearity", '"tanh" or "relu"', nonlinearity)
        for name, width in (("in_features", in_features), ("hidden", hidden)):
            require(isinstance(width, int) and width >= 1, "RNN", name, "an integer >= 1", width)
        self.nonlinearity = nonlinearity
        bound = 1 / math.sqrt(hidden)
        shapes = {"weight_ih_l0": (hidden, in_features), "weight_hh_l0": (hidden, hidden)}
        for name, shape in (shapes | {"bias_ih_l0": (hidden,), "bias_hh_l0": (hidden,)}).items():
            parameter = torch.empty(shape)
            if name != "weight_hh_l0" or recurrent_init == "torch":
                parameter.uniform_(-bound, bound, generator=generator)
            else:
                fill_weight(parameter, recurrent_init, gain, generator)
            self.register_parameter(name, nn.Parameter(parameter))
        self.linear = make_linear(hidden, out_features, generator=generator)

    def states(self, x: Tensor) -> Tensor:
        """All hidden states h_1, ..., h_T.

        Args:
            x: shape (N, T, D), T >= 1, floating.

        Returns:
            Shape (N, T, H).

        Raises:
            TypeError: x is not floating-point.
            ValueError: another shape.
        """
        require_floating("RNN", x=x)
        width = self.weight_ih_l0.shape[1]
        ok = x.ndim == 3 and x.shape[2] == width and x.shape[1] >= 1
        require(ok, "RNN", "x", f"of shape (N, T, {width}), T >= 1", tuple(x.shape))
        activate = torch.tanh if self.nonlinearity == "tanh" else torch.relu
        # The inputs' part does not depend on the states: one product for all steps.
        inputs = F.linear(x, self.weight_ih_l0, self.bias_ih_l0 + self.bias_hh_l0)  # (N, T, H)
        h = inputs.new_zeros(len(x), inputs.shape[2])
        states = []
        for step in inputs.unbind(dim=1):
            h = activate(torch.addmm(step, h, self.weight_hh_l0.T))
            states.append(h)
        return torch.stack(states, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, K)."""
        return self.linear(self.states(x)[:, -1])  # type: ignore[no-any-return]
