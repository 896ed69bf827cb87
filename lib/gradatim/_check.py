"""Argument checks shared by every module: one form of message, and none that costs a device sync."""

import dataclasses
import functools
import inspect
import numbers
import operator
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, TypeVar, Union, get_args, get_origin, overload

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


class AxisError(ArgumentError, IndexError):
    """An axis that a tensor does not have, where torch raises IndexError."""


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


def require_broadcast(where: str, shape: Sequence[int], **tensors: torch.Tensor | None) -> None:
    """Refuse a tensor that does not broadcast to `shape`."""
    for name, t in tensors.items():
        if t is not None and tuple(t.shape) != tuple(shape):
            fits = all(n in (1, m) for n, m in zip(reversed(t.shape), reversed(shape), strict=False))
            if not fits or t.dim() > len(shape):
                size = (
                    f"The size of tensor a must match the size of tensor b: {tuple(t.shape)}, {tuple(shape)}"
                )
                rule = f"of shape {tuple(shape)} or of one that broadcasts to it"
                raise refusal(where, name, rule, tuple(t.shape), size)


def require_floating(where: str, **tensors: torch.Tensor) -> None:
    """Raise TypeError for a tensor that is not of a floating-point dtype."""
    require_tensor(where, **tensors)
    for name, t in tensors.items():
        if not torch.is_floating_point(t):
            raise TypeError(f"{where}: {name} must be a floating-point tensor, got {t.dtype}")


def check_values(
    where: str, name: str, values: torch.Tensor, low: float, high: float, rule: str = "", torch_says: str = ""
) -> None:
    """Refuse values outside [low, high], nan among them.

    Skipped where looking is not free or not possible: on an accelerator, while compiling, under vmap.
    """
    if values.device.type != "cpu" or torch.compiler.is_compiling() or values.numel() == 0:
        return
    try:
        least, most = float(values.detach().amin()), float(values.detach().amax())
    except RuntimeError:  # vmap cannot hand out a value
        return
    if not (low <= least and most <= high):
        raise refusal(
            where, name, rule or f"in [{low}, {high}]", f"values from {least:g} to {most:g}", torch_says
        )


def require_tensors(where: str, name: str, given: Any) -> list[torch.Tensor]:
    """One tensor or several as a list; TypeError for anything else."""
    listed = (
        [given] if isinstance(given, torch.Tensor) else list(given) if isinstance(given, Iterable) else None
    )
    if listed is None or not all(isinstance(t, torch.Tensor) for t in listed):
        wrong = given if listed is None else next(t for t in listed if not isinstance(t, torch.Tensor))
        raise TypeError(f"{where}: {name} must be a tensor or several tensors, got {shown(wrong)}")
    return listed


def require_sizes(where: str, name: str, given: Any, least: int = 0) -> torch.Size:
    """A sequence of integers >= `least` as a torch.Size; TypeError or ValueError for anything else."""
    listed: list[Any] = list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [None]
    integers = all(isinstance(n, (int, numbers.Integral)) and not isinstance(n, bool) for n in listed)
    require_type(integers, where, name, "a sequence of integers", given)
    require(all(n >= least for n in listed), where, name, f"a sequence of integers >= {least}", given)
    return torch.Size(listed)


def require_dim(where: str, dim: Any, rank: int, name: str = "dim") -> None:
    """Refuse an axis that a tensor of `rank` dimensions does not have; of a number, -1 and 0 are axes."""
    integer = isinstance(dim, (int, numbers.Integral)) and not isinstance(dim, bool)
    require_type(integer, where, name, "an integer", dim)
    low, high = -max(rank, 1), max(rank, 1) - 1
    if not low <= dim <= high:
        words = f"Dimension out of range (expected to be in range of [{low}, {high}], but got {dim})"
        raise refusal(where, name, f"in [{low}, {high}]", dim, words, AxisError)


def require_dims(where: str, x: torch.Tensor, dims: Any) -> None:
    """Refuse what is no list or tuple of x's axes."""
    require_type(isinstance(dims, list | tuple), where, "dims", "a list or tuple of axes", dims)
    for dim in dims:
        require_dim(where, dim, x.dim(), "dims")


def shown(value: Any) -> str:
    """A value in an error message: itself where that is short, else what it is."""
    if isinstance(value, torch.Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value) if isinstance(value, (str, bool, int, float, type(None))) else type(value).__name__


# What an annotation accepts, and how that is said. A number may be a 0-dimensional tensor, as in torch.
KINDS: dict[Any, tuple[tuple[Any, ...], str]] = {
    torch.Tensor: ((torch.Tensor,), "a tensor"),
    float: ((float, int, numbers.Real, torch.SymFloat, torch.SymInt), "a number"),
    int: ((int, numbers.Integral, torch.SymInt), "an integer"),
    bool: ((bool, torch.SymBool), "True or False"),
    str: ((str,), "a string"),
    torch.Generator: ((torch.Generator,), "a torch.Generator"),
    torch.dtype: ((torch.dtype,), "a torch.dtype"),
    torch.nn.Module: ((torch.nn.Module,), "a torch.nn.Module"),
    torch.optim.Optimizer: ((torch.optim.Optimizer,), "a torch.optim.Optimizer"),
    torch.optim.lr_scheduler.LRScheduler: ((torch.optim.lr_scheduler.LRScheduler,), "a scheduler"),
    os.PathLike: ((os.PathLike,), "a path"),
    Mapping: ((Mapping,), "a mapping"),
    Callable: ((Callable,), "callable"),
    type(None): ((type(None),), "None"),
}
COMPLEX = {torch.complex32, torch.complex64, torch.complex128}
F = TypeVar("F", bound=Callable[..., Any])


class _Rule(NamedTuple):
    """What one argument may be."""

    classes: tuple[Any, ...]
    words: str
    tensor: bool  # a tensor is one
    number: bool  # a 0-dimensional tensor is one
    truth: bool  # True and False are ones
    refused: frozenset[torch.dtype]  # dtypes that its tensors cannot have


def _own_kind(member: Any) -> tuple[tuple[Any, ...], str] | None:
    """A class of this library as a kind: its instances, or for a runtime protocol what has its methods."""
    own = isinstance(member, type) and member.__module__.startswith("gradatim.")
    closed = getattr(member, "_is_protocol", False) and not getattr(member, "_is_runtime_protocol", False)
    return ((member,), f"a {member.__name__}") if own and not closed else None


def _rule(annotation: Any, complex: bool = False, boolean: bool = False) -> _Rule | None:
    """The rule that an annotation states; None for what is not checked here."""
    if isinstance(annotation, TypeVar) and annotation.__constraints__:
        annotation = functools.reduce(operator.or_, annotation.__constraints__)
    united = get_origin(annotation) in (Union, types.UnionType)
    members = [get_origin(a) or a for a in (get_args(annotation) if united else (annotation,))]
    kinds = [KINDS.get(member) or _own_kind(member) for member in members]
    known = [kind for kind in kinds if kind is not None]
    if len(known) < len(members):
        return None
    classes = tuple(c for kind in known for c in kind[0])
    words = " or ".join(dict.fromkeys(kind[1] for kind in known))
    refused = (set() if complex else COMPLEX) | (set() if boolean else {torch.bool})
    return _Rule(
        classes, words, torch.Tensor in members, float in members, bool in members, frozenset(refused)
    )


@overload
def checked(function: F, /) -> F: ...
@overload
def checked(*, complex: Sequence[str] = (), boolean: Sequence[str] = ()) -> Callable[[F], F]: ...


def checked(function: Any = None, /, *, complex: Sequence[str] = (), boolean: Sequence[str] = ()) -> Any:
    """Hold every argument against its annotation before the function runs.

    A tensor must be a tensor, of real numbers unless it is named in `complex` or `boolean`, on the device of the
    tensors before it; a number must be a number and not a string or a truth value. Ranges and shapes are the
    function's own to check: they need not be asked of a list or of two devices any more.
    """
    if function is None:
        return functools.partial(checked, complex=complex, boolean=boolean)
    parameters = inspect.signature(function).parameters
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = tuple(name for name, p in parameters.items() if p.kind in positional)
    rules = {name: _rule(p.annotation, name in complex, name in boolean) for name, p in parameters.items()}

    def refuse(args: tuple[Any, ...], name: str, rule: str, got: str) -> None:
        where = function.__name__
        if names[:1] == ("self",):
            where = type(args[0]).__name__ + (f".{where}" if where != "__init__" else "")
        raise ArgumentTypeError(f"{where}: {name} must be {rule}, got {got}")

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        first = None
        given: Any = zip(names, args)  # noqa: B905 (a keyword costs as much as all else here)
        for name, value in (*given, *kwargs.items()) if kwargs else given:
            rule = rules.get(name)
            if rule is None:
                continue
            if rule.tensor and isinstance(value, torch.Tensor):
                if value.dtype in rule.refused:
                    numbers = "numbers" if value.dtype is torch.bool else "real numbers"
                    refuse(args, name, f"a tensor of {numbers}", str(value.dtype))
                if first is None:
                    first = value
                elif value.device != first.device and not _may_stay_on_cpu(value):
                    if not _may_stay_on_cpu(first):
                        refuse(args, name, f"on the device {first.device} of the others", str(value.device))
                    first = value
            elif isinstance(value, rule.classes) and (rule.truth or not isinstance(value, bool)):
                continue
            elif not (rule.number and isinstance(value, torch.Tensor) and value.dim() == 0):
                refuse(args, name, rule.words, shown(value))
        return function(*args, **kwargs)

    return wrapper


def _may_stay_on_cpu(t: torch.Tensor) -> bool:
    """Whether a tensor mixes with those of an accelerator: a 0-dimensional one of the CPU does, as in torch."""
    return t.dim() == 0 and t.device.type == "cpu"


def check_fields(record: Any) -> None:
    """Hold every field of a dataclass against its annotation, as `checked` does for arguments."""
    where = type(record).__name__
    for entry in dataclasses.fields(record):
        rule, value = _rule(entry.type, False, False), getattr(record, entry.name)
        if rule is None:
            continue
        if not isinstance(value, rule.classes) or (isinstance(value, bool) and not rule.truth):
            raise TypeError(f"{where}: {entry.name} must be {rule.words}, got {shown(value)}")


def numbers_in(where: str, name: str, values: Any, least: int = 0) -> list[float]:
    """Numbers from a list, a tuple, an array or a tensor; TypeError for anything else, ValueError for too few."""
    iterable = isinstance(values, Iterable) and not isinstance(values, (str, bytes))
    listed: list[Any] = list(values) if iterable and getattr(values, "ndim", 1) == 1 else [None]
    for value in listed:
        real = isinstance(value, numbers.Real) or getattr(value, "ndim", None) == 0
        if not real:
            raise TypeError(f"{where}: {name} must be a sequence of numbers, got {shown(values)}")
    require(len(listed) >= least, where, name, f"at least {least} numbers", listed)
    return [float(value) for value in listed]
