"""Losses for yes or no, once per element: binary cross-entropy and its multi-label forms."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .._check import ArgumentTypeError, check_values, checked, refusal, require, require_broadcast
from .._function import with_signature
from ._arguments import as_numbers, check_floating, check_reduction, reduce_loss, widen


def _check_same_size(where: str, input: Tensor, target: Tensor) -> None:
    if input.shape != target.shape:
        got = f"input {tuple(input.shape)}, target {tuple(target.shape)}"
        words = f"Target size ({target.size()}) must be the same as input size ({input.size()})"
        raise refusal(where, "target", "of the input's shape", got, words)


class _BinaryCrossEntropy(torch.autograd.Function):
    """Binary cross-entropy per element, with the derivative in closed form.

    The derivative that follows from log and clamp is 0 * inf = nan at p = 0 and p = 1. The closed form
    (p - t) / (p (1 - p)), its denominator held above 1e-12, is finite there: what torch returns too.
    """

    generate_vmap_rule = True

    @staticmethod
    @with_signature
    def forward(p: Tensor, t: Tensor) -> Tensor:
        return _binary_cross_entropy_formula(p, t)

    @staticmethod
    def setup_context(ctx, inputs, output) -> None:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor | None]:  # type: ignore[no-untyped-def]
        p, t = ctx.saved_tensors
        d_p, d_t = _binary_cross_entropy_derivatives(p, t, ctx.needs_input_grad[1])
        return grad * d_p, None if d_t is None else grad * d_t


class _BinaryCrossEntropyForwardMode(_BinaryCrossEntropy):
    """The same with forward-mode differentiation, which torch.compile cannot trace."""

    @staticmethod
    def jvp(ctx, p_dot: Tensor | None, t_dot: Tensor | None) -> Tensor:  # type: ignore[no-untyped-def]
        p, t = ctx.saved_tensors
        d_p, d_t = _binary_cross_entropy_derivatives(p, t, t_dot is not None)
        loss_dot = torch.zeros_like(p) if p_dot is None else d_p * p_dot
        return loss_dot if d_t is None or t_dot is None else loss_dot + d_t * t_dot


def _binary_cross_entropy_formula(p: Tensor, t: Tensor) -> Tensor:
    log_p = p.log().clamp(min=-100)
    log_q = torch.log1p(-p).clamp(min=-100)
    return -(t * log_p + (1 - t) * log_q)


def _binary_cross_entropy_derivatives(p: Tensor, t: Tensor, also_t: bool) -> tuple[Tensor, Tensor | None]:
    d_p = (p - t) / (p * (1 - p)).clamp(min=1e-12)
    d_t = torch.log1p(-p).clamp(min=-100) - p.log().clamp(min=-100) if also_t else None
    return d_p, d_t


@checked
def binary_cross_entropy(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    r"""Binary cross-entropy, from probabilities.

    With p the input, t the target and w the weight (1 without):

        loss = -w * (t * log(p) + (1 - t) * log(1 - p))        each log at least -100
        "mean":  sum_i loss_i / n                              n elements, weights or not

    The clamp at -100 makes p = 0 and p = 1 cost 100 nats and not infinity. Prefer
    `binary_cross_entropy_with_logits`: a probability in float32 cannot be closer to 1 than 6e-8.

    Args:
        input: shape (*), floating; probabilities in [0, 1].
        target: shape (*), the same as `input`, floating; in [0, 1].
        weight: a shape that broadcasts to (*), or None.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` or `target` is not floating-point.
        ValueError: shapes differ, a probability lies outside [0, 1] (looked at on the CPU only), or `reduction`
            is unknown.

    Source: Goodfellow, Bengio and Courville, "Deep Learning" (2016), sec. 6.2.2.2.
    Same numbers as torch.nn.functional.binary_cross_entropy (test_sample_values_and_gradients_match_torch).

    >>> loss = binary_cross_entropy(torch.tensor([0.5, 1.0]), torch.tensor([1.0, 0.0]), reduction="none")
    >>> loss                                                   # log 2, and 100 for a certain wrong answer
    tensor([  0.6931, 100.0000])
    """
    where = "binary_cross_entropy"
    check_reduction(where, reduction)
    check_floating(where, "input", input)
    _check_same_size(where, input, target)
    if not target.is_floating_point():
        words = f"Found dtype {target.dtype} but expected {input.dtype}"
        raise refusal(where, "target", "floating-point", target.dtype, words, ArgumentTypeError)
    require_broadcast(where, input.shape, weight=weight)
    p, t = widen(input), widen(target)
    words = "all elements of input should be between 0 and 1"
    check_values(where, "input", p, 0, 1, "probabilities in [0, 1], not logits", words)

    function = _BinaryCrossEntropy if torch.compiler.is_compiling() else _BinaryCrossEntropyForwardMode
    loss: Tensor = function.apply(p, t)  # type: ignore[no-untyped-call]
    if weight is not None:
        loss = widen(weight) * loss
    return reduce_loss(loss, reduction, input.dtype)


@checked(boolean=("target",))
def binary_cross_entropy_with_logits(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    *,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Tensor:
    r"""Binary cross-entropy, from logits: exact for every finite logit.

    With x the logit, t the target, w the weight and c the positive weight (1 without):

        p    = sigmoid(x)
        loss = -w * (c * t * log(p) + (1 - t) * log(1 - p))
             = w * ((1 - t) * x - (1 + (c - 1) * t) * log_sigmoid(x))        since log(1 - p) = log(p) - x
        "mean":  sum_i loss_i / n                                            n elements, weights or not

    Args:
        input: shape (*), floating; logits: any real numbers, not probabilities.
        target: shape (*), the same as `input`, of any dtype; in [0, 1].
        weight: a shape that broadcasts to (*), or None.
        reduction: "none", "mean" or "sum".
        pos_weight: a shape that broadcasts to (*), or None: what a positive counts; c = (negatives / positives)
            balances the classes.

    Returns:
        Loss in nats: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, or `reduction` is unknown.

    Source: Goodfellow, Bengio and Courville, "Deep Learning" (2016), sec. 6.2.2.2 (there with softplus:
        log_sigmoid(x) = -softplus(-x)).
    Same numbers as torch.nn.functional.binary_cross_entropy_with_logits
    (test_sample_values_and_gradients_match_torch).

    >>> x, t = torch.tensor([0.0, -1000.0]), torch.tensor([0.0, 1.0])
    >>> binary_cross_entropy_with_logits(x, t, reduction="none")        # log 2, and 1000: nothing is clamped
    tensor([6.9315e-01, 1.0000e+03])
    """
    where = "binary_cross_entropy_with_logits"
    check_reduction(where, reduction)
    check_floating(where, "input", input)
    _check_same_size(where, input, target)
    require_broadcast(where, input.shape, weight=weight, pos_weight=pos_weight)

    x, t = widen(input), as_numbers(target)
    log_p = F.logsigmoid(x)
    if pos_weight is not None:
        log_p = (1 + (widen(pos_weight) - 1) * t) * log_p
    log_likelihood = torch.addcmul(log_p, t - 1, x)  # log_p - (1 - t) * x, in one pass
    if weight is not None:
        log_likelihood = widen(weight) * log_likelihood
    return 0 - reduce_loss(log_likelihood, reduction, input.dtype)  # -0.0 would look odd


@checked(boolean=("target",))
def multilabel_soft_margin_loss(
    input: Tensor, target: Tensor, weight: Tensor | None = None, *, reduction: str = "mean"
) -> Tensor:
    r"""Multi-label cross-entropy: binary cross-entropy from logits, averaged over a sample's C labels.

    With x the logits, t the targets and w the weights (1 without):

        loss_n = sum_c w_c * ((1 - t[n, c]) * x[n, c] - log_sigmoid(x[n, c])) / C

    Args:
        input: shape (*, C), floating; logits.
        target: shape (*, C), the same as `input`, of any dtype; 1 where the label holds, else 0.
        weight: a shape that broadcasts to (*, C), or None.
        reduction: "none", "mean" or "sum", over the samples.

    Returns:
        Loss in nats: shape () for "mean" and "sum", shape (*) for "none".

    Raises:
        TypeError: `input` is not floating-point.
        ValueError: shapes differ, or `reduction` is unknown.

    Source: Bishop, "Pattern Recognition and Machine Learning" (2006), eq. 5.23 (independent binary
        classifications).
    Same numbers as torch.nn.functional.multilabel_soft_margin_loss
    (test_sample_values_and_gradients_match_torch).

    >>> loss = multilabel_soft_margin_loss(torch.tensor([[0.0, 20.0]]), torch.tensor([[1.0, 0.0]]))
    >>> round(loss.item(), 4)                                  # (log 2 + 20) / 2
    10.3466
    """
    where = "multilabel_soft_margin_loss"
    check_reduction(where, reduction)
    check_floating(where, "input", input)
    _check_same_size(where, input, target)
    require(input.dim() >= 1, where, "input", "of shape (*, C)", tuple(input.shape))
    require_broadcast(where, input.shape, weight=weight)

    x, t = widen(input), as_numbers(target)
    each = (1 - t) * x - F.logsigmoid(x)
    if weight is not None:
        each = widen(weight) * each
    loss = each.sum(dim=-1) / input.shape[-1]
    return reduce_loss(loss, reduction, input.dtype)
