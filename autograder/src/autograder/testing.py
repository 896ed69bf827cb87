"""What a hidden test imports: `claim` marks it, `inputs` feeds it, `assert_close` judges an answer.

A hidden test is an ordinary pytest test. Its docstring is the claim that the student is shown; its values never
are.
"""

import contextlib
import hashlib
import hmac
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

T = TypeVar("T")

#: Relative and absolute tolerance by dtype: room for another order of the same sums, not for another formula.
TOLERANCE = {
    torch.float64: (1e-6, 1e-9),
    torch.float32: (1e-4, 1e-6),
    torch.float16: (1e-2, 1e-3),
    torch.bfloat16: (3e-2, 1e-2),
    torch.complex128: (1e-6, 1e-9),
    torch.complex64: (1e-4, 1e-6),
}


class WrongAnswer(AssertionError):
    """A failed comparison whose text holds no input and no expected value, so a student may read it.

    Nor does it repeat what the answer could have made of an input: the name of a class, a length, any shape.
    """


@dataclass(frozen=True)
class Claim:
    points: float
    hint: str
    section: str


def claim(*, points: float, hint: str, section: str = "") -> Callable[[T], T]:
    """Mark a hidden test: its points, the hint for whoever fails it, the book section that explains it."""
    if not (isinstance(points, int | float) and math.isfinite(points) and points > 0):
        raise ValueError(f"claim: points must be a finite number > 0, got {points!r}")
    if not hint.strip():
        raise ValueError("claim: hint must be a sentence, got an empty one")

    def mark(test: T) -> T:
        doc = (getattr(test, "__doc__", None) or "").strip()
        if not doc:
            raise ValueError(
                f"claim: {getattr(test, '__name__', test)!s} needs a docstring: the claim it checks"
            )
        test.claim = Claim(float(points), hint.strip(), section)  # type: ignore[attr-defined]
        return test

    return mark


class Inputs:
    """Inputs that nobody can guess and that are the same at every regrade: a generator seeded by a digest.

    Every method returns CPU tensors; `dtype` is float64 unless said otherwise. `seed` is the submission's own. `common`
    is one that the whole class shares, as secret as the other: for what takes long and is then computed once, and where
    the same finding must get the same mark from everybody.
    """

    def __init__(self, seed: int, common: int | None = None) -> None:
        self.seed = seed % (1 << 63)
        self.common = self.seed if common is None else common % (1 << 63)
        self.generator = torch.Generator().manual_seed(self.seed)

    def normal(
        self, *shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0, mean: float = 0.0
    ) -> torch.Tensor:
        _known_sizes.update(shape)
        return (torch.randn(shape, generator=self.generator, dtype=torch.float64) * scale + mean).to(dtype)

    def uniform(
        self, low: float, high: float, *shape: int, dtype: torch.dtype = torch.float64
    ) -> torch.Tensor:
        _known_sizes.update(shape)
        u = torch.rand(shape, generator=self.generator, dtype=torch.float64)
        return (low + (high - low) * u).to(dtype)

    def integers(self, low: int, high: int, *shape: int) -> torch.Tensor:
        """int64, low <= value < high."""
        _known_sizes.update(shape)
        return torch.randint(low, high, shape, generator=self.generator)

    def permutation(self, n: int) -> torch.Tensor:
        return torch.randperm(n, generator=self.generator)

    def choice(self, options: Sequence[T]) -> T:
        return options[int(self.integers(0, len(options), 1))]


def input_seed(secret: bytes, submission_digest: str, test_name: str) -> int:
    """HMAC(course secret, submission digest and test): unguessable without the secret, equal on a regrade."""
    mac = hmac.new(secret, f"{submission_digest}\0{test_name}".encode(), hashlib.sha256)
    return int.from_bytes(mac.digest()[:8], "big") >> 1


def assert_close(
    got: Any,
    expected: Any,
    *,
    rtol: float | None = None,
    atol: float | None = None,
    what: str = "the returned value",
    check_dtype: bool = True,
) -> None:
    """Raise WrongAnswer unless `got` equals `expected` in type, shape, dtype and, within tolerance, in value.

    `expected` is a tensor, a number, a bool, a string, None, or a list, tuple or dict of such. The message names
    the rule that is broken (type, shape, dtype, not finite, value), never an input or an expected value.
    """
    _record(got)
    _compare(got, expected, rtol, atol, what, check_dtype)


_recorders: list[list[Any]] = []


@contextlib.contextmanager
def recording(compared: list[Any]) -> Iterator[None]:
    """One test's run: append to `compared` whatever `assert_close` is given, for the diagnosis of a wrong answer."""
    _known_sizes.clear()
    _recorders.append(compared)
    try:
        yield
    finally:
        _recorders.pop()


def _record(got: Any) -> None:
    if _recorders:
        _recorders[-1].append(got.detach().clone() if isinstance(got, torch.Tensor) else got)


def _compare(
    got: Any, expected: Any, rtol: float | None, atol: float | None, what: str, check_dtype: bool
) -> None:
    if isinstance(expected, torch.Tensor):
        _compare_tensors(got, expected, rtol, atol, what, check_dtype)
    elif isinstance(expected, np.ndarray):
        if not isinstance(got, np.ndarray):
            raise WrongAnswer(f"{what} must be a NumPy array, got {_kind(got)}")
        _compare_tensors(
            torch.from_numpy(got.copy()),
            torch.from_numpy(expected.copy()),
            rtol,
            atol,
            what,
            check_dtype,
        )
    elif isinstance(expected, bool) or expected is None or isinstance(expected, str):
        if type(got) is not type(expected):
            raise WrongAnswer(f"{what} must be {_kind(expected)}, got {_kind(got)}")
        if got != expected:
            raise WrongAnswer(f"{what} is wrong")
    elif isinstance(expected, int | float):
        _compare_numbers(got, float(expected), rtol, atol, what)
    elif isinstance(expected, dict):
        if not isinstance(got, dict) or set(got) != set(expected):
            raise WrongAnswer(f"{what} must be a dictionary with the keys that the exercise names")
        for key, value in expected.items():
            _compare(got[key], value, rtol, atol, f"{what}[{key!r}]", check_dtype)
    elif isinstance(expected, list | tuple):
        if not isinstance(got, list | tuple) or len(got) != len(expected):
            found = _amount(len(got), len(expected)) if isinstance(got, list | tuple) else _kind(got)
            raise WrongAnswer(f"{what} must be a sequence of {len(expected)} values, got {found}")
        for k, value in enumerate(expected):
            _compare(got[k], value, rtol, atol, f"{what}[{k}]", check_dtype)
    else:
        raise TypeError(f"assert_close: expected must be data, got {type(expected).__name__}")


def _kind(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, torch.Tensor):
        return f"a tensor of {_shape(value, ())}"
    known = next((kind for kind in _KNOWN_TYPES if type(value) is kind), None)
    if known is None and isinstance(value, list | tuple):
        known = list if isinstance(value, list) else tuple
    return f"a value of type {known.__name__}" if known else "an object of another type"


_KNOWN_TYPES = (bool, int, float, complex, str, bytes, list, tuple, dict, set, frozenset, range, np.ndarray)
#: The sizes of the running test's own inputs.
_known_sizes: set[int] = set()


def _amount(count: int, expected: int) -> str:
    """A count that differs from the expected one, without its value."""
    return "fewer" if count < expected else "more"


def _shape(tensor: torch.Tensor, expected: tuple[int, ...]) -> str:
    """A shape, if it is made of sizes that the test itself brought; else how it differs."""
    sizes = tuple(tensor.shape)
    if len(sizes) <= len(expected) + 2 and all(s <= 1 or s in _known_sizes or s in expected for s in sizes):
        return f"shape {sizes}"
    if len(sizes) == len(expected):
        return "another shape with as many axes"
    return f"another shape with {_amount(len(sizes), len(expected))} axes"


def _compare_tensors(
    got: Any,
    expected: torch.Tensor,
    rtol: float | None,
    atol: float | None,
    what: str,
    check_dtype: bool,
) -> None:
    if not isinstance(got, torch.Tensor):
        raise WrongAnswer(f"{what} must be a tensor of shape {tuple(expected.shape)}, got {_kind(got)}")
    if got.shape != expected.shape:
        shape = tuple(expected.shape)
        raise WrongAnswer(f"{what} has {_shape(got, shape)}, it must have shape {shape}")
    if check_dtype and got.dtype != expected.dtype:
        raise WrongAnswer(f"{what} has dtype {got.dtype}, it must have {expected.dtype}")
    got, expected = got.detach(), expected.detach()
    default = TOLERANCE.get(expected.dtype, (0.0, 0.0))
    if _is_whole(got.dtype) and expected.dtype.is_floating_point:
        raise WrongAnswer(f"{what} has dtype {got.dtype}, it must be floating-point")
    rtol, atol = default[0] if rtol is None else rtol, default[1] if atol is None else atol
    if _is_whole(expected.dtype):
        common = torch.int64 if _is_whole(got.dtype) else got.dtype
        if not torch.equal(got.to(common), expected.to(common)):
            raise WrongAnswer(f"{what} is wrong")
        return
    widest = torch.complex128 if got.dtype.is_complex or expected.dtype.is_complex else torch.float64
    wide, want = got.to(widest), expected.to(widest)
    if _all_near(wide, want, rtol, atol) or torch.allclose(wide, want, rtol=rtol, atol=atol, equal_nan=True):
        return
    if bool((~torch.isfinite(wide) & torch.isfinite(want)).any()):
        raise WrongAnswer(f"{what} is not finite (NaN or infinity) where it should be")
    raise WrongAnswer(f"{what} has the right shape, but a wrong value")


def _is_whole(dtype: torch.dtype) -> bool:
    return not dtype.is_floating_point and not dtype.is_complex


def _all_near(got: torch.Tensor, expected: torch.Tensor, rtol: float, atol: float) -> bool:
    """Whether all values are finite and within `torch.allclose`'s tolerance: in NumPy, in a fourth of its time."""
    if got.device.type != "cpu" or expected.device.type != "cpu":
        return False
    a, b = got.resolve_conj().resolve_neg().numpy(), expected.resolve_conj().resolve_neg().numpy()
    with np.errstate(invalid="ignore", over="ignore"):
        return bool((np.abs(a - b) <= atol + rtol * np.abs(b)).all())


def _compare_numbers(got: Any, expected: float, rtol: float | None, atol: float | None, what: str) -> None:
    if isinstance(got, torch.Tensor | np.ndarray | np.generic) and got.shape == ():
        got = got.item()
    if isinstance(got, bool) or not isinstance(got, int | float):
        raise WrongAnswer(f"{what} must be a number, got {_kind(got)}")
    if math.isfinite(expected) and not math.isfinite(got):
        raise WrongAnswer(f"{what} is not finite (NaN or infinity) where it should be")
    rtol, atol = 1e-6 if rtol is None else rtol, 1e-9 if atol is None else atol
    if not (got == expected or abs(got - expected) <= atol + rtol * abs(expected)):
        raise WrongAnswer(f"{what} is a number, but a wrong one")
