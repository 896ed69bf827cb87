"""Focal losses: cross-entropy that counts well-classified samples less."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._check import check_values, checked, require, require_same_shape
from ._arguments import check_floating, check_reduction, reduce_loss, widen
from .classification import check_class_indices, pick_class


def _focal_formula(z: Tensor, t: Tensor, gamma: float, w_1: float, w_0: float) -> Tensor:
    log_p = F.logsigmoid(z)  # log(p): finite for every finite logit
    log_q = log_p - z  # log(1 - p)
    positive = -w_1 * torch.exp(gamma * log_q) * log_p  # -(1 - p)**gamma * log(p)
    negative = -w_0 * torch.exp(gamma * log_p) * log_q  # -p**gamma * log(1 - p)
    return t * positive + (1 - t) * negative


class _FocalLossWithSlope(torch.autograd.Function):
    """The same with its derivative, computed along with it and kept alone.

        t = 1:   w_1 * (1 - p)**gamma * (gamma * p * log(p) - (1 - p))
        t = 0:   w_0 * p**gamma * (p - gamma * (1 - p) * log(1 - p))

    A compiler fuses loss and derivative into one pass, and the backward pass is a product. Run without one, the
    many passes cost more than autograd's.
    """

    @staticmethod
    def forward(ctx, z: Tensor, t: Tensor, gamma: float, w_1: float, w_0: float) -> Tensor:  # type: ignore[no-untyped-def]
        log_p = F.logsigmoid(z)
        log_q = log_p - z
        e = torch.exp(-z.abs())  # p and q from one exponential, which log_p needs too
        p, q = torch.where(z >= 0, 1, e) / (1 + e), torch.where(z >= 0, e, 1) / (1 + e)
        up = w_1 * torch.exp(gamma * log_q) * (gamma * p * log_p - q)
        down = w_0 * torch.exp(gamma * log_p) * (p - gamma * q * log_q)
        ctx.save_for_backward(t * up + (1 - t) * down)
        return _focal_formula(z, t, gamma, w_1, w_0)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None, None, None]:  # type: ignore[no-untyped-def]
        (slope,) = ctx.saved_tensors
        return grad * slope, None, None, None, None


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
    weights = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    if torch.compiler.is_compiling() and not t.requires_grad:
        loss: Tensor = _FocalLossWithSlope.apply(z, t, gamma, *weights)  # type: ignore[no-untyped-call]
    else:
        loss = _focal_formula(z, t, gamma, *weights)
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

    p_t is the sigmoid of the class's log-odds, z_y - log(sum over i != y of exp(z_i)). So is 1 - p_t, of minus that:
    1 - p_t itself would lose all its digits where the network is sure.

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
    z_y = pick_class(where, z, y)
    log_odds = z_y - z.scatter(1, y.unsqueeze(1), -torch.inf).logsumexp(dim=1)  # p_t = sigmoid(log_odds)
    log_p_t, log_q_t = F.logsigmoid(log_odds), F.logsigmoid(-log_odds)
    loss = -torch.exp(gamma * log_q_t) * log_p_t  # -(1 - p_t)**gamma * log(p_t)
    if alpha is not None:
        loss = widen(alpha)[y] * loss
    return reduce_loss(loss.squeeze(0) if unbatched else loss, reduction, logits.dtype)
