"""Metrics: what a model is judged by. Losses are what it is trained on.

Arguments in torch's order, prediction first (scikit-learn's functions take the target first). Results are tensors on
the inputs' device, in float64 where the device has it; nothing is read on the host but where it says so. The same
numbers as scikit-learn's functions of the same meaning (test_metrics.py).
"""

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ._check import (
    check_values,
    checked,
    require,
    require_floating,
    require_same_shape,
    require_tensor,
    require_type,
)

__all__ = [
    "Reliability",
    "RocCurve",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "brier_score",
    "confusion_matrix",
    "expected_calibration_error",
    "f1",
    "f_beta",
    "log_loss",
    "mean_absolute_error",
    "mean_squared_error",
    "precision",
    "r2_score",
    "recall",
    "reliability",
    "roc_auc",
    "roc_curve",
    "root_mean_squared_error",
    "top_k_accuracy",
]

Average = Literal["binary", "micro", "macro", "weighted"] | None
AVERAGES = ("binary", "micro", "macro", "weighted", None)


def wide(x: Tensor) -> Tensor:
    """float64, or float32 on devices without it (MPS)."""
    return x.to(torch.float32 if x.device.type == "mps" else torch.float64)


def require_labels(where: str, prediction: Tensor, target: Tensor) -> None:
    """Refuse probabilities or logits, other shapes and empty tensors."""
    require_same_shape(where, prediction=prediction, target=target)
    require(prediction.numel() > 0, where, "prediction", "at least one value", tuple(prediction.shape))
    for name, x in (("prediction", prediction), ("target", target)):
        require(
            not x.is_floating_point(), where, name, "of class numbers (an integer or bool dtype)", x.dtype
        )


@checked(boolean=("prediction", "target"))
def accuracy(prediction: Tensor, target: Tensor) -> Tensor:
    """The share of predictions that are right.

    Args:
        prediction: class numbers, any shape, of an integer dtype or bool; not empty.
        target: class numbers, of the same shape.

    Returns:
        A number in [0, 1], shape ().

    Raises:
        ValueError: the shapes differ, are empty, or the dtype is floating-point.

    >>> accuracy(torch.tensor([0, 1, 2, 2]), torch.tensor([0, 1, 1, 2])).item()
    0.75
    """
    require_labels("accuracy", prediction, target)
    return wide(prediction == target).mean()


@checked
def top_k_accuracy(scores: Tensor, target: Tensor, k: int = 5) -> Tensor:
    """The share of samples whose class is among the k highest scores.

    Args:
        scores: shape (N, C); the larger, the likelier.
        target: class numbers, shape (N,).
        k: in 1 .. C.

    Returns:
        A number in [0, 1], shape (); nan for N = 0.

    Raises:
        ValueError: another shape; k out of range.

    >>> top_k_accuracy(torch.tensor([[0.1, 0.3, 0.6]]), torch.tensor([1]), k=2).item()
    1.0
    """
    require_tensor("top_k_accuracy", scores=scores, target=target)
    require(scores.dim() == 2, "top_k_accuracy", "scores", "of shape (N, C)", tuple(scores.shape))
    require(1 <= k <= scores.shape[1], "top_k_accuracy", "k", f"in 1 .. C = {scores.shape[1]}", k)
    require(
        target.shape == scores.shape[:1], "top_k_accuracy", "target", "of shape (N,)", tuple(target.shape)
    )
    return wide((scores.topk(k, dim=1).indices == target.unsqueeze(1)).any(1)).mean()


@checked(boolean=("prediction", "target"))
def confusion_matrix(prediction: Tensor, target: Tensor, num_classes: int | None = None) -> Tensor:
    """How often class i (row) was predicted as class j (column).

    Args:
        prediction: class numbers in 0 .. num_classes - 1, any shape, of an integer dtype or bool; not empty.
        target: class numbers, of the same shape.
        num_classes: C; None reads the largest class number on the host.

    Returns:
        Counts, shape (C, C), int64.

    Raises:
        ValueError: the shapes differ, are empty, or the dtype is floating-point; a class number out of range.

    >>> confusion_matrix(torch.tensor([0, 1, 1]), torch.tensor([0, 0, 1]))
    tensor([[1, 1],
            [0, 1]])
    """
    require_labels("confusion_matrix", prediction, target)
    if num_classes is None:
        num_classes = int(torch.maximum(prediction.max(), target.max()).item()) + 1
    where, most = "confusion_matrix", num_classes - 1
    require(num_classes >= 1, where, "num_classes", ">= 1", num_classes)
    valid = (prediction >= 0) & (prediction <= most) & (target >= 0) & (target <= most)
    pairs = (target.long() * num_classes + prediction.long()).flatten()
    pairs = torch.where(valid.flatten(), pairs, num_classes**2)  # out of range: refused below, without a look
    counts = torch.zeros(num_classes**2, dtype=torch.long, device=pairs.device)
    try:
        counts = counts.index_add(0, pairs, torch.ones_like(pairs))
    except IndexError:
        for name, x in (("prediction", prediction), ("target", target)):
            check_values(where, name, x, 0, most, f"class numbers in 0 .. {most}")
        raise
    return counts.reshape(num_classes, num_classes)


def ratio(numerator: Tensor, denominator: Tensor, zero_division: float) -> Tensor:
    """numerator / denominator; `zero_division` where that is 0 / 0."""
    return torch.where(denominator > 0, wide(numerator) / denominator, zero_division)


def averaged(
    where: str, matrix: Tensor, average: Average, of: str, beta: float, zero_division: float
) -> Tensor:
    """Precision, recall or F-beta from a confusion matrix, averaged over classes as asked."""
    require(average in AVERAGES, where, "average", f"one of {AVERAGES}", average)
    if average == "binary":
        rule = "a problem with classes 0 and 1 when average='binary'"
        require(matrix.shape[0] <= 2, where, "prediction and target", rule, f"{matrix.shape[0]} classes")
        matrix = torch.nn.functional.pad(matrix, (0, 2 - matrix.shape[0]) * 2)
    hits, predicted, actual = (wide(counts) for counts in (matrix.diagonal(), matrix.sum(0), matrix.sum(1)))
    if average == "micro":
        hits, predicted, actual = hits.sum(), predicted.sum(), actual.sum()
    score = {
        "precision": lambda: ratio(hits, predicted, zero_division),
        "recall": lambda: ratio(hits, actual, zero_division),
        "f": lambda: ratio((1 + beta * beta) * hits, beta * beta * actual + predicted, zero_division),
    }[of]()
    if average == "binary":
        return score[1]
    if average == "macro":  # over the classes that occur, as scikit-learn
        occurs = (predicted + actual) > 0
        return torch.where(occurs, score, 0.0).sum() / occurs.sum()
    if average == "weighted":
        return (score * actual).sum() / actual.sum()
    return score


@checked(boolean=("prediction", "target"))
def precision(
    prediction: Tensor,
    target: Tensor,
    average: Average = "binary",
    num_classes: int | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """Of the predicted positives, the share that is positive: hits / predicted.

    Args:
        prediction: class numbers, any shape, of an integer dtype or bool; not empty.
        target: class numbers, of the same shape.
        average: "binary": of class 1. None: one per class. "macro": their mean over the classes that occur.
            "weighted": weighted by the classes' sizes. "micro": hits and predictions of all classes together.
        num_classes: C; None reads the largest class number on the host.
        zero_division: the value of 0 / 0.

    Returns:
        A number in [0, 1], shape (); shape (C,) for average=None.

    Raises:
        ValueError: the shapes differ, are empty, or the dtype is floating-point; a class number out of range; an
            unknown `average`; more than two classes for "binary".

    >>> precision(torch.tensor([1, 1, 1, 0]), torch.tensor([1, 1, 0, 1])).item()   # 2 of 3
    0.6666666666666666
    """
    matrix = confusion_matrix(prediction, target, num_classes)
    return averaged("precision", matrix, average, "precision", 1.0, zero_division)


@checked(boolean=("prediction", "target"))
def recall(
    prediction: Tensor,
    target: Tensor,
    average: Average = "binary",
    num_classes: int | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """Of the positives, the share that is found: hits / actual. Arguments, result and errors as `precision`.

    >>> recall(torch.tensor([1, 1, 1, 0]), torch.tensor([1, 1, 0, 0])).item()
    1.0
    """
    matrix = confusion_matrix(prediction, target, num_classes)
    return averaged("recall", matrix, average, "recall", 1.0, zero_division)


@checked(boolean=("prediction", "target"))
def f_beta(
    prediction: Tensor,
    target: Tensor,
    beta: float = 1.0,
    average: Average = "binary",
    num_classes: int | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """The weighted harmonic mean of precision and recall; beta > 1 gives recall the larger weight.

        F = (1 + beta**2) * P * R / (beta**2 * P + R) = (1 + beta**2) * hits / (beta**2 * actual + predicted)

    Args:
        prediction: class numbers, any shape, of an integer dtype or bool; not empty.
        target: class numbers, of the same shape.
        beta: > 0.
        average: see `precision`.
        num_classes: C; None reads the largest class number on the host.
        zero_division: the value of 0 / 0.

    Returns:
        A number in [0, 1], shape (); shape (C,) for average=None.

    Raises:
        ValueError: beta <= 0; the rest as `precision`.
    """
    require(beta > 0, "f_beta", "beta", "> 0", beta)
    matrix = confusion_matrix(prediction, target, num_classes)
    return averaged("f_beta", matrix, average, "f", beta, zero_division)


@checked(boolean=("prediction", "target"))
def f1(
    prediction: Tensor,
    target: Tensor,
    average: Average = "binary",
    num_classes: int | None = None,
    zero_division: float = 0.0,
) -> Tensor:
    """`f_beta` with beta 1: 2 P R / (P + R). Arguments, result and errors as there.

    >>> f1(torch.tensor([1, 1, 1, 0]), torch.tensor([1, 1, 0, 0])).item()   # P = 2/3, R = 1
    0.8
    """
    return f_beta(prediction, target, 1.0, average, num_classes, zero_division)


@checked(boolean=("prediction", "target"))
def balanced_accuracy(prediction: Tensor, target: Tensor, num_classes: int | None = None) -> Tensor:
    """The mean of the recalls of the classes that occur in `target`: 1 / C for a constant prediction.

    Args:
        prediction: class numbers, any shape, of an integer dtype or bool; not empty.
        target: class numbers, of the same shape.
        num_classes: C; None reads the largest class number on the host.

    Returns:
        A number in [0, 1], shape ().

    Raises:
        ValueError: as `confusion_matrix`.

    >>> balanced_accuracy(torch.tensor([0, 0, 0, 0]), torch.tensor([0, 0, 0, 1])).item()
    0.5
    """
    matrix = confusion_matrix(prediction, target, num_classes)
    actual = matrix.sum(1)
    return ratio(matrix.diagonal(), actual, 0.0).sum() / (actual > 0).sum()


def require_scores(where: str, scores: Tensor, target: Tensor) -> None:
    """Refuse other shapes than (N,), integer scores, empty tensors."""
    require_same_shape(where, scores=scores, target=target)
    require_floating(where, scores=scores)
    require(
        scores.dim() == 1 and scores.numel() > 0,
        where,
        "scores",
        "of shape (N,), N >= 1",
        tuple(scores.shape),
    )


@checked(boolean=("target",))
def roc_auc(scores: Tensor, target: Tensor) -> Tensor:
    """The probability that a positive scores higher than a negative; ties count half.

        AUC = (R - P (P + 1) / 2) / (P N)        R: sum of the positives' ranks, equal scores sharing their mean rank

    Args:
        scores: shape (N,), N >= 1, floating-point; any increasing function of the probability.
        target: 0 and 1, shape (N,).

    Returns:
        A number in [0, 1], shape (); nan if one of the two classes does not occur. 1/2 is chance.

    Raises:
        TypeError: `scores` is not floating-point.
        ValueError: another shape, or an empty one.

    >>> roc_auc(torch.tensor([0.1, 0.4, 0.4, 0.8]), torch.tensor([0, 0, 1, 1])).item()   # 3.5 of 4 pairs
    0.875
    """
    require_scores("roc_auc", scores, target)
    positive = wide(target)
    ordered = scores.sort().values
    below = torch.searchsorted(ordered, scores)
    up_to = torch.searchsorted(ordered, scores, right=True)
    ranks = wide(below + up_to + 1) / 2
    P = positive.sum()
    N = positive.numel() - P
    return ((ranks * positive).sum() - P * (P + 1) / 2) / (P * N)


class RocCurve(NamedTuple):
    """The curve of `roc_curve`, from the highest threshold, infinite, to the lowest.

    Args:
        false_positive_rate: share of the negatives that score at least the threshold, shape (K + 1,).
        true_positive_rate: share of the positives that do, shape (K + 1,).
        thresholds: the scores that occur, descending, after infinity, shape (K + 1,).
    """

    false_positive_rate: Tensor
    true_positive_rate: Tensor
    thresholds: Tensor


@checked(boolean=("target",))
def roc_curve(scores: Tensor, target: Tensor) -> RocCurve:
    """The rates of false and true positives at every threshold that occurs. Reads their number on the host.

    Args:
        scores: shape (N,), N >= 1, floating-point; any increasing function of the probability.
        target: 0 and 1, shape (N,).

    Returns:
        Three tensors (K + 1,) for K different scores; a rate is nan if its class does not occur.

    Raises:
        TypeError: `scores` is not floating-point.
        ValueError: another shape, or an empty one.
    """
    require_scores("roc_curve", scores, target)
    order = scores.argsort(descending=True, stable=True)
    s, positive = scores[order], wide(target)[order]
    last = torch.cat([s[1:] != s[:-1], torch.ones(1, dtype=torch.bool, device=s.device)])
    true, false = positive.cumsum(0)[last], (1 - positive).cumsum(0)[last]
    zero = torch.zeros_like(true[:1])
    true, false = torch.cat([zero, true]), torch.cat([zero, false])
    infinite = torch.full_like(s[:1], torch.inf)
    return RocCurve(false / false[-1], true / true[-1], torch.cat([infinite, s[last]]))


@checked(boolean=("target",))
def average_precision(scores: Tensor, target: Tensor) -> Tensor:
    """The mean, over the positives, of the precision at the threshold that just includes them.

    Args:
        scores: shape (N,), N >= 1, floating-point; any increasing function of the probability.
        target: 0 and 1, shape (N,).

    Returns:
        A number in [0, 1], shape (); nan without a positive. The share of positives is chance.

    Raises:
        TypeError: `scores` is not floating-point.
        ValueError: another shape, or an empty one.

    >>> average_precision(torch.tensor([0.9, 0.8, 0.7]), torch.tensor([1, 0, 1])).item()   # (1/1 + 2/3) / 2
    0.8333333333333333
    """
    require_scores("average_precision", scores, target)
    positive = wide(target)
    ordered, order = scores.sort()
    first = torch.searchsorted(ordered, scores)  # how many score lower
    total = positive.numel() - first
    lower = torch.cat([positive.new_zeros(1), positive[order].cumsum(0)])
    precision_there = (positive.sum() - lower[first]) / total
    return (precision_there * positive).sum() / positive.sum()


class Reliability(NamedTuple):
    """The points of a reliability diagram, see `reliability`.

    Args:
        samples: how many fall into each bin, shape (bins,).
        confidence: their mean confidence, 0 in empty bins.
        accuracy: the share that is right, 0 in empty bins.
    """

    samples: Tensor
    confidence: Tensor
    accuracy: Tensor


@checked(boolean=("correct",))
def reliability(confidence: Tensor, correct: Tensor, bins: int = 10) -> Reliability:
    """The points of a reliability diagram, with equal bins (k / bins, (k + 1) / bins].

    Args:
        confidence: shape (N,), N >= 1, in [0, 1], floating-point.
        correct: shape (N,): whether the prediction was right (or, for a binary model's probability of class 1, the
            target).
        bins: their number, >= 1.

    Returns:
        Three tensors (bins,); empty bins hold 0.

    Raises:
        TypeError: `confidence` is not floating-point.
        ValueError: another shape, or an empty one; bins < 1.
    """
    require_scores("reliability", confidence, correct)
    require(bins >= 1, "reliability", "bins", ">= 1", bins)
    inner = torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1].to(confidence)
    index = torch.searchsorted(inner, confidence)
    zeros = wide(confidence.new_zeros(bins))
    count = zeros.index_add(0, index, torch.ones_like(wide(confidence)))
    total_confidence = zeros.index_add(0, index, wide(confidence))
    total_correct = zeros.index_add(0, index, wide(correct))
    return Reliability(count, ratio(total_confidence, count, 0.0), ratio(total_correct, count, 0.0))


@checked(boolean=("correct",))
def expected_calibration_error(confidence: Tensor, correct: Tensor, bins: int = 10) -> Tensor:
    """The mean gap between confidence and accuracy, weighted by the bins' sizes.

        ECE = sum over bins of (n_b / N) * |accuracy_b - confidence_b|

    For a classifier: confidence = probabilities.max(1), correct = (its class == target).

    Args:
        confidence: shape (N,), N >= 1, in [0, 1], floating-point.
        correct: shape (N,): whether the prediction was right.
        bins: their number, >= 1.

    Returns:
        A number in [0, 1], shape ().

    Raises:
        TypeError: `confidence` is not floating-point.
        ValueError: another shape, or an empty one; bins < 1.

    Source: Guo et al., "On Calibration of Modern Neural Networks", arXiv:1706.04599, eq. 3.

    >>> expected_calibration_error(torch.tensor([0.75, 0.75]), torch.tensor([True, False])).item()
    0.25
    """
    count, mean_confidence, mean_correct = reliability(confidence, correct, bins)
    return (count * (mean_correct - mean_confidence).abs()).sum() / count.sum()


@checked(boolean=("target",))
def brier_score(probability: Tensor, target: Tensor) -> Tensor:
    """The mean squared distance of the probability of class 1 from the target, 0 or 1.

    Args:
        probability: of class 1, shape (N,), N >= 1, floating-point.
        target: 0 and 1, shape (N,).

    Returns:
        A number in [0, 1], shape ().

    Raises:
        TypeError: `probability` is not floating-point.
        ValueError: another shape, or an empty one.

    >>> brier_score(torch.tensor([0.5, 1.0]), torch.tensor([1, 1])).item()
    0.125
    """
    require_scores("brier_score", probability, target)
    return (wide(probability) - wide(target)).square().mean()


@checked
def log_loss(probabilities: Tensor, target: Tensor) -> Tensor:
    """The mean of -log(probability of the right class), in nats.

    Probabilities are limited to [eps, 1 - eps] of their dtype, as scikit-learn's. Reads the class numbers on the host.

    Args:
        probabilities: shape (N, C), N >= 1, floating-point.
        target: class numbers in 0 .. C - 1, shape (N,), of an integer dtype.

    Returns:
        A number >= 0 in nats, shape ().

    Raises:
        TypeError: `probabilities` is not floating-point, or `target` not of an integer dtype.
        ValueError: another shape, or an empty one; a class number out of range.
    """
    require_tensor("log_loss", probabilities=probabilities, target=target)
    require(
        probabilities.dim() == 2, "log_loss", "probabilities", "of shape (N, C)", tuple(probabilities.shape)
    )
    require_floating("log_loss", probabilities=probabilities)
    require(
        target.shape == probabilities.shape[:1], "log_loss", "target", "of shape (N,)", tuple(target.shape)
    )
    require(target.numel() > 0, "log_loss", "target", "at least one class", tuple(target.shape))
    whole = not (target.is_floating_point() or target.is_complex())
    require_type(whole, "log_loss", "target", "of an integer dtype", target.dtype)
    classes, (low, high) = probabilities.shape[1], target.aminmax()
    right = bool((low >= 0) & (high < classes))
    require(right, "log_loss", "target", f"in 0 .. {classes - 1}", f"{low.item()} to {high.item()}")
    eps = torch.finfo(probabilities.dtype).eps
    p = wide(probabilities).clamp(eps, 1 - eps)
    return -p.gather(1, target.long().unsqueeze(1)).log().mean()


@checked
def mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """mean((prediction - target)**2), in the target's units squared.

    Args:
        prediction: any shape, not empty.
        target: of the same shape.

    Returns:
        A number >= 0, shape ().

    Raises:
        ValueError: the shapes differ or are empty.

    >>> mean_squared_error(torch.tensor([1.0, 3.0]), torch.tensor([1.0, 1.0])).item()
    2.0
    """
    return residuals("mean_squared_error", prediction, target).square().mean()


@checked
def root_mean_squared_error(prediction: Tensor, target: Tensor) -> Tensor:
    """The square root of `mean_squared_error`, in the target's units.

    Args:
        prediction: any shape, not empty.
        target: of the same shape.

    Returns:
        A number >= 0, shape ().

    Raises:
        ValueError: the shapes differ or are empty.
    """
    return residuals("root_mean_squared_error", prediction, target).square().mean().sqrt()


@checked
def mean_absolute_error(prediction: Tensor, target: Tensor) -> Tensor:
    """mean(|prediction - target|), in the target's units.

    Args:
        prediction: any shape, not empty.
        target: of the same shape.

    Returns:
        A number >= 0, shape ().

    Raises:
        ValueError: the shapes differ or are empty.
    """
    return residuals("mean_absolute_error", prediction, target).abs().mean()


@checked
def r2_score(prediction: Tensor, target: Tensor) -> Tensor:
    """1 - (squared error) / (squared error of predicting the target's mean): 1 is perfect, 0 no better than that.

    Args:
        prediction: any shape, not empty.
        target: of the same shape.

    Returns:
        A number <= 1, shape (); -inf or nan for a constant target.

    Raises:
        ValueError: the shapes differ or are empty.

    >>> r2_score(torch.tensor([2.0, 2.0]), torch.tensor([1.0, 3.0])).item()
    0.0
    """
    error = residuals("r2_score", prediction, target).square().sum()
    y = wide(target)
    return 1 - error / (y - y.mean()).square().sum()


def residuals(where: str, prediction: Tensor, target: Tensor) -> Tensor:
    """prediction - target, without broadcasting."""
    require_same_shape(where, prediction=prediction, target=target)
    require(prediction.numel() > 0, where, "prediction", "at least one value", tuple(prediction.shape))
    return wide(prediction) - wide(target)
