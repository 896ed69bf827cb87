"""Accumulating gradients: a large batch in parts that fit into memory."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from .._check import checked, require, require_sizes, require_tensors, require_type


@checked
def accumulate_gradients(
    loss_fn: Callable[[Any], Tensor],
    parts: Iterable[Any],
    sizes: Sequence[int] | None = None,
) -> Tensor:
    """Backward through the parts of a batch, weighted so that their sum is the gradient of the whole batch's mean.

        loss = sum_k (n_k / N) * loss_k        n_k samples in part k, N in all; loss_k a mean over its samples

    A plain mean of the parts' losses is wrong when the last part is smaller. Gradients are added to `.grad`: zero
    them first. Not the same as the whole batch where samples see each other (batch norm) or draw random numbers
    (dropout).

    Args:
        loss_fn: called as loss_fn(part), returns the mean loss of the part, shape ().
        parts: the parts, all of them.
        sizes: the samples in each; None: len(part), or len(part[0]) for a tuple.

    Returns:
        The loss of the whole batch, detached.

    Raises:
        TypeError: `parts` is not iterable; parts without a length and no `sizes`.
        ValueError: no parts; not one positive size for each.

    >>> w = torch.tensor(0.0, requires_grad=True)
    >>> parts = [torch.tensor([1.0, 1.0]), torch.tensor([4.0])]
    >>> loss = accumulate_gradients(lambda x: (w * x).mean(), parts)
    >>> w.grad                                      # (1 + 1 + 4) / 3, not (1 + 4) / 2
    tensor(2.)
    """
    where = "accumulate_gradients"
    require_type(isinstance(parts, Iterable), where, "parts", "an iterable of parts", parts)
    listed = list(parts)
    require(len(listed) > 0, "accumulate_gradients", "parts", "at least one part", 0)
    counts = (
        [size_of(part) for part in listed] if sizes is None else list(require_sizes(where, "sizes", sizes))
    )
    ok = len(counts) == len(listed) and min(counts) > 0
    require(ok, "accumulate_gradients", "sizes", "one positive number per part", counts)
    total = None
    for part, n in zip(listed, counts, strict=True):
        loss = loss_fn(part) * (n / sum(counts))
        loss.backward()  # type: ignore[no-untyped-call, unused-ignore]
        total = loss.detach() if total is None else total + loss.detach()
    assert total is not None
    return total


def size_of(part: Any) -> int:
    """Samples in a part: its length, or that of its first member."""
    first = part[0] if isinstance(part, tuple | list) and part else part
    measured = isinstance(first, Tensor) and first.dim() > 0
    rule = "tensors of at least 1 dimension or tuples of them, unless sizes is given"
    require_type(measured, "accumulate_gradients", "parts", rule, part)
    return len(first)


@checked
def split_batch(batch: Sequence[Tensor], size: int) -> list[tuple[Tensor, ...]]:
    """Parts of at most `size` samples of a tuple of tensors (x, y, ...); the last may be smaller.

    Args:
        batch: tensors of one length, along their first axis.
        size: samples in a part, >= 1.

    Returns:
        A list of tuples, each with one view of every tensor.

    Raises:
        TypeError: a member is no tensor.
        ValueError: size < 1; tensors of different lengths.

    >>> [len(x) for x, y in split_batch((torch.zeros(5, 2), torch.zeros(5)), 2)]
    [2, 2, 1]
    """
    require(size >= 1, "split_batch", "size", ">= 1", size)
    lengths = [len(t) for t in require_tensors("split_batch", "batch", batch)]
    require(len(set(lengths)) == 1, "split_batch", "batch", "of tensors of one length", lengths)
    return list(zip(*(torch.split(t, size) for t in batch), strict=True))
