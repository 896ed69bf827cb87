"""What the hand-derived backward passes share."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def with_signature(function: F) -> F:
    """Keep the signature at the function: torch.autograd.Function.apply asks for it in every call, for 20 us."""
    function.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return function
