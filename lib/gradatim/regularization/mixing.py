"""Training on mixtures of samples: mixup and CutMix, with targets mixed in the same proportion."""

import math

import torch
from torch import Generator, Tensor

from .._check import check_values, checked, require, require_floating


def beta_sample(
    alpha: float, shape: tuple[int, ...], like: Tensor, generator: Generator | None = None
) -> Tensor:
    """Draws from Beta(alpha, alpha), on the device of `like`: X / (X + Y) with X, Y from Gamma(alpha).

    Small alpha: mostly near 0 or 1; 1: uniform; large: near 1/2.
    """
    concentration = torch.full((2, *shape), alpha, dtype=torch.float32, device=like.device)
    x, y = torch._standard_gamma(concentration, generator=generator)
    tiny = torch.finfo(torch.float32).tiny  # for small alpha both may be rounded to 0
    return (x + tiny) / (x + y + 2 * tiny)


def soft_targets(where: str, target: Tensor, num_classes: int | None) -> Tensor:
    """Class numbers (N,) as rows that are 1 at the class; probabilities (N, C) as they are."""
    if target.is_floating_point():
        rule = "of shape (N, C), or class numbers of an integer dtype"
        require(target.dim() == 2, where, "target", rule, f"{target.dtype} of shape {tuple(target.shape)}")
        return target
    ok = num_classes is not None and num_classes >= 1
    require(ok, where, "num_classes", "given, >= 1, for a target of class numbers", num_classes)
    require(target.dim() == 1, where, "target", "of shape (N,)", tuple(target.shape))
    check_values(where, "target", target, 0, (num_classes or 1) - 1)
    rows = torch.zeros(len(target), num_classes or 1, device=target.device)
    return rows.scatter(1, target.long().unsqueeze(1), 1.0)


def mixed(a: Tensor, b: Tensor, lam: Tensor) -> Tensor:
    """lam * a + (1 - lam) * b, with lam one number or one per sample."""
    lam = lam.to(a.dtype).reshape(-1, *[1] * (a.dim() - 1)) if lam.dim() else lam.to(a.dtype)
    return lam * a + (1 - lam) * b


def check_batch(where: str, x: Tensor, target: Tensor, alpha: float) -> None:
    """Refuse integers, batches of unequal length and alpha <= 0."""
    require_floating(where, x=x)
    require(x.dim() >= 1 and len(x) > 0, where, "x", "of shape (N, *), N >= 1", tuple(x.shape))
    require(target.dim() >= 1, where, "target", "of shape (N,) or (N, C)", tuple(target.shape))
    require(len(target) == len(x), where, "target", f"of {len(x)} samples, as x", len(target))
    require(0 < alpha < math.inf, where, "alpha", "finite and > 0", alpha)


@checked
def mixup(
    x: Tensor,
    target: Tensor,
    alpha: float = 0.2,
    num_classes: int | None = None,
    *,
    per_sample: bool = False,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Mix every sample with another one of the batch.

        lam ~ Beta(alpha, alpha);   x' = lam x_i + (1 - lam) x_j,   y' = lam y_i + (1 - lam) y_j       j: a permutation

    Train with a cross-entropy that takes probabilities; y' has no single class. For training batches only.

    Args:
        x: shape (N, *), N >= 1, floating-point.
        target: class numbers (N,), with `num_classes`, or probabilities (N, C).
        alpha: both parameters of the Beta distribution, finite and > 0.
        num_classes: C, for class numbers.
        per_sample: a lam for each sample instead of one for the batch.
        generator: draws from it and not from torch's global state; on x's device.

    Returns:
        x' of x's shape, and y', probabilities (N, C).

    Raises:
        TypeError: x is not floating-point.
        ValueError: an empty batch; another number of targets; a class outside 0 .. C - 1; alpha out of range.

    Source: Zhang et al., "mixup", arXiv:1710.09412, section 2.

    >>> x, y = mixup(torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1]), num_classes=2)
    >>> torch.allclose(x[:, 0], y[:, 1])           # the share of sample 1 is the same in both
    True
    """
    check_batch("mixup", x, target, alpha)
    y = soft_targets("mixup", target, num_classes)
    lam = beta_sample(alpha, (len(x),) if per_sample else (), x, generator)
    j = torch.randperm(len(x), generator=generator, device=x.device)
    return mixed(x, x[j], lam), mixed(y, y[j], lam)


@checked
def random_box(
    height: int, width: int, lam: Tensor, like: Tensor, generator: Generator | None = None
) -> Tensor:
    """Masks (K, height, width), true in a box of about the share 1 - lam, with a random centre, cut off at the edges.

    Args:
        height: H >= 0, pixels.
        width: W >= 0, pixels.
        lam: shape (K,), in [0, 1], floating-point: the share that stays outside.
        like: a tensor on the device to draw on.
        generator: draws from it and not from torch's global state; on that device.

    Returns:
        Booleans, shape (K, H, W).

    Raises:
        TypeError: `lam` is not floating-point.
        ValueError: a negative size; `lam` of another shape or outside [0, 1].
    """
    require_floating("random_box", lam=lam)
    require(lam.dim() == 1, "random_box", "lam", "of shape (K,)", tuple(lam.shape))
    for name, size in (("height", height), ("width", width)):
        require(size >= 0, "random_box", name, ">= 0", size)
    check_values("random_box", "lam", lam, 0, 1)
    side = (1 - lam).sqrt()
    u = torch.rand(2, len(lam), device=like.device, generator=generator)
    inside = []
    for size, centre in ((height, u[0]), (width, u[1])):
        middle, half = (centre * size).floor(), (side * size).floor() / 2
        low = (middle - half).floor().clamp(0, size)
        high = (middle + half).floor().clamp(0, size)
        index = torch.arange(size, device=like.device)
        inside.append((index >= low.unsqueeze(1)) & (index < high.unsqueeze(1)))
    return inside[0].unsqueeze(2) & inside[1].unsqueeze(1)


@checked
def cutmix(
    x: Tensor,
    target: Tensor,
    alpha: float = 1.0,
    num_classes: int | None = None,
    *,
    per_sample: bool = False,
    generator: Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Paste a box from another image of the batch into every image.

        lam ~ Beta(alpha, alpha);  a box with sides sqrt(1 - lam) H and sqrt(1 - lam) W around a random centre
        x' = x_i outside the box, x_j inside;   y' = share y_i + (1 - share) y_j
        share = 1 - (pixels in the box) / (H W)         counted, not lam: the box may be cut off at the edge

    Args:
        x: images (N, C, H, W), N >= 1, floating-point.
        target: class numbers (N,), with `num_classes`, or probabilities (N, number of classes).
        alpha: both parameters of the Beta distribution, finite and > 0.
        num_classes: for class numbers.
        per_sample: a box for each image instead of one for the batch.
        generator: draws from it and not from torch's global state; on x's device.

    Returns:
        x' of x's shape, and y', probabilities (N, number of classes).

    Raises:
        TypeError: x is not floating-point.
        ValueError: x is not (N, C, H, W); the rest as `mixup`.

    Source: Yun et al., "CutMix", arXiv:1905.04899, section 3.1.
    """
    check_batch("cutmix", x, target, alpha)
    require(x.dim() == 4, "cutmix", "x", "of shape (N, C, H, W)", tuple(x.shape))
    y = soft_targets("cutmix", target, num_classes)
    lam = beta_sample(alpha, (len(x) if per_sample else 1,), x, generator)
    j = torch.randperm(len(x), generator=generator, device=x.device)
    box = random_box(x.shape[2], x.shape[3], lam, x, generator)
    share = 1 - box.float().mean((1, 2))
    return torch.where(box.unsqueeze(1), x[j], x), mixed(y, y[j], share)
