"""The arithmetic of the in-place forms, once for a tensor and once for a list of tensors.

An in-place form is written once against `ops`. With `ops=one` its arguments are tensors; with `ops=many` they are
lists of tensors and each line is a single `torch._foreach_*` call, which saves the per-call cost when there are
many small tensors. A name ending in `_` changes its first argument, as in torch.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Ops:
    """The vocabulary of the in-place forms; `x`, `y`, `z` are tensors or lists of tensors, `c` is a number."""

    neg: Callable[..., Any]  # -x
    abs: Callable[..., Any]  # |x|
    sqrt: Callable[..., Any]  # sqrt(x)
    sqrt_: Callable[..., Any]
    sign_: Callable[..., Any]
    add: Callable[..., Any]  # add(x, y, c)         x + c * y
    add_: Callable[..., Any]  # add_(x, y, c)        x <- x + c * y
    shift_: Callable[..., Any]  # shift_(x, c)         x <- x + c
    shift: Callable[..., Any]  # shift(x, c)          x + c
    mul_: Callable[..., Any]  # mul_(x, y or c)      x <- x * y
    mul: Callable[..., Any]  # mul(x, y or c)       x * y
    div_: Callable[..., Any]  # div_(x, y or c)      x <- x / y
    lerp_: Callable[..., Any]  # lerp_(x, y, c)       x <- (1 - c) * x + c * y
    lerp: Callable[..., Any]  # lerp(x, y, c)        (1 - c) * x + c * y
    decay_add_: Callable[..., Any]  # decay_add_(x, c, y)  x <- c * x + y
    addcmul_: Callable[..., Any]  # addcmul_(x, y, z, c) x <- x + c * y * z
    addcmul: Callable[..., Any]  # addcmul(x, y, z, c)  x + c * y * z
    addcdiv_: Callable[..., Any]  # addcdiv_(x, y, z, c) x <- x + c * y / z
    maximum_: Callable[..., Any]  # maximum_(x, y)       x <- max(x, y)
    copy_: Callable[..., Any]  # copy_(x, y)          x <- y
    div: Callable[..., Any]  # div(x, y)            x / y
    norm: Callable[..., Any]  # norm(x)              Euclidean norm of each tensor, shape ()
    clamp_min_: Callable[..., Any]  # clamp_min_(x, c)     x <- max(x, c)
    rsqrt_: Callable[..., Any]  # rsqrt_(x)            x <- 1 / sqrt(x)
    to_float32: Callable[..., Any]  # a float32 copy of x
    each: Callable[..., Any]  # each(f, x, y)        f(x, y), for what has no list form


Tensors = list[torch.Tensor]


def _operand(xs: Tensors, c: Any) -> Any:
    """On the CPU a list call wraps a number once per tensor, which costs more than the arithmetic: wrap it here."""
    if isinstance(c, float | int) and xs[0].device.type == "cpu":
        return torch.tensor(c, dtype=xs[0].dtype)
    return c


def _mul_many_(xs: Tensors, c: Any) -> None:
    torch._foreach_mul_(xs, _operand(xs, c))


def _div_many_(xs: Tensors, c: Any) -> None:
    torch._foreach_div_(xs, _operand(xs, c))


def _shift_many_(xs: Tensors, c: float) -> None:
    operand = _operand(xs, c)
    if isinstance(operand, torch.Tensor):
        torch._foreach_add_(xs, operand, alpha=1)
    else:
        torch._foreach_add_(xs, operand)


def _shift_many(xs: Tensors, c: float) -> Tensors:
    operand = _operand(xs, c)
    if isinstance(operand, torch.Tensor):
        return list(torch._foreach_add(xs, operand, alpha=1))
    return list(torch._foreach_add(xs, operand))


def _decay_add_many_(xs: Tensors, c: float, ys: Tensors) -> None:
    _mul_many_(xs, c)
    torch._foreach_add_(xs, ys)


one = Ops(
    neg=torch.neg,
    abs=torch.abs,
    sqrt=torch.sqrt,
    sqrt_=torch.sqrt_,
    sign_=torch.Tensor.sign_,
    add=lambda x, y, c: torch.add(x, y, alpha=c),
    add_=lambda x, y, c: x.add_(y, alpha=c),
    shift_=torch.Tensor.add_,
    shift=torch.add,
    mul_=torch.Tensor.mul_,
    mul=torch.mul,
    div_=torch.Tensor.div_,
    lerp_=torch.Tensor.lerp_,
    lerp=torch.lerp,
    # One pass over memory where mul_ and add_ would take two.
    decay_add_=lambda x, c, y: torch.add(y, x, alpha=c, out=x),
    addcmul_=lambda x, y, z, c: x.addcmul_(y, z, value=c),
    addcmul=lambda x, y, z, c: torch.addcmul(x, y, z, value=c),
    addcdiv_=lambda x, y, z, c: x.addcdiv_(y, z, value=c),
    maximum_=lambda x, y: torch.maximum(x, y, out=x),
    copy_=torch.Tensor.copy_,
    div=torch.div,
    norm=torch.linalg.vector_norm,
    clamp_min_=torch.clamp_min_,
    rsqrt_=torch.rsqrt_,
    to_float32=torch.Tensor.float,
    each=lambda f, *operands: f(*operands),
)

many = Ops(
    neg=torch._foreach_neg,
    abs=torch._foreach_abs,
    sqrt=torch._foreach_sqrt,
    sqrt_=torch._foreach_sqrt_,
    sign_=torch._foreach_sign_,
    add=lambda x, y, c: torch._foreach_add(x, y, alpha=c),
    add_=lambda x, y, c: torch._foreach_add_(x, y, alpha=c),
    shift_=_shift_many_,
    shift=_shift_many,
    mul_=_mul_many_,
    mul=torch._foreach_mul,
    div_=_div_many_,
    lerp_=torch._foreach_lerp_,
    lerp=torch._foreach_lerp,
    decay_add_=_decay_add_many_,
    addcmul_=torch._foreach_addcmul_,
    addcmul=torch._foreach_addcmul,
    addcdiv_=torch._foreach_addcdiv_,
    maximum_=torch._foreach_maximum_,
    copy_=torch._foreach_copy_,
    div=torch._foreach_div,
    norm=torch._foreach_norm,
    clamp_min_=torch._foreach_clamp_min_,
    rsqrt_=torch._foreach_rsqrt_,
    to_float32=lambda xs: [x.float() for x in xs],
    each=lambda f, *columns: [f(*row) for row in zip(*columns, strict=True)],
)


class Room:
    """Memory for the new tensors of one block, which the next block takes again.

    Fresh memory costs a page fault for every 4 KiB, often more than the arithmetic on it.
    """

    def __init__(self) -> None:
        self.taken = 0  # since the block began
        self.views: dict[Any, Tensor] = {}
        self.numbers: dict[Any, Tensor] = {}

    def like(self, x: Tensor) -> Tensor:
        """A tensor of x's shape and dtype, x contiguous; the first of a block lies where that of the last one lay."""
        place, self.taken = (self.taken, x.dtype), self.taken + 1
        view = self.views.get((place, x.shape))
        if view is None:
            memory = self.views.get(place)
            if memory is None or memory.numel() < x.numel():
                memory = self.views[place] = x.new_empty(x.numel())
            view = self.views[place, x.shape] = memory[: x.numel()].view(x.shape)
        return view

    def number(self, x: Tensor, c: Any) -> Any:
        """c; as a tensor of x's dtype if it is a number."""
        if isinstance(c, Tensor):
            return c
        wrapped = self.numbers.get((c, x.dtype))
        if wrapped is None:
            wrapped = self.numbers[c, x.dtype] = torch.tensor(c, dtype=x.dtype)
        return wrapped


def one_in(room: Room) -> Ops:
    """`one`, with new tensors taken from `room`; a number is wrapped into a tensor once, not by each call."""
    like, number = room.like, room.number
    return replace(
        one,
        neg=lambda x: torch.neg(x, out=like(x)),
        abs=lambda x: torch.abs(x, out=like(x)),
        sqrt=lambda x: torch.sqrt(x, out=like(x)),
        add=lambda x, y, c: torch.add(x, y, alpha=c, out=like(x)),
        shift_=lambda x, c: x.add_(number(x, c)),
        shift=lambda x, c: torch.add(x, number(x, c), out=like(x)),
        mul_=lambda x, y: x.mul_(number(x, y)),
        mul=lambda x, y: torch.mul(x, number(x, y), out=like(x)),
        div_=lambda x, y: x.div_(number(x, y)),
        lerp=lambda x, y, c: torch.lerp(x, y, c, out=like(x)),
        addcmul=lambda x, y, z, c: torch.addcmul(x, y, z, value=c, out=like(x)),
        div=lambda x, y: torch.div(x, y, out=like(x)),
    )
