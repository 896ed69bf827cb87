"""Augmentation for digits: small changes that keep the label. For images (N, C, H, W) of the training set only."""

import math

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from .._check import check_values, checked, require, require_floating, require_type


def require_images(where: str, x: Tensor) -> None:
    """Refuse anything but floating-point images (N, C, H, W)."""
    require_floating(where, x=x)
    require(x.dim() == 4, where, "x", "of shape (N, C, H, W)", tuple(x.shape))


@checked
def shift(x: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move each image by whole pixels; zeros come in from the edge.

    Args:
        x: images (N, C, H, W), floating-point.
        down: pixels, integers (N,); negative moves up.
        right: pixels, integers (N,); negative moves left.

    Returns:
        x's shape and dtype.

    Raises:
        TypeError: x is not floating-point; `down` or `right` holds no integers.
        ValueError: another shape.

    >>> x = torch.tensor([[[[1.0, 2.0, 3.0]]]])
    >>> shift(x, torch.tensor([0]), torch.tensor([1]))
    tensor([[[[0., 1., 2.]]]])
    """
    require_images("shift", x)
    N, C, H, W = x.shape
    for name, moves in (("down", down), ("right", right)):
        integers = not (moves.is_floating_point() or moves.is_complex())
        require_type(integers, "shift", name, "a tensor of integers", moves.dtype)
        require(tuple(moves.shape) == (N,), "shift", name, f"of shape ({N},)", tuple(moves.shape))
    rows = torch.arange(H, device=x.device) - down.reshape(N, 1)
    cols = torch.arange(W, device=x.device) - right.reshape(N, 1)
    inside = ((rows >= 0) & (rows < H)).unsqueeze(2) & ((cols >= 0) & (cols < W)).unsqueeze(1)
    index = rows.clamp(0, H - 1).unsqueeze(2) * W + cols.clamp(0, W - 1).unsqueeze(1)
    moved = x.flatten(2).gather(2, index.reshape(N, 1, H * W).expand(N, C, H * W))
    return moved.reshape(N, C, H, W) * inside.unsqueeze(1)


@checked
def random_shift(x: Tensor, max_shift: int = 1, *, generator: Generator | None = None) -> Tensor:
    """Move each image by up to `max_shift` pixels in both directions, each offset equally likely.

    Args:
        x: images (N, C, H, W), floating-point.
        max_shift: pixels, >= 0.
        generator: draws from it and not from torch's global state; on x's device.

    Returns:
        x's shape and dtype.

    Raises:
        TypeError: x is not floating-point.
        ValueError: x is not (N, C, H, W); max_shift < 0.
    """
    require_images("random_shift", x)
    require(max_shift >= 0, "random_shift", "max_shift", ">= 0", max_shift)
    low, high = -max_shift, max_shift + 1
    moves = torch.randint(low, high, (2, len(x)), generator=generator, device=x.device)
    return shift(x, moves[0], moves[1])


@checked
def affine(x: Tensor, angle: Tensor, scale: Tensor, shear: Tensor) -> Tensor:
    """Rotate (radians, counter-clockwise), enlarge and shear each image about its centre; bilinear, zeros outside.

    Args:
        x: images (N, C, H, W), floating-point; H = W for a rotation without distortion.
        angle: radians, counter-clockwise, shape (N,), floating-point.
        scale: 2 doubles the size; > 0, shape (N,), floating-point.
        shear: slope of what was upright, shape (N,), floating-point.

    Returns:
        x's shape and dtype.

    Raises:
        TypeError: a tensor is not floating-point.
        ValueError: another shape; scale <= 0 (looked at on the CPU only).
    """
    require_images("affine", x)
    for name, numbers in (("angle", angle), ("scale", scale), ("shear", shear)):
        require_floating("affine", **{name: numbers})
        shape = tuple(numbers.shape)
        require(shape == x.shape[:1], "affine", name, f"of shape ({len(x)},)", shape)
    check_values("affine", "scale", scale, torch.finfo(scale.dtype).tiny, math.inf, "> 0")
    if x.numel() == 0:
        return x.clone()
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    zero = torch.zeros_like(cos)
    # grid_sample asks where each output pixel comes from: the inverse map; its second axis points down
    matrix = torch.stack([cos + shear * sin, -sin + shear * cos, zero, sin, cos, zero], dim=1).reshape(
        -1, 2, 3
    )
    grid = F.affine_grid(matrix.to(x.dtype), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


@checked
def random_affine(
    x: Tensor,
    degrees: float = 10.0,
    scale: float = 0.1,
    shear: float = 0.1,
    *,
    generator: Generator | None = None,
) -> Tensor:
    """`affine` with angles in +-degrees, sizes in 1 +- scale and shears in +-shear, uniform, for each image its own.

    Digits stand more than about 15 degrees of rotation badly, and no mirroring: 6 and 9 change places.

    Args:
        x: images (N, C, H, W), floating-point.
        degrees: largest angle, finite and >= 0.
        scale: largest change of size, in [0, 1).
        shear: largest shear, finite and >= 0.
        generator: draws from it and not from torch's global state; on x's device.

    Returns:
        x's shape and dtype.

    Raises:
        TypeError: x is not floating-point.
        ValueError: x is not (N, C, H, W); a bound out of range.
    """
    require_images("random_affine", x)
    require(0 <= scale < 1, "random_affine", "scale", "in [0, 1)", scale)
    for name, value in (("degrees", degrees), ("shear", shear)):
        require(0 <= value < math.inf, "random_affine", name, "finite and >= 0", value)
    u = 2 * torch.rand(3, len(x), generator=generator, device=x.device) - 1
    return affine(x, u[0] * math.radians(degrees), 1 + u[1] * scale, u[2] * shear)


@checked
def random_erase(x: Tensor, size: int, *, generator: Generator | None = None) -> Tensor:
    """Set a size x size square of each image to 0, its centre anywhere (cut off at the edges).

    Args:
        x: images (N, C, H, W), floating-point.
        size: the square's side in pixels, >= 0.
        generator: draws from it and not from torch's global state; on x's device.

    Returns:
        x's shape and dtype.

    Raises:
        TypeError: x is not floating-point.
        ValueError: x is not (N, C, H, W); size < 0.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    arXiv:1708.04552, section 3.2.
    """
    require_images("random_erase", x)
    require(size >= 0, "random_erase", "size", ">= 0", size)
    inside = []
    for axis in (2, 3):
        length = x.shape[axis]
        low = torch.randint(length, (len(x), 1), generator=generator, device=x.device) - size // 2
        index = torch.arange(length, device=x.device)
        inside.append((index >= low) & (index < low + size))
    hole = inside[0].unsqueeze(2) & inside[1].unsqueeze(1)
    return x * ~hole.unsqueeze(1)


@checked
def gaussian_noise(x: Tensor, std: float = 0.1, *, generator: Generator | None = None) -> Tensor:
    """x + N(0, std**2). For a linear model with squared error this is an L2 penalty of strength std**2 per sample.

    Args:
        x: any shape, floating-point.
        std: the noise's standard deviation, in x's units, >= 0.
        generator: draws from it and not from torch's global state; on x's device.

    Returns:
        x's shape and dtype.

    Raises:
        TypeError: x is not floating-point.
        ValueError: std < 0.

    Source: Bishop, "Training with Noise is Equivalent to Tikhonov Regularization", Neural Computation 7(1), 1995.
    """
    require_floating("gaussian_noise", x=x)
    require(std >= 0, "gaussian_noise", "std", ">= 0", std)
    return x + std * torch.empty_like(x).normal_(generator=generator)


@torch.no_grad()
@checked
def predict_with_shifts(model: nn.Module, x: Tensor, max_shift: int = 1) -> Tensor:
    """Mean of the model's class probabilities over all shifts of up to `max_shift` pixels (test-time augmentation).

    Args:
        model: images to logits (N, C), in evaluation mode; called (2 max_shift + 1)**2 times.
        x: images (N, C, H, W), floating-point.
        max_shift: pixels, >= 0.

    Returns:
        Probabilities (N, number of classes).

    Raises:
        TypeError: x is not floating-point.
        ValueError: x is not (N, C, H, W); max_shift < 0.
    """
    require_images("predict_with_shifts", x)
    require(max_shift >= 0, "predict_with_shifts", "max_shift", ">= 0", max_shift)
    offsets = range(-max_shift, max_shift + 1)
    zero = torch.zeros(len(x), dtype=torch.long, device=x.device)
    passes = [model(shift(x, zero + down, zero + right)).softmax(1) for down in offsets for right in offsets]
    return torch.stack(passes).mean(0)
