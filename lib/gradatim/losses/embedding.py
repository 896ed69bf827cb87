"""Losses on embeddings: what should lie close together, and what apart."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from .._check import checked, refusal, require
from ._arguments import (
    check_broadcastable,
    check_floating,
    check_reduction,
    reduce_loss,
    result_dtype,
    warn_if_broadcast,
    widen,
)

Distance = Callable[[Tensor, Tensor], Tensor]


def _check_triplet(where: str, anchor: Tensor, positive: Tensor, negative: Tensor, margin: float) -> None:
    if not margin > 0:
        raise refusal(where, "margin", "> 0", margin, f"margin must be greater than 0, got {margin}")
    a, p, n = anchor.dim(), positive.dim(), negative.dim()
    if not a == p == n:
        words = (
            "The anchor, positive, and negative tensors are expected to have the same number of dimensions, "
            f"but got: anchor {a}D, positive {p}D, and negative {n}D inputs"
        )
        raise refusal(
            where, "anchor, positive and negative", "of one shape", f"{a}, {p} and {n} dimensions", words
        )
    if anchor.shape == positive.shape == negative.shape:
        return
    check_broadcastable(where, "anchor", anchor, "positive", positive)
    check_broadcastable(where, "anchor", anchor, "negative", negative)
    check_broadcastable(where, "positive", positive, "negative", negative)
    warn_if_broadcast(where, anchor, positive)
    warn_if_broadcast(where, anchor, negative)


def _triplet(
    anchor: Tensor, positive: Tensor, negative: Tensor, distance: Distance, margin: float, swap: bool
) -> Tensor:
    d_pos = distance(anchor, positive)
    d_neg = distance(anchor, negative)
    if swap:
        d_neg = torch.minimum(d_neg, distance(positive, negative))
    return (margin + d_pos - d_neg).clamp_min(0)


@checked(complex=("anchor", "positive", "negative"))
def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    *,
    reduction: str = "mean",
) -> Tensor:
    r"""The anchor should lie closer to the positive than to the negative, by the margin.

    With d(x, y) = ||x - y + eps||_p over the last dimension:

        loss = max(0, d(a, p) - d(a, n) + margin)
        swap:  min(d(a, n), d(p, n)) in place of d(a, n)

    Args:
        anchor: shape (N, D) or (D).
        positive: shape (N, D) or (D), the same; of the anchor's class.
        negative: shape (N, D) or (D), the same; of another class.
        margin: > 0, in units of the distance.
        p: the norm's order, > 0.
        eps: >= 0, added to every difference, so that the norm has a derivative where two points coincide.
        swap: use the smaller of the negative's two distances.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in units of the distance: shape () for "mean" and "sum", (N) or () for "none".

    Raises:
        ValueError: shapes do not fit, margin <= 0, or `reduction` is unknown.

    Source: Balntas, Riba, Ponsa and Mikolajczyk, "Learning local feature descriptors with triplets and shallow
        convolutional neural networks", BMVC 2016 (with the swap); squared distances in Schroff, Kalenichenko and
        Philbin, "FaceNet", arXiv:1503.03832v3, eq. 1-2.
    Same numbers as torch.nn.functional.triplet_margin_loss (test_sample_values_and_gradients_match_torch).

    >>> a, p, n = torch.tensor([[0.0, 0.0]]), torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]])
    >>> round(triplet_margin_loss(a, p, n, margin=0.5).item(), 4)                # 5 - 2 + 0.5
    3.5
    """
    where = "triplet_margin_loss"
    check_reduction(where, reduction)
    _check_triplet(where, anchor, positive, negative, margin)
    require(p > 0, where, "p", "> 0", p)
    require(eps >= 0, where, "eps", ">= 0", eps)

    def distance(x: Tensor, y: Tensor) -> Tensor:
        d: Tensor = torch.linalg.vector_norm(x - y + eps, ord=p, dim=-1)
        return d

    loss = _triplet(widen(anchor), widen(positive), widen(negative), distance, margin, swap)
    return reduce_loss(loss, reduction, result_dtype(loss, anchor, positive, negative))


@checked(complex=("anchor", "positive", "negative"))
def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Distance | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    r"""Triplet loss with a distance of the caller's choice.

        loss = max(0, d(a, p) - d(a, n) + margin)
        swap:  min(d(a, n), d(p, n)) in place of d(a, n)

    Args:
        anchor: shape (N, *).
        positive: shape (N, *), the same.
        negative: shape (N, *), the same.
        distance_function: d, takes two tensors of shape (N, *) and returns shape (N); None for
            torch.nn.functional.pairwise_distance.
        margin: > 0, in units of the distance.
        swap: use the smaller of the negative's two distances.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in units of the distance: shape () for "mean" and "sum", (N) for "none".

    Raises:
        ValueError: shapes do not fit, margin <= 0, or `reduction` is unknown.

    Source: as `triplet_margin_loss`.
    Same numbers as torch.nn.functional.triplet_margin_with_distance_loss
    (test_sample_values_and_gradients_match_torch).

    >>> a, p, n = torch.tensor([[0.0]]), torch.tensor([[3.0]]), torch.tensor([[1.0]])
    >>> squared = lambda x, y: ((x - y) ** 2).sum(dim=-1)
    >>> triplet_margin_with_distance_loss(a, p, n, distance_function=squared).item()      # 9 - 1 + 1
    9.0
    """
    where = "triplet_margin_with_distance_loss"
    check_reduction(where, reduction)
    _check_triplet(where, anchor, positive, negative, margin)

    distance = F.pairwise_distance if distance_function is None else distance_function
    loss = _triplet(widen(anchor), widen(positive), widen(negative), distance, margin, swap)
    return reduce_loss(loss, reduction, result_dtype(loss, anchor, positive, negative))


@checked(boolean=("input1", "input2", "target"))
def cosine_embedding_loss(
    input1: Tensor, input2: Tensor, target: Tensor, margin: float = 0.0, *, reduction: str = "mean"
) -> Tensor:
    r"""Similar pairs should point the same way, dissimilar ones should not.

    With cos = <x1, x2> / (sqrt(||x1||**2 + 1e-12) * sqrt(||x2||**2 + 1e-12)):

        loss = 1 - cos                  if t = 1
               max(0, cos - margin)     if t = -1
               0                        for any other target, as in torch

    Args:
        input1: shape (N, D) or (D).
        input2: shape (N, D) or (D), the same.
        target: shape (N) or (); +1 for similar, -1 for dissimilar.
        margin: in [-1, 1]: the cosine below which a dissimilar pair costs nothing.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss, in [0, 2]: shape () for "mean" and "sum", (N) or () for "none".

    Raises:
        ValueError: shapes do not fit, the margin is out of range, or `reduction` is unknown.

    Source: PyTorch's documentation of CosineEmbeddingLoss.
    Same numbers as torch.nn.functional.cosine_embedding_loss (test_sample_values_and_gradients_match_torch).

    >>> x1, x2 = torch.tensor([[2.0, 0.0], [2.0, 0.0]]), torch.tensor([[3.0, 4.0], [3.0, 4.0]])   # cos = 0.6
    >>> cosine_embedding_loss(x1, x2, torch.tensor([1, -1]), margin=0.5, reduction="none")
    tensor([0.4000, 0.1000])
    """
    where = "cosine_embedding_loss"
    check_reduction(where, reduction)
    require(-1 <= margin <= 1, where, "margin", "in [-1, 1]", margin)
    if target.dim() > 1:
        words = "0D or 1D target tensor expected, multi-target not supported"
        raise refusal(where, "target", "of shape (N) or ()", tuple(target.shape), words)
    dims = target.dim() + 1
    if not input1.dim() == input2.dim() == dims:
        rule = "of shape (N, D) for target (N), or (D) for target ()"
        got = f"input1 {tuple(input1.shape)}, input2 {tuple(input2.shape)}, target {tuple(target.shape)}"
        words = (
            f"{target.dim()}D target tensor expects {dims}D input tensors, but found inputs with sizes "
            f"{list(input1.shape)} and {list(input2.shape)}."
        )
        raise refusal(where, "input1 and input2", rule, got, words)
    warn_if_broadcast(where, input1, input2)
    if target.dim() == 1 and target.shape != input1.shape[:1]:
        warn_if_broadcast(where, input1[:, 0], target)

    x1, x2 = widen(input1), widen(input2)
    norm1 = torch.sqrt((x1 * x1).sum(dim=-1) + 1e-12)
    norm2 = torch.sqrt((x2 * x2).sum(dim=-1) + 1e-12)
    cos = (x1 * x2).sum(dim=-1) / (norm1 * norm2)
    similar = torch.where(target == 1, 1 - cos, 0)
    dissimilar = torch.where(target == -1, (cos - margin).clamp_min(0), 0)
    return reduce_loss(similar + dissimilar, reduction, result_dtype(cos, input1, input2))


@checked
def info_nce_loss(
    query: Tensor,
    key: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float = 0.1,
    reduction: str = "mean",
) -> Tensor:
    r"""Contrastive loss: tell the right key among all keys, by cosine similarity.

    With s(q, k) = <q, k> / (||q|| ||k||), tau the temperature and K_n the keys that query n is compared with:

        loss_n = -log( exp(s(q_n, k_n) / tau) / sum over k in K_n of exp(s(q_n, k) / tau) )

        K_n = all keys of the batch             negatives = None: the other samples' keys are the negatives
              k_n and the negatives             otherwise

    It is the cross-entropy of a classification with the right key as target. With M keys in K_n, log M minus the
    expected loss is a lower bound of the mutual information.

    Args:
        query: shape (N, D), floating; need not be normalized.
        key: shape (N, D), the same; row n is the right key of query n.
        negatives: shape (M, D), shared by all queries, or (N, M, D), each query's own; or None.
        temperature: tau > 0. Small values make the nearest negatives count most.
        reduction: "none", "mean" or "sum".

    Returns:
        Loss in nats: shape () for "mean" and "sum", shape (N) for "none".

    Raises:
        TypeError: `query`, `key` or `negatives` is not floating-point.
        ValueError: shapes do not fit, temperature <= 0, or `reduction` is unknown.

    Source: van den Oord, Li and Vinyals, "Representation Learning with Contrastive Predictive Coding",
        arXiv:1807.03748v2, eq. 4; cosine similarity and temperature as in Chen et al., "A Simple Framework for
        Contrastive Learning of Visual Representations", arXiv:2002.05709v3, eq. 1 (there also views among
        negatives).

    >>> q = k = torch.eye(2)                                       # similarities 1 and 0
    >>> loss = info_nce_loss(q, k, temperature=1.0)                # -log(e / (e + 1)) = log(1 + 1/e)
    >>> round(loss.item(), 4)
    0.3133
    """
    where = "info_nce_loss"
    check_reduction(where, reduction)
    require(temperature > 0, where, "temperature", "> 0", temperature)
    for name, tensor in (("query", query), ("key", key), ("negatives", negatives)):
        if tensor is not None:
            check_floating(where, name, tensor)
    N, D = query.shape if query.dim() == 2 else (0, 0)
    require(query.dim() == 2, where, "query", "of shape (N, D)", tuple(query.shape))
    require(key.shape == query.shape, where, "key", f"of the query's shape {(N, D)}", tuple(key.shape))
    if negatives is not None:
        ok = negatives.dim() in (2, 3) and negatives.shape[-1] == D and negatives.shape[:-2] in ((), (N,))
        require(ok, where, "negatives", f"of shape (M, {D}) or ({N}, M, {D})", tuple(negatives.shape))

    q, k = F.normalize(widen(query), dim=-1), F.normalize(widen(key), dim=-1)
    if negatives is None:
        similarity = q @ k.T  # (N, N), the right keys on the diagonal
        loss = -F.log_softmax(similarity / temperature, dim=1).diagonal()
    else:
        right = (q * k).sum(dim=-1, keepdim=True)  # (N, 1)
        wrong = (F.normalize(widen(negatives), dim=-1) @ q.unsqueeze(-1)).squeeze(-1)  # (N, M)
        loss = -F.log_softmax(torch.cat([right, wrong], dim=1) / temperature, dim=1)[:, 0]
    return reduce_loss(loss, reduction, query.dtype)
