"""Residual blocks: where the norm stands in them decides whether the path through the network stays open."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .._check import checked, require
from .batch import BatchNorm2d


class PostNorm(nn.Module):
    """The residual block of the first transformers.

        y = norm(x + body(x))

    The norm stands on the path itself: the gradient of a deep stack passes through every norm.

    Args:
        body: a module that keeps the shape.
        norm: a module.

    Source: Vaswani et al., "Attention Is All You Need", arXiv:1706.03762, section 3.1.

    Args: body, a module that keeps the shape; norm, a module.
    """

    @checked
    def __init__(self, body: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.body, self.norm = body, norm

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x."""
        return self.norm(plus(x, self.body(x), "PostNorm"))  # type: ignore[no-any-return]


class PreNorm(nn.Module):
    """The residual block with an open path.

        y = x + body(norm(x))

    The gradient reaches x directly, whatever body and norm do to it.

    Args:
        body: a module that keeps the shape.
        norm: a module.

    Source: Xiong et al., "On Layer Normalization in the Transformer Architecture", arXiv:2002.04745.

    Args: body, a module that keeps the shape; norm, a module.
    """

    @checked
    def __init__(self, body: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.body, self.norm = body, norm

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x."""
        return plus(x, self.body(self.norm(x)), "PreNorm")


class SkipInit(nn.Module):
    """A residual block without a norm, that begins as the identity.

        y = x + alpha * body(x)        alpha: one learned number, 0 at the start

    Args:
        body: a module that keeps the shape.
        alpha: the number to begin with.

    Source: De and Smith, "Batch Normalization Biases Residual Blocks Towards the Identity Function in Deep
    Networks", arXiv:2002.10444, section 5.

    >>> block = SkipInit(nn.Linear(2, 2))
    >>> block(torch.tensor([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """

    @checked
    def __init__(self, body: nn.Module, alpha: float = 0.0) -> None:
        super().__init__()
        self.body, self.alpha = body, nn.Parameter(torch.tensor(float(alpha)))

    def forward(self, x: Tensor) -> Tensor:
        """y, of the shape of x."""
        return plus(x, self.alpha * self.body(x), "SkipInit")


def plus(x: Tensor, branch: Tensor, where: str) -> Tensor:
    """x + branch, without broadcasting."""
    got = f"{tuple(branch.shape)} for an input of {tuple(x.shape)}"
    require(x.shape == branch.shape, where, "body", "a module that keeps the shape", got)
    return x + branch


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut.

        y = relu(shortcut(x) + norm2(conv2(relu(norm1(conv1(x))))))

    The shortcut is the identity, or a 1x1 convolution with a norm where the shape changes. The convolutions have
    no bias: the norm after them would subtract it.

    Input (N, in_channels, H, W); output (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Args:
        in_channels: C of the input, >= 1.
        out_channels: C of the output, >= 1.
        stride: of the first convolution, >= 1.
        norm: called as norm(channels), makes a norm.
        zero_init: begin as the shortcut alone (the second norm's weight is 0).

    Raises:
        ValueError: a size below 1; `zero_init` with a norm that has no weight.

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385, section 3; zero_init:
    Goyal et al., "Accurate, Large Minibatch SGD", arXiv:1706.02677, section 5.1.
    """

    @checked
    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        norm: Callable[[int], nn.Module] = BatchNorm2d,
        *,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        for name, size in (("in_channels", in_channels), ("out_channels", out_channels), ("stride", stride)):
            require(size >= 1, "BasicBlock", name, ">= 1", size)
        self.conv1 = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=False)
        self.norm1 = norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.norm2 = norm(out_channels)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            project = nn.Conv2d(in_channels, out_channels, 1, stride, bias=False)
            self.shortcut = nn.Sequential(project, norm(out_channels))
        weight = getattr(self.norm2, "weight", None)
        if zero_init:
            rule = "one with a weight when zero_init is True"
            require(weight is not None, "BasicBlock", "norm", rule, type(self.norm2).__name__)
            nn.init.zeros_(self.norm2.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """y of the docstring."""
        h = torch.relu(self.norm1(self.conv1(x)))
        return torch.relu(self.shortcut(x) + self.norm2(self.conv2(h)))
