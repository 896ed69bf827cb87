"""The data sets that come with scikit-learn, as tensors. Nothing is downloaded."""

from dataclasses import dataclass, replace

import torch

from gradatim._check import checked, require, require_tensor, require_type

#: The names that `load` takes.
NAMES = ("breast_cancer", "diabetes", "digits", "iris", "wine")


@dataclass(frozen=True)
class Dataset:
    """Features and targets of one table, with their names.

    Args:
        name: the table's.
        x: features, shape (N, D).
        y: targets, shape (N,); int64 for classes and of the features' dtype for numbers.
        feature_names: D words.
        class_names: one word per class; empty for numbers.

    Raises:
        TypeError: x or y is no tensor.
        ValueError: another shape.
    """

    name: str
    x: torch.Tensor
    y: torch.Tensor
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.y)

    def __post_init__(self) -> None:
        require_tensor("Dataset", x=self.x, y=self.y)
        require(self.x.ndim == 2, "Dataset", "x", "of shape (N, D)", tuple(self.x.shape))
        rule = f"of shape ({len(self.x)},), one target per row of x"
        require(self.y.shape == self.x.shape[:1], "Dataset", "y", rule, tuple(self.y.shape))

    def __getitem__(self, rows: torch.Tensor | slice) -> "Dataset":
        """The rows that an index tensor, a boolean mask or a slice picks, as a data set."""
        return replace(self, x=self.x[rows], y=self.y[rows])


@checked
def load(name: str, *, dtype: torch.dtype = torch.float32, device: torch.device | str = "cpu") -> Dataset:
    """Load one of scikit-learn's bundled data sets.

    Features keep their units: digits are grey values 0 to 16, and diabetes is the raw table. (scikit-learn's
    default diabetes table is already standardised with the statistics of all rows, test rows included.)

    Args:
        name: one of `NAMES`.
        dtype: floating dtype of the features, and of the targets where they are numbers.
        device: where the tensors live.

    Returns:
        A `Dataset`.

    Raises:
        ValueError: an unknown name.
        TypeError: a dtype that is not floating-point.
        ImportError: scikit-learn is not installed.

    >>> digits = load("digits")
    >>> digits.x.shape, digits.y.dtype, len(digits.class_names)
    (torch.Size([1797, 64]), torch.int64, 10)
    """
    require(name in NAMES, "load", "name", f"one of {', '.join(NAMES)}", name)
    require_type(dtype.is_floating_point, "load", "dtype", "a floating-point dtype", dtype)
    try:
        from sklearn import datasets  # the only use of scikit-learn: import it when it is wanted
    except ImportError as missing:
        raise ImportError("load: scikit-learn must be installed (pip install scikit-learn)") from missing

    options = {"scaled": False} if name == "diabetes" else {}
    bunch = getattr(datasets, f"load_{name}")(**options)
    numbers = name == "diabetes"
    return Dataset(
        name=name,
        x=torch.as_tensor(bunch.data).to(device=device, dtype=dtype),
        y=torch.as_tensor(bunch.target).to(device=device, dtype=dtype if numbers else torch.int64),
        feature_names=tuple(str(feature) for feature in bunch.feature_names),
        class_names=() if numbers else tuple(str(label) for label in bunch.target_names),
    )
