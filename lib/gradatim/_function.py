"""What the hand-derived backward passes share."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

F = TypeVar("F", bound=Callable[..., Any])


def with_signature(function: F) -> F:
    """Keep the signature at the function: torch.autograd.Function.apply asks for it in every call, for 20 us."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function


def runs_in_place(grad: Tensor) -> bool:
    """Whether a backward pass may overwrite its own arrays: no second derivative and no vmap looks on."""
    if torch.is_grad_enabled() or forward_ad._current_level >= 0:  # -1: no forward-mode derivative
        return False
    if torch._C._are_functorch_transforms_active():
        return False
    return not torch._C._functorch.is_legacy_batchedtensor(grad)  # autograd.grad(..., is_grads_batched=True)
