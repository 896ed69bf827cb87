"""What the Trainer refuses, kept out of the loop that is meant to be read."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch

from .._check import require, require_type
from .callbacks import Callback

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}


def require_settings(
    scheduler: Any,
    scheduler_per: str,
    callbacks: Any,
    accumulate: int,
    clip_norm: float | None,
    precision: str,
) -> None:
    """Raise TypeError or ValueError, by name, for settings that would fail in the middle of a step."""
    where = "Trainer"
    known = isinstance(callbacks, Sequence) and all(isinstance(callback, Callback) for callback in callbacks)
    require_type(known, where, "callbacks", "a sequence of Callbacks", callbacks)
    usable = scheduler is None or callable(getattr(scheduler, "step", None))
    require_type(usable, where, "scheduler", "None or a scheduler", scheduler)
    require(scheduler_per in ("step", "epoch"), where, "scheduler_per", '"step" or "epoch"', scheduler_per)
    require(accumulate >= 1, where, "accumulate", ">= 1", accumulate)
    require(precision in PRECISIONS, where, "precision", f"one of {', '.join(PRECISIONS)}", precision)
    require(clip_norm is None or clip_norm > 0, where, "clip_norm", "None or > 0", clip_norm)


def require_batches(where: str, batches: Any) -> None:
    """Raise TypeError for what cannot be gone through."""
    require_type(isinstance(batches, Iterable), where, "batches", "an iterable of (x, y)", batches)
