"""Runs student code where it can do no harm, and brings back data."""

from typing import TYPE_CHECKING, Any

from .client import Sandbox
from .config import SandboxConfig
from .failure import SandboxError, SandboxUnavailable, StudentFailure
from .tiers import Tier, available_tiers

if TYPE_CHECKING:
    from .submission import CellResult, Worker

__all__ = [
    "CellResult",
    "Sandbox",
    "SandboxConfig",
    "SandboxError",
    "SandboxUnavailable",
    "StudentFailure",
    "Tier",
    "Worker",
    "available_tiers",
]


def __getattr__(name: str) -> Any:
    """What needs torch is imported at first use: the command line starts a zygote first, which takes as long."""
    if name in ("CellResult", "Worker"):
        from . import submission

        return getattr(submission, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
