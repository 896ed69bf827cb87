"""Margin losses: a score costs nothing once it is on the right side by enough."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._check import ArgumentTypeError, check_values, checked, refusal, require, require_same_shape
from ._arguments import check_floating, check_reduction, reduce_loss, result_dtype, warn_if_broadcast, widen
from .classification import INDEX_DTYPES, gather_classes, torch_name


def _violation(where: str, input: Tensor, target: Tensor, margin: float) -> Tensor:
    """max(0, margin - t * x) for labels t = -1 or +1."""
    check_floating(where, "input", input)
    require(margin > 0, where, "margin", "> 0", margin)
    require_same_shape(where, input=input, target=target)
    x, t = widen(input), target.to(widen(input).dtype)
    check_values(where, "target", t * t, 1, 1, "-1 or +1 (for labels 0 and 1 pass 2 * target - 1)")
    return (margin - t * x).clamp_min(0)


@checked
def hinge_loss(input: Tensor, target: Tensor, *, margin: float = 1.0, reduction: str = "mean") -> Tensor:
    r"""Hinge loss of the support vector machine.

    With x the score and t the label:

        loss = max(0, margin - t * x)

    Args:
        input: shape (*), floating; scores, any real numbers.
        target: shape (*), the same as `input`; -1 or +1, of any dtype.
        margin: > 0, in units of the score.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in units of the score: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, margin <= 0, `reduction` is unknown, or a label is neither -1 nor +1 (looked
            at on the CPU only).

    Source: Cortes and Vapnik, "Support-Vector Networks", Machine Learning 20 (1995), 273-297.

    >>> hinge_loss(torch.tensor([0.5, 2.0, 0.5]), torch.tensor([1, 1, -1]), reduction="none")
    tensor([0.5000, 0.0000, 1.5000])
    """
    check_reduction("hinge_loss", reduction)
    loss = _violation("hinge_loss", input, target, margin)
    return reduce_loss(loss, reduction, input.dtype)


@checked
def squared_hinge_loss(
    input: Tensor, target: Tensor, *, margin: float = 1.0, reduction: str = "mean"
) -> Tensor:
    r"""Hinge loss, squared: it has a derivative everywhere, and large violations count more.

    With x the score and t the label:

        loss = max(0, margin - t * x)**2

    Args:
        input: shape (*), floating; scores, any real numbers.
        target: shape (*), the same as `input`; -1 or +1, of any dtype.
        margin: > 0, in units of the score.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in squared units of the score: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, margin <= 0, `reduction` is unknown, or a label is neither -1 nor +1 (looked
            at on the CPU only).

    Source: Tang, "Deep Learning using Linear Support Vector Machines", arXiv:1306.0239v4 (L2-SVM).

    >>> squared_hinge_loss(torch.tensor([0.5, 2.0, 0.5]), torch.tensor([1, 1, -1]), reduction="none")
    tensor([0.2500, 0.0000, 2.2500])
    """
    check_reduction("squared_hinge_loss", reduction)
    violation = _violation("squared_hinge_loss", input, target, margin)
    return reduce_loss(violation * violation, reduction, input.dtype)


@checked
def soft_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    r"""Logistic loss for labels -1 and +1.

    With x the score and t the label:

        loss = log(1 + exp(-t * x))

    It is binary cross-entropy from logits, written for other labels. Unlike torch's it does not overflow:
    t * x = -1000 costs 1000.

    Args:
        input: shape (*), floating; scores.
        target: shape (*), the same as `input`; -1 or +1.
            Another shape that broadcasts is accepted with a warning.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes do not fit, or `reduction` is unknown.

    Source: Hastie, Tibshirani and Friedman, "The Elements of Statistical Learning", 2nd ed. (2009), eq. 10.18
        (there with 2 t x).
    Same numbers as torch.nn.functional.soft_margin_loss (test_sample_values_and_gradients_match_torch).

    >>> loss = soft_margin_loss(torch.tensor([-1000.0, 0.0]), torch.tensor([1, 1]), reduction="none")
    >>> loss                                                              # 1000, log 2
    tensor([1.0000e+03, 6.9315e-01])
    """
    check_reduction("soft_margin_loss", reduction)
    check_floating("soft_margin_loss", "input", input)
    warn_if_broadcast("soft_margin_loss", input, target)

    loss = -F.logsigmoid(widen(target) * widen(input))
    return reduce_loss(loss, reduction, result_dtype(loss, input, target))


@checked
def hinge_embedding_loss(
    input: Tensor, target: Tensor, margin: float = 1.0, *, reduction: str = "mean"
) -> Tensor:
    r"""Pull similar pairs to distance 0, push dissimilar ones to at least the margin.

    With x a distance and t whether the pair is similar (+1) or not (-1):

        loss = x                     if t = 1
               max(0, margin - x)    if t = -1

    Args:
        input: shape (*); distances.
        target: shape (*), the same as `input`; +1 or -1.
            Another shape that broadcasts is accepted with a warning.
        margin: in units of the distance.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in units of the distance: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        ValueError: shapes do not fit, or `reduction` is unknown.

    Source: PyTorch's documentation of HingeEmbeddingLoss.
    Differs from it where the target is neither: the two cases are added, which is what torch computes.
    Same numbers as torch.nn.functional.hinge_embedding_loss (test_sample_values_and_gradients_match_torch).

    >>> hinge_embedding_loss(torch.tensor([0.5, 0.5, 3.0]), torch.tensor([1, -1, -1]), 2.0, reduction="none")
    tensor([0.5000, 1.5000, 0.0000])
    """
    check_reduction("hinge_embedding_loss", reduction)
    warn_if_broadcast("hinge_embedding_loss", input, target)

    x = widen(input)
    similar = torch.where(target != -1, x, 0)
    dissimilar = torch.where(target != 1, (margin - x).clamp_min(0), 0)
    return reduce_loss(similar + dissimilar, reduction, input.dtype)


@checked
def margin_ranking_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    r"""Ask that one score exceed another by a margin.

    With x1, x2 the scores and t = +1 where x1 should rank higher, -1 where x2 should:

        loss = max(0, -t * (x1 - x2) + margin)

    Args:
        input1: shape (*); scores.
        input2: shape (*), the same as `input1`.
        target: shape (*), the same; +1 or -1. Other shapes that broadcast are accepted with a warning.
        margin: in units of the score.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in units of the score: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        ValueError: the numbers of dimensions differ, shapes do not fit, or `reduction` is unknown.

    Source: Herbrich, Graepel and Obermayer, "Large Margin Rank Boundaries for Ordinal Regression" (2000).
    Same numbers as torch.nn.functional.margin_ranking_loss (test_sample_values_and_gradients_match_torch).

    >>> x1, x2, t = torch.tensor([1.0, 1.0]), torch.tensor([3.0, 3.0]), torch.tensor([1, -1])
    >>> margin_ranking_loss(x1, x2, t, 0.5, reduction="none")                  # 2 + 0.5, max(0, -2 + 0.5)
    tensor([2.5000, 0.0000])
    """
    where = "margin_ranking_loss"
    check_reduction(where, reduction)
    if not input1.dim() == input2.dim() == target.dim():
        shapes = f"input1: {input1.size()}, input2: {input2.size()}, target: {target.size()}"
        words = f"margin_ranking_loss : All input tensors should have same dimension but got sizes: {shapes}"
        raise refusal(where, "target", "of as many dimensions as both inputs", target.dim(), words)
    warn_if_broadcast(where, input1, input2)
    warn_if_broadcast(where, input1, target)

    loss = (-widen(target) * (widen(input1) - widen(input2)) + margin).clamp_min(0)
    return reduce_loss(loss, reduction, result_dtype(loss, input1, input2, target))


def _as_matrix(where: str, input: Tensor) -> Tensor:
    """Scores of shape (N, C), (C) or () as (N, C), in at least float32."""
    if input.dim() > 2 or 0 in input.shape[-1:]:
        words = f"Expected non-empty vector or matrix with optional 0-dim batch size, but got: {list(input.shape)}"
        raise refusal(where, "input", "of shape (C) or (N, C) with C >= 1", tuple(input.shape), words)
    return widen(input) if input.dim() == 2 else widen(input).reshape(1, -1)


def _check_index_dtype(where: str, target: Tensor) -> None:
    if target.dtype not in INDEX_DTYPES:
        words = f"expected scalar type Long but found {torch_name(target.dtype)}"
        raise refusal(where, "target", "int64", target.dtype, words, ArgumentTypeError)


@checked
def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
) -> Tensor:
    r"""Multi-class hinge loss: every other class should score less than the target class by the margin.

    With x the scores of C classes, y the target class and w the class weights (1 without):

        loss = sum over i != y of w_y * max(0, margin - x_y + x_i)**p / C

    Args:
        input: shape (N, C) or (C), floating; scores.
        target: shape (N), or () for one sample, int64; class indices in [0, C).
        p: 1 or 2.
        margin: in units of the score.
        weight: shape (C), or None.
        reduction: "none", "mean" (over samples) or "sum".

    Returns:
        Loss in (powers of) units of the score: shape () for "mean" and "sum", the target's shape for "none".

    Raises:
        TypeError: `input` is not floating-point or `target` is not of integers.
        ValueError: shapes do not fit, p is neither 1 nor 2, a class index is outside [0, C), or `reduction` is
            unknown.

    Source: Crammer and Singer, "On the Algorithmic Implementation of Multiclass Kernel-based Vector Machines",
        JMLR 2 (2001), 265-292; here, as in torch, the sum over the classes and not the worst class.
    Same numbers as torch.nn.functional.multi_margin_loss (test_sample_values_and_gradients_match_torch).
    Differs from torch for an empty batch, where torch returns uninitialized memory: nan for "mean", 0 for "sum".

    >>> multi_margin_loss(torch.tensor([0.5, 1.5, 0.5, 0.0]), torch.tensor(0)).item()    # (2 + 1 + .5) / 4
    0.875
    """
    where = "multi_margin_loss"
    check_reduction(where, reduction)
    if p not in (1, 2):
        raise refusal(where, "p", "1 or 2", p, "only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise refusal(where, "weight", "of shape (C)", tuple(weight.shape), "weight must be one-dimensional")
    check_floating(where, "input", input)
    x = _as_matrix(where, input)
    N, C = x.shape
    if target.numel() != N or target.dim() > 1:
        words = (
            f"target tensor should be 1-D with size equal to the input's batch size. Expected target size [{N}], "
            f"but got {list(target.shape)}; inconsistent target size, expected {N} but got {list(target.shape)}"
        )
        raise refusal(where, "target", f"of shape ({N},)", tuple(target.shape), words)
    if weight is not None and weight.shape != (C,):
        words = f"inconsistent weight size, expected {C} but got {list(weight.shape)}"
        raise refusal(where, "weight", f"of shape ({C},)", tuple(weight.shape), words)
    _check_index_dtype(where, target)

    y = target.long().reshape(N, 1)
    x_y = gather_classes(where, x, y)  # (N, 1)
    violation = (margin - x_y + x).clamp_min(0) ** p  # (N, C)
    if weight is not None:
        violation = widen(weight)[y] * violation
    loss = violation.scatter(1, y, 0.0).sum(dim=1) / C  # the target class itself does not count
    return reduce_loss(loss.reshape(target.shape), reduction, input.dtype)


@checked
def multilabel_margin_loss(input: Tensor, target: Tensor, *, reduction: str = "mean") -> Tensor:
    r"""Multi-label hinge loss: every label that holds should score more than every other class by 1.

    With x the scores of C classes and Y the classes that a row of the target lists, up to its first -1:

        loss = sum over j in Y and i not in Y of max(0, 1 - x_j + x_i) / C

    Memory and time grow with N * C**2.

    Args:
        input: shape (N, C) or (C), floating; scores.
        target: shape (N, C) or (C), the same as `input`, int64; class indices in [0, C), then -1 as the end.
        reduction: "none", "mean" (over samples) or "sum".

    Returns:
        Loss in units of the score: shape () for "mean" and "sum"; (N) or () for "none".

    Raises:
        TypeError: `input` is not floating-point or `target` is not of integers.
        ValueError: shapes do not fit, a class index is outside [-1, C), or `reduction` is unknown.

    Source: PyTorch's documentation of MultiLabelMarginLoss.
    Same numbers as torch.nn.functional.multilabel_margin_loss (test_sample_values_and_gradients_match_torch).
    Differs from torch for an empty batch, where torch returns uninitialized memory: nan for "mean", 0 for "sum".

    >>> x = torch.tensor([[0.25, 0.5, 1.0]])
    >>> target = torch.tensor([[2, -1, 0]])                          # Y = {2}: what follows the -1 is ignored
    >>> multilabel_margin_loss(x, target).item()                     # ((1 - 1 + .25) + (1 - 1 + .5)) / 3
    0.25
    """
    where = "multilabel_margin_loss"
    check_reduction(where, reduction)
    check_floating(where, "input", input)
    x = _as_matrix(where, input)
    if target.shape != input.shape:
        words = f"inconsistent target size: {list(target.shape)} for input of size: {list(input.shape)}"
        raise refusal(where, "target", "of the input's shape", tuple(target.shape), words)
    _check_index_dtype(where, target)

    slots = target.long().reshape(x.shape)
    listed = (slots != -1).long().cumprod(dim=1).bool()  # slots before the first -1
    y = torch.where(listed, slots, 0)
    x_y = gather_classes(where, x, y)  # (N, C): the score of each slot's class
    in_Y = torch.zeros_like(y).scatter_add(1, y, listed.long()) > 0  # (N, C): classes listed
    violation = (1 - x_y.unsqueeze(2) + x.unsqueeze(1)).clamp_min(0)  # (N, slots, C)
    counts = listed.unsqueeze(2) & ~in_Y.unsqueeze(1)
    loss = torch.where(counts, violation, 0).sum(dim=(1, 2)) / x.shape[1]
    return reduce_loss(loss if input.dim() == 2 else loss.squeeze(0), reduction, input.dtype)
