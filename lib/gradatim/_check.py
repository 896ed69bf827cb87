"""Argument checks shared by every module: one form of message, and none that costs a device sync."""

from typing import Any

import torch


class ArgumentError(ValueError, RuntimeError):
    """A refused argument of something that torch has too.

    Torch raises ValueError for some of these mistakes and RuntimeError for others. This error is both, so code
    written against either keeps working. The message ends with torch's own words, so that a search finds them.
    """


class ArgumentTypeError(TypeError, RuntimeError):
    """A refused dtype, where torch raises RuntimeError."""


class ClassIndexError(ArgumentError, IndexError):
    """A class index outside [0, C), where torch raises IndexError."""


def refusal(
    where: str, name: str, rule: str, got: Any, torch_says: str = "", error: type[Exception] = ArgumentError
) -> Exception:
    """The error "<where>: <name> must be <rule>, got <got> (torch: <its words>)", to be raised."""
    words = f" (torch: {torch_says})" if torch_says else ""
    return error(f"{where}: {name} must be {rule}, got {got}{words}")


def require(ok: bool, where: str, name: str, rule: str, got: Any, torch_says: str = "") -> None:
    """Raise ValueError("<where>: <name> must be <rule>, got <got>") unless `ok`.

    With `torch_says`, torch's own words for the mistake, they follow in brackets, so that a search finds them,
    and the error is also a RuntimeError, for code written against torch's.
    """
    if not ok:
        raise refusal(where, name, rule, repr(got), torch_says, ArgumentError if torch_says else ValueError)


def require_type(ok: bool, where: str, name: str, rule: str, got: Any) -> None:
    """Raise TypeError("<where>: <name> must be <rule>, got <got>") unless `ok`."""
    if not ok:
        raise TypeError(f"{where}: {name} must be {rule}, got {got!r}")


def require_tensor(where: str, **tensors: Any) -> None:
    """Raise TypeError for what is no tensor: a list or an array has no device and no graph."""
    for name, t in tensors.items():
        if not isinstance(t, torch.Tensor):
            raise TypeError(f"{where}: {name} must be a tensor, got {type(t).__name__}")


def require_same_shape(where: str, **tensors: torch.Tensor) -> None:
    """Refuse to broadcast: (N,) against (N, 1) would silently average an N x N table."""
    require_tensor(where, **tensors)
    shapes = {name: tuple(t.shape) for name, t in tensors.items()}
    if len(set(shapes.values())) > 1:
        listing = ", ".join(f"{name} {shape}" for name, shape in shapes.items())
        raise ValueError(f"{where}: {' and '.join(shapes)} must have the same shape, got {listing}")


def require_floating(where: str, **tensors: torch.Tensor) -> None:
    """Raise TypeError for a tensor that is not of a floating-point dtype."""
    for name, t in tensors.items():
        if not torch.is_floating_point(t):
            raise TypeError(f"{where}: {name} must be a floating-point tensor, got {t.dtype}")
