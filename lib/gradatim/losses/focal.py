"""Focal losses: cross-entropy that counts well-classified samples less."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._check import check_values, checked, require, require_same_shape
from ._arguments import check_floating, check_reduction, reduce_loss, widen
from .classification import check_class_indices, pick_class


@checked(boolean=("target",))
def focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: float | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Binary focal loss, computed from logits in log space.

    With z the logit, t the target and p = sigmoid(z):

        loss = -alpha * (1 - p)**gamma * log(p)          if t = 1
               -(1 - alpha) * p**gamma * log(1 - p)      if t = 0       (both weights 1 when alpha is None)

    For a target between 0 and 1 (a soft label, as mixup makes them) it is the expected loss:
    t times the first line plus 1 - t times the second.

    Args:
        logits: shape (*), floating; any real numbers, not probabilities.
        target: shape (*), the same as `logits`; in [0, 1], of any dtype.
        gamma: focusing exponent, >= 0; 0 gives alpha-weighted cross-entropy.
        alpha: weight of the positive class in [0, 1], or None for no weighting.
        reduction: "none", "mean" (over all elements) or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `logits` is not floating-point.
        ValueError: shapes differ; gamma, alpha or `reduction` is out of range; a target lies outside [0, 1]
            (looked at on the CPU only).

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002v2, eq. 2-5.
    Differs from the paper: "mean" divides by the number of elements, the paper (sec. 4.1) by the number of
    positive anchors. For that, use "sum" and divide.

    >>> z, t = torch.zeros(1), torch.ones(1)                     # p = 1/2
    >>> round(focal_loss(z, t, gamma=2.0).item(), 6)             # (1/2)**2 * log 2
    0.173287
    """
    where = "focal_loss"
    check_reduction(where, reduction)
    require(gamma >= 0, where, "gamma", ">= 0", gamma)
    require(alpha is None or 0 <= alpha <= 1, where, "alpha", "None or in [0, 1]", alpha)
    check_floating(where, "logits", logits)
    require_same_shape(where, logits=logits, target=target)

    z = widen(logits)
    t = target.to(z.dtype)
    check_values(where, "target", t, 0, 1)
    log_p = F.logsigmoid(z)  # log(p): finite for every finite logit
    log_q = log_p - z  # log(1 - p)
    positive = -torch.exp(gamma * log_q) * log_p  # -(1 - p)**gamma * log(p)
    negative = -torch.exp(gamma * log_p) * log_q  # -p**gamma * log(1 - p)
    if alpha is not None:
        positive, negative = alpha * positive, (1 - alpha) * negative
    loss = t * positive + (1 - t) * negative
    return reduce_loss(loss, reduction, logits.dtype)


@checked
def multiclass_focal_loss(
    logits: Tensor,
    target: Tensor,
    *,
    gamma: float = 2.0,
    alpha: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    r"""Focal loss for one class out of C, computed from logits in log space.

    With p_t the softmax probability of the target class y and alpha the class weights (1 when None):

        loss = -alpha[y] * (1 - p_t)**gamma * log(p_t)

    log(1 - p_t) is the log-sum-exp of the other classes' log-probabilities: 1 - p_t itself would lose all its
    digits where the network is sure.

    Args:
        logits: shape (C), (N, C) or (N, C, d1, ...) with C >= 2, floating; any real numbers.
        target: shape (), (N) or (N, d1, ...), int64; class indices in [0, C).
        gamma: focusing exponent, >= 0; 0 gives alpha-weighted cross-entropy.
        alpha: shape (C), >= 0, or None.
        reduction: "none", "mean" (over all samples: not divided by the sum of alpha[y]) or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", the target's shape for "none".

    Raises:
        TypeError: `logits` is not floating-point or `target` is not of integers.
        ValueError: shapes do not fit, gamma or `reduction` is out of range, or a class index is outside [0, C).

    Source: Lin et al., "Focal Loss for Dense Object Detection", arXiv:1708.02002v2, eq. 5, with softmax in place
        of sigmoid. With C = 2 it is `focal_loss` of the difference of the two logits.

    >>> loss = multiclass_focal_loss(torch.zeros(1, 4), torch.tensor([2]), gamma=2.0)   # (3/4)**2 * log 4
    >>> round(loss.item(), 4)
    0.7798
    """
    where = "multiclass_focal_loss"
    check_reduction(where, reduction)
    require(gamma >= 0, where, "gamma", ">= 0", gamma)
    check_floating(where, "logits", logits)
    check_class_indices(where, logits, target)
    num_classes = logits.shape[min(1, logits.dim() - 1)]
    require(num_classes >= 2, where, "logits", "of at least 2 classes", num_classes)
    if alpha is not None:
        require(
            alpha.shape == (num_classes,), where, "alpha", f"of shape ({num_classes},)", tuple(alpha.shape)
        )

    unbatched = logits.dim() == 1
    z, y = (logits.unsqueeze(0), target.unsqueeze(0)) if unbatched else (logits, target)
    z, y = widen(z), y.long()
    log_p = F.log_softmax(z, dim=1)
    log_p_t = pick_class(where, log_p, y)
    log_q_t = log_p.scatter(1, y.unsqueeze(1), -torch.inf).logsumexp(dim=1)  # log(1 - p_t)
    loss = -torch.exp(gamma * log_q_t) * log_p_t  # -(1 - p_t)**gamma * log(p_t)
    if alpha is not None:
        loss = widen(alpha)[y] * loss
    return reduce_loss(loss.squeeze(0) if unbatched else loss, reduction, logits.dtype)
