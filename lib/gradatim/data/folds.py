"""Cross-validation: cut the rows into k folds; each is the validation set once."""

import torch
from torch import Tensor

from gradatim._check import checked, require

Fold = tuple[Tensor, Tensor]


def _pairs(fold_of_row: Tensor, k: int) -> list[Fold]:
    """(training rows, validation rows) for every fold, each in ascending order."""
    return [((fold_of_row != i).nonzero()[:, 0], (fold_of_row == i).nonzero()[:, 0]) for i in range(k)]


def _require_k(where: str, k: int, most: int, of: str) -> None:
    ok = 2 <= k <= most
    require(ok, where, "k", f"an integer from 2 to {of}, {most}", k)


@checked
def k_fold(n: int, k: int, *, seed: int) -> list[Fold]:
    """Shuffle the rows 0, ..., n - 1 and cut them into k folds whose sizes differ by at most 1.

    Args:
        n: number of rows. k: 2 <= k <= n; k = n leaves one row out at a time.
        seed: the same seed gives the same folds.

    Returns:
        k pairs (training rows, validation rows), int64. Every row is in exactly one validation set.

    Raises:
        ValueError: k out of range.

    >>> [(len(train), len(validation)) for train, validation in k_fold(7, 3, seed=0)]
    [(4, 3), (5, 2), (5, 2)]
    """
    _require_k("k_fold", k, n, "the number of rows")
    fold = torch.empty(n, dtype=torch.int64)
    fold[torch.randperm(n, generator=torch.Generator().manual_seed(seed))] = torch.arange(n) % k
    return _pairs(fold, k)


@checked
def stratified_k_fold(labels: Tensor, k: int, *, seed: int) -> list[Fold]:
    """k folds in which every class has the same share, as nearly as whole rows allow.

    The rows of each class are shuffled and dealt to the folds in turn, each class going on where the last one
    stopped: so for every class, and for all rows together, the folds' counts differ by at most 1.

    Args:
        labels: shape (N), integers. k: from 2 to the size of the smallest class.
        seed: the same seed gives the same folds, on every device.

    Returns:
        k pairs (training rows, validation rows), int64, on the CPU.

    Raises:
        ValueError: labels of another shape; k out of range.
    """
    where = "stratified_k_fold"
    require(
        labels.ndim == 1 and len(labels) > 0, where, "labels", "of shape (N,), N >= 1", tuple(labels.shape)
    )
    require(not labels.is_floating_point(), where, "labels", "integers", labels.dtype)
    labels = labels.cpu()
    classes, counts = labels.unique(return_counts=True)
    _require_k(where, k, int(counts.min()), "the size of the smallest class")
    generator = torch.Generator().manual_seed(seed)
    fold, dealt = torch.empty(len(labels), dtype=torch.int64), 0
    for label, count in zip(classes, counts.tolist(), strict=True):
        rows = (labels == label).nonzero()[:, 0]
        fold[rows[torch.randperm(count, generator=generator)]] = torch.arange(dealt, dealt + count) % k
        dealt += count
    return _pairs(fold, k)


@checked
def group_k_fold(groups: Tensor, k: int, *, seed: int) -> list[Fold]:
    """k folds that never tear a group apart: all rows of one person, one patient, one film are in one fold.

    If some rows of a group are in training and some in validation, the validation score measures memory of the
    group. Groups are dealt from the largest down, each to the fold that has the fewest rows; equal ones in
    random order.

    Args:
        groups: shape (N), integers: the group of each row. k: from 2 to the number of groups.
        seed: of the order among groups of equal size.

    Returns:
        k pairs (training rows, validation rows), int64, on the CPU.

    Raises:
        ValueError: groups of another shape; k out of range.
    """
    where = "group_k_fold"
    require(
        groups.ndim == 1 and len(groups) > 0, where, "groups", "of shape (N,), N >= 1", tuple(groups.shape)
    )
    names, index, counts = groups.cpu().unique(return_inverse=True, return_counts=True)
    _require_k(where, k, len(names), "the number of groups")
    shuffled = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    order = shuffled[counts[shuffled].argsort(descending=True, stable=True)]
    fold_of_group, sizes = torch.empty(len(names), dtype=torch.int64), [0] * k
    for group in order.tolist():
        smallest = sizes.index(min(sizes))
        fold_of_group[group] = smallest
        sizes[smallest] += int(counts[group])
    return _pairs(fold_of_group[index], k)
