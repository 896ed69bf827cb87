"""Small networks for small images: a plain convolutional one and a residual one."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from .._check import checked, require, require_sizes
from ..normalization import BasicBlock
from .initial import require_images, require_widths


class SmallCNN(nn.Module):
    """Two convolutions, each with ReLU and 2x2 max pooling, then a linear layer.

        (N, C, S, S) -> conv3x3 (w) -> relu -> pool -> conv3x3 (2w) -> relu -> pool -> linear -> (N, K)

    Parameters: (9 C + 1) w + (9 w + 1) 2w + (2 w (S // 4)**2 + 1) K.

    Args:
        in_channels: C >= 1.
        num_classes: K >= 1.
        size: S, height and width, >= 4; 28 for MNIST, 8 for scikit-learn's digits.
        width: w, channels of the first convolution, >= 1.

    Raises:
        ValueError: a number below that; on the call, x of another shape.
    """

    @checked
    def __init__(
        self, in_channels: int = 1, num_classes: int = 10, *, size: int = 28, width: int = 16
    ) -> None:
        super().__init__()
        require_widths("SmallCNN", in_channels=in_channels, num_classes=num_classes, width=width)
        require(size >= 4, "SmallCNN", "size", ">= 4", size)
        self.size = size
        self.conv1 = nn.Conv2d(in_channels, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, 2 * width, 3, padding=1)
        self.linear = nn.Linear(2 * width * (size // 4) ** 2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, K)."""
        require_images("SmallCNN", x, self.conv1.in_channels)
        square = (self.size, self.size)
        require(x.shape[2:] == square, "SmallCNN", "x", f"of height and width {square}", tuple(x.shape))
        h = torch.max_pool2d(torch.relu(self.conv1(x)), 2)  # (N, w, S/2, S/2)
        h = torch.max_pool2d(torch.relu(self.conv2(h)), 2)  # (N, 2w, S/4, S/4)
        return self.linear(h.flatten(1))  # type: ignore[no-any-return]


class ResNet(nn.Module):
    """A residual network for small images: a 3x3 stem, stages of basic blocks, the average over the image, a
    linear layer.

    Every stage but the first halves height and width in its first block. With widths (16, 32, 64) and n blocks
    a stage it has 6 n + 2 layers with weights on the longest way: n = 3 is the ResNet-20 of the paper, section 4.2.

    Shapes: x (N, C, H, W) -> logits (N, K), for any H and W.

    Args:
        in_channels: C >= 1.
        num_classes: K >= 1.
        widths: channels of each stage, at least one.
        blocks: blocks a stage, >= 1.
        norm: channels -> module; None means batch norm.

    Raises:
        ValueError: a number below that; on the call, x of another shape.

    Source: He et al., "Deep Residual Learning for Image Recognition", arXiv:1512.03385v1, section 4.2. Differs
    from the paper: where the width changes the shortcut is a 1x1 convolution (its option B), there zero padding
    (option A).
    """

    @checked
    def __init__(
        self,
        in_channels: int = 1,
        num_classes: int = 10,
        *,
        widths: Sequence[int] = (16, 32, 64),
        blocks: int = 1,
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        require_widths("ResNet", in_channels=in_channels, num_classes=num_classes)
        require_sizes("ResNet", "widths", widths, 1)
        require(len(widths) >= 1, "ResNet", "widths", "not empty", list(widths))
        require(blocks >= 1, "ResNet", "blocks", ">= 1", blocks)
        make = norm or nn.BatchNorm2d
        self.stem = nn.Conv2d(in_channels, widths[0], 3, padding=1, bias=False)
        self.norm = make(widths[0])
        stages, before = [], widths[0]
        for i, width in enumerate(widths):
            for j in range(blocks):
                stages.append(BasicBlock(before, width, 2 if i > 0 and j == 0 else 1, make))
                before = width
        self.blocks = nn.Sequential(*stages)
        self.linear = nn.Linear(before, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits, shape (N, K)."""
        require_images("ResNet", x, self.stem.in_channels)
        h = self.blocks(torch.relu(self.norm(self.stem(x))))  # (N, widths[-1], H', W')
        return self.linear(h.mean(dim=(2, 3)))  # type: ignore[no-any-return]
