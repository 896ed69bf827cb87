"""Losses for one class out of C: logits or log-probabilities in, nats out."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._check import ArgumentTypeError, ClassIndexError, check_values, checked, refusal, require, require_type
from ._arguments import HALF_PRECISION, check_floating, check_reduction, reduce_loss, widen, widen_optional

INDEX_DTYPES = (torch.int64, torch.uint8)
TORCH_DTYPE_NAMES = {
    torch.float64: "Double",
    torch.float32: "Float",
    torch.float16: "Half",
    torch.bfloat16: "BFloat16",
    torch.int64: "Long",
    torch.int32: "Int",
    torch.uint8: "Byte",
}


def torch_name(dtype: torch.dtype) -> str:
    return TORCH_DTYPE_NAMES.get(dtype, str(dtype))


def check_class_indices(where: str, input: Tensor, target: Tensor) -> None:
    """Refuse class indices whose dtype or shape does not fit logits of shape (C), (N, C) or (N, C, d1, ...)."""
    if input.dim() == 0:
        raise refusal(where, "input", "of shape (C), (N, C) or (N, C, d1, ...)", tuple(input.shape))
    if target.dtype not in INDEX_DTYPES:
        rule = "int64 class indices, or floating-point probabilities of the input's shape"
        words = f"expected target dtype to be Long or Byte, but got {torch_name(target.dtype)}"
        got = f"{target.dtype} of shape {tuple(target.shape)} for input of shape {tuple(input.shape)}"
        raise refusal(where, "target", rule, got, words, ArgumentTypeError)
    expected = (input.shape[:1] + input.shape[2:]) if input.dim() > 1 else torch.Size(())
    if target.shape != expected:
        if input.dim() > 1 and target.dim() >= 1 and target.shape[0] != input.shape[0]:
            words = f"Expected input batch_size ({input.shape[0]}) to match target batch_size ({target.shape[0]})."
        else:
            words = f"Expected target size {list(expected)}, got {list(target.shape)}"
        rule = f"of shape {tuple(expected)} for input of shape {tuple(input.shape)}"
        raise refusal(where, "target", rule, tuple(target.shape), words)


def check_class_weight(where: str, input: Tensor, weight: Tensor | None) -> None:
    """Refuse class weights that are not one number per class in the input's dtype, or in float32 for half precision."""
    if weight is None:
        return
    num_classes = input.shape[min(1, input.dim() - 1)]
    if weight.shape != (num_classes,):
        words = (
            f"weight tensor should be defined either for all {num_classes} classes or no classes "
            f"but got weight tensor of shape: {list(weight.shape)}"
        )
        raise refusal(where, "weight", f"of shape ({num_classes},)", tuple(weight.shape), words)
    if weight.dtype != input.dtype and not (weight.dtype == torch.float32 and input.dtype in HALF_PRECISION):
        words = f"expected scalar type {torch_name(input.dtype)} but found {torch_name(weight.dtype)}"
        raise refusal(
            where, "weight", f"of the input's dtype {input.dtype}", weight.dtype, words, ArgumentTypeError
        )


def gather_classes(where: str, table: Tensor, index: Tensor) -> Tensor:
    """table[n, index[n, ...], ...], with one sentence for an index outside [0, C).

    The CPU kernel finds such an index while it gathers. On a GPU the device asserts, as in torch's losses:
    looking from here would stop the host.
    """
    try:
        return table.gather(1, index)
    except (RuntimeError, IndexError) as error:
        if "out of bounds" not in str(error):
            raise
        rule, words = f"in [0, {table.shape[1]})", f"Target is out of bounds; target out of range: {error}"
        raise refusal(where, "target", rule, "an index outside", words, ClassIndexError) from error


def pick_class(where: str, table: Tensor, y: Tensor) -> Tensor:
    """table[n, y[n, ...], ...]: each position's entry for its class; (N, C, d1, ...) to (N, d1, ...)."""
    return gather_classes(where, table, y.unsqueeze(1)).squeeze(1)


def _batched(input: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """An unbatched sample, shape (C), becomes a batch of one."""
    return (input.unsqueeze(0), target.unsqueeze(0)) if input.dim() == 1 else (input, target)


def _negative_log_likelihood(
    where: str,
    log_p: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    log_total: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """-w_y * log p_y and w_y (1 without weights) for each position, both 0 where it is ignored.

    `log_p` may lack its normalization, log_total = log(sum_k exp(log_p_k)), which is then subtracted here.
    """
    keep = target != ignore_index
    y = torch.where(keep, target, 0)  # where ignored: any valid index will do, its loss is masked below
    log_p_y = pick_class(where, log_p, y)
    if log_total is not None:
        log_p_y = log_p_y - log_total
    if weight is None:
        return torch.where(keep, -log_p_y, 0), keep
    w_y = weight[y] * keep
    return torch.where(keep, -w_y * log_p_y, 0), w_y  # where, not a factor: 0 * inf would be nan


@checked
def nll_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
) -> Tensor:
    r"""Negative log likelihood of the target class, from log-probabilities.

    With log_p the input, y the target and w the class weights (1 without):

        loss_n = -w[y_n] * log_p[n, y_n]           0 where y_n = ignore_index
        "mean":  sum_n loss_n / sum_n w[y_n]       both sums without the ignored samples

    The weighted mean divides by the sum of the targets' weights, not by the number of samples. If all samples
    are ignored it is 0 / 0 = nan.

    Args:
        input: shape (C), (N, C) or (N, C, d1, ...), floating; log-probabilities over dimension C.
        target: shape (), (N) or (N, d1, ...), int64; class indices in [0, C) or `ignore_index`.
        weight: shape (C), the input's dtype (or float32 for half precision), >= 0; or None.
        ignore_index: a target value that costs nothing and counts for nothing.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", the target's shape for "none".

    Raises:
        TypeError: `target` is not of integers, or `weight` is not of the input's dtype.
        ValueError: shapes do not fit, a class index is outside [0, C) (on an accelerator the device asserts
            instead), or `reduction` is unknown.

    Source: Goodfellow, Bengio and Courville, "Deep Learning" (2016), sec. 5.5 and 6.2.
    Same numbers as torch.nn.functional.nll_loss (test_sample_values_and_gradients_match_torch).

    >>> log_p = torch.tensor([[0.5, 0.25, 0.25], [0.2, 0.2, 0.6]]).log()
    >>> loss = nll_loss(log_p, torch.tensor([1, 0]), reduction="sum")         # -log(0.25) - log(0.2) = log 20
    >>> round(loss.exp().item(), 4)
    20.0
    """
    check_reduction("nll_loss", reduction)
    check_floating("nll_loss", "input", input)
    check_class_indices("nll_loss", input, target)
    check_class_weight("nll_loss", input, weight)

    unbatched = input.dim() == 1
    log_p, y = _batched(widen(input), target.long())
    loss, w_y = _negative_log_likelihood("nll_loss", log_p, y, widen_optional(weight), ignore_index)
    if reduction == "mean":
        return (loss.sum() / w_y.sum()).to(input.dtype)
    return reduce_loss(loss.squeeze(0) if unbatched else loss, reduction, input.dtype)


@checked
def cross_entropy(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    ignore_index: int = -100,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    r"""Cross-entropy between target classes and the softmax of logits.

    With x the logits, K the number of classes, w the class weights (1 without), eps the label smoothing and

        log_p = log_softmax(x) = x - log(sum_k exp(x_k))

    class indices y:

        loss_n = -(1 - eps) * w[y_n] * log_p[n, y_n] - (eps / K) * sum_k w_k log_p[n, k]     0 if y_n is ignored
        "mean":  sum_n loss_n / sum_n w[y_n]            both sums without the ignored samples

    class probabilities t:

        t'     = (1 - eps) * t + eps / K
        loss_n = -sum_k w_k t'[n, k] log_p[n, k]
        "mean":  sum_n loss_n / N                       N counts every position, weights or not

    Args:
        input: shape (C), (N, C) or (N, C, d1, ...), floating; logits: any real numbers, not probabilities.
        target: class indices, shape (), (N) or (N, d1, ...), int64, in [0, C) or `ignore_index`;
            or class probabilities, the input's shape, floating.
        weight: shape (C), the input's dtype (or float32 for half precision), >= 0; or None.
        ignore_index: a class index that costs nothing and counts for nothing; not for probabilities.
        reduction: "none", "mean" or "sum".
        label_smoothing: eps in [0, 1], the share of the target spread evenly over all K classes.

    Returns:
        Loss in nats: shape () for "mean" and "sum", (), (N) or (N, d1, ...) for "none".

    Raises:
        TypeError: `target` is neither int64 indices nor floating probabilities, or `weight` is not of the
            input's dtype.
        ValueError: shapes do not fit, a class index is outside [0, C) (on an accelerator the device asserts
            instead), `label_smoothing` is outside [0, 1], or `reduction` is unknown.

    Source: Goodfellow, Bengio and Courville, "Deep Learning" (2016), sec. 6.2.2; label smoothing: Szegedy et al.,
        "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567v3, sec. 7.
    Same numbers as torch.nn.functional.cross_entropy (test_sample_values_and_gradients_match_torch).

    >>> x = torch.zeros(2, 4)                                     # softmax: 1/4 each
    >>> loss = cross_entropy(x, torch.tensor([0, 3]))             # log 4
    >>> round(loss.exp().item(), 4)
    4.0
    """
    check_reduction("cross_entropy", reduction)
    check_floating("cross_entropy", "input", input)
    if not 0 <= label_smoothing <= 1:
        words = f"label_smoothing must be between 0.0 and 1.0. Got: {label_smoothing}"
        raise refusal("cross_entropy", "label_smoothing", "in [0, 1]", label_smoothing, words)
    if input.shape == target.shape and input.dim() > 0:
        return _cross_entropy_probabilities(input, target, weight, ignore_index, reduction, label_smoothing)
    check_class_indices("cross_entropy", input, target)
    check_class_weight("cross_entropy", input, weight)

    unbatched = input.dim() == 1
    x, y = _batched(widen(input), target.long())
    w = widen_optional(weight)
    if torch.compiler.is_compiling() and label_smoothing == 0:
        # log_p of the target alone: a compiler then writes no array of the size of the logits
        log_p = x - x.detach().amax(dim=1, keepdim=True)
        log_total = log_p.exp().sum(dim=1).log()
    else:
        log_p, log_total = F.log_softmax(x, dim=1), None
    loss, w_y = _negative_log_likelihood("cross_entropy", log_p, y, w, ignore_index, log_total)
    if label_smoothing > 0:
        eps, K = label_smoothing, x.shape[1]
        weighted = log_p if w is None else log_p * _along_classes(w, log_p)
        even = torch.where(y != ignore_index, -weighted.sum(dim=1), 0)
        loss = (1 - eps) * loss + (eps / K) * even
    if reduction == "mean":
        return (loss.sum() / w_y.sum()).to(input.dtype)
    return reduce_loss(loss.squeeze(0) if unbatched else loss, reduction, input.dtype)


def _along_classes(w: Tensor, log_p: Tensor) -> Tensor:
    """Class weights of shape (C) as (C, 1, ...), to multiply (N, C, d1, ...)."""
    return w.view(-1, *[1] * (log_p.dim() - 2))


def _cross_entropy_probabilities(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None,
    ignore_index: int,
    reduction: str,
    label_smoothing: float,
) -> Tensor:
    where = "cross_entropy"
    if not target.is_floating_point():
        rule = "floating-point probabilities when it has the input's shape"
        words = f"Expected floating point type for target with class probabilities, got {torch_name(target.dtype)}"
        raise refusal(where, "target", rule, target.dtype, words, ArgumentTypeError)
    if ignore_index >= 0:
        words = "ignore_index is not supported for floating point target"
        raise refusal(where, "ignore_index", "left out for class probabilities", ignore_index, words)
    check_class_weight(where, input, weight)

    x, t = _batched(widen(input), widen(target))
    eps, K = label_smoothing, x.shape[1]
    t = (1 - eps) * t + eps / K if eps > 0 else t
    log_p = F.log_softmax(x, dim=1)
    terms = t * log_p if weight is None else t * log_p * _along_classes(widen(weight), log_p)
    loss = -terms.sum(dim=1)
    return reduce_loss(loss.squeeze(0) if input.dim() == 1 else loss, reduction, input.dtype)


@checked
def smooth_labels(
    target: Tensor, num_classes: int, label_smoothing: float, *, dtype: torch.dtype | None = None
) -> Tensor:
    r"""Class indices as smoothed class probabilities.

    With K classes, eps the smoothing and y the target:

        t_k = 1 - eps + eps / K   if k = y
              eps / K             otherwise

    The share eps is spread over all K classes, the right one included. `cross_entropy(x, smooth_labels(y, K, eps))`
    equals `cross_entropy(x, y, label_smoothing=eps)`.

    Args:
        target: shape (N) or (N, d1, ...), int64; class indices in [0, num_classes).
        num_classes: K >= 1.
        label_smoothing: eps in [0, 1].
        dtype: of the result; torch's default dtype if None.

    Returns:
        Probabilities, shape (N, K) or (N, K, d1, ...).

    Raises:
        TypeError: `target` is not of integers.
        ValueError: `num_classes` or `label_smoothing` is out of range, or a class index (looked at on the CPU only).

    Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", arXiv:1512.00567v3, sec. 7.

    >>> smooth_labels(torch.tensor([1]), 4, 0.5)              # 0.5/4 = 0.125; 0.5 + 0.125
    tensor([[0.1250, 0.6250, 0.1250, 0.1250]])
    """
    where = "smooth_labels"
    require(num_classes >= 1, where, "num_classes", ">= 1", num_classes)
    require(0 <= label_smoothing <= 1, where, "label_smoothing", "in [0, 1]", label_smoothing)
    require_type(target.dtype in INDEX_DTYPES, where, "target", "int64 class indices", target.dtype)
    require(target.dim() >= 1, where, "target", "of shape (N) or (N, d1, ...)", tuple(target.shape))

    check_values(where, "target", target, 0, num_classes - 1)

    eps, K = label_smoothing, num_classes
    classes = torch.arange(K, device=target.device).view(-1, *[1] * (target.dim() - 1))
    is_y = target.unsqueeze(1) == classes
    dtype = torch.get_default_dtype() if dtype is None else dtype
    return (1 - eps) * is_y.to(dtype) + eps / K


@checked
def generalized_cross_entropy(
    logits: Tensor, target: Tensor, *, q: float = 0.7, reduction: str = "mean"
) -> Tensor:
    r"""Generalized cross-entropy: between cross-entropy (q -> 0) and absolute error (q = 1).

    With p_t the softmax probability of the target class:

        loss = (1 - p_t**q) / q

    It is bounded by 1 / q, so a wrongly labelled sample cannot dominate; its gradient is cross-entropy's times
    p_t**q.

    Args:
        logits: shape (C), (N, C) or (N, C, d1, ...), floating; any real numbers.
        target: shape (), (N) or (N, d1, ...), int64; class indices in [0, C).
        q: in (0, 1]. At q = 1 the loss is 1 - p_t, half the absolute error between one-hot target and softmax.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss, in [0, 1 / q]: shape () for "mean" and "sum", the target's shape for "none".

    Raises:
        TypeError: `logits` is not floating-point or `target` is not of integers.
        ValueError: shapes do not fit, q is outside (0, 1], a class index is outside [0, C), or `reduction` is
            unknown.

    Source: Zhang and Sabuncu, "Generalized Cross Entropy Loss for Training Deep Neural Networks with Noisy
        Labels", arXiv:1805.07836v4, sec. 3.2.

    >>> round(generalized_cross_entropy(torch.zeros(1, 4), torch.tensor([2]), q=0.5).item(), 4)   # (1 - 1/2) / 0.5
    1.0
    """
    where = "generalized_cross_entropy"
    check_reduction(where, reduction)
    require(0 < q <= 1, where, "q", "in (0, 1]", q)
    check_floating(where, "logits", logits)
    check_class_indices(where, logits, target)

    x, y = _batched(widen(logits), target.long())
    log_p_t = pick_class(where, F.log_softmax(x, dim=1), y)
    loss = -torch.expm1(q * log_p_t) / q  # expm1 keeps the digits of 1 - p_t**q where p_t is near 1
    return reduce_loss(loss.squeeze(0) if logits.dim() == 1 else loss, reduction, logits.dtype)
