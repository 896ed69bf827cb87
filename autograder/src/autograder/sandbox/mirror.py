"""Tensors that live on both sides: found changed bytewise, and brought up to date with every frame.

An optimizer keeps the parameters it was given; a module has parameters that a test reads, sets and differentiates.
Each such tensor has a twin on the other side under one number. Before a frame leaves, its sender lists the twins whose
bytes, gradient or `requires_grad` differ from what both sides last agreed on. Bytes are compared, not `_version`:
`w.data` and numpy views change a tensor without counting it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.weak import TensorWeakRef

from .values import DTYPES, dtype_name, raw_bytes
from .wire import WireError

MAX_TWINS = 100_000


@dataclass
class _Agreed:
    """A tensor's state as both sides last knew it."""

    reference: Callable[[], torch.Tensor | None]
    value: bytes
    gradient: bytes | None
    requires_grad: bool
    shape: torch.Size
    own: bool  # made on this side
    identity: int  # id() of the tensor


class TensorTable:
    """The twins on one side. The side that owns objects holds them strongly; the trusted side weakly."""

    def __init__(self, first_id: int, strong: bool):
        self._next, self._parity, self._strong = first_id, first_id % 2, strong
        self._agreed: dict[int, _Agreed] = {}
        self._numbers: dict[int, int] = {}  # id(tensor) -> number
        self._borrowed: list[list[int]] = []
        self._held: list[torch.Tensor] = []

    def new_id(self) -> int:
        self._next += 2
        return self._next

    def is_own(self, number: int) -> bool:
        return number % 2 == self._parity

    def is_live_own(self, number: int) -> bool:
        """Whether a tensor made on this side is still here."""
        return self.is_own(number) and number in self._agreed and self._agreed[number].reference() is not None

    def is_foreign(self, number: int) -> bool:
        """Whether the other side may give a new tensor this number."""
        return not self.is_own(number) and number not in self._agreed

    def find(self, tensor: torch.Tensor) -> int | None:
        number = self._numbers.get(id(tensor))
        if number is None:
            return None
        return number if self._agreed[number].reference() is tensor else None

    def get(self, number: int) -> torch.Tensor:
        agreed = self._agreed.get(number)
        tensor = agreed.reference() if agreed else None
        if tensor is None:
            raise WireError("no such tensor")
        return tensor

    def add(
        self, number: int, tensor: torch.Tensor, raw: bytes | None = None, *, borrowed: bool = False
    ) -> None:
        """Start to follow a tensor; a borrowed one only until the end of the present call.

        Its value, whose bytes are `raw`, travels with it. Its gradient is taken to be None on the other side, so the
        next frame brings it.
        """
        if number in self._agreed:
            return
        if len(self._agreed) >= MAX_TWINS:
            raise WireError("too many tensors are held")
        reference = (lambda: tensor) if self._strong else TensorWeakRef(tensor)
        self._agreed[number] = _Agreed(
            reference,
            raw_bytes(tensor) if raw is None else raw,
            None,
            tensor.requires_grad,
            tensor.shape,
            self.is_own(number),
            id(tensor),
        )
        self._numbers[id(tensor)] = number
        if not self._strong and not self.is_own(number):
            self._held.append(tensor)
        if borrowed and self._borrowed:
            self._borrowed[-1].append(number)

    def hold(self, tensors: Iterable[torch.Tensor]) -> None:
        """Keep tensors until the next frame has told the other side of their changes."""
        if not self._strong:
            self._held.extend(tensors)

    @property
    def depth(self) -> int:
        """Calls under way."""
        return len(self._borrowed)

    def begin_call(self) -> None:
        self._borrowed.append([])

    def end_call(self, *, keep: bool) -> None:
        """Give the borrowed tensors back, or keep following them because an object may hold them."""
        numbers = self._borrowed.pop()
        if not keep:
            self.forget(numbers)

    def forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            agreed = self._agreed.pop(number, None)
            if agreed is not None and self._numbers.get(agreed.identity) == number:
                del self._numbers[agreed.identity]

    def take_dead(self) -> list[int]:
        """Forget the tensors that this side no longer has; the numbers, for the other side to release."""
        dead = [number for number, agreed in self._agreed.items() if agreed.reference() is None]
        self.forget(dead)
        return dead

    def take_changes(self, add_buffer: Callable[[bytes], int]) -> list[dict[str, Any]]:
        """What differs from the agreed state, which becomes the new agreed state."""
        changes = []
        for number, agreed in self._agreed.items():
            tensor = agreed.reference()
            if tensor is None:
                continue
            change: dict[str, Any] = {}
            value = raw_bytes(tensor)
            if value != agreed.value or tensor.shape != agreed.shape:
                change |= {"b": add_buffer(value), "s": list(tensor.shape), "d": dtype_name(tensor)}
                agreed.value, agreed.shape = value, tensor.shape
            if tensor.is_leaf:
                change |= self._gradient_change(tensor, agreed, add_buffer)
                if tensor.requires_grad != agreed.requires_grad:
                    agreed.requires_grad = change["rg"] = tensor.requires_grad
            if change:
                changes.append({"i": number, **change})
        self._held.clear()
        return changes

    @staticmethod
    def _gradient_change(
        tensor: torch.Tensor, agreed: _Agreed, add_buffer: Callable[[bytes], int]
    ) -> dict[str, Any]:
        gradient = tensor.grad
        raw = None if gradient is None else raw_bytes(gradient)
        if raw == agreed.gradient:
            return {}
        agreed.gradient = raw
        if gradient is None:
            return {"g": None}
        return {"g": {"b": add_buffer(raw), "s": list(gradient.shape), "d": dtype_name(gradient)}}

    def apply(self, changes: Any, buffer: Callable[[Any], bytearray]) -> list[int]:
        """Take over the other side's changes. Returns the numbers of the tensors whose values changed."""
        if not isinstance(changes, list) or len(changes) > MAX_TWINS:
            raise WireError("not a list of changes")
        changed = []
        for change in changes:
            if not isinstance(change, dict) or type(change.get("i")) is not int:
                raise WireError("not a change")
            number = change["i"]
            agreed = self._agreed.get(number)
            tensor = agreed.reference() if agreed else None
            if tensor is None:
                continue  # released meanwhile
            try:
                if "b" in change:
                    _set_value(tensor, _rebuild(change, buffer), agreed.own)
                    agreed.value, agreed.shape = bytes(buffer(change["b"])), tensor.shape
                    changed.append(number)
                if "g" in change:
                    _set_gradient(tensor, None if change["g"] is None else _rebuild(change["g"], buffer))
                    agreed.gradient = None if tensor.grad is None else raw_bytes(tensor.grad)
                if "rg" in change:
                    tensor.requires_grad_(change["rg"] is True)
                    agreed.requires_grad = tensor.requires_grad
            except (RuntimeError, TypeError, KeyError) as error:
                raise WireError(
                    f"a tensor could not be brought up to date ({type(error).__name__})"
                ) from None
        return changed


def _rebuild(part: Any, buffer: Callable[[Any], bytearray]) -> torch.Tensor:
    if not isinstance(part, dict) or type(part.get("d")) is not str or part["d"] not in DTYPES:
        raise WireError("not a tensor's value")
    raw, dtype, shape = buffer(part.get("b")), DTYPES[part["d"]], part.get("s")
    if (
        type(shape) is not list
        or len(shape) > 25
        or any(type(n) is not int or not 0 <= n < 2**40 for n in shape)
    ):
        raise WireError("not a tensor's shape")
    count = 1
    for size in shape:
        count *= size
    if count * dtype.itemsize != len(raw):
        raise WireError("a tensor's length does not fit its shape")
    if not count:
        return torch.empty(shape, dtype=dtype)
    return torch.frombuffer(bytearray(raw), dtype=dtype).reshape(shape)


def _set_value(tensor: torch.Tensor, value: torch.Tensor, own: bool) -> None:
    if value.shape == tensor.shape and value.dtype == tensor.dtype:
        with torch.no_grad():
            tensor.copy_(value)
    elif own:
        raise WireError(
            f"a tensor of shape {tuple(tensor.shape)} and {tensor.dtype} was turned into one of shape "
            f"{tuple(value.shape)} and {value.dtype}"
        )
    else:
        tensor.data = value.clone()


def _set_gradient(tensor: torch.Tensor, gradient: torch.Tensor | None) -> None:
    if not tensor.is_leaf:
        return
    present = tensor.grad
    if gradient is not None and present is not None and present.shape == gradient.shape:
        with torch.no_grad():
            present.copy_(gradient)
    else:
        tensor.grad = None if gradient is None else gradient.clone()
