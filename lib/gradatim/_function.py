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
    return not transformed(grad)


def runs_by_formula(x: Tensor) -> bool:
    """Whether torch.compile, torch.func or vmap looks on: they fuse or differentiate a formula by themselves."""
    return torch.compiler.is_compiling() or transformed(x)


def transformed(x: Tensor) -> bool:
    """Whether torch.func runs, or autograd.grad(..., is_grads_batched=True)."""
    active: bool = torch._C._are_functorch_transforms_active()
    return active or torch._C._functorch.is_legacy_batchedtensor(x)
