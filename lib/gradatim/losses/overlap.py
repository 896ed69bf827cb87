"""Overlap losses for segmentation: a ratio of sums over a region, not a sum over elements."""

from torch import Tensor

from .._check import check_values, checked, require, require_dim, require_same_shape
from ._arguments import check_floating, check_reduction, reduce_loss, widen

Dims = int | tuple[int, ...] | None


def _prepare(
    where: str, input: Tensor, target: Tensor, dim: Dims, reduction: str
) -> tuple[Tensor, Tensor, Dims]:
    """Checked and widened probabilities p and mask g, and the dimensions of one region."""
    check_reduction(where, reduction)
    check_floating(where, "input", input)
    require_same_shape(where, input=input, target=target)
    require(input.dim() >= 1, where, "input", "of shape (N, *)", tuple(input.shape))
    for axis in dim if isinstance(dim, (tuple, list)) else () if dim is None else (dim,):
        require_dim(where, axis, input.dim())
    p = widen(input)
    g = target.to(p.dtype)
    check_values(where, "input", p, 0, 1, "probabilities in [0, 1], not logits")
    check_values(where, "target", g, 0, 1)
    if dim is None:
        dim = tuple(range(1, p.dim())) or (0,)
    return p, g, dim


@checked(boolean=("target",))
def dice_loss(
    input: Tensor,
    target: Tensor,
    *,
    eps: float = 1.0,
    squared: bool = False,
    dim: Dims = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Soft Dice loss: one minus twice the overlap over the total size.

    With p the predicted probabilities, g the mask, and the sums over one region (by default one sample):

        loss = 1 - (2 * sum(p * g) + eps) / (sum(p) + sum(g) + eps)             squared = False
               1 - (2 * sum(p * g) + eps) / (sum(p**2) + sum(g**2) + eps)       squared = True

    A region whose mask and prediction are both empty costs 0 (if eps > 0). Dice is a ratio: the loss of a batch
    taken as one region is not the mean of its samples' losses.

    Args:
        input: shape (N, *), floating; probabilities in [0, 1], not logits. Shape (M) is one region.
        target: shape (N, *), the same as `input`, of any dtype; in [0, 1].
        eps: >= 0, in elements; added above and below.
        squared: square the terms of the denominator, as V-Net does.
        dim: the dimensions that one region spans; None for all but the first. For (N, C, H, W), dim=(2, 3) gives a
            loss for each sample and class, dim=(0, 2, 3) pools the batch.
        reduction: "none", "mean" or "sum", over the regions.

    Returns:
        Loss in [0, 1]: shape () for "mean" and "sum", the input's shape without `dim` for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, eps < 0, `reduction` is unknown, or a value lies outside [0, 1] (looked at on
            the CPU only).

    Source: Milletari, Navab and Ahmadi, "V-Net", arXiv:1606.04797v1, sec. 3 (squared = True).
    Differs from the paper: eps, which the paper does not have, and the paper maximises the coefficient.

    >>> p, g = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.tensor([[1, 0, 0, 0]])
    >>> round(dice_loss(p, g, eps=0.0).item(), 4)              # 1 - 2 * 1 / (2 + 1)
    0.3333
    """
    require(eps >= 0, "dice_loss", "eps", ">= 0", eps)
    p, g, dim = _prepare("dice_loss", input, target, dim, reduction)

    overlap = (p * g).sum(dim)
    total = (p * p).sum(dim) + (g * g).sum(dim) if squared else p.sum(dim) + g.sum(dim)
    loss = 1 - (2 * overlap + eps) / (total + eps)
    return reduce_loss(loss, reduction, input.dtype)


@checked(boolean=("target",))
def tversky_loss(
    input: Tensor,
    target: Tensor,
    *,
    alpha: float = 0.5,
    beta: float = 0.5,
    eps: float = 1.0,
    dim: Dims = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Tversky loss: a Dice loss in which false positives and false negatives cost differently.

    With p the predicted probabilities, g the mask, and the sums over one region (by default one sample):

        TP = sum(p * g)      FP = sum(p * (1 - g))      FN = sum((1 - p) * g)
        loss = 1 - (TP + eps) / (TP + alpha * FP + beta * FN + eps)

    alpha = beta = 1/2 gives `dice_loss` with twice the eps; alpha = beta = 1 the Jaccard (IoU) loss.

    Args:
        input: shape (N, *), floating; probabilities in [0, 1], not logits. Shape (M) is one region.
        target: shape (N, *), the same as `input`, of any dtype; in [0, 1].
        alpha: >= 0; what a false positive costs.
        beta: >= 0; what a false negative costs.
        eps: >= 0, in elements; added above and below.
        dim: the dimensions that one region spans; None for all but the first.
        reduction: "none", "mean" or "sum", over the regions.

    Returns:
        Loss in [0, 1]: shape () for "mean" and "sum", the input's shape without `dim` for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, alpha, beta or eps < 0, `reduction` is unknown, or a value lies outside [0, 1]
            (looked at on the CPU only).

    Source: Salehi, Erdogmus and Gholipour, "Tversky loss function for image segmentation using 3D fully
        convolutional deep networks", arXiv:1706.05721v1.
    Differs from the paper: eps, and the loss is one minus the paper's index.

    >>> p, g = torch.tensor([[1.0, 1.0, 0.0, 0.0]]), torch.tensor([[1, 0, 0, 1]])   # TP = FP = FN = 1
    >>> round(tversky_loss(p, g, alpha=0.25, beta=0.75, eps=0.0).item(), 4)         # 1 - 1 / (1 + .25 + .75)
    0.5
    """
    where = "tversky_loss"
    for name, value in (("alpha", alpha), ("beta", beta), ("eps", eps)):
        require(value >= 0, where, name, ">= 0", value)
    p, g, dim = _prepare(where, input, target, dim, reduction)

    true_positives = (p * g).sum(dim)
    false_positives = (p * (1 - g)).sum(dim)
    false_negatives = ((1 - p) * g).sum(dim)
    loss = 1 - (true_positives + eps) / (
        true_positives + alpha * false_positives + beta * false_negatives + eps
    )
    return reduce_loss(loss, reduction, input.dtype)
