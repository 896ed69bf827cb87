"""What the trusted side says of a failure that the worker reports: words of its own, none that the worker chose.

A worker sees the hidden inputs, and a message reaches the student.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import torch

from .failure import REFUSED
from .values import MAX_NUMBER_KEYS

#: How the refusals of values.py, wire.py and their like begin. What follows, a size or a dtype, is left out.
_REFUSALS = (
    "only dense tensors with data can leave the notebook",
    "the tensor is too large",
    "the array is too large",
    "the values are too large",
    "the values cannot be written",
    "the value is nested too deeply or has too many parts",
    "the integer is too large",
    "the string is too long",
    "too many objects are held",
    "too many tensors are held",
    "too many results are held for their derivatives",
    "the computation is too long to be differentiated here",
    f"a dictionary has more than {MAX_NUMBER_KEYS} keys that are not strings",
)
_DTYPE = re.compile(r"(a tensor|an array) of dtype (\w{1,20}) cannot leave the notebook")
_ALWAYS_NAMED = ("torch.autograd", "torch.autograd.forward_ad", "torch.Tensor.grad_fn")


def unreadable(reported: str) -> str:
    """Why a returned value could not be read."""
    found = _DTYPE.fullmatch(reported)
    if found and isinstance(getattr(torch, found[2], None), torch.dtype):
        return reported
    known = (text for text in _REFUSALS if reported.startswith(text))
    return next(known, "what it returned cannot be read")


def forbidden(reported: str, forbid: Iterable[str]) -> str:
    """Which forbidden call was refused: the name that the exercise forbids, also where a part of it was used."""
    used = reported.removesuffix(f" {REFUSED}")
    names = sorted((*forbid, *_ALWAYS_NAMED), key=len, reverse=True)
    name = next(
        (name for name in names if used == name or used.startswith(f"{name}.")), "what this exercise forbids"
    )
    return f"{name} {REFUSED}"
