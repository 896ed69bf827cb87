"""Missing values: mark them, count them, fill them in with what the training rows alone say."""

from collections.abc import Sequence

import torch
from torch import Tensor

from gradatim._check import checked, numbers_in, require, require_floating, require_sizes

STRATEGIES = ("mean", "median", "most_frequent", "constant")


@checked
def mark_missing(x: Tensor, codes: Sequence[float], *, columns: Sequence[int] | None = None) -> Tensor:
    """A copy of a table in which the codes that stand for "unknown" have become NaN.

    A blood pressure of 0 or an age of -999 is not a number: unmarked, it moves every mean.

    Args:
        x: shape (N, D), floating.
        codes: the values that mean "missing".
        columns: where they do; None means everywhere.

    Returns:
        A new tensor of x's shape and dtype.

    Raises:
        TypeError: x is not floating-point.
        ValueError: another shape, no code, or a column that x does not have.

    >>> mark_missing(torch.tensor([[0.0, -999.0], [5.0, 0.0]]), [-999.0, 0.0], columns=[1])
    tensor([[0., nan],
            [5., nan]])
    """
    where = "mark_missing"
    require_floating(where, x=x)
    require(x.ndim == 2, where, "x", "of shape (N, D)", tuple(x.shape))
    codes = numbers_in(where, "codes", codes)
    require(len(codes) > 0, where, "codes", "not empty", codes)
    chosen = list(require_sizes(where, "columns", range(x.shape[1]) if columns is None else columns))
    require(all(0 <= c < x.shape[1] for c in chosen), where, "columns", f"from 0 to {x.shape[1] - 1}", chosen)
    here = torch.zeros(x.shape[1], dtype=torch.bool, device=x.device)
    here[chosen] = True
    coded = torch.isin(x, torch.tensor(codes, dtype=x.dtype, device=x.device))
    return torch.where(coded & here, torch.full_like(x, torch.nan), x)


@checked
def missing_share(x: Tensor) -> Tensor:
    """The share of NaN in every column.

    Args:
        x: shape (N, D), N >= 1, floating.

    Returns:
        Shape (D), in [0, 1], float32.

    Raises:
        TypeError: x is not floating-point.
        ValueError: another shape.

    >>> missing_share(torch.tensor([[1.0, float("nan")], [2.0, 3.0]]))
    tensor([0.0000, 0.5000])
    """
    require_floating("missing_share", x=x)
    require(x.ndim == 2 and len(x) > 0, "missing_share", "x", "of shape (N, D), N >= 1", tuple(x.shape))
    return x.isnan().to(torch.float32).mean(dim=0)


class Imputer:
    """Fill NaN in with a statistic of the *training* rows, column by column.

    Statistics that include validation or test rows leak them; so this is made from training rows once and then
    only applied. That a value is missing often says something by itself: `indicator=True` keeps that as a
    column of 0 and 1.

    Args:
        x: training features, shape (N, D), floating, N >= 1, NaN where missing.
        strategy: "mean", "median" (of an even number: the middle between the two), "most_frequent" (the
            smallest of equally frequent values) or "constant".
        fill: the constant.
        indicator: append a column for every column in which a training row is missing.

    Raises:
        TypeError: x is not floating-point. ValueError: another shape, an unknown strategy, an infinite value, a
            column without any value (except with "constant").

    >>> nan = float("nan")
    >>> impute = Imputer(torch.tensor([[1.0, 4.0], [3.0, nan]]), indicator=True)
    >>> impute(torch.tensor([[nan, nan]]))       # the mean of 1 and 3; 4; and "column 1 was missing"
    tensor([[2., 4., 1.]])
    """

    @checked
    def __init__(
        self, x: Tensor, *, strategy: str = "mean", fill: float = 0.0, indicator: bool = False
    ) -> None:
        require_floating("Imputer", x=x)
        require(x.ndim == 2 and len(x) > 0, "Imputer", "x", "of shape (N, D), N >= 1", tuple(x.shape))
        require(strategy in STRATEGIES, "Imputer", "strategy", f"one of {', '.join(STRATEGIES)}", strategy)
        require(not bool(x.isinf().any()), "Imputer", "x", "without infinite values", "an infinite value")
        missing = x.isnan()
        empty = missing.all(dim=0).nonzero()[:, 0].tolist()
        rule = "such that every column has a value"
        require(not empty or strategy == "constant", "Imputer", "x", rule, f"none in columns {empty}")
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        columns = [column[~column.isnan()] for column in wide.T]
        if strategy == "constant":
            self.values = torch.full_like(wide[0], fill)
        elif strategy == "mean":
            self.values = torch.stack([column.mean() for column in columns])
        elif strategy == "median":
            self.values = torch.stack([column.quantile(0.5) for column in columns])
        else:
            self.values = torch.stack([_most_frequent(column) for column in columns])
        self.flagged = (
            missing.any(dim=0).nonzero()[:, 0] if indicator else missing.new_zeros(0, dtype=torch.int64)
        )

    @checked
    def __call__(self, x: Tensor) -> Tensor:
        """The filled features: shape (N, D), or (N, D + flagged columns) with `indicator`."""
        width = len(self.values)
        require(x.ndim == 2 and x.shape[1] == width, "Imputer", "x", f"of shape (N, {width})", tuple(x.shape))
        missing = x.isnan()
        filled = torch.where(missing, self.values.to(x), x)
        return torch.cat([filled, missing[:, self.flagged].to(x.dtype)], dim=1)


def _most_frequent(column: Tensor) -> Tensor:
    values, counts = column.unique(
        return_counts=True
    )  # ascending, so the first maximum is the smallest value
    return values[counts.argmax()]
