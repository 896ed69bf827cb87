"""Splitting into training, validation and test rows, and standardising with the training rows alone."""

import torch

from gradatim._check import checked, numbers_in, require, require_floating
from gradatim.data.bundled import Dataset


def _cut(rows: torch.Tensor, fractions: tuple[float, ...]) -> list[torch.Tensor]:
    """Cut `rows` at the rounded cumulative fractions, so that every row lands in exactly one part."""
    shares = torch.tensor(fractions, dtype=torch.float64).cumsum(0)
    ends = (shares / shares[-1] * len(rows)).round().long().tolist()
    return [rows[start:end] for start, end in zip([0, *ends[:-1]], ends, strict=True)]


@checked
def split(
    dataset: Dataset,
    fractions: tuple[float, ...] = (0.6, 0.2, 0.2),
    *,
    seed: int,
    stratify: bool | None = None,
) -> tuple[Dataset, ...]:
    """Shuffle the rows with `seed` and cut them into disjoint parts that together hold every row.

    Args:
        dataset: what to cut.
        fractions: the parts' shares, all > 0, of sum 1; (0.6, 0.2, 0.2) is training, validation, test.
        seed: the same seed gives the same parts, on every device.
        stratify: keep each class's share in every part; None means: yes for classes, no for numbers.

    Returns:
        One `Dataset` per fraction.

    Raises:
        TypeError: fractions that are no numbers.
        ValueError: shares that are not positive or do not sum to 1, classes asked of numbers, an empty part.

    >>> from gradatim.data import load
    >>> [len(part) for part in split(load("iris"), seed=0)]
    [90, 30, 30]
    """
    fractions = tuple(numbers_in("split", "fractions", fractions, 1))
    whole = abs(sum(fractions) - 1) < 1e-6 and all(share > 0 for share in fractions)
    require(whole, "split", "fractions", "positive and of sum 1", fractions)
    classes = not torch.is_floating_point(dataset.y)
    stratify = classes if stratify is None else stratify
    require(classes or not stratify, "split", "stratify", "False where the targets are numbers", stratify)

    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(dataset), generator=generator)
    if stratify:
        labels = dataset.y.cpu()[order]
        groups = [_cut(order[labels == label], fractions) for label in labels.unique()]
        parts = [torch.cat(pieces) for pieces in zip(*groups, strict=True)]
        parts = [part[torch.randperm(len(part), generator=generator)] for part in parts]
    else:
        parts = _cut(order, fractions)
    require(all(len(part) for part in parts), "split", "dataset", "large enough for every part", len(dataset))
    return tuple(dataset[part.to(dataset.x.device)] for part in parts)


class Standardizer:
    """Subtract the mean and divide by the standard deviation that the *training* rows have.

    Statistics that include validation or test rows leak them into training; so this is made from training
    rows once and then only applied. A feature that is constant in training is only centred.

    Args:
        x: training features, shape (N, D), N >= 1, floating-point.

    Raises:
        TypeError: x is not floating-point.
        ValueError: another shape; on the call, another width.

    >>> standardize = Standardizer(torch.tensor([[0.0, 5.0], [2.0, 5.0]]))
    >>> standardize(torch.tensor([[3.0, 6.0]]))             # (3 - 1) / 1 and 6 - 5
    tensor([[2., 1.]])
    """

    @checked
    def __init__(self, x: torch.Tensor) -> None:
        require_floating("Standardizer", x=x)
        require(
            x.ndim == 2 and len(x) > 0, "Standardizer", "x", "of shape (N, D) with N >= 1", tuple(x.shape)
        )
        self.mean = x.mean(dim=0)
        std = x.std(dim=0, correction=0)
        # Rounding leaves a constant column a spread of about eps times its size; that is still "constant".
        rounding = 8 * torch.finfo(x.dtype).eps * self.mean.abs()
        self.std = torch.where(std > rounding, std, torch.ones_like(std))

    @checked
    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Standardise features of shape (N, D) with the training statistics."""
        require(
            x.shape[-1] == len(self.mean), "Standardizer", "x", f"of width {len(self.mean)}", tuple(x.shape)
        )
        return (x - self.mean) / self.std
