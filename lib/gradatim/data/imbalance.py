"""Rare classes: weights for the loss, and rows for the sampler. Use them on the training rows only."""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from gradatim._check import checked, require


def _counts(where: str, labels: Tensor, num_classes: int | None) -> Tensor:
    """Rows per class, shape (K); every class must have one, or its weight would be infinite."""
    require(
        labels.ndim == 1 and len(labels) > 0, where, "labels", "of shape (N,), N >= 1", tuple(labels.shape)
    )
    require(not labels.is_floating_point(), where, "labels", "integers", labels.dtype)
    require(int(labels.min()) >= 0, where, "labels", ">= 0", int(labels.min()))
    require(num_classes is None or num_classes >= 1, where, "num_classes", "None or >= 1", num_classes)
    counts = torch.bincount(labels, minlength=num_classes or 0)
    rule = f"below num_classes = {num_classes}"
    require(num_classes is None or len(counts) == num_classes, where, "labels", rule, int(labels.max()))
    empty = (counts == 0).nonzero()[:, 0].tolist()
    require(not empty, where, "labels", "such that every class has a row", f"none of class {empty}")
    return counts


@checked
def class_weights(labels: Tensor, num_classes: int | None = None) -> Tensor:
    """Weights for the loss that give every class the same say.

        weight[c] = N / (K * N_c)

    Their mean over the rows is 1, so the learning rate keeps its meaning. For `cross_entropy(..., weight=...)`.

    Args:
        labels: shape (N), integers 0, ..., K - 1, every class at least once.
        num_classes: K; None means the largest label plus 1.

    Returns:
        Shape (K), float32, on the labels' device.

    Raises:
        ValueError: labels of another shape or dtype, negative ones, a class without a row.

    >>> class_weights(torch.tensor([0, 0, 0, 1]))               # 4 / (2 * 3) and 4 / (2 * 1)
    tensor([0.6667, 2.0000])
    """
    counts = _counts("class_weights", labels, num_classes)
    return len(labels) / (len(counts) * counts.to(torch.float32))


@checked
def over_sample(labels: Tensor, *, seed: int) -> Tensor:
    """Row numbers in which every class is as frequent as the largest: all rows, and repeated ones of the others.

    A class of n rows that needs m appears with every row floor(m / n) or floor(m / n) + 1 times. Over-sample
    after splitting: before it, copies of one row land in training and in validation.

    Args:
        labels: shape (N), integers. seed: of which rows are repeated, and of the order.

    Returns:
        Shape (K * max N_c), int64, shuffled, on the labels' device.

    Raises:
        ValueError: labels of another shape or dtype, negative ones, a class below the largest without a row.
    """
    counts = _counts("over_sample", labels, None)
    return _resample(labels, int(counts.max()), seed)


@checked
def under_sample(labels: Tensor, *, seed: int) -> Tensor:
    """Row numbers in which every class is as rare as the smallest: no row twice, many not at all.

    Args:
        labels: shape (N), integers. seed: of which rows are kept, and of the order.

    Returns:
        Shape (K * min N_c), int64, shuffled, on the labels' device.

    Raises:
        ValueError: labels of another shape or dtype, negative ones, a class below the largest without a row.
    """
    counts = _counts("under_sample", labels, None)
    return _resample(labels, int(counts.min()), seed)


def _resample(labels: Tensor, wanted: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    chosen = []
    known = labels.cpu()
    for label in known.unique():
        rows = (known == label).nonzero()[:, 0]
        rounds = -(-wanted // len(rows))
        # One permutation after another: no row a second time before every row has had its first.
        orders = [torch.randperm(len(rows), generator=generator) for _ in range(rounds)]
        chosen.append(rows[torch.cat(orders)[:wanted]])
    together = torch.cat(chosen)
    return together[torch.randperm(len(together), generator=generator)].to(labels.device)


class WeightedSampler:
    """Draw rows with replacement, each with a probability proportional to its weight; another draw every epoch.

    With row weights 1 / N_c every class is equally frequent in expectation: over- and under-sampling at once,
    without a fixed set of copies. It can be the `sampler` of a torch DataLoader. Its state is one number, the epoch.

    Args:
        weights: shape (N), floating, >= 0, of positive sum.
        draws: rows in an epoch; None means N.
        seed: epoch e draws from a generator made from (seed, e).

    Raises:
        ValueError: weights of another shape or dtype, negative, infinite or all 0; draws < 1; seed < 0.

    >>> labels = torch.tensor([0, 0, 0, 1])
    >>> sampler = WeightedSampler(class_weights(labels)[labels], draws=6, seed=0)
    >>> len(list(sampler)), len(sampler)
    (6, 6)
    """

    @checked
    def __init__(self, weights: Tensor, *, draws: int | None = None, seed: int) -> None:
        where = "WeightedSampler"
        ok = weights.ndim == 1 and len(weights) > 0 and weights.is_floating_point()
        require(
            ok, where, "weights", "of shape (N,), N >= 1, floating", (tuple(weights.shape), weights.dtype)
        )
        positive = bool((weights >= 0).all()) and 0 < float(weights.double().sum()) < float("inf")
        require(positive, where, "weights", ">= 0, finite and of positive sum", weights.tolist()[:5])
        require(seed >= 0, where, "seed", ">= 0", seed)
        require(draws is None or draws >= 1, where, "draws", "None or >= 1", draws)
        # Drawn by the inverse of the cumulative sum: torch.multinomial has a limit of 2**24 rows.
        self._cumulative = weights.double().cpu().cumsum(0)
        self.draws = len(weights) if draws is None else draws
        self.seed = seed
        self.epoch = 0

    def __len__(self) -> int:
        return self.draws

    def rows(self, epoch: int) -> Tensor:
        """The rows of an epoch: a pure function of the epoch.

        Args:
            epoch: >= 0.

        Returns:
            Row numbers, shape (draws), int64.
        """
        # A torch CPU generator keeps 32 bits of its seed: seed and epoch must be mixed, not placed side by side.
        mixed = int(np.random.SeedSequence([self.seed, epoch]).generate_state(1)[0])
        generator = torch.Generator().manual_seed(mixed)
        u = torch.rand(self.draws, dtype=torch.float64, generator=generator) * self._cumulative[-1]
        return torch.searchsorted(self._cumulative, u, right=True).clamp_max(len(self._cumulative) - 1)

    def __iter__(self) -> Iterator[int]:
        rows = self.rows(self.epoch)
        self.epoch += 1
        return iter(rows.tolist())
